//! Clusters' own operations and the account's settings.

use serde_json::{Value, json};

use super::{Sim, service};

fn described(sim: &mut Sim, include: Value) -> Value {
    sim.call("DescribeClusters", json!({"include": include}))["clusters"][0].clone()
}

#[test]
fn a_cluster_is_described_as_far_as_asked() {
    let mut sim = Sim::new();
    let configuration = json!({"executeCommandConfiguration": {"logging": "DEFAULT"}});
    let updated = sim.call(
        "UpdateCluster",
        json!({"cluster": "default", "settings": [{"name": "containerInsights", "value": "enhanced"}], "configuration": configuration}),
    );
    assert_eq!(updated["cluster"]["configuration"], configuration);
    let plain = described(&mut sim, json!([]));
    assert_eq!(
        (&plain["settings"], &plain["configuration"], &plain["statistics"]),
        (&json!([]), &Value::Null, &json!([]))
    );
    let whole = described(&mut sim, json!(["SETTINGS", "CONFIGURATIONS", "STATISTICS"]));
    assert_eq!(whole["settings"], json!([{"name": "containerInsights", "value": "enhanced"}]));
    assert_eq!(whole["configuration"], configuration);
    assert_eq!(whole["statistics"][0], json!({"name": "runningEC2TasksCount", "value": "0"}));
    sim.register("v1");
    sim.create(2);
    sim.settle();
    let statistics = described(&mut sim, json!(["STATISTICS"]))["statistics"].clone();
    let value = |name: &str| {
        let all = statistics.as_array().expect("statistics");
        all.iter().find(|of| of["name"] == name).map(|of| of["value"].clone()).expect("one of the statistics")
    };
    assert_eq!((value("runningEC2TasksCount"), value("activeEC2ServiceCount")), (json!("2"), json!("1")));
    assert_eq!(value("runningFargateTasksCount"), "0");
    let off = json!([{"name": "containerInsights", "value": "disabled"}]);
    sim.call("UpdateClusterSettings", json!({"cluster": "default", "settings": off}));
    assert_eq!(described(&mut sim, json!(["SETTINGS"]))["settings"], off);
}

#[test]
fn what_clusters_refuse() {
    let cases = [
        ("UpdateCluster", json!({"cluster": "none"}), "ClusterNotFoundException", "Cluster not found."),
        (
            "UpdateClusterSettings",
            json!({"cluster": "default", "settings": [{"name": "containerInsights", "value": "on"}]}),
            "InvalidParameterException",
            "Setting value is invalid: on. containerInsights is enabled, enhanced or disabled.",
        ),
        (
            "CreateCluster",
            json!({"clusterName": "default", "capacityProviders": ["FARGATE"]}),
            "InvalidParameterException",
            "Arguments on this idempotent request are inconsistent with arguments used in previous request(s).",
        ),
        (
            "CreateCluster",
            json!({"clusterName": "connected", "serviceConnectDefaults": {"namespace": "none"}}),
            "NamespaceNotFoundException",
            "The specified namespace was not found.",
        ),
        (
            "ListServicesByNamespace",
            json!({"namespace": "none"}),
            "NamespaceNotFoundException",
            "The specified namespace was not found.",
        ),
        (
            "PutClusterCapacityProviders",
            json!({"cluster": "default", "capacityProviders": ["FARGATE"]}),
            "InvalidParameterException",
            "defaultCapacityProviderStrategy cannot be null.",
        ),
    ];
    for (operation, input, code, message) in cases {
        let error = Sim::new().refused(operation, input);
        assert_eq!((error.code.as_str(), error.message.as_str()), (code, message), "{operation}");
    }
}

#[test]
fn instances_that_were_registered_keep_their_cluster() {
    let mut sim = Sim::new();
    sim.call("CreateCluster", json!({"clusterName": "lab"}));
    let registered = sim.call("RegisterContainerInstance", json!({"cluster": "lab"}));
    let error = sim.refused("DeleteCluster", json!({"cluster": "lab"}));
    assert_eq!(error.code, "ClusterContainsContainerInstancesException");
    let instance = registered["containerInstance"]["containerInstanceArn"].clone();
    sim.call("DeregisterContainerInstance", json!({"cluster": "lab", "containerInstance": instance}));
    sim.call("DeleteCluster", json!({"cluster": "lab"}));
}

#[test]
fn services_are_listed_by_their_namespace() {
    let mut sim = Sim::new();
    let namespace = json!({
        "id": "ns-1", "arn": "arn:aws:servicediscovery:us-west-2:000000000000:namespace/ns-1", "name": "lab.local",
        "kind": "HTTP", "description": null, "creator_request_id": null, "vpc_id": null, "hosted_zone_id": "Z", "created_at": 0, "tags": {},
    });
    sim.state.discovery.namespaces.push(serde_json::from_value(namespace).expect("a namespace"));
    sim.call("UpdateCluster", json!({"cluster": "default", "serviceConnectDefaults": {"namespace": "lab.local"}}));
    sim.register("v1");
    for (name, connect) in [
        ("own", Some(json!({"enabled": true, "namespace": "lab.local"}))),
        ("of-the-cluster", Some(json!({"enabled": true}))),
        ("off", Some(json!({"enabled": false, "namespace": "lab.local"}))),
        ("none", None),
    ] {
        let mut input = service(0);
        input["serviceName"] = json!(name);
        if let Some(connect) = connect {
            input["serviceConnectConfiguration"] = connect;
        }
        sim.call("CreateService", input);
    }
    let listed = sim.call("ListServicesByNamespace", json!({"namespace": "lab.local"}))["serviceArns"].clone();
    let service = |name: &str| format!("arn:aws:ecs:us-west-2:000000000000:service/default/{name}");
    assert_eq!(listed, json!([service("own"), service("of-the-cluster")]));
}

#[test]
fn account_settings_hold_until_a_principal_has_its_own() {
    let mut sim = Sim::new();
    assert_eq!(sim.call("ListAccountSettings", json!({}))["settings"], json!([]));
    let value = |sim: &mut Sim| {
        let asked = json!({"name": "containerInsights", "effectiveSettings": true});
        sim.call("ListAccountSettings", asked)["settings"][0]["value"].clone()
    };
    assert_eq!(value(&mut sim), "disabled");
    sim.call("PutAccountSettingDefault", json!({"name": "containerInsights", "value": "enabled"}));
    assert_eq!(value(&mut sim), "enabled");
    sim.call("PutAccountSetting", json!({"name": "containerInsights", "value": "enhanced"}));
    assert_eq!(value(&mut sim), "enhanced");
    let cluster = sim.call("CreateCluster", json!({"clusterName": "lab"}))["cluster"].clone();
    assert_eq!(
        cluster["settings"],
        json!([{"name": "containerInsights", "value": "enhanced"}]),
        "new clusters have it"
    );
    let own = sim.call("ListAccountSettings", json!({}))["settings"].clone();
    assert_eq!(own.as_array().map(Vec::len), Some(1));
    assert_eq!(own[0]["principalArn"], "arn:aws:iam::000000000000:user/steady-lab");
    sim.call("DeleteAccountSetting", json!({"name": "containerInsights"}));
    assert_eq!(value(&mut sim), "enabled");
    for (name, value, message) in [
        ("taskLongArnFormat", "disabled", "You can no longer opt out of the long ARN and resource ID format."),
        ("guardDutyActivate", "on", "The setting guardDutyActivate is managed by AWS and cannot be changed."),
        (
            "awsvpcTrunking",
            "yes",
            "Invalid value yes for the account setting awsvpcTrunking. Valid values: enabled, disabled",
        ),
    ] {
        let error = sim.refused("PutAccountSetting", json!({"name": name, "value": value}));
        assert_eq!((error.code.as_str(), error.message.as_str()), ("InvalidParameterException", message));
    }
}

#[test]
fn what_the_lab_has_not_is_an_honest_error() {
    let mut sim = Sim::new();
    sim.register("v1");
    sim.create(1);
    sim.settle();
    let task = sim.tasks("RUNNING")[0]["taskArn"].clone();
    let execute = json!({"task": task, "command": "/bin/sh", "interactive": true});
    let error = sim.refused("ExecuteCommand", execute.clone());
    assert_eq!(error.code, "InvalidParameterException");
    assert!(error.message.starts_with("The execute command failed because execute command was not enabled"));
    let run = json!({"taskDefinition": "web", "enableExecuteCommand": true});
    let enabled = sim.call("RunTask", run)["tasks"][0]["taskArn"].clone();
    let execute = json!({"task": enabled, "command": "/bin/sh", "interactive": true});
    assert_eq!(sim.refused("ExecuteCommand", execute).code, "TargetNotConnectedException");
    let set = json!({"service": "web", "cluster": "default", "taskDefinition": "web"});
    assert_eq!(
        sim.refused("CreateTaskSet", set).message,
        "Amazon ECS only supports task set management on services with external deployment controllers."
    );
}
