//! What a service is attached to is looked at before anything is touched, by a deploy as by a dry run.

use serde_json::{Value, json};

use super::{demo_project, ecs_demo};
use crate::rehearsal::{Rehearsal, Run, command, get, texts};

/// The demo with tasks that have addresses of their own.
fn awsvpc(lab: &Rehearsal) {
    lab.replace("ecs-demo/ecs-demo.json.hbs", &[("\"family\"", "\"networkMode\": \"awsvpc\",\n  \"family\"")]);
    lab.replace("ecs-demo/steady.yaml", &[("name: ecs-demo, target_type: instance", "name: group")]);
}

fn subnets(lab: &Rehearsal) -> (Vec<String>, String) {
    let reply = lab.query("2016-11-15", "DescribeSubnets", &[]);
    (texts(&reply, "subnetId"), texts(&reply, "vpcId").remove(0))
}

/// A load balancer: its ARN.
fn balancer(lab: &Rehearsal, name: &str, kind: &str) -> String {
    let (subnets, _) = subnets(lab);
    let parameters =
        [("Name", name), ("Type", kind), ("Subnets.member.1", &subnets[0]), ("Subnets.member.2", &subnets[1])];
    texts(&lab.elb("CreateLoadBalancer", &parameters), "LoadBalancerArn").remove(0)
}

/// A target group for instances: its ARN.
fn group(lab: &Rehearsal, name: &str, protocol: &str) -> String {
    let (_, vpc) = subnets(lab);
    let parameters =
        [("Name", name), ("Protocol", protocol), ("Port", "80"), ("VpcId", &vpc), ("TargetType", "instance")];
    texts(&lab.elb("CreateTargetGroup", &parameters), "TargetGroupArn").remove(0)
}

fn creates(dry_run: &Value) -> Vec<&str> {
    dry_run["creates"].as_array().unwrap().iter().map(|one| one.as_str().unwrap()).collect()
}

#[test]
fn all_that_does_not_fit_is_said_together_before_the_build() {
    let lab = Rehearsal::start();
    demo_project(&lab);
    awsvpc(&lab);
    balancer(&lab, "ecs-demo", "application");
    group(&lab, "group", "TCP");
    lab.replace(
        "ecs-demo/steady.yaml",
        &[
            ("namespace: lab.local", "namespace: ns-missing"),
            ("    launch_type: EC2\n", "    launch_type: EC2\n    network: { subnets: { tags: { Name: nowhere } } }\n"),
        ],
    );
    for line in ["deploy -C ecs-demo", "deploy -C ecs-demo --dry-run"] {
        let error = lab.lab(line).json(3)["error"].to_string();
        for finding in [
            "no subnet carries the tags Name=nowhere",
            "the load balancer `ecs-demo` is of type application, not network",
            "the target group `group` has targets of type `instance`; tasks in network mode awsvpc need `ip`",
            "the Cloud Map namespace `ns-missing` does not exist",
        ] {
            assert!(error.contains(finding), "{finding} in {error}");
        }
    }
    assert!(!lab.path("ecs-demo/ran").exists(), "nothing was built");
    assert_eq!(lab.call("ecr.DescribeRepositories", json!({}))["repositories"], json!([]));
}

#[test]
fn a_listener_that_cannot_be_used_ends_a_deploy_before_anything_is_made() {
    let (lab, port) = ecs_demo();
    let balancer = balancer(&lab, "theirs", "network");
    let theirs = group(&lab, "theirs", "TCP");
    let port = port.to_string();
    lab.elb(
        "CreateListener",
        &[
            ("LoadBalancerArn", &balancer),
            ("Protocol", "TCP"),
            ("Port", &port),
            ("DefaultActions.member.1.Type", "forward"),
            ("DefaultActions.member.1.TargetGroupArn", &theirs),
        ],
    );
    let no_such = "arn:aws:elasticloadbalancing:us-west-2:012345678901:listener/net/theirs/0/1";
    for (from, to, message) in [
        ("      name: ecs-demo\n      listener", "      name: theirs\n      listener", "forwards to"),
        ("listener: { port", &*format!("listener: {{ arn: \"{no_such}\", port"), "has no listener arn:aws"),
        ("      name: theirs\n", "      name: another\n", "the load balancer `another` has no listener arn:aws"),
    ] {
        lab.replace("ecs-demo/steady.yaml", &[(from, to)]);
        let error = lab.lab("deploy -C ecs-demo").json(3)["error"].clone();
        assert!(error["message"].as_str().unwrap().contains(message), "{message} in {error:#}");
    }
    assert!(!lab.path("ecs-demo/ran").exists(), "nothing was built");
    assert_eq!(texts(&lab.elb("DescribeLoadBalancers", &[]), "LoadBalancerName"), ["theirs"]);
    assert_eq!(texts(&lab.elb("DescribeTargetGroups", &[]), "TargetGroupName"), ["theirs"]);
}

#[test]
fn a_dry_run_sees_what_a_deploy_would_do_around_the_service() {
    let (lab, _) = ecs_demo();
    awsvpc(&lab);
    lab.lab("deploy -C ecs-demo").json(0);
    let same = lab.lab("deploy -C ecs-demo --dry-run").json(0);
    assert_eq!((&same["status"], &same["creates"]), (&json!("unchanged"), &json!([])), "{same:#}");

    let network = "    launch_type: EC2\n    network: { security_groups: [sg-0123456789abcdef0] }\n";
    lab.replace("ecs-demo/steady.yaml", &[("    launch_type: EC2\n", network)]);
    let other = lab.lab("deploy -C ecs-demo --dry-run").json(0);
    assert_eq!((&other["status"], &other["serviceAction"]), (&json!("changes"), &json!("update")));
    let changed: Vec<&Value> = other["serviceChanges"].as_array().unwrap().iter().map(|one| &one["path"]).collect();
    assert_eq!(changed, ["networkConfiguration.awsvpcConfiguration.securityGroups"; 2], "one goes, one comes");
    lab.replace("ecs-demo/steady.yaml", &[(network, "    launch_type: EC2\n")]);

    // The listener's group is what is attached to: none would be created.
    let unnamed = [("      target_group: { name: group }\n", "      create: false\n")];
    lab.replace("ecs-demo/steady.yaml", &unnamed);
    let attached = lab.lab("deploy -C ecs-demo --dry-run").json(0);
    assert_eq!((&attached["status"], &attached["creates"]), (&json!("unchanged"), &json!([])), "{attached:#}");
    lab.replace("ecs-demo/steady.yaml", &[(unnamed[0].1, unnamed[0].0)]);

    let balancer = texts(&lab.elb("DescribeLoadBalancers", &[]), "LoadBalancerArn").remove(0);
    let listener = texts(&lab.elb("DescribeListeners", &[("LoadBalancerArn", &balancer)]), "ListenerArn").remove(0);
    lab.elb("DeleteListener", &[("ListenerArn", &listener)]);
    let gone = lab.lab("deploy -C ecs-demo --dry-run").json(0);
    assert!(matches!(&creates(&gone)[..], [listener] if listener.starts_with("listener TCP:")), "{gone:#}");
}

#[test]
fn credentials_are_resolved_once_for_all_calls() {
    let (lab, _) = ecs_demo();
    awsvpc(&lab);
    let keys = r#"{"Version": 1, "AccessKeyId": "steady-lab", "SecretAccessKey": "steady-lab", "Expiration": "2999-01-01T00:00:00Z"}"#;
    lab.write("keys", keys);
    lab.write("process", "echo asked >> asked\ncat keys\n");
    lab.write("config", "[default]\nregion = us-west-2\ncredential_process = sh process\n");
    let mut command = command(&lab.path(""));
    command.env("AWS_CONFIG_FILE", lab.path("config")).env("AWS_ENDPOINT_URL", format!("http://{}", lab.host));
    command.args("deploy -C ecs-demo --dry-run --output json".split(' '));
    // Where the process is run, too.
    let outcome = Run::new(&command.output().unwrap()).json(0);
    assert_eq!(outcome["serviceAction"], "create");
    assert_eq!(std::fs::read_to_string(lab.path("asked")).unwrap(), "asked\n");
}

#[test]
fn a_rule_of_a_shared_load_balancer_leads_to_the_service() {
    let (lab, port) = ecs_demo();
    let port = port.to_string();
    let balancer = balancer(&lab, "shared", "application");
    let created = lab.elb(
        "CreateListener",
        &[
            ("LoadBalancerArn", &balancer),
            ("Protocol", "HTTP"),
            ("Port", &port),
            ("DefaultActions.member.1.Type", "fixed-response"),
            ("DefaultActions.member.1.FixedResponseConfig.StatusCode", "404"),
        ],
    );
    let listener = texts(&created, "ListenerArn").remove(0);
    let group = group(&lab, "shop", "HTTP");
    lab.replace(
        "ecs-demo/steady.yaml",
        &[
            ("type: network\n      name: ecs-demo\n", "type: application\n      name: shared\n"),
            ("target_group: { name: ecs-demo, target_type: instance }", "target_group: { name: shop }"),
        ],
    );
    let refused = lab.lab("deploy -C ecs-demo").json(3);
    assert!(refused["error"]["hints"].to_string().contains("add a rule"), "{refused:#}");

    lab.elb(
        "CreateRule",
        &[
            ("ListenerArn", &listener),
            ("Priority", "10"),
            ("Conditions.member.1.Field", "path-pattern"),
            ("Conditions.member.1.PathPatternConfig.Values.member.1", "/shop/*"),
            ("Actions.member.1.Type", "forward"),
            ("Actions.member.1.TargetGroupArn", &group),
        ],
    );
    let outcome = lab.lab("deploy -C ecs-demo --check-url /shop/health").json(0);
    let url = outcome["url"].as_str().unwrap();
    assert!(url.ends_with(&format!(":{port}/shop/")), "{url}");
    let (status, page) = get(url);
    assert!(status == 200 && page.contains("Your application is now running"), "{status} {page}");
    assert_eq!(lab.lab("status -C ecs-demo").json(0)["url"], url);
    assert_eq!(get(url.trim_end_matches("shop/")).0, 404, "the rest of the listener is not ours");
}
