//! All checks at once: how they read, what they cost, and that they change nothing.

use std::time::Duration;

use serde_json::json;
use steadystate::lab::lifecycle::{self, Status};

use super::World;
use crate::lab_front::options;

impl World {
    /// Takes away what is another one in each run.
    fn steadily(&self, text: &str) -> String {
        let text = text.replace(&self.lab.host, "HOST");
        let took = regex::Regex::new(r"in \d+(ms|\.\ds)").unwrap();
        took.replace_all(&text, "in TIME").into_owned()
    }
}

/// As many mistakes as a first deploy to a new account has.
async fn a_bad_day() -> World {
    let world = World::start().await;
    world.role("theirs", "lambda.amazonaws.com").await;
    let logs = json!({ "logDriver": "awslogs", "options": { "awslogs-group": "/web", "awslogs-region": "us-east-1", "awslogs-stream-prefix": "web" } });
    let secrets = json!([
        { "name": "DATABASE_URL", "valueFrom": "arn:aws:secretsmanager:us-east-1:111122223333:secret:db-abcdef" },
        { "name": "API_KEY", "valueFrom": "/web/api-key" },
    ]);
    world.task_definition(
        json!({
            "executionRoleArn": "arn:aws:iam::111122223333:role/exec",
            "taskRoleArn": "arn:aws:iam::111122223333:role/theirs",
        }),
        json!({ "logConfiguration": logs, "secrets": secrets, "image": format!("{}/web:v1", world.lab.host) }),
    );
    let group = "arn:aws:elasticloadbalancing:us-east-1:111122223333:targetgroup/web/0123456789abcdef";
    world.service(json!({
        "desiredCount": 2,
        "placementConstraints": [{ "type": "distinctInstance" }],
        "loadBalancers": [{ "targetGroupArn": group, "containerName": "app", "containerPort": 8080 }],
        "deploymentConfiguration": { "alarms": { "alarmNames": ["web-5xx"], "enable": true, "rollback": true } },
    }));
    world
}

#[tokio::test]
async fn many_findings_read_well() {
    let world = a_bad_day().await;
    let ended = world.site.run(&["verify", "--progress", "lines"]).await;
    assert_eq!(ended.code, Some(3), "{ended:?}");
    insta::assert_snapshot!(world.steadily(&(ended.stdout + "--\n" + &ended.stderr)), @r#"
    web on default is not ready to be deployed
      + identity       arn:aws:iam::111122223333:user/steady-lab in us-east-1
      + service        web is to be created
      + cluster        default, 1 container instance
      - repository     none
      x images         there is no image HOST/web:v1, which `app` is to run
      x roles          the execution role `exec` does not exist in the account 111122223333
                       the task role `theirs` cannot be taken by tasks of ECS
      x secrets        the secret arn:aws:secretsmanager:us-east-1:111122223333:secret:db-abcdef does not exist; DATABASE_URL of the container `app` is to come from it
                       the parameter /web/api-key does not exist in us-east-1; API_KEY of the container `app` is to come from it
      x log groups     the log group `/web` of the container `app` does not exist in us-east-1
      - network        none
      x target groups  the target group web does not exist
      x capacity       2 tasks are wanted, and the only container instance takes one: they are placed with distinctInstance
      ! alarms         the deployment alarm `web-5xx` does not exist: it never stops a bad release
      + permissions    17 IAM actions of the caller
    --
    preflight     done in TIME: 8 findings, 1 warning
    warning: the deployment alarm `web-5xx` does not exist: it never stops a bad release
      help: create it, or take it out of `deploymentConfiguration.alarms`
      x there is no image HOST/web:v1, which `app` is to run
      help: is it spelt so, and does it have this tag?
            a private one needs a login: `docker login HOST`
            these are the credentials of arn:aws:iam::111122223333:user/steady-lab in us-east-1

      x the execution role `exec` does not exist in the account 111122223333
      help: create it, for ecs-tasks.amazonaws.com to take: `aws iam create-role --role-name exec …`
            and attach AmazonECSTaskExecutionRolePolicy to it

      x the task role `theirs` cannot be taken by tasks of ECS
      help: its trust policy has to let ecs-tasks.amazonaws.com do sts:AssumeRole: `aws iam update-assume-role-policy --role-name theirs`

      x the secret arn:aws:secretsmanager:us-east-1:111122223333:secret:db-abcdef does not exist; DATABASE_URL of the container `app` is to come from it
      help: `aws secretsmanager list-secrets` shows those that do; the ARN ends in six random characters

      x the parameter /web/api-key does not exist in us-east-1; API_KEY of the container `app` is to come from it
      help: create it: `aws ssm put-parameter --type SecureString --name …`; its name begins with a slash where it has several levels

      x the log group `/web` of the container `app` does not exist in us-east-1
      help: create it: `aws logs create-log-group --region us-east-1 --log-group-name /web`
            or have ECS create it: `"awslogs-create-group": "true"` in the log options, and logs:CreateLogGroup for the execution role

      x the target group arn:aws:elasticloadbalancing:us-east-1:111122223333:targetgroup/web/0123456789abcdef does not exist
      help: `aws elbv2 describe-target-groups` lists those that do; or have steady find or create it: `load_balancer:`

      x 2 tasks are wanted, and the only container instance takes one: they are placed with distinctInstance
      help: add container instances to the cluster, or want fewer: `desired_count: 1`
            or have them placed with `spread` in `placementStrategy`, which is a wish and no condition
    "#);
    world.end().await;
}

#[tokio::test]
async fn a_project_that_is_ready_reads_well_and_nothing_was_made() {
    let world = World::start().await;
    let before = world.state().await;
    let ended = world.site.run(&["verify", "--progress", "lines"]).await;
    assert_eq!(ended.code, Some(0), "{ended:?}");
    insta::assert_snapshot!(world.steadily(&(ended.stdout + "--\n" + &ended.stderr)), @r"
    web on default is ready to be deployed
      + identity       arn:aws:iam::111122223333:user/steady-lab in us-east-1
      + service        web is to be created
      + cluster        default, 1 container instance
      - repository     none
      - images         none
      - roles          none
      - secrets        none
      - log groups     none
      - network        none
      - target groups  none
      + capacity       1 task, 1 container instance
      - alarms         none
      + permissions    12 IAM actions of the caller
    --
    preflight     done in TIME: 0 findings, 0 warnings
    ");
    assert_eq!(world.state().await, before);
    world.end().await;
}

impl World {
    /// What there is of everything that a deploy makes.
    async fn state(&self) -> [serde_json::Value; 3] {
        [
            self.ecs("ListTaskDefinitions", json!({})).await,
            self.ecs("ListServices", json!({})).await,
            self.call("AmazonEC2ContainerRegistry_V20150921.DescribeRepositories", json!({})).await,
        ]
    }
}

/// Within the request budgets also where a hundred services are verified at once, and all of it at once.
#[tokio::test]
async fn a_preflight_is_cheap() {
    let world = a_bad_day().await;
    world.verify(3).await;
    let requests = async || {
        let Status::Running { report, .. } = lifecycle::status(&options(world.lab.folder.path())).await.unwrap() else {
            panic!("no lab runs")
        };
        report["requests"].as_u64().unwrap_or_else(|| panic!("{report:#}"))
    };
    let before = requests().await;
    world.verify(3).await;
    let asked = requests().await - before;
    assert!(asked <= 30, "{asked} requests");

    // Every question takes its time, and they are asked side by side.
    world.fault(json!({ "on": "*", "kind": "delay", "for": "300ms" })).await;
    let began = std::time::Instant::now();
    let said = world.verify(3).await;
    assert!(began.elapsed() < Duration::from_millis(300) * 9, "{:?} for {asked} requests", began.elapsed());
    assert_eq!(said.0["checks"].as_array().unwrap().len(), 13);
    world.end().await;
}
