//! Target groups and their targets.

use std::collections::HashMap;
use std::net::SocketAddr;

use serde_json::{Value, json};

use super::Scope;
use crate::lab::ecs::model::Task;
use crate::lab::elbv2::{self, TargetGroup, TargetHealth};

pub(super) fn all(scope: &Scope) -> Value {
    let groups = scope.state.elbv2.target_groups.iter().map(|group| summary(scope, group));
    json!({ "targetGroups": groups.collect::<Vec<Value>>() })
}

pub(super) fn one(scope: &Scope, name: &str) -> Option<Value> {
    let state = scope.state;
    let group = state.elbv2.target_groups.iter().find(|group| group.name == name)?;
    let check = &group.health_check;
    let tasks = tasks_behind(scope, group);
    let targets = group.targets.iter().map(|target| {
        let found = elbv2::target_health(state, &group.arn, &target.id, target.port);
        let mut shown = health(found.as_ref());
        let task = tasks.get(&(target.id.as_str(), target.port));
        shown["id"] = json!(target.id);
        shown["port"] = json!(target.port);
        shown["task"] = json!(task.map(|task| json!({ "id": task.id, "cluster": task.cluster, "group": task.group })));
        shown
    });
    let mut shown = summary(scope, group);
    shown["targets"] = targets.collect();
    shown["vpcId"] = json!(group.vpc_id);
    shown["attributes"] = json!(group.attributes);
    shown["healthCheck"] = json!({
        "enabled": check.enabled,
        "protocol": check.protocol.name(),
        "port": check.port.map_or_else(|| "traffic-port".to_owned(), |port| port.to_string()),
        "path": check.path,
        "intervalSeconds": check.interval,
        "timeoutSeconds": check.timeout,
        "healthyThresholdCount": check.healthy_threshold,
        "unhealthyThresholdCount": check.unhealthy_threshold,
        "matcher": check.matcher,
    });
    Some(json!({ "targetGroup": shown }))
}

/// A group with its number of targets in each state.
pub(super) fn summary(scope: &Scope, group: &TargetGroup) -> Value {
    let elb = &scope.state.elbv2;
    let mut counts = json!({ "healthy": 0, "unhealthy": 0, "unused": 0, "initial": 0, "draining": 0 });
    for target in &group.targets {
        let found = elbv2::target_health(scope.state, &group.arn, &target.id, target.port);
        if let Some(found) = found {
            counts[&found.state] = json!(counts[&found.state].as_u64().unwrap_or(0) + 1);
        }
    }
    let forwards = elb.listeners.iter().filter_map(|listener| {
        let rules = listener.rules.iter().flat_map(|rule| rule.action.target_groups());
        let (_, weight) = { rules }.find(|(arn, _)| *arn == group.arn)?;
        let balancer = elb.load_balancer(&listener.load_balancer_arn)?;
        Some(json!({
            "loadBalancerName": balancer.name,
            "type": balancer.kind.name(),
            "protocol": listener.protocol.name(),
            "port": listener.port,
            "weight": weight,
            "url": format!("http://{}/", SocketAddr::new(balancer.address, listener.port)),
        }))
    });
    json!({
        "targetGroupName": group.name,
        "targetGroupArn": group.arn,
        "protocol": group.protocol.name(),
        "port": group.port,
        "targetType": group.target_type,
        "total": group.targets.len(),
        "counts": counts,
        "listeners": forwards.collect::<Vec<Value>>(),
    })
}

pub(super) fn health(found: Option<&TargetHealth>) -> Value {
    match found {
        Some(TargetHealth { state, reason, description }) => {
            json!({ "state": state, "reason": reason, "description": description })
        }
        None => json!({}),
    }
}

/// The tasks that registered themselves in a group, by target.
fn tasks_behind<'a>(scope: &Scope<'a>, group: &TargetGroup) -> HashMap<(&'a str, u16), &'a Task> {
    let tasks = scope.state.ecs.tasks.values().filter(|task| !task.is_stopped());
    let targets = tasks.flat_map(|task| task.targets.iter().map(move |target| (task, target)));
    let here = targets.filter(|(_, target)| target.target_group == group.arn);
    here.map(|(task, target)| ((target.id.as_str(), target.port), task)).collect()
}
