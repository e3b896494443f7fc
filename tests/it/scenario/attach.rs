//! What exists already is attached to, and outlives the service.

use serde_json::{Value, json};

use super::demo_project;
use crate::rehearsal::{Rehearsal, texts};

#[test]
fn what_is_there_is_used_as_it_is_and_never_deleted() {
    let lab = Rehearsal::start();
    let port = demo_project(&lab);
    lab.call("ecr.CreateRepository", json!({ "repositoryName": "myrepo" }));
    let theirs = json!({ "Sid": "theirs", "Effect": "Allow", "Principal": "*", "Action": "ecr:DescribeImages" });
    let stale = json!({ "Sid": "my_repository_statement", "Effect": "Deny", "Principal": "*", "Action": "ecr:*" });
    let policy = json!({ "Version": "2012-10-17", "Statement": [theirs, stale] }).to_string();
    lab.call("ecr.SetRepositoryPolicy", json!({ "repositoryName": "myrepo", "policyText": policy }));
    let subnet = subnets(&lab);
    let created = lab.elb(
        "CreateLoadBalancer",
        &[("Name", "shared"), ("Type", "network"), ("Scheme", "internet-facing"), ("Subnets.member.1", &subnet.0)],
    );
    let balancer = texts(&created, "LoadBalancerArn").remove(0);
    let created = lab.elb(
        "CreateTargetGroup",
        &[("Name", "shared"), ("Protocol", "TCP"), ("Port", "80"), ("VpcId", &subnet.1), ("TargetType", "instance")],
    );
    let group = texts(&created, "TargetGroupArn").remove(0);
    let action = [("DefaultActions.member.1.Type", "forward"), ("DefaultActions.member.1.TargetGroupArn", &group)];
    let port = port.to_string();
    let listener = [("LoadBalancerArn", balancer.as_str()), ("Protocol", "TCP"), ("Port", &port)];
    lab.elb("CreateListener", &[&listener[..], &action[..]].concat());
    let namespace = json!({ "Name": "lab.local", "Vpc": subnet.1, "CreatorRequestId": "theirs" });
    lab.call("discovery.CreatePrivateDnsNamespace", namespace);
    let namespaces = lab.call("discovery.ListNamespaces", json!({}));
    let records = json!({ "DnsRecords": [{ "Type": "SRV", "TTL": 60 }] });
    let service = json!({ "Name": "ecs-demo", "NamespaceId": namespaces["Namespaces"][0]["Id"], "DnsConfig": records });
    let service = lab.call("discovery.CreateService", service)["Service"]["Arn"].clone();

    // one by its ARN, one by its name
    lab.replace(
        "ecs-demo/steady.yaml",
        &[
            ("      name: ecs-demo\n      listener", &format!("      arn: {balancer}\n      listener")),
            ("target_group: { name: ecs-demo,", "target_group: { name: shared,"),
        ],
    );
    let run = lab.lab("deploy -C ecs-demo --check-url /");
    let outcome = run.json(0);
    assert!(!run.stderr.contains("created load balancer"), "{}", run.stderr);
    let live = lab.service("ecs-demo");
    assert_eq!(live["loadBalancers"][0]["targetGroupArn"], group.as_str());
    assert_eq!(live["serviceRegistries"][0]["registryArn"], service);
    let policy = lab.call("ecr.GetRepositoryPolicy", json!({ "repositoryName": "myrepo" }));
    let policy: serde_json::Value = serde_json::from_str(policy["policyText"].as_str().unwrap()).unwrap();
    assert_eq!((&policy["Statement"][0], policy["Statement"].as_array().unwrap().len()), (&theirs, 2));
    assert_eq!(policy["Statement"][1]["Effect"], "Allow", "steady's own statement is brought up to date");

    let deleted = lab.lab("delete -C ecs-demo --created --yes").json(0);
    assert_eq!(deleted["deleted"], json!([]), "{deleted:#}");
    assert_eq!(texts(&lab.elb("DescribeLoadBalancers", &[]), "LoadBalancerArn"), [balancer.as_str()]);
    assert_eq!(texts(&lab.elb("DescribeTargetGroups", &[]), "TargetGroupName"), ["shared"]);
    let listeners = lab.elb("DescribeListeners", &[("LoadBalancerArn", &balancer)]);
    assert_eq!(texts(&listeners, "Port"), [port]);
    assert_eq!(lab.call("discovery.ListServices", json!({}))["Services"][0]["Arn"], service);
    let images = lab.call("ecr.DescribeImages", json!({ "repositoryName": "myrepo" }));
    assert_eq!(images["imageDetails"][0]["imageDigest"], outcome["digest"]);
}

#[test]
fn a_repository_of_ecr_that_is_named_in_full_is_the_lab_s_in_a_rehearsal() {
    let lab = Rehearsal::start();
    demo_project(&lab);
    let full = "repository: 012345678901.dkr.ecr.us-west-2.amazonaws.com/team/myrepo";
    lab.replace("ecs-demo/steady.yaml", &[("repository: myrepo", full)]);
    let pushed = lab.lab("push -C ecs-demo").json(0);
    assert_eq!(pushed["repositoryUri"], format!("{}/team/myrepo", lab.host));
    let images = lab.call("ecr.DescribeImages", json!({ "repositoryName": "team/myrepo" }));
    assert_eq!(images["imageDetails"][0]["imageDigest"], pushed["digest"]);
}

#[test]
fn a_base_image_of_ecr_is_the_lab_s_in_a_rehearsal() {
    let lab = Rehearsal::start();
    demo_project(&lab);
    let base = lab.lab("push -C ecs-demo --tag base").json(0);
    lab.replace(
        "ecs-demo/steady.yaml",
        &[
            ("repository: myrepo", "repository: derived"),
            ("layers:", "base: 012345678901.dkr.ecr.us-west-2.amazonaws.com/myrepo:base\n        layers:"),
        ],
    );
    let derived = lab.lab("push -C ecs-demo").json(0);
    let manifest = |repository: &str, digest: &Value| {
        let ids = json!({ "repositoryName": repository, "imageIds": [{ "imageDigest": digest }] });
        let reply = lab.call("ecr.BatchGetImage", ids);
        serde_json::from_str::<Value>(reply["images"][0]["imageManifest"].as_str().unwrap()).unwrap()
    };
    let (below, above) = (manifest("myrepo", &base["digest"]), manifest("derived", &derived["digest"]));
    let (below, above) = (below["layers"].as_array().unwrap(), above["layers"].as_array().unwrap());
    assert_eq!(above[..below.len()], below[..]);
    assert!(above.len() > below.len());
}

/// A subnet of the default VPC, and the VPC.
fn subnets(lab: &Rehearsal) -> (String, String) {
    let reply = lab.query("2016-11-15", "DescribeSubnets", &[]);
    (texts(&reply, "subnetId").remove(0), texts(&reply, "vpcId").remove(0))
}
