//! What a preflight says: 8, 9, 33.

use serde_json::{Value, json};

use crate::preflight::World;
use crate::site::Ended;

/// Nothing of a deploy is there afterwards.
async fn untouched(world: &World) {
    let services = world.ecs("ListServices", json!({})).await;
    let revisions = world.ecs("ListTaskDefinitions", json!({})).await;
    assert_eq!((&services["serviceArns"], &revisions["taskDefinitionArns"]), (&json!([]), &json!([])));
}

#[tokio::test]
async fn case_08_without_credentials_nothing_is_touched_and_the_way_to_some_is_told() {
    let world = World::start().await;
    for command in ["deploy", "verify"] {
        let mut command = world.site.command(&[command, "--output", "json"]);
        let ended = Ended::of(
            command.env_remove("AWS_ACCESS_KEY_ID").env_remove("AWS_SECRET_ACCESS_KEY").output().await.unwrap(),
        );
        assert_eq!(ended.code, Some(3), "{ended:?}");
        let error: Value = serde_json::from_str(&ended.stdout).unwrap();
        assert!(error["error"]["hints"][0].as_str().unwrap().contains("no usable AWS credentials"), "{error:#}");
        assert_eq!(error["error"]["others"], Value::Null, "one reason for all: {error:#}");
    }
    untouched(&world).await;
    world.end().await;
}

/// A cluster that is missing is a sign of another account or region: whose credentials these are is said with it.
#[tokio::test]
async fn case_08_in_another_account_or_region_the_caller_is_shown() {
    let world = World::start().await;
    for command in ["deploy", "verify"] {
        for place in [&["--cluster", "prod"][..], &["--cluster", "prod", "--region", "eu-west-1"]] {
            let ended = world.site.run(&[&[command][..], place].concat()).await;
            assert_eq!(ended.code, Some(3), "{ended:?}");
            let region = place.get(3).unwrap_or(&"us-east-1");
            let caller = format!("these are the credentials of arn:aws:iam::111122223333:user/steady-lab in {region}");
            assert!(ended.stderr.contains(&caller), "{}", ended.stderr);
            assert!(ended.stderr.contains(&format!("`prod` does not exist in {region}")), "{}", ended.stderr);
        }
    }
    untouched(&world).await;
    world.end().await;
}

#[tokio::test]
async fn case_09_all_that_is_missing_is_reported_together_before_building() {
    let world = World::start().await;
    let group = "arn:aws:elasticloadbalancing:us-east-1:111122223333:targetgroup/gone/0123456789abcdef";
    world.service(
        json!({ "loadBalancers": [{ "targetGroupArn": group, "containerName": "app", "containerPort": 8080 }] }),
    );
    let logs =
        json!({ "logDriver": "awslogs", "options": { "awslogs-group": "/gone", "awslogs-region": "us-east-1" } });
    let secret = "arn:aws:secretsmanager:us-east-1:111122223333:secret:gone-abcdef";
    let secrets = json!([{ "name": "A", "valueFrom": secret }, { "name": "B", "valueFrom": "/gone" }]);
    world.task_definition(
        json!({ "executionRoleArn": "arn:aws:iam::{{account_id}}:role/gone" }),
        json!({ "logConfiguration": logs, "secrets": secrets }),
    );
    std::fs::rename(world.site.path("td.json"), world.site.path("td.json.hbs")).unwrap();
    world.site.write(
        "steady.yaml",
        format!(
            "region: us-east-1\nendpoint_url: http://{}\ncluster: gone\nservices:\n  web:\n    image: {{ repository: gone, \
             build: {{ run: touch built, layers: [{{ from: service.json, to: /a }}] }} }}\n    task_definition: td.json.hbs\n    \
             service: service.json\n",
            world.lab.host
        ),
    );
    for command in ["deploy", "verify"] {
        let ended = world.site.run(&[command, "--output", "json"]).await;
        assert_eq!(ended.code, Some(3), "{ended:?}");
        let said: Value = serde_json::from_str(&ended.stdout).unwrap();
        let error = &said["error"];
        let others = error["others"].as_array().into_iter().flatten();
        let messages: Vec<&str> =
            [error].into_iter().chain(others.clone()).map(|one| one["message"].as_str().unwrap()).collect();
        for missing in [
            "the cluster `gone` does not exist in us-east-1",
            "the ECR repository `gone` does not exist",
            "the execution role `gone` does not exist in the account 111122223333",
            "the log group `/gone`",
            &format!("the secret {secret} does not exist"),
            "the parameter /gone does not exist",
            &format!("the target group {group} does not exist"),
        ] {
            assert!(messages.iter().any(|message| message.contains(missing)), "{missing} in {messages:#?}");
        }
        assert_eq!(messages.len(), 7, "{messages:#?}");
        for one in [error].into_iter().chain(others) {
            assert_eq!(one["exitCode"], 3, "{one}");
            assert!(one["hints"].as_array().is_some_and(|hints| !hints.is_empty()), "no fix for {one}");
        }
    }
    assert!(!world.site.path("built").exists(), "nothing was built");
    untouched(&world).await;
    world.end().await;
}

/// The release may be the remedy: it is not stopped, and who makes it knows that no alarm guards it.
#[tokio::test]
async fn case_33_an_alarm_that_fires_already_is_said_before_anything_is_done() {
    let world = World::start().await;
    let alarm = |name: &str| {
        json!({
            "AlarmName": name, "Namespace": "Web", "MetricName": "5XX", "Statistic": "Sum", "Period": 60,
            "EvaluationPeriods": 1, "Threshold": 1, "ComparisonOperator": "GreaterThanThreshold",
        })
    };
    for name in ["web-5xx", "web-slow"] {
        world.call("GraniteServiceVersion20100801.PutMetricAlarm", alarm(name)).await;
    }
    let on = json!({ "AlarmName": "web-5xx", "StateValue": "ALARM", "StateReason": "7 errors" });
    world.call("GraniteServiceVersion20100801.SetAlarmState", on).await;
    let alarms = json!({ "alarmNames": ["web-5xx", "web-slow", "web-gone"], "enable": true, "rollback": true });
    world.service(json!({ "desiredCount": 0, "deploymentConfiguration": { "alarms": alarms } }));
    let firing = "the deployment alarm `web-5xx` is firing already (7 errors)";
    let said = world.verify(0).await;
    said.warned("alarms", firing);
    said.warned("alarms", "the deployment alarm `web-gone` does not exist");
    assert_eq!(said.check("alarms")["warnings"].as_array().unwrap().len(), 2);

    let deployed = world.deploy(0).await;
    let (warned, registered) = (deployed.stderr.find(firing), deployed.stderr.find("register "));
    assert!(warned.is_some() && warned < registered, "{}", deployed.stderr);
    // Of a service that is there its own alarms count, where the document says nothing of any.
    world.service(json!({}));
    world.verify(0).await.warned("alarms", firing);

    world
        .call(
            "GraniteServiceVersion20100801.SetAlarmState",
            json!({ "AlarmName": "web-5xx", "StateValue": "OK", "StateReason": "" }),
        )
        .await;
    let said = world.verify(0).await;
    assert_eq!(said.check("alarms")["warnings"].as_array().unwrap().len(), 1, "{:#}", said.0);
    world.end().await;
}
