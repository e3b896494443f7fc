//! Target groups that a service document names.

use serde_json::{Value, json};

use super::World;
use crate::rehearsal::texts;

impl World {
    async fn network(&self) -> (Vec<String>, String) {
        let kind = ("content-type", "application/x-www-form-urlencoded");
        let answer = self.lab.send("POST", "/", &[kind], "Action=DescribeSubnets&Version=2016-11-15").await;
        (texts(&answer.text(), "subnetId"), texts(&answer.text(), "vpcId").remove(0))
    }

    async fn group(&self, name: &str, kind: &str) -> String {
        let (_, vpc) = self.network().await;
        let parameters = [("Name", name), ("Protocol", "HTTP"), ("Port", "80"), ("VpcId", &vpc), ("TargetType", kind)];
        texts(&self.elb("CreateTargetGroup", &parameters).await, "TargetGroupArn").remove(0)
    }

    /// An application load balancer that forwards to this group.
    async fn balancer(&self, group: &str) {
        let (subnets, _) = self.network().await;
        let parameters = [("Name", "lb"), ("Subnets.member.1", &subnets[0]), ("Subnets.member.2", &subnets[1])];
        let balancer = texts(&self.elb("CreateLoadBalancer", &parameters).await, "LoadBalancerArn").remove(0);
        let port = crate::ports::free_port().to_string();
        let listener = [
            ("LoadBalancerArn", balancer.as_str()),
            ("Protocol", "HTTP"),
            ("Port", &port),
            ("DefaultActions.member.1.Type", "forward"),
            ("DefaultActions.member.1.TargetGroupArn", group),
        ];
        self.elb("CreateListener", &listener).await;
    }
}

fn attached(group: &str, container: &str, port: u16) -> Value {
    json!({ "loadBalancers": [{ "targetGroupArn": group, "containerName": container, "containerPort": port }] })
}

#[tokio::test]
async fn a_target_group_fits_the_tasks_and_is_behind_a_load_balancer() {
    let world = World::start().await;
    let group = world.group("web", "instance").await;
    world.service(attached(&group, "app", 8080));
    let said = world.verify(3).await;
    said.found("targetGroups", "no listener of a load balancer leads to the target group `web`", "forward to it first");
    world.balancer(&group).await;
    assert_eq!(world.verify(0).await.fine("targetGroups"), "web");

    let ip = world.group("ip", "ip").await;
    world.service(attached(&ip, "app", 8080));
    let said = world.verify(3).await;
    let said = said.check("targetGroups").to_string();
    for finding in ["`ip` has targets of type `ip`; tasks in network mode bridge need `instance`", "no listener"] {
        assert!(said.contains(finding), "{finding} in {said}");
    }
    let gone = group.replace("/web/", "/gone/");
    world.service(attached(&gone, "app", 8080));
    world.verify(3).await.found("targetGroups", "gone", "describe-target-groups");
    world.service(attached(&group, "side", 8080));
    world.verify(3).await.found("targetGroups", "the task definition has no container `side`", "load_balancer");
    world.service(attached(&group, "app", 9090));
    world.verify(3).await.found("targetGroups", "the container `app` maps no port 9090", "containerPort");
    world.end().await;
}

#[tokio::test]
async fn a_planned_health_check_can_be_meant() {
    let world = World::start().await;
    let balancer = |check: &str| {
        format!(
            "    load_balancer: {{ type: network, create: true, listener: {{ port: {} }}, target_group: {{ health_check: \
             {{ {check} }} }} }}\n",
            crate::ports::free_port()
        )
    };
    world.project(&balancer("path: /healthz"));
    let said = world.verify(3).await;
    said.found("targetGroups", "it is by TCP, and `/healthz` is never asked for", "protocol: HTTP");
    world.project(&balancer("protocol: HTTP, path: /healthz, interval: 10s, timeout: 20s"));
    let said = world.verify(3).await;
    said.found("targetGroups", "waited for 20 s, and the next one begins after 10 s", "`interval`");
    world.project(&balancer("protocol: HTTP, path: /healthz, interval: 10s, timeout: 5s"));
    world.verify(0).await.fine("targetGroups");
    world.end().await;
}
