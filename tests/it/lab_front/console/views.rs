use serde_json::{Value, json};

use crate::lab_front::TestLab;

/// Markup, a line break for event streams, and an ANSI sequence.
const HOSTILE: &str = "</script><img src=x onerror=alert(1)>\ndata: {}\n\u{1b}[2J\u{2028}'\"&";
/// Nothing that the console sends may hold it.
const SECRET: &str = "s3cr3t-value";

async fn deploy(lab: &TestLab) -> Value {
    let container = json!({
        "name": "app",
        "image": "web:1",
        "memory": 64,
        "command": ["/web", "--password", SECRET],
        "environment": [{ "name": "PASSWORD", "value": SECRET }, { "name": HOSTILE, "value": "" }],
        "secrets": [{ "name": "KEY", "valueFrom": "/web/key" }],
        "logConfiguration": { "logDriver": "awslogs", "options": {
            "awslogs-group": "/web", "awslogs-region": "us-east-1", "awslogs-stream-prefix": "web", "tag": SECRET,
        } },
        "healthCheck": { "command": ["CMD", "/check", SECRET] },
    });
    let execution = "arn:aws:iam::111122223333:role/execution";
    let definition = json!({ "family": "web", "containerDefinitions": [container], "executionRoleArn": execution });
    lab.of_ecs("RegisterTaskDefinition", definition).await;
    lab.call("AmazonSSM.PutParameter", json!({ "Name": "/web/key", "Type": "SecureString", "Value": SECRET })).await;
    let overrides =
        json!({ "containerOverrides": [{ "name": "app", "environment": [{ "name": "A", "value": SECRET }] }] });
    let run = lab.of_ecs("RunTask", json!({ "taskDefinition": "web", "overrides": overrides })).await;
    let tags = json!([{ "key": "note", "value": "a <b> tag" }]);
    let service = json!({ "serviceName": "web", "taskDefinition": "web", "desiredCount": 0, "tags": tags });
    lab.of_ecs("CreateService", service).await;
    run["tasks"][0]["taskArn"].clone()
}

#[tokio::test]
async fn views_hold_what_the_apis_say_and_no_secrets() {
    let lab = TestLab::start().await;
    let arn = deploy(&lab).await;
    let id = arn.as_str().unwrap().rsplit('/').next().unwrap().to_owned();
    lab.create("team/web").await;
    let pushed = lab.push("team/web", "v1", b"a layer").await;

    let clusters = lab.view("clusters").await;
    let described = lab.of_ecs("DescribeClusters", json!({})).await["clusters"].clone();
    for member in ["clusterArn", "status", "activeServicesCount", "registeredContainerInstancesCount"] {
        assert_eq!(clusters["clusters"][0][member], described[0][member], "{member}");
    }

    let cluster = lab.view("clusters/default").await;
    assert_eq!(cluster["services"][0]["serviceName"], "web");
    assert_eq!(cluster["services"][0]["runningCount"], 0);
    assert_eq!(cluster["containerInstances"].as_array().unwrap().len(), 1);
    assert_eq!((&cluster["tasksTotal"], &cluster["tasks"][0]["id"]), (&json!(1), &json!(id)));

    let service = lab.view("clusters/default/services/web").await;
    let input = json!({ "services": ["web"], "include": ["TAGS"] });
    let described = lab.of_ecs("DescribeServices", input).await["services"][0].clone();
    for member in ["serviceArn", "status", "desiredCount", "deploymentConfiguration", "tags", "taskDefinition"] {
        assert_eq!(service["service"][member], described[member], "{member}");
    }
    let deployment = &service["serviceDeployments"][0];
    assert_eq!(deployment["deploymentId"], described["deployments"][0]["id"]);
    assert_eq!(deployment["taskDefinition"], described["taskDefinition"]);
    let container = &service["taskDefinition"]["containerDefinitions"][0];
    assert_eq!(container["environment"], json!(["PASSWORD", HOSTILE]), "names only");
    assert_eq!(container["secrets"], json!([{ "name": "KEY", "valueFrom": "/web/key" }]));

    let task = lab.view(&format!("clusters/default/tasks/{id}")).await;
    assert_eq!(task["task"]["taskArn"], arn);
    assert_eq!(task["logs"][0]["logGroup"], "/web");
    assert_eq!(task["logs"][0]["logStream"], format!("web/app/{id}"));

    let repositories = lab.view("repositories").await;
    assert_eq!(repositories["repositories"][0]["imagesTotal"], 1);
    let repository = lab.view("repositories/team%2Fweb").await;
    assert_eq!(repository["images"][0]["imageDigest"], pushed);
    assert_eq!(repository["images"][0]["imageTags"], json!(["v1"]));
    assert_eq!(repository["repository"]["repositoryUri"], format!("{}/team/web", lab.host));
    assert_eq!(lab.view("target-groups").await, json!({ "targetGroups": [] }));

    let task = format!("clusters/default/tasks/{id}");
    for path in ["clusters", "clusters/default", "clusters/default/services/web", &task, "repositories"] {
        let text = lab.console(&format!("data/{path}")).await.text();
        assert!(!text.contains(SECRET), "{path}: {text}");
        assert!(!text.contains(":null"), "{path}: {text}");
    }
    for path in ["clusters/none", "clusters/default/services/none", "clusters/none/services/web", "repositories/web"] {
        let answer = lab.console(&format!("data/{path}")).await;
        assert_eq!((answer.status.as_u16(), answer.json()), (404, json!({ "missing": "resource" })), "{path}");
    }
    assert_eq!(lab.console("data/state.json").await.json(), json!({ "missing": "page" }));
    lab.end().await;
}

#[tokio::test]
async fn what_others_wrote_is_data_and_nothing_else() {
    let lab = TestLab::start().await;
    let arn = deploy(&lab).await;
    let id = arn.as_str().unwrap().rsplit('/').next().unwrap().to_owned();
    let answer = lab.console(&format!("data/clusters/default/tasks/{id}")).await;
    assert_eq!(answer.header("content-type"), "application/json");
    assert_eq!(
        answer.json()["taskDefinition"]["containerDefinitions"][0]["environment"][1],
        HOSTILE,
        "as it is, for the page to show as text"
    );
    let service = lab.view("clusters/default/services/web").await;
    assert_eq!(service["service"]["tags"][0]["value"], "a <b> tag");

    let mut stream = lab.live(&format!("clusters/default/tasks/{id}?logs")).await;
    let view = stream.event("view").await;
    assert_eq!(
        view["taskDefinition"]["containerDefinitions"][0]["environment"][1], HOSTILE,
        "no line break of it ends an event's data"
    );
    let stream_name = format!("web/app/{id}");
    lab.call("Logs_20140328.CreateLogGroup", json!({ "logGroupName": "/web" })).await;
    let named = json!({ "logGroupName": "/web", "logStreamName": stream_name });
    lab.call("Logs_20140328.CreateLogStream", named.clone()).await;
    let mut events = named;
    events["logEvents"] = json!([{ "timestamp": jiff::Timestamp::now().as_millisecond(), "message": HOSTILE }]);
    lab.call("Logs_20140328.PutLogEvents", events).await;
    let lines = stream.lines_until(HOSTILE).await;
    assert_eq!(lines.last().unwrap()["task"], id);
    lab.end().await;
}

#[tokio::test]
async fn a_target_group_shows_its_targets_with_reasons() {
    let lab = TestLab::start().await;
    let form = [("content-type", "application/x-www-form-urlencoded")];
    let elb = async |body: String| {
        let answer = lab.send("POST", "/", &form, format!("Version=2015-12-01&{body}")).await;
        assert_eq!(answer.status, 200, "{}", answer.text());
        answer.text()
    };
    let vpcs = lab.send("POST", "/", &form, "Action=DescribeVpcs&Version=2016-11-15").await.text();
    let vpc = crate::rehearsal::texts(&vpcs, "vpcId")[0].clone();
    let made = elb(format!("Action=CreateTargetGroup&Name=web&Protocol=HTTP&Port=80&TargetType=ip&VpcId={vpc}")).await;
    let arn = crate::rehearsal::texts(&made, "TargetGroupArn")[0].clone();
    elb(format!("Action=RegisterTargets&TargetGroupArn={arn}&Targets.member.1.Id=10.0.0.9&Targets.member.1.Port=81"))
        .await;
    let all = lab.view("target-groups").await;
    assert_eq!(all["targetGroups"][0]["counts"]["unused"], 1);
    assert_eq!(all["targetGroups"][0]["targetGroupArn"], arn);
    let shown = lab.view("target-groups/web").await["targetGroup"].clone();
    assert_eq!(shown["healthCheck"]["path"], "/");
    let health =
        crate::rehearsal::texts(&elb(format!("Action=DescribeTargetHealth&TargetGroupArn={arn}")).await, "Reason");
    assert_eq!(
        shown["targets"],
        json!([{
            "id": "10.0.0.9", "port": 81, "state": "unused", "reason": health[0],
            "description": "Target group is not configured to receive traffic from the load balancer",
        }])
    );
    lab.end().await;
}
