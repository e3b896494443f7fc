//! Request tables of the ELBv2 API.

use insta::assert_snapshot;
use serde_json::{Value, json};
use steadystate::lab::{Lab, ec2, elbv2};

use super::{Front, elb, error_text, lab, text};
use crate::ports::free_port;

fn subnets(lab: &Lab) -> Vec<String> {
    lab.read(|state| state.ec2.subnets.iter().map(|subnet| subnet.id.clone()).collect())
}

fn vpc(lab: &Lab) -> String {
    lab.read(|state| state.ec2.vpc_id.clone())
}

fn group(lab: &Lab, name: &str, protocol: &str) -> String {
    let input = json!({ "Name": name, "Protocol": protocol, "Port": "80", "VpcId": vpc(lab) });
    text(&elb(lab, "CreateTargetGroup", input), "/TargetGroups/0/TargetGroupArn")
}

/// As off Linux, where loopback has one address.
#[test]
fn two_load_balancers_of_one_address_have_ports_of_their_own() {
    let front = Front::new(lab(), "network", json!({}));
    let subnets = front.lab.read(|state| json!([state.ec2.subnets[0].id]));
    let created =
        elb(&front.lab, "CreateLoadBalancer", json!({ "Name": "other", "Type": "network", "Subnets": subnets }));
    let other = text(&created, "/LoadBalancers/0/LoadBalancerArn");
    front.lab.write(|state| {
        for load_balancer in &mut state.elbv2.load_balancers {
            load_balancer.address = front.address.ip();
        }
    });
    let refused = format!(
        "InvalidConfigurationRequest: The lab cannot listen on {}: its load balancer 'front' listens there. Choose another \
         listener port",
        front.address
    );
    let actions = json!([{ "Type": "forward", "TargetGroupArn": group(&front.lab, "other", "TCP") }]);
    let mut input = json!({
        "LoadBalancerArn": other, "Protocol": "TCP", "Port": front.address.port().to_string(), "DefaultActions": actions,
    });
    assert_eq!(error_text(elbv2::handle(&front.lab, "CreateListener", input.clone())), refused);
    input["Port"] = json!(free_port().to_string());
    let listener = text(&elb(&front.lab, "CreateListener", input), "/Listeners/0/ListenerArn");
    let modified = json!({ "ListenerArn": listener, "Port": front.address.port().to_string() });
    assert_eq!(error_text(elbv2::handle(&front.lab, "ModifyListener", modified)), refused);
}

#[test]
fn a_load_balancer_is_described_as_aws_does() {
    let lab = lab();
    let created = elb(
        &lab,
        "CreateLoadBalancer",
        json!({ "Name": "front", "Type": "network", "Subnets": subnets(&lab), "Tags": [{ "Key": "a", "Value": "b" }] }),
    );
    let arn = text(&created, "/LoadBalancers/0/LoadBalancerArn");
    let shape = arn.rsplit_once('/').unwrap();
    assert_eq!(shape.0, "arn:aws:elasticloadbalancing:us-west-2:000000000000:loadbalancer/net/front");
    assert!(shape.1.len() == 16 && shape.1.chars().all(|digit| digit.is_ascii_hexdigit()), "{arn}");
    assert_eq!(text(&created, "/LoadBalancers/0/State/Code"), "provisioning");
    let address = text(&created, "/LoadBalancers/0/DNSName");
    assert!(address.parse::<std::net::IpAddr>().unwrap().is_loopback());
    assert_eq!(text(&created, "/LoadBalancers/0/AvailabilityZones/0/ZoneName"), "us-west-2a");
    assert_eq!(created["LoadBalancers"][0].get("SecurityGroups"), None);
    assert!(!created.to_string().contains("null"), "{created}");

    std::thread::sleep(std::time::Duration::from_millis(220));
    for input in [json!({}), json!({ "Names": ["front"] }), json!({ "LoadBalancerArns": [arn] })] {
        let described = elb(&lab, "DescribeLoadBalancers", input);
        assert_eq!(text(&described, "/LoadBalancers/0/LoadBalancerArn"), arn);
        assert_eq!(text(&described, "/LoadBalancers/0/State/Code"), "active");
    }
    let tags = elb(&lab, "DescribeTags", json!({ "ResourceArns": [arn] }));
    assert_eq!(tags, json!({ "TagDescriptions": [{ "ResourceArn": arn, "Tags": [{ "Key": "a", "Value": "b" }] }] }));
    elb(&lab, "AddTags", json!({ "ResourceArns": [arn], "Tags": [{ "Key": "c", "Value": "d" }] }));
    elb(&lab, "RemoveTags", json!({ "ResourceArns": [arn], "TagKeys": ["a"] }));
    let tags = elb(&lab, "DescribeTags", json!({ "ResourceArns": [arn] }));
    assert_eq!(tags["TagDescriptions"][0]["Tags"], json!([{ "Key": "c", "Value": "d" }]));
}

#[test]
fn the_same_again_is_the_same_and_other_settings_are_a_duplicate() {
    let lab = lab();
    let input = json!({ "Name": "front", "Type": "network", "Subnets": subnets(&lab) });
    let first = elb(&lab, "CreateLoadBalancer", input.clone());
    assert_eq!(
        text(&first, "/LoadBalancers/0/LoadBalancerArn"),
        text(&elb(&lab, "CreateLoadBalancer", input), "/LoadBalancers/0/LoadBalancerArn")
    );
    let other = json!({ "Name": "front", "Type": "network", "Subnets": [subnets(&lab)[0]] });
    assert_snapshot!(error_text(elbv2::handle(&lab, "CreateLoadBalancer", other)),
        @"DuplicateLoadBalancerName: A load balancer with the same name 'front' exists, but with different settings");

    assert_eq!(group(&lab, "one", "TCP"), group(&lab, "one", "TCP"));
    let other = json!({ "Name": "one", "Protocol": "TCP", "Port": "81", "VpcId": vpc(&lab) });
    assert_snapshot!(error_text(elbv2::handle(&lab, "CreateTargetGroup", other)),
        @"DuplicateTargetGroupName: A target group with the same name 'one' exists, but with different settings");
}

#[test]
fn health_check_defaults_are_aws_s() {
    let lab = lab();
    let base =
        |name: &str, protocol: &str| json!({ "Name": name, "Protocol": protocol, "Port": "80", "VpcId": vpc(&lab) });
    let of = |mut input: Value, more: Value| {
        input.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        let created = elb(&lab, "CreateTargetGroup", input);
        let one = &created["TargetGroups"][0];
        format!(
            "{} {} {} {}/{} {}/{} {}",
            one["HealthCheckProtocol"],
            one["HealthCheckPort"],
            one["HealthCheckPath"],
            one["HealthCheckIntervalSeconds"],
            one["HealthCheckTimeoutSeconds"],
            one["HealthyThresholdCount"],
            one["UnhealthyThresholdCount"],
            one["Matcher"],
        )
    };
    assert_snapshot!(of(base("a", "HTTP"), json!({})), @r#""HTTP" "traffic-port" "/" 30/5 5/2 {"HttpCode":"200"}"#);
    assert_snapshot!(of(base("b", "TCP"), json!({})), @r#""TCP" "traffic-port" null 30/10 5/2 null"#);
    assert_snapshot!(
        of(base("c", "TCP"), json!({ "HealthCheckProtocol": "HTTP", "HealthCheckPath": "/healthz" })),
        @r#""HTTP" "traffic-port" "/healthz" 30/6 5/2 {"HttpCode":"200-399"}"#
    );
    let arn = group(&lab, "d", "HTTP");
    let change =
        json!({ "TargetGroupArn": arn, "HealthCheckIntervalSeconds": "10", "Matcher": { "HttpCode": "200,204" } });
    let modified = elb(&lab, "ModifyTargetGroup", change);
    assert_eq!(modified["TargetGroups"][0]["HealthCheckIntervalSeconds"], 10);
    assert_eq!(modified["TargetGroups"][0]["Matcher"]["HttpCode"], "200,204");
    assert_eq!(modified["TargetGroups"][0]["HealthCheckTimeoutSeconds"], 5);

    let attributes = json!({ "TargetGroupArn": arn, "Attributes": [{ "Key": "deregistration_delay.timeout_seconds", "Value": "5" }] });
    elb(&lab, "ModifyTargetGroupAttributes", attributes);
    let attributes = elb(&lab, "DescribeTargetGroupAttributes", json!({ "TargetGroupArn": arn }));
    let five = json!({ "Key": "deregistration_delay.timeout_seconds", "Value": "5" });
    assert!(attributes["Attributes"].as_array().unwrap().contains(&five), "{attributes}");
}

#[test]
fn errors_have_aws_s_codes() {
    let front = Front::new(lab(), "network", json!({}));
    let lab = &front.lab;
    let http_group = group(lab, "web", "HTTP");
    let arn = |resource: &str| format!("arn:aws:elasticloadbalancing:us-west-2:000000000000:{resource}");
    let forward = |group: &str| json!([{ "Type": "forward", "TargetGroupArn": group }]);
    let no_listener = arn("listener/net/x/1/2");
    let network = json!({ "Name": "n", "Type": "network" });
    let with = |base: &Value, name: &str, value: Value| {
        let mut input = base.clone();
        input[name] = value;
        input
    };
    let table = [
        ("DescribeLoadBalancers", json!({ "Names": ["nope"] }), "LoadBalancerNotFound"),
        ("DescribeLoadBalancers", json!({ "LoadBalancerArns": [arn("loadbalancer/net/x/1")] }), "LoadBalancerNotFound"),
        ("DescribeTargetGroups", json!({ "Names": ["nope"] }), "TargetGroupNotFound"),
        ("DescribeTargetHealth", json!({ "TargetGroupArn": arn("targetgroup/x/1") }), "TargetGroupNotFound"),
        ("DescribeListeners", json!({ "ListenerArns": [no_listener] }), "ListenerNotFound"),
        ("DescribeListeners", json!({}), "ValidationError"),
        ("DescribeRules", json!({ "RuleArns": [arn("listener-rule/net/x/1/2/3")] }), "RuleNotFound"),
        ("DescribeTags", json!({ "ResourceArns": [arn("targetgroup/x/1")] }), "TargetGroupNotFound"),
        ("DeleteListener", json!({ "ListenerArn": no_listener }), "ListenerNotFound"),
        ("DeleteTargetGroup", json!({ "TargetGroupArn": front.group }), "ResourceInUse"),
        ("CreateLoadBalancer", with(&network, "Subnets", json!(["subnet-1"])), "SubnetNotFound"),
        ("CreateLoadBalancer", network.clone(), "ValidationError"),
        ("CreateLoadBalancer", json!({ "Name": "internal-x", "Subnets": subnets(lab) }), "ValidationError"),
        ("CreateLoadBalancer", json!({ "Name": "a_b", "Subnets": subnets(lab) }), "ValidationError"),
        ("CreateLoadBalancer", json!({ "Name": "app", "Subnets": [subnets(lab)[0]] }), "ValidationError"),
        ("CreateTargetGroup", json!({ "Name": "t", "Protocol": "TCP", "Port": "80" }), "ValidationError"),
        (
            "CreateTargetGroup",
            json!({ "Name": "t", "Protocol": "TCP", "Port": "80", "VpcId": "vpc-1" }),
            "ValidationError",
        ),
        (
            "CreateTargetGroup",
            json!({ "Name": "t", "Protocol": "UDP", "Port": "80", "VpcId": vpc(lab) }),
            "InvalidConfigurationRequest",
        ),
        (
            "CreateTargetGroup",
            json!({ "Name": "t", "Protocol": "TCP", "Port": "0", "VpcId": vpc(lab) }),
            "ValidationError",
        ),
        (
            "CreateListener",
            json!({ "LoadBalancerArn": front.load_balancer, "Protocol": "TCP", "Port": "9", "DefaultActions": forward(&http_group) }),
            "IncompatibleProtocols",
        ),
        (
            "CreateListener",
            json!({ "LoadBalancerArn": front.load_balancer, "Protocol": "HTTP", "Port": "9", "DefaultActions": forward(&front.group) }),
            "ValidationError",
        ),
        (
            "CreateListener",
            json!({ "LoadBalancerArn": front.load_balancer, "Protocol": "TLS", "Port": "9", "DefaultActions": forward(&front.group) }),
            "UnsupportedProtocol",
        ),
        (
            "CreateListener",
            json!({ "LoadBalancerArn": front.load_balancer, "Protocol": "TCP", "Port": front.address.port().to_string(), "DefaultActions": [{ "Type": "forward", "TargetGroupArn": group(lab, "second", "TCP") }] }),
            "DuplicateListener",
        ),
        (
            "CreateRule",
            json!({
                "ListenerArn": front.listener, "Priority": "1", "Actions": forward(&front.group),
                "Conditions": [{ "Field": "path-pattern", "Values": ["/a"] }]
            }),
            "InvalidConfigurationRequest",
        ),
        ("RegisterTargets", json!({ "TargetGroupArn": http_group, "Targets": [{ "Id": "i-123" }] }), "InvalidTarget"),
        (
            "RegisterTargets",
            json!({ "TargetGroupArn": front.group, "Targets": [{ "Id": "not-an-ip" }] }),
            "ValidationError",
        ),
        (
            "DeregisterTargets",
            json!({ "TargetGroupArn": front.group, "Targets": [{ "Id": "10.0.0.9" }] }),
            "InvalidTarget",
        ),
        (
            "ModifyLoadBalancerAttributes",
            json!({ "LoadBalancerArn": front.load_balancer, "Attributes": [{ "Key": "nope", "Value": "1" }] }),
            "ValidationError",
        ),
        (
            "ModifyTargetGroupAttributes",
            json!({ "TargetGroupArn": front.group, "Attributes": [{ "Key": "deregistration_delay.timeout_seconds", "Value": "3601" }] }),
            "InvalidConfigurationRequest",
        ),
        ("Dance", json!({}), "UnknownOperationException"),
    ];
    for (operation, input, code) in table {
        let result = elbv2::handle(lab, operation, input.clone());
        let error = result.expect_err(&format!("{operation} {input}"));
        assert_eq!((error.code.as_str(), error.status), (code, 400), "{operation} {input}: {error}");
    }
    let table = [
        ("DescribeLoadBalancers", json!({ "LoadBalancerArns": ["web"] }), "'web' is not a valid load balancer ARN"),
        (
            "CreateListener",
            json!({ "LoadBalancerArn": front.group, "DefaultActions": [] }),
            "is not a valid load balancer ARN",
        ),
        ("DescribeTargetGroups", json!({ "TargetGroupArns": ["*"] }), "'*' is not a valid target group ARN"),
        ("DescribeTargetHealth", json!({ "TargetGroupArn": front.listener }), "is not a valid target group ARN"),
        ("DescribeTags", json!({ "ResourceArns": ["web"] }), "'web' must be in ARN format"),
        (
            "AddTags",
            json!({ "ResourceArns": [front.group, front.listener], "Tags": [{ "Key": "a", "Value": "b" }] }),
            "Only one resource can be tagged at a time",
        ),
        (
            "AddTags",
            json!({ "ResourceArns": [front.group], "Tags": [{ "Key": "aws:a", "Value": "b" }] }),
            "Tag keys beginning with aws: are reserved",
        ),
        ("DescribeListeners", json!({ "ListenerArns": ["web"] }), "'web' is not a valid listener ARN"),
    ];
    for (operation, input, message) in table {
        let error = error_text(elbv2::handle(lab, operation, input));
        assert!(error.starts_with("ValidationError: ") && error.ends_with(message), "{operation}: {error}");
    }
    // What is gone is gone already.
    elb(lab, "DeleteLoadBalancer", json!({ "LoadBalancerArn": arn("loadbalancer/net/x/1") }));
    elb(lab, "DeleteTargetGroup", json!({ "TargetGroupArn": arn("targetgroup/x/1") }));
}

#[test]
fn a_group_belongs_to_one_load_balancer_and_is_free_when_that_is_deleted() {
    let front = Front::new(lab(), "network", json!({}));
    let lab = &front.lab;
    let described = elb(lab, "DescribeTargetGroups", json!({ "LoadBalancerArn": front.load_balancer }));
    assert_eq!(described["TargetGroups"][0]["LoadBalancerArns"], json!([front.load_balancer]));
    assert_eq!(
        lab.read(|state| elbv2::target_groups_of_load_balancer(state, &front.load_balancer)),
        std::slice::from_ref(&front.group)
    );
    assert!(lab.read(|state| elbv2::is_attached(state, &front.group)));

    let other = elb(lab, "CreateLoadBalancer", json!({ "Name": "other", "Type": "network", "Subnets": subnets(lab) }));
    let other = text(&other, "/LoadBalancers/0/LoadBalancerArn");
    let listener = json!({ "LoadBalancerArn": other, "Protocol": "TCP", "Port": "9", "DefaultActions": [{ "Type": "forward", "TargetGroupArn": front.group }] });
    let refused = error_text(elbv2::handle(lab, "CreateListener", listener));
    assert!(refused.starts_with("TargetGroupAssociationLimit: "), "{refused}");

    let protect = |value: &str| json!({ "LoadBalancerArn": front.load_balancer, "Attributes": [{ "Key": "deletion_protection.enabled", "Value": value }] });
    elb(lab, "ModifyLoadBalancerAttributes", protect("true"));
    let refused =
        error_text(elbv2::handle(lab, "DeleteLoadBalancer", json!({ "LoadBalancerArn": front.load_balancer })));
    assert!(
        refused.starts_with("OperationNotPermitted: ") && refused.ends_with("deletion protection is enabled"),
        "{refused}"
    );
    elb(lab, "ModifyLoadBalancerAttributes", protect("false"));
    elb(lab, "DeleteLoadBalancer", json!({ "LoadBalancerArn": front.load_balancer }));
    assert!(elbv2::handle(lab, "DescribeListeners", json!({ "ListenerArns": [front.listener] })).is_err());
    assert!(!lab.read(|state| elbv2::is_attached(state, &front.group)));
    elb(lab, "DeleteTargetGroup", json!({ "TargetGroupArn": front.group }));
}

#[test]
fn rules_stand_in_the_order_of_their_priority() {
    let front = Front::new(lab(), "application", json!({}));
    let lab = &front.lab;
    let fixed = |body: &str| json!([{ "Type": "fixed-response", "FixedResponseConfig": { "StatusCode": "200", "MessageBody": body } }]);
    let rule = |priority: &str, field: &str, value: &str| json!({ "ListenerArn": front.listener, "Priority": priority, "Conditions": [{ "Field": field, "Values": [value] }], "Actions": fixed(value) });
    let late = text(&elb(lab, "CreateRule", rule("20", "path-pattern", "/late*")), "/Rules/0/RuleArn");
    elb(lab, "CreateRule", rule("10", "host-header", "*.example.com"));
    let priorities = |lab: &Lab| -> Vec<String> {
        let rules = elb(lab, "DescribeRules", json!({ "ListenerArn": front.listener }));
        rules["Rules"].as_array().unwrap().iter().map(|rule| text(rule, "/Priority")).collect()
    };
    assert_eq!(priorities(lab), ["10", "20", "default"]);
    assert_snapshot!(error_text(elbv2::handle(lab, "CreateRule", rule("10", "path-pattern", "/x"))), @"PriorityInUse: Priority '10' is currently in use");
    let modified = elb(
        lab,
        "ModifyRule",
        json!({ "RuleArn": late, "Conditions": [{ "Field": "path-pattern", "PathPatternConfig": { "Values": ["/b", "/c"] } }] }),
    );
    assert_eq!(modified["Rules"][0]["Conditions"][0]["Values"], json!(["/b", "/c"]));
    assert_eq!(modified["Rules"][0]["Actions"][0]["FixedResponseConfig"]["MessageBody"], "/late*");
    let default = elb(lab, "DescribeRules", json!({ "ListenerArn": front.listener }));
    let default = text(&default, "/Rules/2/RuleArn");
    assert!(
        error_text(elbv2::handle(lab, "DeleteRule", json!({ "RuleArn": default })))
            .starts_with("OperationNotPermitted: ")
    );
    elb(lab, "DeleteRule", json!({ "RuleArn": late }));
    assert_eq!(priorities(lab), ["10", "default"]);
}

#[test]
fn targets_without_a_load_balancer_are_unused() {
    let lab = lab();
    let group = group(&lab, "idle", "TCP");
    let instance = lab.write(ec2::new_instance);
    elb(&lab, "RegisterTargets", json!({ "TargetGroupArn": group, "Targets": [{ "Id": instance, "Port": "32768" }] }));
    let health = elb(&lab, "DescribeTargetHealth", json!({ "TargetGroupArn": group }));
    assert_eq!(
        health["TargetHealthDescriptions"][0],
        json!({
            "Target": { "Id": instance, "Port": 32768 },
            "HealthCheckPort": "32768",
            "TargetHealth": {
                "State": "unused",
                "Reason": "Target.NotInUse",
                "Description": "Target group is not configured to receive traffic from the load balancer",
            },
        })
    );
    let asked = json!({ "TargetGroupArn": group, "Targets": [{ "Id": "i-0" }] });
    let health = elb(&lab, "DescribeTargetHealth", asked);
    assert_eq!(health["TargetHealthDescriptions"][0]["TargetHealth"]["Reason"], "Target.NotRegistered");
    elb(&lab, "DeregisterTargets", json!({ "TargetGroupArn": group, "Targets": [{ "Id": instance }] }));
    let health = elb(&lab, "DescribeTargetHealth", json!({ "TargetGroupArn": group }));
    assert_eq!(health["TargetHealthDescriptions"], json!([]));
}

#[test]
fn listings_come_in_pages() {
    let lab = lab();
    for name in ["a", "b", "c"] {
        group(&lab, name, "TCP");
    }
    let first = elb(&lab, "DescribeTargetGroups", json!({ "PageSize": "2" }));
    assert_eq!(first["TargetGroups"].as_array().unwrap().len(), 2);
    let second = elb(&lab, "DescribeTargetGroups", json!({ "PageSize": "2", "Marker": text(&first, "/NextMarker") }));
    assert_eq!(text(&second, "/TargetGroups/0/TargetGroupName"), "c");
    assert_eq!(second.get("NextMarker"), None);
}
