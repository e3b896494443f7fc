//! The twelve points of the scenario, from examples/ecs-demo.

use serde_json::{Value, json};

use super::recorder::{Recorder, only};
use super::{demo_project, ecs_demo};
use crate::rehearsal::{Rehearsal, get, texts};

#[test]
fn the_walk_of_the_console_is_one_command_and_back() {
    let (lab, port) = ecs_demo();
    lab.replace("ecs-demo/service.json.hbs", &[("  \"placementS", "  \"role\": \"ecsServiceRole\",\n  \"placementS")]);
    let recorder = Recorder::start(&lab.host);
    let deployed = recorder.steady(&lab, "deploy -C ecs-demo --check-url / --var release=one");
    let outcome = deployed.json(0);
    let calls = recorder.taken();

    repository(&lab, &calls);
    image(&lab, &outcome);
    task_definition(&lab, &outcome, &calls);
    balancing(&lab, port);
    discovery(&lab);
    service(&lab, &outcome, &calls);
    assert!(deployed.stderr.contains("`role` (ecsServiceRole) is left out: it conflicts with service discovery"));
    followed(&lab, &outcome, &deployed.stderr, port);

    let second = release_two(&lab, &outcome);
    back(&lab, &outcome, &second);
    teardown(&lab);
}

/// Points 1, 2 and 4: the repository, its policy, one token.
fn repository(lab: &Rehearsal, calls: &[(String, Value)]) {
    let all = lab.call("ecr.DescribeRepositories", json!({ "repositoryNames": ["myrepo"] }));
    let repository = &all["repositories"][0];
    assert_eq!(repository["repositoryUri"], format!("{}/myrepo", lab.host));
    assert_eq!(repository["imageScanningConfiguration"]["scanOnPush"], true);
    let statements = policy(lab);
    assert_eq!(statements.as_array().unwrap().len(), 1);
    assert_eq!(statements[0]["Sid"], "my_repository_statement");
    assert_eq!(statements[0]["Principal"]["AWS"], "arn:aws:iam::111122223333:role/ecsInstanceRole");
    assert!(statements[0]["Action"].as_array().unwrap().contains(&json!("ecr:BatchGetImage")));
    assert!(statements[0].get("Resource").is_none(), "the actions are the repository's");
    only(calls, "GetAuthorizationToken");
}

fn policy(lab: &Rehearsal) -> Value {
    let policy = lab.call("ecr.GetRepositoryPolicy", json!({ "repositoryName": "myrepo" }));
    serde_json::from_str::<Value>(policy["policyText"].as_str().unwrap()).unwrap()["Statement"].clone()
}

/// Points 3 and 5: what was pushed is what ECR shows.
fn image(lab: &Rehearsal, outcome: &Value) {
    let images = lab.call("ecr.DescribeImages", json!({ "repositoryName": "myrepo" }));
    assert_eq!(images["imageDetails"].as_array().unwrap().len(), 1);
    assert_eq!(images["imageDetails"][0]["imageDigest"], outcome["digest"]);
    assert_eq!(images["imageDetails"][0]["imageTags"], json!(["latest"]));
    assert_eq!(outcome["image"], format!("{}/myrepo@{}", lab.host, outcome["digest"].as_str().unwrap()));
}

/// Point 6, as it went over the wire and as it is registered.
fn task_definition(lab: &Rehearsal, outcome: &Value, calls: &[(String, Value)]) {
    let sent = only(calls, "RegisterTaskDefinition");
    let expected = json!({
        "volumesFrom": [], "memory": 128, "portMappings": [{ "hostPort": 80, "containerPort": 80, "protocol": "tcp" }],
        "essential": true, "mountPoints": [], "name": "ecs-sample", "environment": [], "image": outcome["image"], "cpu": 0,
    });
    assert_eq!(sent["containerDefinitions"], json!([expected]));
    assert_eq!((&sent["family"], &sent["volumes"]), (&json!("ecs-demo"), &json!([])));
    let asked = json!({ "taskDefinition": "ecs-demo:1" });
    let registered = lab.call("ecs.DescribeTaskDefinition", asked)["taskDefinition"].clone();
    assert_eq!(registered["taskDefinitionArn"], outcome["taskDefinition"]);
    let container = &registered["containerDefinitions"][0];
    assert_eq!((&container["cpu"], &container["memory"]), (&json!(0), &json!(128)));
    assert_eq!((&container["mountPoints"], &container["volumesFrom"]), (&json!([]), &json!([])));
    assert!(!container.as_object().unwrap().values().any(Value::is_null), "{container:#}");
}

/// Point 7.
fn balancing(lab: &Rehearsal, port: u16) {
    let balancer = lab.elb("DescribeLoadBalancers", &[("Names.member.1", "ecs-demo")]);
    assert_eq!(texts(&balancer, "Type"), ["network"]);
    let listeners = lab.elb("DescribeListeners", &[("LoadBalancerArn", &texts(&balancer, "LoadBalancerArn")[0])]);
    assert_eq!(
        (texts(&listeners, "Protocol"), texts(&listeners, "Port")),
        (vec!["TCP".into()], vec![port.to_string()])
    );
    let groups = lab.elb("DescribeTargetGroups", &[("Names.member.1", "ecs-demo")]);
    assert_eq!((texts(&groups, "TargetType"), texts(&groups, "Port")), (vec!["instance".into()], vec!["80".into()]));
    let group = &texts(&groups, "TargetGroupArn")[0];
    assert!(texts(&listeners, "TargetGroupArn").contains(group), "the listener forwards to it");
    let health = lab.elb("DescribeTargetHealth", &[("TargetGroupArn", group)]);
    assert_eq!((texts(&health, "State"), texts(&health, "Port")), (vec!["healthy".into()], vec!["80".into()]));
    assert!(texts(&health, "Id")[0].starts_with("i-"), "{health}");
}

/// Point 8.
fn discovery(lab: &Rehearsal) {
    let service = cloud_map(lab).unwrap();
    let service = lab.call("discovery.GetService", json!({ "Id": service["Id"] }))["Service"].clone();
    assert_eq!(service["DnsConfig"]["DnsRecords"], json!([{ "Type": "SRV", "TTL": 10 }]));
    assert_eq!(service["HealthCheckCustomConfig"]["FailureThreshold"], 1);
    let instances = lab.call("discovery.ListInstances", json!({ "ServiceId": service["Id"] }));
    assert_eq!(instances["Instances"].as_array().unwrap().len(), 1);
    assert_eq!(instances["Instances"][0]["Attributes"]["AWS_INSTANCE_PORT"], "80");
}

fn cloud_map(lab: &Rehearsal) -> Option<Value> {
    lab.call("discovery.ListServices", json!({}))["Services"].as_array().unwrap().first().cloned()
}

/// Point 9.
fn service(lab: &Rehearsal, outcome: &Value, calls: &[(String, Value)]) {
    let sent = only(calls, "CreateService");
    let group = sent["loadBalancers"][0]["targetGroupArn"].as_str().unwrap();
    assert!(group.contains(":targetgroup/ecs-demo/"), "{group}");
    let balancers = json!([{ "targetGroupArn": group, "containerName": "ecs-sample", "containerPort": 80 }]);
    assert_eq!(sent["loadBalancers"], balancers);
    let arn = cloud_map(lab).unwrap()["Arn"].clone();
    let registries = json!([{ "registryArn": arn, "containerName": "ecs-sample", "containerPort": 80 }]);
    assert_eq!(sent["serviceRegistries"], registries);
    assert_eq!((&sent["desiredCount"], &sent["launchType"]), (&json!(1), &json!("EC2")));
    let token = sent["clientToken"].as_str().unwrap();
    assert!((1..=36).contains(&token.len()), "{token}");
    assert!(sent.get("role").is_none(), "{sent:#}");

    let live = lab.service("ecs-demo");
    assert_eq!((&live["loadBalancers"], &live["serviceRegistries"]), (&balancers, &registries));
    assert_eq!((&live["status"], &live["launchType"]), (&json!("ACTIVE"), &json!("EC2")));
    assert_eq!((&live["desiredCount"], &live["runningCount"]), (&json!(1), &json!(1)));
    assert_eq!(live["deploymentConfiguration"]["minimumHealthyPercent"], 0);
    assert_eq!(live["placementStrategy"], json!([{ "type": "spread", "field": "instanceId" }]));
    assert_eq!(live["deployments"][0]["id"], outcome["deploymentId"]);
}

/// Point 10.
fn followed(lab: &Rehearsal, outcome: &Value, said: &str, port: u16) {
    assert_eq!((&outcome["status"], &outcome["action"]), (&json!("steady"), &json!("created")));
    for line in ["has started 1 tasks", "registered 1 targets", "has reached a steady state", "check         done"] {
        assert!(said.contains(line), "{line} is not in:\n{said}");
    }
    let url = outcome["url"].as_str().unwrap();
    assert!(url.ends_with(&format!(":{port}")), "{url}");
    let (status, page) = get(url);
    assert_eq!(status, 200);
    assert!(page.contains("Your application is now running"), "{page}");
    let tasks = lab.call("ecs.ListTasks", json!({ "cluster": "default", "serviceName": "ecs-demo" }));
    let tasks = lab.call("ecs.DescribeTasks", json!({ "cluster": "default", "tasks": tasks["taskArns"] }));
    assert_eq!(tasks["tasks"][0]["containers"][0]["imageDigest"], outcome["digest"]);
}

/// Point 11, first half: another page is another image, and nothing around the service is made again.
fn release_two(lab: &Rehearsal, first: &Value) -> Value {
    lab.replace("ecs-demo/public/index.html", &[("Your application", "The second release")]);
    let run = lab.lab("deploy -C ecs-demo --check-url / --var release=two");
    let second = run.json(0);
    assert_eq!((&second["action"], &second["previousTaskDefinition"]), (&json!("updated"), &first["taskDefinition"]));
    assert_ne!(second["digest"], first["digest"]);
    assert_eq!(second["url"], first["url"]);
    assert!(!run.stderr.contains("created repository") && !run.stderr.contains("created load"), "{}", run.stderr);
    assert!(get(second["url"].as_str().unwrap()).1.contains("The second release"));
    assert_eq!(policy(lab).as_array().unwrap().len(), 1);

    let again = lab.lab("deploy -C ecs-demo --var release=two").json(0);
    assert_eq!((&again["action"], &again["revisionReused"]), (&json!("unchanged"), &json!(true)));
    assert_eq!(again["taskDefinition"], second["taskDefinition"]);
    second
}

/// Point 11, second half: the digest that was good before, and then one that is named.
fn back(lab: &Rehearsal, first: &Value, second: &Value) {
    let url = first["url"].as_str().unwrap();
    let back = lab.lab("rollback -C ecs-demo").json(0);
    assert_eq!((&back["digest"], &back["taskDefinition"]), (&first["digest"], &first["taskDefinition"]));
    assert!(get(url).1.contains("Your application"));
    let to = lab.lab("rollback -C ecs-demo --to 2").json(0);
    assert_eq!((&to["digest"], &to["previousTaskDefinition"]), (&second["digest"], &first["taskDefinition"]));
    assert!(get(url).1.contains("The second release"));
    let revisions = lab.lab("revisions -C ecs-demo").json(0);
    let numbers: Vec<&Value> = revisions.as_array().unwrap().iter().map(|one| &one["taskDefinition"]).collect();
    assert_eq!(numbers, [&second["taskDefinition"], &first["taskDefinition"]], "newest first");
    let status = lab.lab("status -C ecs-demo").json(0);
    assert_eq!((&status["status"], &status["digest"]), (&json!("steady"), &second["digest"]));
    let missing = lab.lab("rollback -C ecs-demo --to 9").json(2);
    assert_eq!(missing["error"]["message"], "there is no revision ecs-demo:9");
}

/// Point 12.
fn teardown(lab: &Rehearsal) {
    let refused = lab.lab("delete -C ecs-demo --created").json(2);
    assert_eq!(refused["error"]["hints"], json!(["say --yes to do it"]));
    assert_eq!(lab.service("ecs-demo")["status"], "ACTIVE");
    let deleted = lab.lab("delete -C ecs-demo --created --yes").json(0);
    // another environment may run its images
    let kept = json!(["repository myrepo"]);
    assert_eq!((&deleted["status"], &deleted["kept"]), (&json!("deleted"), &kept), "{deleted:#}");
    let images = lab.call("ecr.DescribeImages", json!({ "repositoryName": "myrepo" }));
    assert_ne!(images["imageDetails"], json!([]));
    assert_eq!(lab.service("ecs-demo")["status"], "INACTIVE");
    let running = lab.call("ecs.ListTasks", json!({ "cluster": "default", "desiredStatus": "RUNNING" }));
    assert_eq!(running["taskArns"], json!([]));
    assert_eq!(texts(&lab.elb("DescribeLoadBalancers", &[]), "LoadBalancerName"), Vec::<String>::new());
    assert_eq!(texts(&lab.elb("DescribeTargetGroups", &[]), "TargetGroupName"), Vec::<String>::new());
    assert_eq!(cloud_map(lab), None);
    let with_images = lab.lab("delete -C ecs-demo --created --images --yes").json(0);
    assert_eq!((&with_images["status"], &with_images["kept"]), (&json!("absent"), &json!([])), "{with_images:#}");
    assert_eq!(lab.call("ecr.DescribeRepositories", json!({}))["repositories"], json!([]));
}

#[test]
fn a_missing_repository_is_preflight_s_business_before_the_build() {
    let lab = Rehearsal::start();
    demo_project(&lab);
    lab.replace("ecs-demo/steady.yaml", &[("create: { policy: repository-policy.json.hbs, scan_on_push: true }", "")]);
    lab.call("ecr.CreateRepository", json!({ "repositoryName": "my-repo" }));
    let refused = lab.lab("deploy -C ecs-demo").json(3);
    assert_eq!(refused["error"]["message"], "the ECR repository `myrepo` does not exist");
    assert_eq!(refused["error"]["hints"][0], "did you mean `my-repo`?");
    assert!(!lab.path("ecs-demo/ran").exists(), "nothing was built");
    let created = lab.lab("push -C ecs-demo --create-repository").json(0);
    assert_eq!(created["repositoryUri"], format!("{}/myrepo", lab.host));
    assert!(lab.path("ecs-demo/ran").exists());
}

#[test]
fn a_dry_run_asks_and_changes_nothing() {
    let (lab, _) = ecs_demo();
    let recorder = Recorder::start(&lab.host);
    let reads = ["Get", "List", "Describe", "Simulate", "Batch"];
    let all_read = |calls: &[(String, Value)]| {
        assert!(!calls.is_empty());
        for (operation, _) in calls {
            let name = operation.trim_start_matches("discovery.");
            assert!(reads.iter().any(|read| name.starts_with(read)), "{operation}");
        }
    };
    let first = recorder.steady(&lab, "deploy -C ecs-demo --dry-run").json(0);
    assert_eq!((&first["status"], &first["serviceAction"]), (&json!("changes"), &json!("create")));
    let creates: Vec<&str> = first["creates"].as_array().unwrap().iter().map(|one| one.as_str().unwrap()).collect();
    for kind in ["repository ", "load balancer ", "target group ", "listener ", "namespace ", "Cloud Map service "] {
        assert!(creates.iter().any(|one| one.starts_with(kind)), "{kind} in {creates:?}");
    }
    all_read(&recorder.taken());
    assert_eq!(lab.call("ecr.DescribeRepositories", json!({}))["repositories"], json!([]));

    let deployed = lab.lab("deploy -C ecs-demo").json(0);
    let same = recorder.steady(&lab, "deploy -C ecs-demo --dry-run").json(0);
    assert_eq!(
        (&same["status"], &same["taskDefinition"]),
        (&json!("unchanged"), &deployed["taskDefinition"]),
        "{same:#}"
    );
    lab.replace("ecs-demo/ecs-demo.json.hbs", &[("\"memory\": 128", "\"memory\": 256")]);
    let other = recorder.steady(&lab, "deploy -C ecs-demo --dry-run").json(0);
    assert_eq!((&other["status"], &other["serviceAction"]), (&json!("changes"), &json!("update")));
    let paths: Vec<&Value> =
        other["taskDefinitionChanges"].as_array().unwrap().iter().map(|one| &one["path"]).collect();
    assert_eq!(paths, ["containerDefinitions[ecs-sample].memory"], "{other:#}");
    all_read(&recorder.taken());
}

#[test]
fn a_fixed_port_that_can_never_roll_is_refused_before_the_update() {
    let (lab, _) = ecs_demo();
    lab.replace("ecs-demo/service.json.hbs", &[("\"minimumHealthyPercent\": 0", "\"minimumHealthyPercent\": 100")]);
    lab.replace("ecs-demo/service.json.hbs", &[("\"maximumPercent\": 100", "\"maximumPercent\": 200")]);
    lab.lab("deploy -C ecs-demo").json(0);
    lab.replace("ecs-demo/public/index.html", &[("Your application", "The second release")]);
    let before = lab.service("ecs-demo");
    let refused = lab.lab("deploy -C ecs-demo").json(3);
    let error = &refused["error"];
    assert!(error["message"].as_str().unwrap().contains("can never roll: host port 80"), "{error}");
    let hints = error["hints"].to_string();
    for way in ["hostPort\\\\\\\": 0", "minimumHealthyPercent: 0", "second container instance"] {
        assert!(hints.contains(way) || hints.contains(&way.replace("\\\\\\", "\\")), "{way} in {hints}");
    }
    assert_eq!(lab.service("ecs-demo")["deployments"], before["deployments"]);
}
