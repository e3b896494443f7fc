//! One service of the `services:` map.

use super::around::Around;
use super::decode::{Fields, Reader};
use super::node::{Entry, Node};
use super::plan::{
    DiscoveryPlan, ImagePlan, LoadBalancerPlan, NetworkPlan, OnFailure, OnInterrupt, OnPause, RolloutPlan,
};
use super::{around, deployment, files, image, network};
use crate::error::{Error, SourceText};

/// A service as it stands in the file.
pub struct Service<'a> {
    pub cluster: Option<String>,
    pub image: Option<ImagePlan>,
    pub tags: &'a [Node],
    pub task_definition: Option<SourceText>,
    pub document: Option<SourceText>,
    pub allow_unknown_fields: bool,
    pub load_balancer: Option<LoadBalancerPlan>,
    pub network: Option<NetworkPlan>,
    pub service_discovery: Option<DiscoveryPlan>,
    pub rollout: RolloutPlan,
    pub before: Vec<Around>,
    pub after: Vec<Around>,
    pub variables: &'a [Entry],
    pub check_url: Option<String>,
    pub desired_count: Option<i64>,
    pub launch_type: Option<String>,
}

/// Reads a service; what is wrong is noted at `reader`.
pub fn read<'a>(reader: &'a Reader, entry: &'a Entry) -> Option<Service<'a>> {
    let (name, node) = (entry.key.as_str(), &entry.node);
    let mut fields = reader.fields(&format!("services.{name}"), node, &entry.span)?;
    let tags = node.get("image").and_then(|image| image.get("tags"));
    let tags = match tags.map(|tags| &tags.value) {
        Some(super::node::Value::List(tags)) => tags.as_slice(),
        _ => &[],
    };
    let task_definition = document(&mut fields, "task_definition");
    if task_definition.is_none() && fields.node("task_definition").is_none() {
        fields.missing("task_definition", "name a task definition, a template of one, or a dockerrun");
    }
    let rollout =
        fields.fields("rollout").map_or(RolloutPlan { timeout_is_least: true, ..RolloutPlan::default() }, rollout);
    let service = Service {
        cluster: fields.text("cluster"),
        image: fields.fields("image").and_then(image::read),
        tags,
        task_definition,
        document: document(&mut fields, "service"),
        allow_unknown_fields: fields.boolean("allow_unknown_fields").unwrap_or(false),
        load_balancer: fields.fields("load_balancer").and_then(network::load_balancer),
        network: fields.fields("network").map(network::network),
        service_discovery: fields
            .fields("service_discovery")
            .and_then(|fields| network::service_discovery(fields, name)),
        before: around::before(&mut fields),
        after: around::after(&mut fields, rollout.on_failure),
        rollout,
        variables: fields.map("variables").unwrap_or_default(),
        check_url: network::check_url(&mut fields),
        desired_count: fields.integer("desired_count", 0..=5_000),
        launch_type: fields
            .word("launch_type", &[("EC2", "EC2"), ("FARGATE", "FARGATE"), ("EXTERNAL", "EXTERNAL")])
            .map(str::to_owned),
    };
    if let (Some(entry), None) = (fields.entry("check_url"), fields.node("load_balancer"))
        && service.check_url.as_ref().is_some_and(|check| check.starts_with('/'))
    {
        let error = Error::input("`check_url` needs a `load_balancer`, whose address is what gets checked");
        reader.note(&entry.span, None, error.hint("add one, give a whole URL, or leave `check_url` out"));
    }
    fields.finish();
    Some(service)
}

fn document(fields: &mut Fields<'_>, key: &'static str) -> Option<SourceText> {
    let path = fields.text(key)?;
    files::read(fields.reader, fields.node(key)?, &path)
}

fn rollout(mut fields: Fields<'_>) -> RolloutPlan {
    let default = RolloutPlan::default();
    let timeout = fields.duration("timeout");
    let on_failure = fields
        .word("on_failure", &[("rollback", OnFailure::Rollback), ("stop", OnFailure::Stop)])
        .unwrap_or(default.on_failure);
    let plan = RolloutPlan {
        timeout: timeout.unwrap_or(default.timeout),
        timeout_is_least: timeout.is_none(),
        on_failure,
        on_pause: fields.word("on_pause", &[("wait", OnPause::Wait), ("exit", OnPause::Exit)]).unwrap_or_default(),
        on_interrupt: fields
            .word("on_interrupt", &[("detach", OnInterrupt::Detach), ("rollback", OnInterrupt::Rollback)])
            .unwrap_or(default.on_interrupt),
        fail_fast: fields.integer("fail_fast", 0..=1_000).map_or(default.fail_fast, |count| count as u32),
        deployment: deployment::read(&mut fields, on_failure == OnFailure::Rollback),
    };
    fields.finish();
    plan
}

/// ECS's rule for a service's name, which families and clusters share.
pub fn is_service_name(name: &str) -> bool {
    (1..=255).contains(&name.len()) && name.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_'))
}
