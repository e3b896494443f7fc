//! Clusters, services, tasks and tags: requests and their answers.

use serde_json::{Value, json};

use super::{Sim, service};

#[test]
fn another_capacity_provider_strategy_has_to_be_forced() {
    let mut sim = Sim::new();
    sim.register("v1");
    sim.create(1);
    sim.settle();
    let group = json!({"autoScalingGroupArn": "arn:aws:autoscaling:us-west-2:000000000000:autoScalingGroup:1:autoScalingGroupName/lab"});
    sim.call("CreateCapacityProvider", json!({"name": "lab", "autoScalingGroupProvider": group}));
    let strategy = json!([{"capacityProvider": "lab", "weight": 1}]);
    sim.call(
        "PutClusterCapacityProviders",
        json!({"cluster": "default", "capacityProviders": ["lab"], "defaultCapacityProviderStrategy": []}),
    );
    let input = json!({"service": "web", "capacityProviderStrategy": strategy});
    let error = sim.refused("UpdateService", input.clone());
    assert_eq!(error.code, "InvalidParameterException");
    assert!(error.message.ends_with("you must force a new deployment."), "{}", error.message);
    let mut forced = input.clone();
    forced["forceNewDeployment"] = json!(true);
    let service = sim.call("UpdateService", forced)["service"].clone();
    assert_eq!((&service["capacityProviderStrategy"], &service["launchType"]), (&strategy, &json!(null)));
    assert_eq!(service["deployments"].as_array().map(Vec::len), Some(2));
    // The same once more is no change.
    sim.call("UpdateService", input);
}

#[test]
fn a_role_conflicts_with_service_discovery() {
    let mut sim = Sim::new();
    sim.register("v1");
    let mut input = service(1);
    input["role"] = json!("ecsServiceRole");
    input["serviceRegistries"] = json!([{"registryArn": "arn:sd", "containerName": "app", "containerPort": 8080}]);
    let message = "You cannot specify an IAM role for services that require a service linked role.";
    assert_eq!(sim.refused("CreateService", input).message, message);
}

#[test]
fn a_service_answers_with_all_that_real_ones_have() {
    let mut sim = Sim::new();
    sim.register("v1");
    sim.create(1);
    sim.settle();
    let service = sim.service();
    for member in [
        "serviceArn",
        "clusterArn",
        "createdAt",
        "createdBy",
        "deploymentConfiguration",
        "deployments",
        "desiredCount",
        "enableECSManagedTags",
        "enableExecuteCommand",
        "events",
        "launchType",
        "loadBalancers",
        "pendingCount",
        "placementConstraints",
        "placementStrategy",
        "propagateTags",
        "roleArn",
        "runningCount",
        "schedulingStrategy",
        "serviceRegistries",
        "status",
        "taskDefinition",
        "deploymentController",
    ] {
        assert!(!service[member].is_null(), "{member}");
    }
    let task = sim.tasks("RUNNING")[0].clone();
    for member in
        ["version", "attachments", "overrides", "healthStatus", "containers", "containerInstanceArn", "connectivity"]
    {
        assert!(!task[member].is_null(), "{member}");
    }
    assert_eq!(task["startedBy"], service["deployments"][0]["id"]);
    assert_eq!(task["group"], "service:web");
    let revision = sim.service_deployment()["targetServiceRevision"]["arn"].clone();
    let revisions = sim.call("DescribeServiceRevisions", json!({"serviceRevisionArns": [revision, "arn:none"]}));
    assert_eq!(revisions["serviceRevisions"][0]["taskDefinition"], service["taskDefinition"]);
    assert_eq!(revisions["failures"][0]["reason"], "MISSING");
    assert!(!has_null(&json!([service, task, revisions])));
}

fn has_null(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Array(items) => items.iter().any(has_null),
        Value::Object(members) => members.values().any(has_null),
        _ => false,
    }
}

#[test]
fn the_same_request_makes_one_service() {
    let mut sim = Sim::new();
    sim.register("v1");
    let mut input = service(1);
    input["clientToken"] = json!("token-1");
    let first = sim.call("CreateService", input.clone());
    let again = sim.call("CreateService", input.clone());
    assert_eq!(first["service"]["deployments"][0]["id"], again["service"]["deployments"][0]["id"]);
    input["desiredCount"] = json!(2);
    assert_eq!(sim.refused("CreateService", input).message, "Creation of service was not idempotent.");
    assert_eq!(sim.refused("CreateService", service(1)).code, "InvalidParameterException");
}

#[test]
fn a_deleted_service_drains_and_leaves_its_name() {
    let mut sim = Sim::new();
    sim.register("v1");
    sim.create(2);
    sim.settle();
    let error = sim.refused("DeleteService", json!({"service": "web"}));
    assert_eq!(error.message, "The service cannot be stopped while it is scaled above 0.");
    let reply = sim.call("DeleteService", json!({"service": "web", "force": true}));
    assert_eq!(reply["service"]["status"], "DRAINING");
    assert_eq!(sim.refused("CreateService", service(1)).message, "Unable to Start a service that is still Draining.");
    assert_eq!(sim.refused("UpdateService", json!({"service": "web"})).code, "ServiceNotActiveException");
    sim.until("inactive", |sim| sim.service()["status"] == "INACTIVE");
    assert_eq!(sim.tasks("RUNNING").len(), 0);
    assert!(sim.state.elbv2.target_groups[0].targets.is_empty());
    assert_eq!(sim.call("ListServices", json!({}))["serviceArns"], json!([]));
    assert_eq!(sim.refused("DeleteService", json!({"service": "web"})).code, "ServiceNotFoundException");
    sim.create(1);
    sim.settle();
    assert_eq!(sim.service()["status"], "ACTIVE");
}

#[test]
fn which_updates_make_a_deployment() {
    let cases = [
        (json!({"desiredCount": 2}), false),
        (json!({"deploymentConfiguration": {"maximumPercent": 150}}), false),
        (json!({"healthCheckGracePeriodSeconds": 5}), false),
        (json!({"enableECSManagedTags": true, "propagateTags": "SERVICE"}), false),
        (json!({"taskDefinition": "web:1"}), false),
        (json!({"loadBalancers": service(1)["loadBalancers"]}), false),
        (json!({"taskDefinition": "web:2"}), true),
        (json!({"loadBalancers": []}), true),
        (json!({"forceNewDeployment": true}), true),
    ];
    for (change, deploys) in cases {
        let mut sim = Sim::new();
        sim.register("v1");
        sim.create(1);
        sim.settle();
        sim.register("v2");
        let mut input = change.clone();
        input["service"] = json!("web");
        let reply = sim.call("UpdateService", input);
        let deployments = reply["service"]["deployments"].as_array().map(Vec::len);
        assert_eq!(deployments, Some(if deploys { 2 } else { 1 }), "{change}");
        sim.settle();
        if let Some(percent) = change["deploymentConfiguration"].get("maximumPercent") {
            let configuration = &sim.service()["deploymentConfiguration"];
            assert_eq!(&configuration["maximumPercent"], percent);
            assert_eq!(configuration["deploymentCircuitBreaker"]["enable"], true, "other members stay");
        }
    }
}

#[test]
fn what_is_not_there_is_a_failure_or_an_error() {
    let mut sim = Sim::new();
    let missing = sim.call("DescribeServices", json!({"services": ["none"]}));
    let arn = "arn:aws:ecs:us-west-2:000000000000:service/default/none";
    assert_eq!(missing, json!({"services": [], "failures": [{"arn": arn, "reason": "MISSING"}]}));
    assert_eq!(sim.call("DescribeTasks", json!({"tasks": ["0".repeat(32)]}))["failures"][0]["reason"], "MISSING");
    assert_eq!(sim.call("DescribeClusters", json!({"clusters": ["none"]}))["failures"][0]["reason"], "MISSING");
    let cases = [
        ("DescribeServices", json!({"services": []}), "InvalidParameterException"),
        ("DescribeServices", json!({"services": ["web"], "cluster": "none"}), "ClusterNotFoundException"),
        ("UpdateService", json!({"service": "none"}), "ServiceNotFoundException"),
        ("ListTasks", json!({"serviceName": "none"}), "ServiceNotFoundException"),
        ("ListServiceDeployments", json!({"service": "none"}), "ServiceNotFoundException"),
        ("StopServiceDeployment", json!({"serviceDeploymentArn": "none"}), "ServiceDeploymentNotFoundException"),
        ("StopTask", json!({"task": "none"}), "InvalidParameterException"),
        ("ListTagsForResource", json!({"resourceArn": "none"}), "InvalidParameterException"),
        ("ListDaemons", json!({}), "UnknownOperationException"),
    ];
    for (operation, input, code) in cases {
        assert_eq!(sim.refused(operation, input).code, code, "{operation}");
    }
}

#[test]
fn clusters_come_with_an_instance_and_go_when_empty() {
    let mut sim = Sim::new();
    let reply = sim.call("CreateCluster", json!({"clusterName": "lab", "tags": [{"key": "a", "value": "b"}]}));
    assert_eq!(reply["cluster"]["clusterArn"], "arn:aws:ecs:us-west-2:000000000000:cluster/lab");
    assert_eq!(reply["cluster"]["registeredContainerInstancesCount"], 1);
    sim.call("CreateCluster", json!({"clusterName": "lab"}));
    let list = sim.call("ListClusters", json!({}));
    assert_eq!(list["clusterArns"].as_array().map(Vec::len), Some(2));
    let instances = sim.call("ListContainerInstances", json!({"cluster": "lab"}))["containerInstanceArns"].clone();
    let input = json!({"cluster": "lab", "containerInstances": instances});
    let instance = sim.call("DescribeContainerInstances", input)["containerInstances"][0].clone();
    assert_eq!(instance["remainingResources"][0]["integerValue"], 2048);
    assert!(instance["ec2InstanceId"].as_str().is_some_and(|id| id.starts_with("i-")));
    sim.register("v1");
    sim.call("RunTask", json!({"cluster": "lab", "taskDefinition": "web"}));
    assert_eq!(sim.refused("DeleteCluster", json!({"cluster": "lab"})).code, "ClusterContainsTasksException");
    let task = sim.call("ListTasks", json!({"cluster": "lab"}))["taskArns"][0].clone();
    sim.call("StopTask", json!({"cluster": "lab", "task": task, "reason": "enough"}));
    sim.seconds(10);
    let stopped = sim.call("DescribeTasks", json!({"cluster": "lab", "tasks": [task]}))["tasks"][0].clone();
    assert_eq!((&stopped["stopCode"], &stopped["stoppedReason"]), (&json!("UserInitiated"), &json!("enough")));
    assert_eq!(sim.call("DeleteCluster", json!({"cluster": "lab"}))["cluster"]["status"], "INACTIVE");
    assert_eq!(
        sim.refused("RunTask", json!({"cluster": "lab", "taskDefinition": "web"})).code,
        "ClusterNotFoundException"
    );
}

#[test]
fn tags_of_every_kind_of_resource() {
    let mut sim = Sim::new();
    let definition = sim.register("v1");
    sim.create(1);
    sim.settle();
    let service = sim.service()["serviceArn"].clone();
    let task = sim.tasks("RUNNING")[0]["taskArn"].clone();
    let cluster = json!("arn:aws:ecs:us-west-2:000000000000:cluster/default");
    let instance = sim.call("ListContainerInstances", json!({}))["containerInstanceArns"][0].clone();
    for arn in [json!(definition), service, task, cluster, instance] {
        let tags = json!([{"key": "a", "value": "1"}, {"key": "b", "value": "2"}]);
        sim.call("TagResource", json!({"resourceArn": arn, "tags": tags}));
        sim.call("TagResource", json!({"resourceArn": arn, "tags": [{"key": "b", "value": "3"}]}));
        sim.call("UntagResource", json!({"resourceArn": arn, "tagKeys": ["a"]}));
        let reply = sim.call("ListTagsForResource", json!({"resourceArn": arn}));
        assert_eq!(reply["tags"], json!([{"key": "b", "value": "3"}]), "{arn}");
    }
}
