//! Where tasks go, and by which address their targets find them.

use std::time::Duration;

use serde_json::{Value, json};
use steadystate::lab::{
    clock::{Clock, Pace},
    ecs,
    runtime::{Line, RestartPolicy, Ulimit, VolumeSource, VolumesFrom},
    scheduler::{
        launch, output,
        placement::{self, Wanted},
    },
};

use super::{Sim, TARGET_GROUP};

fn register(sim: &mut Sim, family: &str, change: Value) {
    let mut container =
        json!({"name": "app", "image": family, "memory": 64, "portMappings": [{"containerPort": 8080}]});
    let mut input = json!({"family": family});
    for (member, value) in change.as_object().expect("an object") {
        match member.as_str() {
            "networkMode" | "cpu" | "memory" | "requiresCompatibilities" => input[member] = value.clone(),
            _ => container[member] = value.clone(),
        }
    }
    if container["memory"].is_null() {
        container["memory"] = json!(64);
    }
    input["containerDefinitions"] = json!([container]);
    sim.call("RegisterTaskDefinition", input);
}

#[test]
fn what_does_not_fit_is_said_and_goes_when_there_is_room() {
    let port = json!({"portMappings": [{"containerPort": 8080, "hostPort": 80}]});
    let cases = [
        (port, "is already using a port required by your task.", "RESOURCE:PORTS"),
        (json!({"cpu": "1500"}), "has insufficient CPU units available.", "RESOURCE:CPU"),
        (json!({"memory": "3000"}), "has insufficient memory available.", "RESOURCE:MEMORY"),
    ];
    for (change, words, resource) in cases {
        let mut sim = Sim::new();
        register(&mut sim, "web", change);
        sim.call("RunTask", json!({"taskDefinition": "web"}));
        let second = sim.call("RunTask", json!({"taskDefinition": "web"}));
        assert_eq!(second["failures"][0]["reason"], resource);
        sim.create(1);
        sim.seconds(60);
        let instance = sim.state.ecs.instances.keys().next().expect("an instance").clone();
        let event = format!(
            "(service web) was unable to place a task because no container instance met all of its requirements. The closest matching (container-instance {instance}) {words} For more information, see the Troubleshooting section of the Amazon ECS Developer Guide."
        );
        assert_eq!(sim.events(), [event], "said once");
        assert_eq!(sim.service()["deployments"][0]["failedTasks"], 0, "the circuit breaker does not see it");
        let task = sim.call("ListTasks", json!({"family": "web"}))["taskArns"][0].clone();
        sim.call("StopTask", json!({"task": task}));
        sim.settle();
    }
}

#[test]
fn a_cluster_without_instances_says_so() {
    let mut sim = Sim::new();
    sim.register("v1");
    sim.state.ecs.instances.clear();
    let error = sim.refused("RunTask", json!({"taskDefinition": "web"}));
    assert_eq!(error.message, "No Container Instances were found in your cluster.");
    sim.create(1);
    sim.seconds(5);
    assert_eq!(
        sim.events(),
        [
            "(service web) was unable to place a task because no container instance met all of its requirements. Reason: No Container Instances were found in your cluster. For more information, see the Troubleshooting section of the Amazon ECS Developer Guide."
        ]
    );
}

#[test]
fn a_subnet_that_is_full_takes_no_task() {
    let mut sim = Sim::new();
    register(&mut sim, "web", json!({"networkMode": "awsvpc"}));
    let subnet = sim.state.ec2.subnets[0].id.clone();
    let network = json!({"awsvpcConfiguration": {"subnets": [subnet]}});
    let settings = json!({"networkConfiguration": network});
    let definition = sim.state.ecs.families["web"].revisions[&1].clone();
    let place = |sim: &mut Sim| {
        let wanted = Wanted {
            cluster: "default",
            definition: &definition,
            launch_type: "FARGATE",
            provider: None,
            on: None,
            settings: settings.as_object().expect("an object"),
            group: "family:web".into(),
            started_by: None,
            overrides: None,
            tags: Vec::new(),
        };
        placement::place(&mut sim.state, &sim.settings, 0, wanted)
    };
    // 4091 of a /20, and the cluster's instance has one of them
    for _ in 0..4090 {
        place(&mut sim).expect("an address");
    }
    let misfit = place(&mut sim).expect_err("no address is left");
    assert_eq!(misfit.resource(), "RESOURCE:ENI");
    assert_eq!(
        misfit.sentence(),
        "was unable to place a task. Reason: The specified subnet does not have enough free addresses to satisfy the request."
    );
    sim.state.ecs.tasks.pop_first();
    place(&mut sim).expect("the address that became free");
}

#[test]
fn one_static_port_rolls_only_by_stopping_first() {
    let mut sim = Sim::new();
    let port = json!([{"containerPort": 8080, "hostPort": 80}]);
    register(&mut sim, "web", json!({"portMappings": port}));
    sim.create(1);
    sim.settle();
    register(&mut sim, "web", json!({"portMappings": port}));
    sim.call("UpdateService", json!({"service": "web", "taskDefinition": "web:2"}));
    sim.seconds(300);
    assert_eq!(sim.service()["deployments"][0]["rolloutState"], "IN_PROGRESS");
    assert!(sim.events().iter().any(|event| event.contains("is already using a port required by your task.")));
    let percents = json!({"minimumHealthyPercent": 0, "maximumPercent": 100});
    sim.call("UpdateService", json!({"service": "web", "deploymentConfiguration": percents}));
    sim.settle();
    assert_eq!(sim.service()["deployments"][0]["rolloutState"], "COMPLETED");
}

#[test]
fn bridge_tasks_get_dynamic_ports_of_their_instance() {
    let mut sim = Sim::new();
    sim.register("v1");
    sim.create(3);
    sim.settle();
    let instance = sim.state.ecs.instances.values().next().expect("an instance").ec2_instance_id.clone();
    let mut ports = Vec::new();
    for task in sim.tasks("RUNNING") {
        let binding = &task["containers"][0]["networkBindings"][0];
        assert_eq!((&binding["containerPort"], &binding["protocol"]), (&json!(8080), &json!("tcp")));
        let port = binding["hostPort"].as_u64().expect("a port") as u16;
        let id = task["taskArn"].as_str().and_then(|arn| arn.rsplit('/').next()).expect("an id").to_owned();
        assert_eq!(ecs::locate(&sim.state, &instance, port), Some((id, 8080)));
        ports.push(port);
    }
    ports.sort_unstable();
    assert_eq!(ports, [32768, 32769, 32770]);
    let targets: Vec<u16> = sim.state.elbv2.target_groups[0].targets.iter().map(|target| target.port).collect();
    assert!(ports.iter().all(|port| targets.contains(port)), "{targets:?}");
    assert_eq!(ecs::locate(&sim.state, &instance, 32771), None);
}

#[test]
fn awsvpc_tasks_get_an_interface_with_an_address_of_their_own() {
    let mut sim = Sim::new();
    let size = json!({"networkMode": "awsvpc", "cpu": "256", "memory": "512", "requiresCompatibilities": ["FARGATE"]});
    register(&mut sim, "web", size);
    let subnets: Vec<String> = sim.state.ec2.subnets.iter().map(|subnet| subnet.id.clone()).collect();
    let input = |subnets: Value| {
        json!({
            "serviceName": "web", "taskDefinition": "web", "desiredCount": 40, "launchType": "FARGATE",
            "networkConfiguration": {"awsvpcConfiguration": {"subnets": subnets}},
            "loadBalancers": [{"targetGroupArn": "arn:ips", "containerName": "app", "containerPort": 8080}],
        })
    };
    let mut without = input(json!(subnets));
    without.as_object_mut().map(|members| members.shift_remove("networkConfiguration"));
    let message = "Network Configuration must be provided when networkMode 'awsvpc' is specified.";
    assert_eq!(sim.refused("CreateService", without).message, message);
    assert!(sim.refused("CreateService", input(json!(["subnet-0"]))).message.contains("InvalidSubnetID.NotFound"));
    sim.call("CreateService", input(json!(subnets)));
    // Nobody plays the balancer for this group.
    sim.until("running", |sim| sim.service()["runningCount"] == 40);
    let tasks = sim.tasks("RUNNING");
    let mut addresses: Vec<String> = Vec::new();
    for task in &tasks {
        let interface = &task["containers"][0]["networkInterfaces"][0];
        let address = interface["privateIpv4Address"].as_str().expect("an address").to_owned();
        let attachment = &task["attachments"][0];
        assert_eq!((&attachment["id"], &attachment["status"]), (&interface["attachmentId"], &json!("ATTACHED")));
        let details = attachment["details"].as_array().expect("details");
        assert!(details.contains(&json!({"name": "privateIPv4Address", "value": address})));
        assert!(task.get("containerInstanceArn").is_none());
        assert_eq!(ecs::locate(&sim.state, &address, 8080).map(|(_, port)| port), Some(8080));
        addresses.push(address);
    }
    addresses.sort();
    addresses.dedup();
    assert_eq!(addresses.len(), 40);
    assert!(
        sim.state.elbv2.target_groups[0].arn == TARGET_GROUP && sim.state.elbv2.target_groups[0].targets.is_empty()
    );
}

#[test]
fn what_a_container_is_started_with() {
    let mut sim = Sim::new();
    sim.call(
        "RegisterTaskDefinition",
        json!({
            "family": "web",
            "volumes": [{"name": "data"}, {"name": "host", "host": {"sourcePath": "/srv"}}],
            "containerDefinitions": [
                {
                    "name": "app", "image": "v1", "memory": 64, "entryPoint": ["/app"], "command": ["serve"],
                    "workingDirectory": "/srv", "user": "1000", "readonlyRootFilesystem": true,
                    "environment": [{"name": "A", "value": "1"}, {"name": "B", "value": "2"}],
                    "mountPoints": [{"sourceVolume": "data", "containerPath": "/data", "readOnly": true}],
                    "portMappings": [{"containerPort": 8080}],
                    "dependsOn": [{"containerName": "first", "condition": "START"}],
                },
                {"name": "first", "image": "v1", "memoryReservation": 32, "essential": false, "hostname": "one"},
            ],
        }),
    );
    let overrides = json!({"containerOverrides": [
        {"name": "app", "command": ["migrate"], "environment": [{"name": "B", "value": "3"}], "memory": 128}
    ]});
    sim.call("RunTask", json!({"taskDefinition": "web", "overrides": overrides}));
    let task = sim.state.ecs.tasks.values().next().expect("a task");
    let spec = launch::task_spec(task, &sim.state.ecs.families["web"].revisions[&1], Clock::new(Pace::Aws));
    let names: Vec<&str> = spec.containers.iter().map(|container| container.name.as_str()).collect();
    assert_eq!(names, ["first", "app"], "what others depend on starts first");
    assert_eq!(spec.containers[0].hostname.as_deref(), Some("one"));
    assert_eq!(spec.containers[0].memory_bytes, None);
    let app = &spec.containers[1];
    assert_eq!(
        (app.entry_point.as_slice(), app.command.as_slice()),
        (&["/app".to_owned()][..], &["migrate".to_owned()][..])
    );
    assert_eq!((app.working_directory.as_deref(), app.user.as_deref()), (Some("/srv"), Some("1000")));
    assert_eq!(
        (app.memory_bytes, app.ports.as_slice(), app.readonly_root_filesystem),
        (Some(128 << 20), &[8080][..], true)
    );
    let hostname = task.id[..12].to_owned();
    let environment: Vec<(&str, &str)> =
        app.environment.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    assert_eq!(environment, [("HOSTNAME", &*hostname), ("AWS_EXECUTION_ENV", "AWS_ECS_EC2"), ("A", "1"), ("B", "3")]);
    assert_eq!(app.hostname, Some(hostname));
    assert_eq!((app.mount_points[0].container_path.as_str(), app.mount_points[0].read_only), ("/data", true));
    assert_eq!(spec.volumes[1].source, VolumeSource::Host("/srv".into()));
}

#[test]
fn limits_restarts_and_volumes_reach_the_runtime_at_its_pace() {
    let mut sim = Sim::new();
    sim.call(
        "RegisterTaskDefinition",
        json!({
            "family": "web",
            "volumes": [
                {"name": "own", "dockerVolumeConfiguration": {"scope": "task"}},
                {"name": "all", "dockerVolumeConfiguration": {"scope": "shared", "autoprovision": true}},
                {"name": "efs", "efsVolumeConfiguration": {"fileSystemId": "fs-1", "rootDirectory": "/a/b/"}},
            ],
            "containerDefinitions": [
                {"name": "app", "image": "v1", "memory": 64},
                {
                    "name": "side", "image": "v1", "memory": 64, "essential": false, "stopTimeout": 2,
                    "ulimits": [{"name": "nofile", "softLimit": 10, "hardLimit": -1}],
                    "volumesFrom": [{"sourceContainer": "app", "readOnly": true}],
                    "restartPolicy": {"enabled": true, "ignoredExitCodes": [3]},
                },
                {"name": "off", "image": "v1", "memory": 64, "essential": false, "restartPolicy": {"enabled": false}},
            ],
        }),
    );
    sim.call("RunTask", json!({"taskDefinition": "web"}));
    let task = sim.state.ecs.tasks.values().next().expect("a task");
    let spec = |pace| launch::task_spec(task, &sim.state.ecs.families["web"].revisions[&1], Clock::new(pace));
    for (pace, period, stop) in [(Pace::Aws, 300, [30, 2, 30]), (Pace::Fast, 3, [10, 2, 10])] {
        let spec = spec(pace);
        let seconds = |seconds| Some(Duration::from_secs(seconds));
        let stops: Vec<Option<Duration>> = spec.containers.iter().map(|of| of.stop_timeout).collect();
        assert_eq!(stops, stop.map(seconds), "{pace}");
        let policy = RestartPolicy { ignored_exit_codes: vec![3], attempt_period: seconds(period).unwrap_or_default() };
        let policies: Vec<_> = spec.containers.iter().map(|of| of.restart.clone()).collect();
        assert_eq!(policies, [None, Some(policy), None], "{pace}");
    }
    let spec = spec(Pace::Fast);
    assert_eq!(spec.containers[1].ulimits, [Ulimit { name: "nofile".into(), soft: Some(10), hard: None }]);
    assert_eq!(spec.containers[1].volumes_from, [VolumesFrom { container: "app".into(), read_only: true }]);
    let sources: Vec<&VolumeSource> = spec.volumes.iter().map(|volume| &volume.source).collect();
    let shared = |name: &str| VolumeSource::Shared(name.to_owned());
    assert_eq!(sources, [&VolumeSource::Task, &shared("all"), &shared("fs-1-a-b")]);
}

#[test]
fn what_containers_write_goes_to_their_log_streams() {
    let mut sim = Sim::new();
    let options = json!({"awslogs-group": "/web", "awslogs-region": "us-west-2", "awslogs-stream-prefix": "v1"});
    register(&mut sim, "logged", json!({"logConfiguration": {"logDriver": "awslogs", "options": options}}));
    register(&mut sim, "plain", json!({}));
    for (family, group, prefix) in [("logged", "/web", "v1"), ("plain", "/lab/ecs/plain", "ecs")] {
        let task = sim.call("RunTask", json!({"taskDefinition": family}))["tasks"][0]["taskArn"].clone();
        let id = task.as_str().and_then(|arn| arn.rsplit('/').next()).expect("an id").to_owned();
        let line = |text: &str| Line {
            task_id: id.as_str().into(),
            container: "app".into(),
            text: text.into(),
            stderr: false,
            at: sim.now,
        };
        let lines = vec![line("hello"), line("again")];
        output::append(&mut sim.state, lines);
        let stream = &sim.state.logs.groups[group].streams[&format!("{prefix}/app/{id}")];
        let said: Vec<&str> = stream.events.iter().map(|event| event.message.as_str()).collect();
        assert_eq!(said, ["hello", "again"]);
    }
}
