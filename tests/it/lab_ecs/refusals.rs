//! What CreateService, UpdateService, DeleteService and TagResource refuse.

use serde_json::{Value, json};

use super::{Sim, TARGET_GROUP, service};

#[test]
fn what_create_service_refuses() {
    let balancer = |arn: &str, container: &str, port: i64| json!({"loadBalancers": [{"targetGroupArn": arn, "containerName": container, "containerPort": port}]});
    let cases = [
        (json!({"cluster": "none"}), "ClusterNotFoundException", "Cluster not found."),
        (json!({"taskDefinition": "none"}), "ClientException", "TaskDefinition not found."),
        (json!({"desiredCount": null}), "InvalidParameterException", "Desired count cannot be null."),
        (json!({"desiredCount": -1}), "InvalidParameterException", "Desired count cannot be negative."),
        (json!({"desiredCount": 5001}), "InvalidParameterException", "Desired count exceeds limit."),
        (
            balancer(TARGET_GROUP, "web", 8080),
            "InvalidParameterException",
            "The container web does not exist in the task definition.",
        ),
        (
            balancer(TARGET_GROUP, "app", 80),
            "InvalidParameterException",
            "The container app did not have a container port 80 defined.",
        ),
        (
            balancer("arn:alone", "app", 8080),
            "InvalidParameterException",
            "The target group with targetGroupArn arn:alone does not have an associated load balancer.",
        ),
        (
            balancer("arn:ips", "app", 8080),
            "InvalidParameterException",
            "The provided target group arn:ips has target type ip, which is incompatible with the bridge network mode specified in the task definition.",
        ),
        (
            json!({"launchType": "FARGATE"}),
            "InvalidParameterException",
            "Task definition does not support launch_type FARGATE.",
        ),
        (
            json!({"networkConfiguration": {"awsvpcConfiguration": {"subnets": ["subnet-1"]}}}),
            "InvalidParameterException",
            "Network Configuration is not valid for the given networkMode of this task definition.",
        ),
        (
            json!({"loadBalancers": [], "healthCheckGracePeriodSeconds": 30}),
            "InvalidParameterException",
            "Health check grace period is only valid for services configured to use load balancers",
        ),
        (
            json!({"deploymentConfiguration": {"minimumHealthyPercent": 100, "maximumPercent": 100}}),
            "InvalidParameterException",
            "Both maximumPercent and minimumHealthyPercent cannot be 100 as this will block deployments.",
        ),
    ];
    for (change, code, message) in cases {
        let mut sim = Sim::new();
        sim.register("v1");
        let mut input = service(1);
        for (member, value) in change.as_object().expect("an object") {
            input[member] = value.clone();
        }
        let error = sim.refused("CreateService", input);
        assert_eq!((error.code.as_str(), error.message.as_str()), (code, message));
        assert_eq!(sim.call("ListServices", json!({}))["serviceArns"], json!([]));
    }
}

#[test]
fn what_a_service_in_a_network_of_its_own_refuses() {
    let mut sim = Sim::new();
    sim.call(
        "RegisterTaskDefinition",
        json!({
            "family": "web", "networkMode": "awsvpc", "cpu": "256", "memory": "512",
            "containerDefinitions": [{"name": "app", "image": "v1", "portMappings": [{"containerPort": 8080}]}],
        }),
    );
    let subnet = sim.state.ec2.subnets[0].id.clone();
    let network = |more: Value| {
        let mut configuration = json!({"subnets": [subnet]});
        for (member, value) in more.as_object().expect("an object") {
            configuration[member] = value.clone();
        }
        json!({"networkConfiguration": {"awsvpcConfiguration": configuration}})
    };
    let many: Vec<String> = (0..6).map(|at| format!("sg-{at}")).collect();
    let cases = [
        (json!({}), "Network Configuration must be provided when networkMode 'awsvpc' is specified."),
        (network(json!({"subnets": []})), "subnets can not be empty."),
        (
            network(json!({"subnets": ["subnet-1"]})),
            "Error retrieving subnet information for [subnet-1]: The subnet ID 'subnet-1' does not exist (ErrorCode: InvalidSubnetID.NotFound)",
        ),
        (
            network(json!({"securityGroups": ["sg-1"]})),
            "Error retrieving security group information for [sg-1]: The security group 'sg-1' does not exist (ErrorCode: InvalidGroup.NotFound)",
        ),
        (network(json!({"securityGroups": many})), "securityGroups can have at most 5 items."),
        (network(json!({"assignPublicIp": "ENABLED"})), "Assign public IP is not supported for this launch type."),
    ];
    for (change, message) in cases {
        let mut input = json!({"serviceName": "web", "taskDefinition": "web", "desiredCount": 1});
        for (member, value) in change.as_object().expect("an object") {
            input[member] = value.clone();
        }
        let error = sim.refused("CreateService", input);
        assert_eq!((error.code.as_str(), error.message.as_str()), ("InvalidParameterException", message));
    }
    let mut input = network(json!({}));
    (input["serviceName"], input["taskDefinition"], input["desiredCount"]) = (json!("web"), json!("web"), json!(1));
    input["launchType"] = json!("FARGATE");
    input["platformVersion"] = json!("9.9.9");
    assert_eq!(sim.refused("CreateService", input.clone()).code, "PlatformUnknownException");
    input["platformVersion"] = json!("LATEST");
    input["schedulingStrategy"] = json!("DAEMON");
    input["desiredCount"] = Value::Null;
    assert_eq!(
        sim.refused("CreateService", input).message,
        "The daemon scheduling strategy does not support the Fargate launch type."
    );
}

#[test]
fn what_update_and_delete_refuse() {
    let mut sim = Sim::new();
    sim.register("v1");
    sim.create(1);
    sim.settle();
    sim.register("v2");
    sim.call("DeregisterTaskDefinition", json!({"taskDefinition": "web:2"}));
    let cases = [
        (json!({"taskDefinition": "web:2"}), "ClientException", "TaskDefinition is inactive"),
        (json!({"taskDefinition": "web:7"}), "ClientException", "TaskDefinition not found."),
        (json!({"desiredCount": -1}), "InvalidParameterException", "Desired count cannot be negative."),
        (json!({"service": "other"}), "ServiceNotFoundException", "Service not found."),
        (
            json!({"platformVersion": "1.4.0"}),
            "InvalidParameterException",
            "The platform version must be null when specifying an EC2 launch type.",
        ),
        (
            json!({"enableExecuteCommand": true}),
            "InvalidParameterException",
            "The service couldn't be updated because a valid taskRoleArn is not being used. Specify a valid task role in your task definition and try again.",
        ),
    ];
    for (change, code, message) in cases {
        let mut input = json!({"service": "web"});
        for (member, value) in change.as_object().expect("an object") {
            input[member] = value.clone();
        }
        let error = sim.refused("UpdateService", input);
        assert_eq!((error.code.as_str(), error.message.as_str()), (code, message));
    }
    // An INACTIVE revision goes on running, and scales.
    sim.call("DeregisterTaskDefinition", json!({"taskDefinition": "web:1"}));
    sim.call("UpdateService", json!({"service": "web", "desiredCount": 2}));
    sim.settle();
    let delete = sim.refused("DeleteService", json!({"service": "web"}));
    assert_eq!(delete.message, "The service cannot be stopped while it is scaled above 0.");
    sim.call("DeleteService", json!({"service": "web", "force": true}));
    let again = sim.refused("UpdateService", json!({"service": "web", "desiredCount": 1}));
    assert_eq!((again.code.as_str(), again.message.as_str()), ("ServiceNotActiveException", "Service was not ACTIVE."));
    sim.register("v3");
    let taken = sim.refused("CreateService", service(1));
    assert_eq!(taken.message, "Unable to Start a service that is still Draining.");
}

#[test]
fn what_tags_refuse() {
    let mut sim = Sim::new();
    let cluster = "arn:aws:ecs:us-west-2:000000000000:cluster/default";
    let many: Vec<Value> = (0..51).map(|at| json!({"key": format!("k{at}"), "value": ""})).collect();
    let cases = [
        (cluster, json!([{"value": "a"}]), "Tag keys cannot be empty."),
        (cluster, json!([{"key": "AWS:a", "value": "a"}]), "Tag keys beginning with aws: are reserved for AWS."),
        (
            cluster,
            json!([{"key": "a", "value": "1"}, {"key": "a", "value": "2"}]),
            "Duplicate tag key found: a. Tag keys must be unique.",
        ),
        (cluster, json!(many[..50]), ""),
        (cluster, json!(many[50..]), "A resource cannot have more than 50 tags."),
        ("arn:aws:ecs:us-west-2:000000000000:cluster/none", json!([]), "The specified resource was not found."),
        ("cluster", json!([]), "Invalid ARN: cluster"),
    ];
    for (arn, tags, message) in cases {
        let refused = sim.try_call("TagResource", json!({"resourceArn": arn, "tags": tags}));
        assert_eq!(refused.err().map_or_else(String::new, |error| error.message), message);
    }
    let kept = sim.call("ListTagsForResource", json!({"resourceArn": cluster}))["tags"].clone();
    assert_eq!(kept.as_array().map(Vec::len), Some(50), "what was refused changed nothing");
}
