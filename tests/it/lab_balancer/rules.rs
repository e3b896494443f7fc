//! Rules: their conditions, and the order that they stand in.

use serde_json::{Value, json};
use steadystate::lab::elbv2;

use super::web::send;
use super::{Front, Running, Targets, elb, error_text, lab, text};

fn fixed(body: &str) -> Value {
    json!([{ "Type": "fixed-response", "FixedResponseConfig": { "StatusCode": "200", "MessageBody": body } }])
}

fn create(front: &Front, priority: usize, conditions: Value) -> Value {
    let body = format!("rule {priority}");
    let input = json!({
        "ListenerArn": front.listener, "Priority": priority.to_string(), "Conditions": conditions, "Actions": fixed(&body),
    });
    elb(&front.lab, "CreateRule", input)["Rules"][0].clone()
}

#[tokio::test]
async fn every_kind_of_condition_chooses() {
    let front = Front::new(lab(), "application", json!({}));
    let running = Running::start(&front.lab, &Targets::default());
    let query = |values: Value| json!({ "Field": "query-string", "QueryStringConfig": { "Values": values } });
    let header = |name: &str, values: Value| json!({ "Field": "http-header", "HttpHeaderConfig": { "HttpHeaderName": name, "Values": values } });
    let source = |network: &str| json!({ "Field": "source-ip", "SourceIpConfig": { "Values": [network] } });
    let path = |pattern: &str| json!({ "Field": "path-pattern", "Values": [pattern] });
    let rules = [
        json!([query(json!([{ "Key": "version", "Value": "v?" }, { "Value": "*beta*" }]))]),
        json!([header("User-Agent", json!(["*Chrome*", "curl/*"])), header("x-stage", json!(["test"]))]),
        json!([source("10.0.0.0/8"), path("/net")]),
        json!([source("127.0.0.0/8"), path("/net")]),
        json!([source("0.0.0.0/0"), path("/any")]),
    ];
    for (at, conditions) in rules.iter().enumerate() {
        let rule = create(&front, at + 1, conditions.clone());
        let shown = rule["Conditions"].as_array().unwrap();
        for (shown, given) in shown.iter().zip(conditions.as_array().unwrap()) {
            let config = given.as_object().unwrap().keys().find(|key| key.ends_with("Config"));
            assert!(config.is_none_or(|config| shown[config] == given[config]), "{shown}");
        }
    }
    // (path, header, who answers)
    let table = [
        ("/?version=v1", "", "rule 1"),
        ("/?VERSION=V2&a=b", "", "rule 1"),
        ("/?version=10", "", "503"),
        ("/?a=b&c=my-beta-1", "", "rule 1"),
        ("/?a=%62eta", "", "rule 1"),
        ("/", "X-Stage: test\r\nUser-Agent: Mozilla Chrome/1\r\n", "rule 2"),
        ("/", "x-stage: TEST\r\nUser-Agent: curl/8\r\n", "rule 2"),
        ("/", "User-Agent: curl/8\r\n", "503"),
        ("/net", "", "rule 4"),
        ("/any", "", "rule 5"),
    ];
    for (path, headers, expected) in table {
        let request = format!("GET {path} HTTP/1.1\r\nHost: h\r\n{headers}Connection: close\r\n\r\n");
        let answer = send(front.address, &request).await.unwrap();
        assert!(answer.contains(expected), "{path} {headers:?}: {answer}");
    }
    running.stop().await;
}

#[test]
fn what_conditions_refuse() {
    let front = Front::new(lab(), "application", json!({}));
    let table = [
        (json!([]), "A condition must be specified"),
        (json!([{ "Field": "path-pattern" }]), "A condition value must be specified"),
        (json!([{ "Field": "moon", "Values": ["a"] }]), "Condition field 'moon' must be one of"),
        (
            json!([{ "Field": "path-pattern", "Values": ["/a"] }, { "Field": "path-pattern", "Values": ["/b"] }]),
            "A rule can have one condition each of",
        ),
        (
            json!([{ "Field": "path-pattern", "PathPatternConfig": { "Values": ["1", "2", "3", "4", "5", "6"] } }]),
            "A rule can only have '5' condition values",
        ),
        (
            json!([{ "Field": "path-pattern", "Values": ["/a b<"] }]),
            "Condition value '/a b<' contains a character that is not valid",
        ),
        (
            json!([{ "Field": "host-header", "HostHeaderConfig": { "Values": ["a/b"] } }]),
            "Condition value 'a/b' contains a character that is not valid",
        ),
        (
            json!([{ "Field": "source-ip", "SourceIpConfig": { "Values": ["10.0.0.0/33"] } }]),
            "The CIDR block '10.0.0.0/33' is not valid",
        ),
        (
            json!([{ "Field": "http-header", "HttpHeaderConfig": { "HttpHeaderName": "Host", "Values": ["a"] } }]),
            "The http-header condition cannot be used for the host header",
        ),
        (
            json!([{ "Field": "http-request-method", "HttpRequestMethodConfig": { "Values": ["get"] } }]),
            "The HTTP request method 'get' is not valid",
        ),
    ];
    for (conditions, message) in table {
        let input = json!({
            "ListenerArn": front.listener, "Priority": "1", "Conditions": conditions, "Actions": fixed("a"),
        });
        let refused = error_text(elbv2::handle(&front.lab, "CreateRule", input));
        assert!(refused.starts_with("ValidationError: ") && refused.contains(message), "{refused}");
    }
}

#[test]
fn rules_change_places_at_once() {
    let front = Front::new(lab(), "application", json!({}));
    let path = |pattern: &str| json!([{ "Field": "path-pattern", "Values": [pattern] }]);
    let arns: Vec<String> = (1..=3).map(|at| text(&create(&front, at, path(&format!("/{at}"))), "/RuleArn")).collect();
    let set = |pairs: &[(&String, &str)]| {
        let pairs: Vec<Value> =
            pairs.iter().map(|(arn, priority)| json!({ "RuleArn": arn, "Priority": priority })).collect();
        elbv2::handle(&front.lab, "SetRulePriorities", json!({ "RulePriorities": pairs }))
    };
    let order = || {
        let rules = elb(&front.lab, "DescribeRules", json!({ "ListenerArn": front.listener }))["Rules"].clone();
        let show = |rule: &Value| {
            format!("{} {}", text(rule, "/Priority"), rule["Conditions"][0]["Values"][0].as_str().unwrap_or("-"))
        };
        rules.as_array().unwrap().iter().map(show).collect::<Vec<_>>()
    };
    let reply = set(&[(&arns[0], "2"), (&arns[1], "1")]).unwrap();
    assert_eq!(reply["Rules"][0]["Priority"], "2");
    assert_eq!(order(), ["1 /2", "2 /1", "3 /3", "default -"]);
    assert_eq!(error_text(set(&[(&arns[0], "3")])), "PriorityInUse: Priority '3' is currently in use");
    assert_eq!(order(), ["1 /2", "2 /1", "3 /3", "default -"], "nothing is half done");
    let default = elb(&front.lab, "DescribeRules", json!({ "ListenerArn": front.listener }));
    let default = text(&default, "/Rules/3/RuleArn");
    assert!(error_text(set(&[(&default, "9")])).starts_with("OperationNotPermitted: "));
    let nobody = "arn:aws:elasticloadbalancing:us-west-2:000000000000:listener-rule/app/x/1/2/3".to_owned();
    assert!(error_text(set(&[(&nobody, "9")])).starts_with("RuleNotFound: "));
}

#[test]
fn quotas_hold() {
    let front = Front::new(lab(), "application", json!({}));
    for at in 1..=100 {
        create(&front, at, json!([{ "Field": "path-pattern", "Values": [format!("/{at}")] }]));
    }
    let call = |operation: &str, input: Value| error_text(elbv2::handle(&front.lab, operation, input));
    let conditions = json!([{ "Field": "path-pattern", "Values": ["/x"] }]);
    let rule =
        json!({ "ListenerArn": front.listener, "Priority": "101", "Conditions": conditions, "Actions": fixed("a") });
    assert!(call("CreateRule", rule.clone()).starts_with("TooManyRules: "));
    let first =
        elb(&front.lab, "DescribeRules", json!({ "ListenerArn": front.listener }))["Rules"][0]["RuleArn"].clone();
    let groups = json!(vec![json!({ "TargetGroupArn": front.group, "Weight": "1" }); 6]);
    let many = json!([{ "Type": "forward", "ForwardConfig": { "TargetGroups": groups } }]);
    let refused = call("ModifyRule", json!({ "RuleArn": first, "Actions": many }));
    assert_eq!(refused, "ValidationError: An action can forward to at most '5' target groups");
    elb(&front.lab, "DeleteRule", json!({ "RuleArn": first }));
    elb(&front.lab, "CreateRule", rule);

    let tags = |from: usize, to: usize| {
        json!((from..to).map(|at| json!({ "Key": at.to_string(), "Value": "" })).collect::<Vec<_>>())
    };
    let add = |tags: Value| json!({ "ResourceArns": [front.group], "Tags": tags });
    elb(&front.lab, "AddTags", add(tags(0, 50)));
    elb(&front.lab, "AddTags", add(tags(10, 20)));
    assert!(call("AddTags", add(tags(50, 51))).starts_with("TooManyTags: "));
    let mut group = json!({ "Name": "twice", "Protocol": "HTTP", "Port": "80" });
    group["VpcId"] = json!(front.lab.read(|state| state.ec2.vpc_id.clone()));
    group["Tags"] = json!([{ "Key": "a", "Value": "1" }, { "Key": "a", "Value": "2" }]);
    assert_eq!(call("CreateTargetGroup", group), "ValidationError: A tag key was specified more than once");
    let twice = json!([{ "Key": "a", "Value": "1" }, { "Key": "a", "Value": "2" }]);
    assert!(call("AddTags", add(twice)).starts_with("DuplicateTagKeys: "));
}

#[test]
fn quotas_come_in_pages() {
    let front = Front::new(lab(), "application", json!({}));
    let first = elb(&front.lab, "DescribeAccountLimits", json!({ "PageSize": "10" }));
    assert_eq!(first["Limits"].as_array().map(Vec::len), Some(10));
    let rest = elb(&front.lab, "DescribeAccountLimits", json!({ "Marker": first["NextMarker"] }));
    assert_eq!((rest["Limits"].as_array().map(Vec::len), &rest["NextMarker"]), (Some(4), &Value::Null));
    let dual = json!({ "LoadBalancerArn": front.load_balancer, "IpAddressType": "dualstack" });
    assert!(
        error_text(elbv2::handle(&front.lab, "SetIpAddressType", dual)).starts_with("InvalidConfigurationRequest: ")
    );
    let ipv4 = json!({ "LoadBalancerArn": front.load_balancer, "IpAddressType": "ipv4" });
    assert_eq!(elb(&front.lab, "SetIpAddressType", ipv4), json!({ "IpAddressType": "ipv4" }));
}

#[test]
fn a_load_balancer_s_place_and_attributes_change() {
    let front = Front::new(lab(), "application", json!({}));
    let (subnets, group) = front.lab.read(|state| {
        let subnets: Vec<String> = state.ec2.subnets.iter().map(|subnet| subnet.id.clone()).collect();
        (subnets, state.ec2.security_group_id.clone())
    });
    let of = |operation: &str, member: &str, value: Value| {
        let mut input = json!({ "LoadBalancerArn": front.load_balancer });
        input[member] = value;
        elbv2::handle(&front.lab, operation, input)
    };
    let zones = of("SetSubnets", "Subnets", json!(subnets[..2])).unwrap();
    assert_eq!(zones["AvailabilityZones"].as_array().map(Vec::len), Some(2));
    assert!(error_text(of("SetSubnets", "Subnets", json!(["subnet-1"]))).starts_with("SubnetNotFound: "));
    let groups = of("SetSecurityGroups", "SecurityGroups", json!([group])).unwrap();
    assert_eq!(groups["SecurityGroupIds"], json!([group]));
    assert!(
        error_text(of("SetSecurityGroups", "SecurityGroups", json!(["sg-1"]))).starts_with("InvalidSecurityGroup: ")
    );
    let timeout = json!([{ "Key": "idle_timeout.timeout_seconds", "Value": "120" }]);
    of("ModifyLoadBalancerAttributes", "Attributes", timeout.clone()).unwrap();
    let all = elb(&front.lab, "DescribeLoadBalancerAttributes", json!({ "LoadBalancerArn": front.load_balancer }));
    assert!(all["Attributes"].as_array().unwrap().contains(&timeout[0]), "{all}");
    let never = json!([{ "Key": "idle_timeout.timeout_seconds", "Value": "5000" }]);
    let refused = error_text(of("ModifyLoadBalancerAttributes", "Attributes", never));
    assert!(refused.starts_with("InvalidConfigurationRequest: "), "{refused}");
}
