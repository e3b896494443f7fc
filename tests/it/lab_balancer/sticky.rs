//! Who stays with which target, and who begins slowly.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::web::{Web, get, send};
use super::{Front, Running, Targets, elb, error_text, lab, text};
use steadystate::lab::elbv2;

/// An application load balancer before three targets that are healthy.
struct Three {
    front: Front,
    running: Running,
    webs: Vec<Web>,
}

impl Three {
    async fn start(kind: &str) -> Three {
        let health = if kind == "network" { json!({}) } else { json!({ "HealthCheckPath": "/healthz" }) };
        let front = Front::new(lab(), kind, health);
        let targets = Targets::default();
        let running = Running::start(&front.lab, &targets);
        let mut webs = Vec::new();
        for at in 1..=3 {
            let web = Web::start(&format!("web{at}")).await;
            targets.lock().unwrap().insert(format!("10.0.0.{at}"), web.address);
            front.register(&format!("10.0.0.{at}"));
            webs.push(web);
        }
        for at in 1..=3 {
            front.until_health(&format!("10.0.0.{at}"), "healthy").await;
        }
        Three { front, running, webs }
    }

    fn modify(&self, attributes: &[(&str, &str)]) {
        let attributes: Vec<Value> =
            attributes.iter().map(|(key, value)| json!({ "Key": key, "Value": value })).collect();
        let input = json!({ "TargetGroupArn": self.front.group, "Attributes": attributes });
        elb(&self.front.lab, "ModifyTargetGroupAttributes", input);
    }

    async fn ask(&self, path: &str, cookies: &str) -> String {
        let cookie = if cookies.is_empty() { String::new() } else { format!("Cookie: {cookies}\r\n") };
        let request = format!("GET {path} HTTP/1.1\r\nHost: h\r\n{cookie}Connection: close\r\n\r\n");
        send(self.front.address, &request).await.unwrap()
    }

    async fn stop(self) {
        self.running.stop().await;
        for web in self.webs {
            web.stop().await;
        }
    }
}

/// Which of them answered.
fn who(answer: &str) -> &str {
    let body = answer.split_once("\r\n\r\n").map_or("", |(_, body)| body);
    body.split(' ').next().unwrap_or_default()
}

/// `name=value` as an answer sets it.
fn cookie(answer: &str, name: &str) -> Option<String> {
    let begins = format!("set-cookie: {name}=");
    let line = answer.lines().find(|line| line.to_lowercase().starts_with(&begins.to_lowercase()))?;
    line.split(": ").nth(1)?.split(';').next().map(str::to_owned)
}

#[tokio::test]
async fn a_client_comes_back_to_its_target_by_the_balancer_s_cookie() {
    let three = Three::start("application").await;
    assert_eq!(cookie(&three.ask("/", "").await, "AWSALB"), None);
    three.modify(&[("stickiness.enabled", "true"), ("stickiness.lb_cookie.duration_seconds", "60")]);
    let first = three.ask("/", "").await;
    let mine = cookie(&first, "AWSALB").expect("a cookie");
    assert!(first.contains("; Path=/; SameSite=None"), "{first}");
    for _ in 0..6 {
        let answer = three.ask("/", &format!("a=b; {mine}")).await;
        assert_eq!(who(&answer), who(&first));
        assert!(cookie(&answer, "AWSALB").is_some(), "it is renewed");
    }
    let mut others = BTreeSet::new();
    for _ in 0..3 {
        others.insert(who(&three.ask("/", "AWSALB=1f.00").await).to_owned());
    }
    assert_eq!(others.len(), 3, "nobody is bound by what the balancer did not say");
    // A target that leaves loses even those who are bound to it.
    let at = who(&first).trim_start_matches("web");
    three.front.deregister(&format!("10.0.0.{at}"));
    let after = three.ask("/", &mine).await;
    assert!(after.starts_with("HTTP/1.1 200") && who(&after) != who(&first), "{after}");
    let now = cookie(&after, "AWSALB").expect("a cookie");
    assert_eq!(who(&three.ask("/", &now).await), who(&after));
    three.stop().await;
}

#[tokio::test]
async fn a_client_comes_back_to_its_target_by_the_application_s_cookie() {
    let three = Three::start("application").await;
    three.modify(&[
        ("stickiness.enabled", "true"),
        ("stickiness.type", "app_cookie"),
        ("stickiness.app_cookie.cookie_name", "SESSION"),
    ]);
    assert_eq!(cookie(&three.ask("/", "").await, "AWSALBAPP-0"), None, "the application set none");
    let first = three.ask("/login", "").await;
    let mine = cookie(&first, "AWSALBAPP-0").expect("a cookie");
    for _ in 0..6 {
        assert_eq!(who(&three.ask("/", &format!("SESSION=1; {mine}")).await), who(&first));
    }
    let mut without = BTreeSet::new();
    for _ in 0..3 {
        without.insert(who(&three.ask("/", &mine).await).to_owned());
    }
    assert_eq!(without.len(), 3, "the application's own cookie is needed, too");
    three.stop().await;
}

#[tokio::test]
async fn a_client_stays_with_its_target_group() {
    let three = Three::start("application").await;
    let lab = &three.front.lab;
    let vpc = lab.read(|state| state.ec2.vpc_id.clone());
    let other = json!({ "Name": "other", "Protocol": "HTTP", "Port": "80", "VpcId": vpc, "TargetType": "ip" });
    let other = text(&elb(lab, "CreateTargetGroup", other), "/TargetGroups/0/TargetGroupArn");
    let forward = |weights: [&str; 2]| {
        let groups = json!([
            { "TargetGroupArn": three.front.group, "Weight": weights[0] }, { "TargetGroupArn": other, "Weight": weights[1] },
        ]);
        let sticky = json!({ "Enabled": "true", "DurationSeconds": "60" });
        json!([{ "Type": "forward", "ForwardConfig": { "TargetGroups": groups, "TargetGroupStickinessConfig": sticky } }])
    };
    let modify = |actions: Value| {
        elb(lab, "ModifyListener", json!({ "ListenerArn": three.front.listener, "DefaultActions": actions }))
    };
    let told = modify(forward(["1", "0"]));
    let sticky = &told["Listeners"][0]["DefaultActions"][0]["ForwardConfig"]["TargetGroupStickinessConfig"];
    assert_eq!(*sticky, json!({ "Enabled": true, "DurationSeconds": 60 }));
    let mine = cookie(&three.ask("/", "").await, "AWSALBTG").expect("a cookie");
    // All others go to the group without targets.
    modify(forward(["1", "999"]));
    for _ in 0..6 {
        assert!(three.ask("/", &mine).await.starts_with("HTTP/1.1 200"));
    }
    let lost = three.ask("/", "").await;
    assert!(lost.starts_with("HTTP/1.1 503") || three.ask("/", "").await.starts_with("HTTP/1.1 503"));
    // A group that gets nothing any more gets nothing of those who are bound to it.
    modify(forward(["0", "1"]));
    assert!(three.ask("/", &mine).await.starts_with("HTTP/1.1 503"));
    three.stop().await;
}

#[tokio::test]
async fn a_connection_s_address_decides_where_a_sticky_network_load_balancer_sends_it() {
    let three = Three::start("network").await;
    let mut all = BTreeSet::new();
    for _ in 0..3 {
        all.insert(who(&get(three.front.address, "/").await.unwrap()).to_owned());
    }
    assert_eq!(all.len(), 3);
    three.modify(&[("stickiness.enabled", "true")]);
    let mut one = BTreeSet::new();
    for _ in 0..6 {
        one.insert(who(&get(three.front.address, "/").await.unwrap()).to_owned());
    }
    assert_eq!(one.len(), 1);
    three.stop().await;
}

#[tokio::test]
async fn a_new_target_gets_its_share_little_by_little() {
    let web = Web::start("old").await;
    let new = Web::start("new").await;
    let front = Front::new(lab(), "application", json!({ "HealthCheckPath": "/healthz" }));
    let targets = Targets::default();
    targets.lock().unwrap().extend([("10.0.0.1".to_owned(), web.address), ("10.0.0.2".to_owned(), new.address)]);
    let running = Running::start(&front.lab, &targets);
    let modify = |seconds: &str| {
        let attributes = json!([{ "Key": "slow_start.duration_seconds", "Value": seconds }]);
        let input = json!({ "TargetGroupArn": front.group, "Attributes": attributes });
        elb(&front.lab, "ModifyTargetGroupAttributes", input);
    };
    modify("900");
    front.register("10.0.0.1");
    front.until_health("10.0.0.1", "healthy").await;
    let share = async || {
        let mut count = 0;
        for _ in 0..20 {
            count += usize::from(who(&get(front.address, "/").await.unwrap()) == "new");
        }
        count
    };
    front.register("10.0.0.2");
    front.until_health("10.0.0.2", "healthy").await;
    let first = share().await;
    assert!(first < 8, "{first} of 20 in its first moments");
    modify("0");
    assert_eq!(share().await, 10, "and then as many as any other");
    running.stop().await;
    web.stop().await;
    new.stop().await;
}

#[test]
fn attributes_have_their_bounds() {
    let front = Front::new(lab(), "application", json!({}));
    let table = [
        (json!([["slow_start.duration_seconds", "10"]]), "'slow_start.duration_seconds' cannot have the value '10'"),
        (json!([["stickiness.type", "source_ip"]]), "'stickiness.type' cannot have the value 'source_ip'"),
        (json!([["stickiness.lb_cookie.duration_seconds", "604801"]]), "cannot have the value '604801'"),
        (
            json!([["stickiness.enabled", "true"], ["stickiness.type", "app_cookie"]]),
            "'' is not a valid name for the application's cookie",
        ),
        (
            json!([
                ["stickiness.enabled", "true"],
                ["stickiness.type", "app_cookie"],
                ["stickiness.app_cookie.cookie_name", "AWSALB"]
            ]),
            "'AWSALB' is not a valid name",
        ),
        (
            json!([
                ["slow_start.duration_seconds", "30"],
                ["load_balancing.algorithm.type", "least_outstanding_requests"]
            ]),
            "Slow start cannot be used with least outstanding requests",
        ),
    ];
    for (pairs, message) in table {
        let attributes: Vec<Value> =
            pairs.as_array().unwrap().iter().map(|pair| json!({ "Key": pair[0], "Value": pair[1] })).collect();
        let input = json!({ "TargetGroupArn": front.group, "Attributes": attributes });
        let refused = error_text(elbv2::handle(&front.lab, "ModifyTargetGroupAttributes", input));
        assert!(refused.starts_with("InvalidConfigurationRequest: ") && refused.contains(message), "{refused}");
    }
    let of_listener = |operation: &str, more: Value| {
        let mut input = json!({ "ListenerArn": front.listener });
        input.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        elb(&front.lab, operation, input)["Attributes"][0].clone()
    };
    let server = "routing.http.response.server.enabled";
    assert_eq!(of_listener("DescribeListenerAttributes", json!({})), json!({ "Key": server, "Value": "true" }));
    let off = json!({ "Attributes": [{ "Key": server, "Value": "false" }] });
    of_listener("ModifyListenerAttributes", off);
    assert_eq!(of_listener("DescribeListenerAttributes", json!({})), json!({ "Key": server, "Value": "false" }));
}
