//! Task definitions: what ECS refuses, keeps and adds.

use serde_json::{Value, json};
use steadystate::lab::{
    clock::{Clock, Pace},
    ecs::model::{Container, Task},
    scheduler::launch,
};

use super::Sim;

fn container() -> Value {
    json!({"name": "app", "image": "nginx", "memory": 128})
}

fn with(member: &str, value: Value) -> Value {
    let mut container = container();
    container[member] = value;
    container
}

#[test]
fn what_is_refused() {
    let fargate = |cpu: Value, memory: Value| {
        json!({"family": "f", "containerDefinitions": [container()], "requiresCompatibilities": ["FARGATE"],
            "networkMode": "awsvpc", "cpu": cpu, "memory": memory})
    };
    let of = |containers: Value| json!({"family": "f", "containerDefinitions": containers});
    let in_mode =
        |mode: &str, containers: Value| json!({"family": "f", "networkMode": mode, "containerDefinitions": containers});
    let mapping = json!([{"containerPort": 80, "hostPort": 8080}]);
    let cases = [
        (json!({"containerDefinitions": [container()]}), "Family should not be null or empty."),
        (json!({"family": "a b", "containerDefinitions": [container()]}), "Family contains invalid characters."),
        (of(json!([])), "Container list cannot be empty."),
        (of(json!(vec![container(); 11])), "Too many containers."),
        (
            of(json!([with("healthCheck", json!({"command": ["CMD", "/check"], "interval": 4}))])),
            "Invalid setting for container 'app'. The health check's interval must be between 5 and 300.",
        ),
        (
            of(json!([with("healthCheck", json!({"command": ["CMD", "/check"], "retries": 11}))])),
            "Invalid setting for container 'app'. The health check's retries must be between 1 and 10.",
        ),
        (
            json!({"family": "f", "containerDefinitions": [with("stopTimeout", json!(121))], "networkMode": "awsvpc",
                "requiresCompatibilities": ["FARGATE"], "cpu": "256", "memory": "512"}),
            "On Fargate a container's stopTimeout must be between 0 and 120 seconds.",
        ),
        (
            json!({"family": "f", "containerDefinitions": [container()], "ephemeralStorage": {"sizeInGiB": 20},
                "networkMode": "awsvpc", "requiresCompatibilities": ["FARGATE"], "cpu": "256", "memory": "512"}),
            "The ephemeral storage of a task on Fargate must be between 21 and 200 GiB.",
        ),
        (of(json!([with("name", Value::Null)])), "Container.name should not be null or empty."),
        (of(json!([with("image", json!(""))])), "Container.image should not be null or empty."),
        (
            of(json!([with("memory", Value::Null)])),
            "Invalid setting for container 'app'. At least one of 'memory' or 'memoryReservation' must be specified.",
        ),
        (
            of(json!([with("memoryReservation", json!(256))])),
            "Invalid setting for container 'app'. The 'memory' value must be greater than or equal to the 'memoryReservation' value.",
        ),
        (of(json!([with("essential", json!(false))])), "Task definition doesn't have any essential container."),
        (
            of(json!([container(), container()])),
            "Container name must be unique in a task definition. 'app' is used more than once.",
        ),
        (
            of(json!([with("healthCheck", json!({"command": []}))])),
            "Invalid setting for container 'app'. The health check has no command: it is [\"CMD-SHELL\", \"…\"] or [\"CMD\", \"…\", …].",
        ),
        (
            of(json!([with("healthCheck", json!({"command": ["CMD-SHELL"]}))])),
            "Invalid setting for container 'app'. The health check has no command: it is [\"CMD-SHELL\", \"…\"] or [\"CMD\", \"…\", …].",
        ),
        (
            of(json!([
                {"name": "db", "image": "db", "memory": 64, "healthCheck": {"command": ["NONE"]}},
                with("dependsOn", json!([{"containerName": "db", "condition": "HEALTHY"}])),
            ])),
            "Container 'db' must have a health check: another container depends on it being HEALTHY.",
        ),
        (of(json!([with("mountPoints", json!([{"sourceVolume": "data"}]))])), "Unknown volume 'data'."),
        (
            of(json!([with("volumesFrom", json!([{"sourceContainer": "data"}]))])),
            "Invalid 'volumesFrom' setting. Unknown container: 'data'.",
        ),
        (
            of(json!([with("restartPolicy", json!({"enabled": true, "restartAttemptPeriod": 59}))])),
            "Invalid setting for container 'app'. The restartAttemptPeriod must be between 60 and 1800.",
        ),
        (
            of(json!([with("logConfiguration", json!({"logDriver": "awslogs", "options": {"awslogs-group": "g"}}))])),
            "Log driver awslogs requires options: awslogs-region",
        ),
        (
            in_mode("awsvpc", json!([with("portMappings", mapping.clone())])),
            "When networkMode=awsvpc, the host ports and container ports in port mappings must match.",
        ),
        (
            in_mode("host", json!([with("portMappings", mapping)])),
            "When networkMode=host, the host ports and container ports in port mappings must match.",
        ),
        (
            of(json!([with("dependsOn", json!([{"containerName": "app", "condition": "START"}]))])),
            "Container dependencies must not form a cycle.",
        ),
        (
            json!({"family": "f", "networkMode": "none", "containerDefinitions": [with("portMappings", json!([{"containerPort": 80}]))]}),
            "Port mappings are not supported when networkMode=none.",
        ),
        (
            json!({"family": "f", "networkMode": "awsvpc", "containerDefinitions": [
                with("portMappings", json!([{"containerPort": 80}])),
                {"name": "b", "image": "b", "memory": 64, "portMappings": [{"containerPort": 80}]},
            ]}),
            "Two containers in the task definition use the same host port: 80.",
        ),
        (
            json!({"family": "f", "containerDefinitions": [container()], "placementConstraints": [{"type": "memberOf", "expression": "here"}]}),
            "Invalid expression in a placement constraint: here",
        ),
        (
            json!({"family": "f", "containerDefinitions": [container()], "tags": [{"key": "aws:a", "value": ""}]}),
            "Tag keys beginning with aws: are reserved for AWS.",
        ),
        (fargate(Value::Null, json!("512")), "Fargate requires that 'cpu' be defined at the task level."),
        (fargate(json!("256"), Value::Null), "Fargate requires that 'memory' be defined at the task level."),
        (fargate(json!("256"), json!("4096")), "No Fargate configuration exists for given values."),
        (fargate(json!("many"), json!("512")), "Invalid 'cpu' setting for task."),
        (
            json!({"family": "f", "containerDefinitions": [container()], "memory": "1 GiB"}),
            "Invalid 'memory' setting for task.",
        ),
    ];
    for (input, message) in cases {
        let error = Sim::new().refused("RegisterTaskDefinition", input);
        assert_eq!((error.code.as_str(), error.message.as_str(), error.status), ("ClientException", message, 400));
    }
}

#[test]
fn a_task_s_size_may_have_its_unit_and_comes_back_without() {
    for (cpu, memory, units, mib) in [
        ("256", "512", "256", "512"),
        (".25 vCPU", "0.5 GB", "256", "512"),
        ("1 vCPU", "2048", "1024", "2048"),
        ("4096", "30 GB", "4096", "30720"),
        ("16384", "122880", "16384", "122880"),
    ] {
        for (mode, compatibilities) in [("awsvpc", json!(["EC2", "FARGATE"])), ("bridge", json!(["EXTERNAL", "EC2"]))] {
            let container = json!({"name": "app", "image": "nginx"});
            let mut input = json!({"family": "f", "containerDefinitions": [container], "networkMode": mode,
                "cpu": cpu, "memory": memory});
            if mode == "awsvpc" {
                input["requiresCompatibilities"] = json!(["FARGATE"]);
            }
            let mut sim = Sim::new();
            let definition = sim.call("RegisterTaskDefinition", input)["taskDefinition"].clone();
            assert_eq!(definition["compatibilities"], compatibilities);
            assert_eq!((&definition["cpu"], &definition["memory"]), (&json!(units), &json!(mib)));
            let definition = &sim.state.ecs.families["f"].revisions[&1];
            assert_eq!(definition.reserves(None), (units.parse().unwrap(), mib.parse().unwrap()));
            let app = Container { name: "app".into(), ..Container::default() };
            let memory = definition.reserves(None).1;
            let task = Task { id: "0".repeat(32), memory, containers: vec![app], ..Task::default() };
            let spec = launch::task_spec(&task, definition, Clock::new(Pace::Fast));
            assert_eq!(spec.containers[0].memory_bytes, Some(memory as u64 * 1024 * 1024));
        }
    }
}

#[test]
fn what_was_given_comes_back_with_what_ecs_adds() {
    let mut sim = Sim::new();
    let input = json!({
        "family": "ecs-demo",
        "newerThanTheLab": {"Key": [], "zero": 0},
        "taskRoleArn": null,
        "containerDefinitions": [{
            "name": "ecs-sample", "image": "nginx", "memory": 128, "cpu": 0, "command": null,
            "dockerLabels": {"Z": "1", "a": ""},
            "portMappings": [{"hostPort": 80, "containerPort": 80, "protocol": "tcp"}, {"containerPort": 81}],
        }],
        "tags": [{"key": "steady:release", "value": "1"}],
    });
    let reply = sim.call("RegisterTaskDefinition", input);
    let definition = &reply["taskDefinition"];
    assert_eq!(definition["taskDefinitionArn"], "arn:aws:ecs:us-west-2:000000000000:task-definition/ecs-demo:1");
    assert_eq!((&definition["revision"], &definition["status"]), (&json!(1), &json!("ACTIVE")));
    assert_eq!(definition["newerThanTheLab"], json!({"Key": [], "zero": 0}));
    assert!(definition.get("taskRoleArn").is_none() && definition.get("tags").is_none());
    assert!(definition["registeredAt"].is_f64() && definition["registeredBy"].is_string());
    let container = &definition["containerDefinitions"][0];
    assert_eq!(container["dockerLabels"], json!({"Z": "1", "a": ""}));
    assert_eq!((&container["cpu"], &container["essential"]), (&json!(0), &json!(true)));
    assert_eq!(container["portMappings"][1], json!({"containerPort": 81, "hostPort": 0, "protocol": "tcp"}));
    assert!(container.get("command").is_none());
    for added in ["environment", "mountPoints", "volumesFrom"] {
        assert_eq!(container[added], json!([]), "{added}");
    }
    let plain = sim.call("DescribeTaskDefinition", json!({"taskDefinition": "ecs-demo"}));
    assert_eq!((&plain["taskDefinition"], &plain["tags"]), (definition, &json!([])));
    let tagged = sim.call("DescribeTaskDefinition", json!({"taskDefinition": "ecs-demo:1", "include": ["TAGS"]}));
    assert_eq!(tagged["tags"], json!([{"key": "steady:release", "value": "1"}]));
}

#[test]
fn revisions_go_inactive_and_their_numbers_never_come_back() {
    let mut sim = Sim::new();
    for image in ["v1", "v2", "v3"] {
        sim.register(image);
    }
    let third = sim.call("DeregisterTaskDefinition", json!({"taskDefinition": "web:3"}));
    assert_eq!(third["taskDefinition"]["status"], "INACTIVE");
    assert_eq!(sim.call("DescribeTaskDefinition", json!({"taskDefinition": "web"}))["taskDefinition"]["revision"], 2);
    let used = sim.refused("CreateService", json!({"serviceName": "s", "taskDefinition": "web:3", "desiredCount": 1}));
    assert_eq!((used.code.as_str(), used.message.as_str()), ("ClientException", "TaskDefinition is inactive"));
    assert_eq!(sim.refused("RunTask", json!({"taskDefinition": "web:3"})).code, "InvalidParameterException");
    let gone = sim.refused("DescribeTaskDefinition", json!({"taskDefinition": "web:9"}));
    assert_eq!((gone.code.as_str(), gone.message.as_str()), ("ClientException", "Unable to describe task definition."));
    let deleted = sim.call("DeleteTaskDefinitions", json!({"taskDefinitions": ["web:2", "web:3", "web:7"]}));
    assert_eq!(deleted["taskDefinitions"][0]["status"], "DELETE_IN_PROGRESS");
    let reasons: Vec<&Value> =
        deleted["failures"].as_array().expect("failures").iter().map(|of| &of["reason"]).collect();
    assert_eq!(reasons, ["TASK_DEFINITION_IS_ACTIVE", "TASK_DEFINITION_NOT_FOUND"]);
    assert!(sim.register("v4").ends_with("web:4"));
}

#[test]
fn lists_are_filtered_sorted_and_paged() {
    let mut sim = Sim::new();
    for image in ["v1", "v2", "v3"] {
        sim.register(image);
    }
    let other = json!({"family": "web-worker", "containerDefinitions": [container()]});
    sim.call("RegisterTaskDefinition", other);
    sim.call("DeregisterTaskDefinition", json!({"taskDefinition": "web:2"}));
    let list = |sim: &mut Sim, input: Value| -> Vec<String> {
        let reply = sim.call("ListTaskDefinitions", input);
        let arns = reply["taskDefinitionArns"].as_array().expect("a list").iter();
        arns.filter_map(|arn| Some(arn.as_str()?.rsplit('/').next()?.to_owned())).collect()
    };
    assert_eq!(list(&mut sim, json!({"familyPrefix": "web"})), ["web:1", "web:3"]);
    assert_eq!(list(&mut sim, json!({"familyPrefix": "web", "sort": "DESC"})), ["web:3", "web:1"]);
    assert_eq!(list(&mut sim, json!({"status": "INACTIVE"})), ["web:2"]);
    let first = sim.call("ListTaskDefinitions", json!({"maxResults": 2}));
    let token = first["nextToken"].clone();
    assert!(token.is_string());
    assert_eq!(list(&mut sim, json!({"maxResults": 2, "nextToken": token})), ["web-worker:1"]);
    assert_eq!(sim.refused("ListTaskDefinitions", json!({"nextToken": "x"})).code, "InvalidParameterException");
    let families = sim.call("ListTaskDefinitionFamilies", json!({"familyPrefix": "web"}));
    assert_eq!(families["families"], json!(["web", "web-worker"]));
}

/// Each CPU size of Fargate with the least and the most memory that it has, and what lies beside them.
#[test]
fn fargate_has_these_sizes() {
    let table = [
        (256, vec![512, 1024, 2048], vec![256, 1536, 3072]),
        (512, vec![1024, 2048, 4096], vec![512, 1536, 5120]),
        (1024, vec![2048, 8192], vec![1024, 9216, 2560]),
        (2048, vec![4096, 16384], vec![3072, 17408]),
        (4096, vec![8192, 30720], vec![7168, 31744]),
        (8192, vec![16384, 20480, 61440], vec![12288, 17408, 65536]),
        (16384, vec![32768, 40960, 122880], vec![24576, 33792, 131072]),
        (128, vec![], vec![512]),
        (300, vec![], vec![1024]),
    ];
    let mut sim = Sim::new();
    for (cpu, fits, fails) in table {
        let document = |memory: i64| {
            json!({
                "family": "f", "containerDefinitions": [container()], "requiresCompatibilities": ["FARGATE"],
                "networkMode": "awsvpc", "cpu": cpu.to_string(), "memory": memory.to_string(),
            })
        };
        for memory in fits {
            sim.call("RegisterTaskDefinition", document(memory));
        }
        for memory in fails {
            let error = sim.refused("RegisterTaskDefinition", document(memory));
            assert_eq!(error.message, "No Fargate configuration exists for given values.", "{cpu} {memory}");
        }
    }
}
