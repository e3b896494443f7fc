//! Cloud Map: the scenario's walk, and its errors.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use steadystate::lab::{Lab, discovery};

use super::{error, lab, text};

fn call(lab: &Lab, operation: &str, input: Value) -> Value {
    discovery::handle(lab, operation, input).unwrap_or_else(|error| panic!("{operation}: {error}"))
}

/// A private namespace, created as a client does that waits for the operation.
fn namespace(lab: &Lab) -> String {
    let vpc = lab.read(|state| state.ec2.vpc_id.clone());
    let created =
        call(lab, "CreatePrivateDnsNamespace", json!({ "Name": "lab.local", "Vpc": vpc, "CreatorRequestId": "r1" }));
    let operation = call(lab, "GetOperation", json!({ "OperationId": text(&created, "/OperationId") }));
    assert_eq!(text(&operation, "/Operation/Status"), "SUCCESS");
    text(&operation, "/Operation/Targets/NAMESPACE")
}

fn service(lab: &Lab, namespace: &str) -> Value {
    let dns = json!({ "DnsRecords": [{ "Type": "SRV", "TTL": 10 }] });
    let input = json!({ "Name": "hello", "NamespaceId": namespace, "DnsConfig": dns, "HealthCheckCustomConfig": { "FailureThreshold": 1 } });
    call(lab, "CreateService", input)["Service"].clone()
}

#[test]
fn operations_are_listed() {
    let lab = lab();
    let namespace = namespace(&lab);
    let id = text(&service(&lab, &namespace), "/Id");
    let attributes = json!({ "AWS_INSTANCE_IPV4": "172.31.0.1", "AWS_INSTANCE_PORT": "80" });
    let input = json!({ "ServiceId": id, "InstanceId": "i", "Attributes": attributes });
    let registered = text(&call(&lab, "RegisterInstance", input), "/OperationId");
    let table = [
        (json!([]), 2),
        (json!([{ "Name": "NAMESPACE_ID", "Values": [namespace] }]), 1),
        (json!([{ "Name": "SERVICE_ID", "Values": [id] }]), 1),
        (json!([{ "Name": "TYPE", "Values": ["REGISTER_INSTANCE"] }]), 1),
        (json!([{ "Name": "STATUS", "Values": ["SUCCESS"] }]), 2),
        (json!([{ "Name": "STATUS", "Values": ["FAIL"] }]), 0),
    ];
    for (filters, count) in table {
        let found = call(&lab, "ListOperations", json!({ "Filters": filters }));
        assert_eq!(found["Operations"].as_array().unwrap().len(), count, "{filters}: {found}");
    }
    let first = call(&lab, "ListOperations", json!({ "MaxResults": 1 }));
    let second = call(&lab, "ListOperations", json!({ "MaxResults": 1, "NextToken": text(&first, "/NextToken") }));
    assert_eq!(second["Operations"], json!([{ "Id": registered, "Status": "SUCCESS" }]));
    assert!(second.get("NextToken").is_none(), "{second}");
}

#[test]
fn the_scenario_s_service_is_found_with_its_instances() {
    let lab = lab();
    let namespace = namespace(&lab);
    let listed = call(&lab, "ListNamespaces", json!({ "Filters": [{ "Name": "TYPE", "Values": ["DNS_PRIVATE"] }] }));
    assert_eq!(text(&listed, "/Namespaces/0/Id"), namespace);
    assert_eq!(
        call(&lab, "ListNamespaces", json!({ "Filters": [{ "Name": "NAME", "Values": ["x"], "Condition": "EQ" }] })),
        json!({ "Namespaces": [] })
    );
    let service = service(&lab, &namespace);
    let (id, arn) = (text(&service, "/Id"), text(&service, "/Arn"));
    assert_eq!(arn, format!("arn:aws:servicediscovery:us-west-2:000000000000:service/{id}"));
    assert_eq!(service["DnsConfig"]["DnsRecords"], json!([{ "Type": "SRV", "TTL": 10 }]));
    assert!(service["CreateDate"].is_f64());
    let listed = call(&lab, "ListServices", json!({ "Filters": [{ "Name": "NAMESPACE_ID", "Values": [namespace] }] }));
    assert_eq!(text(&listed, "/Services/0/Id"), id);

    // As the scheduler registers a task, by the ARN that the ECS service has.
    let attributes = BTreeMap::from([
        ("AWS_INSTANCE_IPV4".to_owned(), "172.31.0.5".to_owned()),
        ("AWS_INSTANCE_PORT".to_owned(), "32768".to_owned()),
    ]);
    assert!(lab.write(|state| discovery::register_instance(state, &arn, "task1", attributes)));
    assert!(!lab.write(|state| discovery::register_instance(state, "srv-none", "task1", BTreeMap::new())));
    let found = call(&lab, "DiscoverInstances", json!({ "NamespaceName": "lab.local", "ServiceName": "hello" }));
    assert_eq!(text(&found, "/Instances/0/Attributes/AWS_INSTANCE_PORT"), "32768");
    assert_eq!(text(&found, "/Instances/0/HealthStatus"), "HEALTHY");
    call(
        &lab,
        "UpdateInstanceCustomHealthStatus",
        json!({ "ServiceId": id, "InstanceId": "task1", "Status": "UNHEALTHY" }),
    );
    let healthy = json!({ "NamespaceName": "lab.local", "ServiceName": "hello", "HealthStatus": "HEALTHY" });
    assert_eq!(call(&lab, "DiscoverInstances", healthy)["Instances"], json!([]));
    assert_eq!(
        call(&lab, "GetInstancesHealthStatus", json!({ "ServiceId": id })),
        json!({ "Status": { "task1": "UNHEALTHY" } })
    );

    assert_eq!(error(discovery::handle(&lab, "DeleteService", json!({ "Id": id }))).code, "ResourceInUse");
    assert!(lab.write(|state| discovery::deregister_instance(state, &id, "task1")));
    assert!(!lab.write(|state| discovery::deregister_instance(state, &id, "task1")));
    assert_eq!(error(discovery::handle(&lab, "DeleteNamespace", json!({ "Id": namespace }))).code, "ResourceInUse");
    call(&lab, "DeleteService", json!({ "Id": id }));
    call(&lab, "DeleteNamespace", json!({ "Id": namespace }));
    assert_eq!(call(&lab, "ListNamespaces", json!({})), json!({ "Namespaces": [] }));
}

#[test]
fn what_exists_is_an_error_that_names_it() {
    let lab = lab();
    let namespace = namespace(&lab);
    let service = service(&lab, &namespace);
    let vpc = lab.read(|state| state.ec2.vpc_id.clone());
    let again = error(discovery::handle(&lab, "CreatePrivateDnsNamespace", json!({ "Name": "lab.local", "Vpc": vpc })));
    assert_eq!(
        (again.code.as_str(), &again.members[0]),
        ("NamespaceAlreadyExists", &("NamespaceId", json!(namespace)))
    );
    assert_eq!(again.members[1], ("CreatorRequestId", json!("r1")));
    let again = error(discovery::handle(&lab, "CreateService", json!({ "Name": "hello", "NamespaceId": namespace })));
    assert_eq!(
        (again.code.as_str(), &again.members[0]),
        ("ServiceAlreadyExists", &("ServiceId", service["Id"].clone()))
    );
}

#[test]
fn tags_stay_with_their_resource() {
    let lab = lab();
    let namespace = namespace(&lab);
    let arn = text(&service(&lab, &namespace), "/Arn");
    call(
        &lab,
        "TagResource",
        json!({ "ResourceARN": arn, "Tags": [{ "Key": "a", "Value": "1" }, { "Key": "b", "Value": "2" }] }),
    );
    call(&lab, "UntagResource", json!({ "ResourceARN": arn, "TagKeys": ["a"] }));
    assert_eq!(
        call(&lab, "ListTagsForResource", json!({ "ResourceARN": arn })),
        json!({ "Tags": [{ "Key": "b", "Value": "2" }] })
    );
}

#[test]
fn bad_requests_have_aws_s_codes() {
    let lab = lab();
    let namespace = namespace(&lab);
    let id = text(&service(&lab, &namespace), "/Id");
    let records =
        |records: Value| json!({ "Name": "x", "NamespaceId": namespace, "DnsConfig": { "DnsRecords": records } });
    let table = [
        ("CreatePrivateDnsNamespace", json!({ "Name": "x" }), "InvalidInput"),
        ("CreatePrivateDnsNamespace", json!({ "Name": "x", "Vpc": "vpc-1" }), "InvalidInput"),
        ("GetNamespace", json!({ "Id": "ns-1" }), "NamespaceNotFound"),
        ("CreateService", json!({ "Name": "x", "NamespaceId": "ns-1" }), "NamespaceNotFound"),
        ("CreateService", records(json!([])), "InvalidInput"),
        ("CreateService", records(json!([{ "Type": "MX", "TTL": 1 }])), "InvalidInput"),
        ("CreateService", records(json!([{ "Type": "A" }])), "InvalidInput"),
        ("GetService", json!({ "Id": "srv-1" }), "ServiceNotFound"),
        ("RegisterInstance", json!({ "ServiceId": id, "InstanceId": "i", "Attributes": {} }), "InvalidInput"),
        ("DeregisterInstance", json!({ "ServiceId": id, "InstanceId": "i" }), "InstanceNotFound"),
        ("GetOperation", json!({ "OperationId": "o" }), "OperationNotFound"),
        ("DiscoverInstances", json!({ "NamespaceName": "nope", "ServiceName": "hello" }), "NamespaceNotFound"),
        ("ListServices", json!({ "Filters": [{ "Name": "COLOUR", "Values": ["red"] }] }), "InvalidInput"),
        ("TagResource", json!({ "ResourceARN": "arn:none", "Tags": [] }), "ResourceNotFoundException"),
        ("Dance", json!({}), "UnknownOperationException"),
    ];
    for (operation, input, code) in table {
        assert_eq!(error(discovery::handle(&lab, operation, input.clone())).code, code, "{operation} {input}");
    }
}

#[test]
fn namespaces_and_services_are_changed() {
    let lab = lab();
    let id = namespace(&lab);
    let change = json!({ "Description": "the lab's", "Properties": { "DnsProperties": { "SOA": { "TTL": 60 } } } });
    let operation = call(&lab, "UpdatePrivateDnsNamespace", json!({ "Id": id, "Namespace": change }));
    let told = call(&lab, "GetOperation", json!({ "OperationId": operation["OperationId"] }));
    assert_eq!(told["Operation"]["Type"], "UPDATE_NAMESPACE");
    let changed = call(&lab, "GetNamespace", json!({ "Id": id }))["Namespace"].clone();
    assert_eq!(changed["Description"], "the lab's");
    assert_eq!(changed["Properties"]["DnsProperties"]["SOA"]["TTL"], 60);
    let as_http = json!({ "Id": id, "Namespace": { "Description": "a" } });
    assert_eq!(error(discovery::handle(&lab, "UpdateHttpNamespace", as_http)).code, "InvalidInput");
    let created = call(&lab, "CreateHttpNamespace", json!({ "Name": "plain" }));
    let told = call(&lab, "GetOperation", json!({ "OperationId": created["OperationId"] }));
    let plain = told["Operation"]["Targets"]["NAMESPACE"].clone();
    call(&lab, "UpdateHttpNamespace", json!({ "Id": plain, "Namespace": { "Description": "without DNS" } }));
    let told = call(&lab, "GetNamespace", json!({ "Id": plain }))["Namespace"].clone();
    assert_eq!((&told["Description"], &told["Properties"].get("DnsProperties")), (&json!("without DNS"), &None));

    let service = service(&lab, &id);
    let attributes = |lab: &Lab| call(lab, "GetServiceAttributes", json!({ "ServiceId": service["Id"] }));
    let update = json!({ "ServiceId": service["Id"], "Attributes": { "team": "web", "tier": "1" } });
    call(&lab, "UpdateServiceAttributes", update);
    call(&lab, "DeleteServiceAttributes", json!({ "ServiceId": service["Id"], "Attributes": ["tier"] }));
    assert_eq!(attributes(&lab)["ServiceAttributes"]["Attributes"], json!({ "team": "web" }));
    let many: serde_json::Map<String, Value> = (0..30).map(|at| (format!("k{at}"), json!("v"))).collect();
    let refused = json!({ "ServiceId": service["Id"], "Attributes": many });
    let refused = error(discovery::handle(&lab, "UpdateServiceAttributes", refused));
    assert_eq!(refused.code, "ServiceAttributesLimitExceededException");
}

#[test]
fn a_lookup_may_ask_for_more_than_it_needs() {
    let lab = lab();
    let namespace = namespace(&lab);
    let id = text(&service(&lab, &namespace), "/Id");
    for (instance, stage) in [("a", "blue"), ("b", "green")] {
        let attributes = json!({ "AWS_INSTANCE_IPV4": "172.31.0.1", "AWS_INSTANCE_PORT": "80", "stage": stage });
        call(&lab, "RegisterInstance", json!({ "ServiceId": id, "InstanceId": instance, "Attributes": attributes }));
    }
    let names = json!({ "NamespaceName": "lab.local", "ServiceName": "hello" });
    let found = |stage: &str| {
        let mut input = names.clone();
        input["OptionalParameters"] = json!({ "stage": stage });
        let found = call(&lab, "DiscoverInstances", input)["Instances"].as_array().cloned().unwrap();
        found.iter().map(|of| text(of, "/InstanceId")).collect::<Vec<_>>()
    };
    assert_eq!(found("green"), ["b"]);
    assert_eq!(found("red").len(), 2);
    let revision = call(&lab, "DiscoverInstancesRevision", names.clone())["InstancesRevision"].as_i64().unwrap();
    call(&lab, "DeregisterInstance", json!({ "ServiceId": id, "InstanceId": "a" }));
    let after = call(&lab, "DiscoverInstancesRevision", names)["InstancesRevision"].as_i64().unwrap();
    assert!(after > revision, "{revision} {after}");
    let nobody = json!({ "NamespaceName": "lab.local", "ServiceName": "nobody" });
    assert_eq!(error(discovery::handle(&lab, "DiscoverInstancesRevision", nobody)).code, "ServiceNotFound");
}

#[test]
fn a_public_namespace_s_service_gets_other_records() {
    let lab = lab();
    let created = call(&lab, "CreatePublicDnsNamespace", json!({ "Name": "example.com" }));
    let told = call(&lab, "GetOperation", json!({ "OperationId": created["OperationId"] }));
    let namespace = text(&told, "/Operation/Targets/NAMESPACE");
    let change = json!({ "Properties": { "DnsProperties": { "SOA": { "TTL": 30 } } } });
    call(&lab, "UpdatePublicDnsNamespace", json!({ "Id": namespace, "Namespace": change }));
    let id = text(&service(&lab, &namespace), "/Id");
    let records =
        |kind: &str| json!({ "Description": "two", "DnsConfig": { "DnsRecords": [{ "Type": kind, "TTL": 60 }] } });
    call(&lab, "UpdateService", json!({ "Id": id, "Service": records("A") }));
    let changed = call(&lab, "GetService", json!({ "Id": id }))["Service"].clone();
    assert_eq!(changed["DnsConfig"]["DnsRecords"], json!([{ "Type": "A", "TTL": 60 }]));
    assert_eq!(changed["Description"], "two");
    assert_eq!(
        error(discovery::handle(&lab, "UpdateService", json!({ "Id": id, "Service": records("MX") }))).code,
        "InvalidInput"
    );
    let attributes = json!({ "AWS_INSTANCE_IPV4": "172.31.0.1", "AWS_INSTANCE_PORT": "80" });
    call(&lab, "RegisterInstance", json!({ "ServiceId": id, "InstanceId": "i", "Attributes": attributes }));
    let found = call(&lab, "GetInstance", json!({ "ServiceId": id, "InstanceId": "i" }));
    assert_eq!(found["Instance"]["Attributes"]["AWS_INSTANCE_IPV4"], "172.31.0.1");
    let nobody = json!({ "ServiceId": id, "InstanceId": "j" });
    assert_eq!(error(discovery::handle(&lab, "GetInstance", nobody)).code, "InstanceNotFound");
}
