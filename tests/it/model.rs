//! AWS's shapes, and values held against them.

use serde_json::{Value, json};
use steadystate::aws_model::{Problem, Protocol, Service, Shape, check, operation, shape};

fn said(service: Service, shape: &str, value: &Value) -> Vec<String> {
    check(service, shape, value)
        .into_iter()
        .map(|finding| {
            let hint = finding.suggestion.map_or_else(String::new, |suggestion| format!(" -> {suggestion}"));
            format!("{}: {}{hint}", finding.pointer, finding.problem)
        })
        .collect()
}

#[test]
fn every_table_is_whole() {
    for service in Service::ALL {
        let model = service.model();
        let least = if service == Service::EcrPublic { 1 } else { 6 };
        assert!(model.operations.len() >= least, "{service:?}");
        let exists = |name: &str| assert!(model.shape(name).is_some(), "{service:?} lacks {name}");
        for operation in model.operations.values() {
            operation.input.iter().chain(&operation.output).chain(&operation.errors).for_each(|name| exists(name));
        }
        for (name, shape) in model.shapes() {
            match shape {
                Shape::Structure(structure) => {
                    structure.members.iter().for_each(|member| exists(&member.shape));
                    for required in &structure.required {
                        assert!(structure.member(required).is_some(), "{service:?} {name} requires {required}");
                    }
                }
                Shape::List { element, .. } => exists(element),
                Shape::Map { key, value, .. } => [key, value].into_iter().for_each(|name| exists(name)),
                _ => {}
            }
        }
    }
}

#[test]
fn what_the_scenario_calls_is_there() {
    let table = [
        (
            Service::Ecs,
            "RegisterTaskDefinition CreateService UpdateService DescribeServiceDeployments StopServiceDeployment ListServiceDeployments DescribeServiceRevisions DescribeTasks",
        ),
        (
            Service::Ecr,
            "CreateRepository DescribeRepositories SetRepositoryPolicy GetAuthorizationToken BatchCheckLayerAvailability DescribeImages PutImage",
        ),
        (Service::EcrPublic, "GetAuthorizationToken"),
        (Service::Elbv2, "CreateLoadBalancer CreateTargetGroup CreateListener DescribeTargetHealth"),
        (Service::ServiceDiscovery, "CreateService ListServices ListNamespaces GetOperation"),
        (Service::Logs, "FilterLogEvents GetLogEvents CreateLogGroup"),
        (Service::Sts, "GetCallerIdentity"),
        (Service::Ec2, "DescribeVpcs DescribeSubnets DescribeSecurityGroups DescribeInstances"),
        (Service::Ssm, "PutParameter GetParameters GetParametersByPath DescribeParameters AddTagsToResource"),
        (Service::SecretsManager, "CreateSecret PutSecretValue GetSecretValue DeleteSecret RestoreSecret"),
        (Service::CloudWatch, "PutMetricAlarm DescribeAlarms SetAlarmState DeleteAlarms"),
        (Service::Iam, "CreateRole GetRole PutRolePolicy AttachRolePolicy SimulatePrincipalPolicy"),
    ];
    for (service, names) in table {
        for name in names.split(' ') {
            assert!(operation(service, name).is_some(), "{service:?} lacks {name}");
        }
    }
    assert_eq!(Service::by_target_prefix("AmazonEC2ContainerServiceV20141113"), Some(Service::Ecs));
    assert_eq!(Service::by_target_prefix("Logs_20140328"), Some(Service::Logs));
    assert_eq!(Service::by_target_prefix(""), None);
    assert_eq!((Service::Elbv2.model().protocol, Service::Ec2.model().protocol), (Protocol::Query, Protocol::Ec2));
    let Some(Shape::Structure(error)) = shape(Service::Elbv2, "TargetGroupNotFoundException") else { panic!() };
    assert_eq!(error.error, Some(("TargetGroupNotFound".to_owned(), 400)));
}

#[test]
fn findings_name_place_problem_and_fix() {
    let task = |container: Value| json!({"family": "f", "containerDefinitions": [container]});
    let table = [
        (task(json!({"name": "a", "memory": 128})), vec![]),
        (
            task(json!({"mage": "b"})),
            vec!["/containerDefinitions/0/mage: unknown member \"mage\" in ContainerDefinition -> image"],
        ),
        (
            task(json!({"entrypoint": []})),
            vec![
                "/containerDefinitions/0/entrypoint: unknown member \"entrypoint\" in ContainerDefinition -> entryPoint",
            ],
        ),
        (task(json!({"zzz": 1})), vec!["/containerDefinitions/0/zzz: unknown member \"zzz\" in ContainerDefinition"]),
        (
            task(json!({"memory": "128"})),
            vec!["/containerDefinitions/0/memory: expected an integer, found a string -> 128"],
        ),
        (
            task(json!({"memory": 128.0})),
            vec!["/containerDefinitions/0/memory: expected an integer, found a number with a fraction -> 128"],
        ),
        (
            task(json!({"memory": 1.5})),
            vec!["/containerDefinitions/0/memory: expected an integer, found a number with a fraction"],
        ),
        (
            task(json!({"memory": 2_147_483_648_u64})),
            vec!["/containerDefinitions/0/memory: value 2147483648 is not between -2147483648 and 2147483647"],
        ),
        (
            task(json!({"essential": "True"})),
            vec!["/containerDefinitions/0/essential: expected true or false, found a string -> true"],
        ),
        (task(json!({"name": 1})), vec!["/containerDefinitions/0/name: expected a string, found a number -> \"1\""]),
        (
            task(json!({"command": "x"})),
            vec!["/containerDefinitions/0/command: expected a list, found a string -> [\"x\"]"],
        ),
        (task(json!({"cpu": null})), vec!["/containerDefinitions/0/cpu: null is not a value here"]),
        (
            task(json!({"dockerLabels": {"a/b": 1}})),
            vec!["/containerDefinitions/0/dockerLabels/a~1b: expected a string, found a number -> \"1\""],
        ),
        (
            task(json!({"secrets": [{"name": "a"}]})),
            vec!["/containerDefinitions/0/secrets/0: \"valueFrom\" is missing"],
        ),
        (
            task(json!({"logConfiguration": {"logDriver": "awslog"}})),
            vec![
                "/containerDefinitions/0/logConfiguration/logDriver: \"awslog\" is not one of json-file, syslog, journald, gelf, fluentd, awslogs, splunk, awsfirelens -> \"awslogs\"",
            ],
        ),
        (json!({"family": "f"}), vec![": \"containerDefinitions\" is missing"]),
        (json!([]), vec![": expected an object, found a list"]),
    ];
    for (value, wanted) in table {
        assert_eq!(said(Service::Ecs, "RegisterTaskDefinitionRequest", &value), wanted, "{value}");
    }
}

#[test]
fn bounds_of_every_kind() {
    let table = [
        (Service::Ecr, "RepositoryName", json!("a"), vec![": length 1 is less than 2"]),
        (Service::Ecs, "PortNumber", json!(65536), vec![": value 65536 is not between 0 and 65535"]),
        (Service::Ecs, "TaskVolumeStorageGiB", json!(0), vec![": value 0 is not between 1 and 2147483647"]),
        (Service::Ecs, "Timestamp", json!(1.5), vec![]),
        (Service::Ecs, "Timestamp", json!("2026-01-01T00:00:00Z"), vec![": expected a timestamp, found a string"]),
        (Service::Ecs, "HookDetails", json!({"anything": [null]}), vec![]),
        (Service::Ecs, "Nope", json!(1), vec![": unknown member \"Nope\" in the model"]),
    ];
    for (service, shape, value, wanted) in table {
        let said = said(service, shape, &value);
        match wanted.first() {
            Some(wanted) if shape == "RepositoryName" => assert!(said[0].contains("length 1 is"), "{said:?} {wanted}"),
            _ => assert_eq!(said, wanted, "{shape} {value}"),
        }
    }
    let findings = check(Service::Ecs, "PortNumber", &json!(-1));
    assert!(matches!(&findings[0].problem, Problem::Range { what: "value", found, .. } if found == "-1"));
}

#[test]
fn forms_are_text_and_have_names_of_their_own() {
    let table = [
        (
            Service::Elbv2,
            "CreateTargetGroupInput",
            json!({"Name": "a", "Port": "80", "HealthCheckEnabled": "true"}),
            vec![],
        ),
        (
            Service::Elbv2,
            "CreateTargetGroupInput",
            json!({"Name": "a", "Port": "x"}),
            vec!["/Port: expected an integer, found a string"],
        ),
        (
            Service::Elbv2,
            "CreateTargetGroupInput",
            json!({"Name": "a", "Port": "70000"}),
            vec!["/Port: value 70000 is not between 1 and 65535"],
        ),
        (Service::Elbv2, "CreateTargetGroupInput", json!({}), vec![": \"Name\" is missing"]),
        // EC2: the request's name on the wire, the reply's, and the model's.
        (
            Service::Ec2,
            "DescribeSubnetsRequest",
            json!({"SubnetId": ["subnet-1"], "Filter": [{"Name": "vpc-id", "Value": ["v"]}]}),
            vec![],
        ),
        (
            Service::Ec2,
            "DescribeSubnetsResult",
            json!({"subnetSet": [{"subnetId": "s", "defaultForAz": true}]}),
            vec![],
        ),
        (
            Service::Ec2,
            "DescribeSubnetsResult",
            json!({"Subnets": [{"SubnetIdd": "s"}]}),
            vec!["/Subnets/0/SubnetIdd: unknown member \"SubnetIdd\" in Subnet -> SubnetId"],
        ),
    ];
    for (service, shape, value, wanted) in table {
        assert_eq!(said(service, shape, &value), wanted, "{shape} {value}");
    }
}
