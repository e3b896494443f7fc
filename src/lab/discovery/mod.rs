//! Cloud Map: namespaces, services and the instances that ECS registers in them.

pub mod dns;
mod instances;
mod namespaces;
mod services;
mod zone;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::api::{ApiError, ApiResult, random_hex};
use super::conformance;
use super::input::Input;
use super::state::State;
use super::{Lab, Settings};
use crate::aws_model;

#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct DiscoveryState {
    pub namespaces: Vec<Namespace>,
    pub services: Vec<Service>,
    pub operations: Vec<Operation>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum NamespaceType {
    DnsPrivate,
    DnsPublic,
    Http,
}

impl NamespaceType {
    pub fn name(self) -> &'static str {
        match self {
            NamespaceType::DnsPrivate => "DNS_PRIVATE",
            NamespaceType::DnsPublic => "DNS_PUBLIC",
            NamespaceType::Http => "HTTP",
        }
    }
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Namespace {
    pub id: String,
    pub arn: String,
    pub name: String,
    pub kind: NamespaceType,
    pub description: Option<String>,
    pub creator_request_id: Option<String>,
    /// Of a private namespace.
    pub vpc_id: Option<String>,
    pub hosted_zone_id: String,
    /// Of the zone's SOA record, in seconds.
    #[serde(default)]
    pub soa_ttl: Option<i64>,
    /// Epoch milliseconds.
    pub created_at: i64,
    pub tags: BTreeMap<String, String>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Service {
    pub id: String,
    pub arn: String,
    pub name: String,
    pub namespace_id: String,
    pub description: Option<String>,
    pub creator_request_id: Option<String>,
    /// DnsConfig, HealthCheckConfig and HealthCheckCustomConfig as they were given.
    pub dns_config: Option<Value>,
    pub health_check_config: Option<Value>,
    pub health_check_custom_config: Option<Value>,
    pub created_at: i64,
    /// Grows with every change of the instances.
    pub revision: u64,
    pub instances: Vec<Instance>,
    /// Of the service itself.
    #[serde(default)]
    pub attributes: BTreeMap<String, String>,
    pub tags: BTreeMap<String, String>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Instance {
    pub id: String,
    pub attributes: BTreeMap<String, String>,
    pub healthy: bool,
}

/// A change that AWS makes in the background and the lab has made when it answers.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Operation {
    pub id: String,
    pub kind: String,
    pub created_at: i64,
    /// `NAMESPACE`, `SERVICE` or `INSTANCE` with its id.
    pub targets: BTreeMap<String, String>,
}

/// Registers an instance (ECS uses the task's id), or replaces its attributes. `false` when there is no such service.
pub fn register_instance(
    state: &mut State,
    service_id_or_arn: &str,
    instance_id: &str,
    attributes: BTreeMap<String, String>,
) -> bool {
    let Some(service) = find_service_mut(state, service_id_or_arn) else { return false };
    service.instances.retain(|instance| instance.id != instance_id);
    let healthy = attributes.get("AWS_INIT_HEALTH_STATUS").is_none_or(|status| status == "HEALTHY");
    service.instances.push(Instance { id: instance_id.to_owned(), attributes, healthy });
    service.revision += 1;
    true
}

/// `false` when there is no such service or instance.
pub fn deregister_instance(state: &mut State, service_id_or_arn: &str, instance_id: &str) -> bool {
    let Some(service) = find_service_mut(state, service_id_or_arn) else { return false };
    let before = service.instances.len();
    service.instances.retain(|instance| instance.id != instance_id);
    let changed = service.instances.len() != before;
    service.revision += u64::from(changed);
    changed
}

/// The ARN of the namespace that ECS is told by name or ARN.
pub fn namespace_arn(state: &State, name_or_arn: &str) -> Option<String> {
    let mut all = state.discovery.namespaces.iter();
    all.find(|of| of.is(name_or_arn) || of.name == name_or_arn).map(|of| of.arn.clone())
}

pub fn service_exists(state: &State, service_id_or_arn: &str) -> bool {
    state.discovery.services.iter().any(|service| service.is(service_id_or_arn))
}

impl Namespace {
    fn is(&self, id_or_arn: &str) -> bool {
        self.id == id_or_arn || self.arn == id_or_arn
    }
}

impl Service {
    fn is(&self, id_or_arn: &str) -> bool {
        self.id == id_or_arn || self.arn == id_or_arn
    }
}

fn find_service_mut<'a>(state: &'a mut State, id_or_arn: &str) -> Option<&'a mut Service> {
    state.discovery.services.iter_mut().find(|service| service.is(id_or_arn))
}

/// What an operation needs beside the state.
struct Scope<'a> {
    settings: &'a Settings,
    now: i64,
}

impl Scope<'_> {
    fn arn(&self, resource: &str) -> String {
        format!("arn:aws:servicediscovery:{}:{}:{resource}", self.settings.region, self.settings.account_id)
    }
}

/// One Cloud Map operation.
pub fn handle(lab: &Lab, operation: &str, input: Value) -> ApiResult {
    let known = handler(operation).ok_or_else(|| {
        ApiError::new(
            "UnknownOperationException",
            format!("The lab does not know the operation {operation} of Cloud Map."),
        )
    });
    let answer = known.map(|known| |input: Value| answer(lab, known, Input::new(&input, "InvalidInput")));
    conformance::answered(aws_model::Service::ServiceDiscovery, operation, input, answer)
}

enum Handler {
    Read(fn(&State, &Scope, Input) -> ApiResult),
    Write(fn(&mut State, &Scope, Input) -> ApiResult),
}

fn handler(name: &str) -> Option<Handler> {
    use Handler::{Read, Write};
    Some(match name {
        "ListNamespaces" => Read(namespaces::list),
        "GetNamespace" => Read(namespaces::get),
        "GetOperation" => Read(get_operation),
        "ListOperations" => Read(list_operations),
        "ListServices" => Read(services::list),
        "GetService" => Read(services::get),
        "ListInstances" => Read(instances::list),
        "GetInstance" => Read(instances::get),
        "GetInstancesHealthStatus" => Read(instances::health_status),
        "DiscoverInstances" => Read(instances::discover),
        "DiscoverInstancesRevision" => Read(instances::discover_revision),
        "GetServiceAttributes" => Read(services::get_attributes),
        "ListTagsForResource" => Read(list_tags),
        "CreatePrivateDnsNamespace" => {
            Write(|state, scope, input| namespaces::create(state, scope, input, NamespaceType::DnsPrivate))
        }
        "CreatePublicDnsNamespace" => {
            Write(|state, scope, input| namespaces::create(state, scope, input, NamespaceType::DnsPublic))
        }
        "CreateHttpNamespace" => {
            Write(|state, scope, input| namespaces::create(state, scope, input, NamespaceType::Http))
        }
        "UpdateHttpNamespace" => {
            Write(|state, scope, input| namespaces::update(state, scope, input, NamespaceType::Http))
        }
        "UpdatePrivateDnsNamespace" => {
            Write(|state, scope, input| namespaces::update(state, scope, input, NamespaceType::DnsPrivate))
        }
        "UpdatePublicDnsNamespace" => {
            Write(|state, scope, input| namespaces::update(state, scope, input, NamespaceType::DnsPublic))
        }
        "DeleteNamespace" => Write(namespaces::delete),
        "UpdateServiceAttributes" => Write(services::update_attributes),
        "DeleteServiceAttributes" => Write(services::delete_attributes),
        "CreateService" => Write(services::create),
        "UpdateService" => Write(services::update),
        "DeleteService" => Write(services::delete),
        "RegisterInstance" => Write(instances::register),
        "DeregisterInstance" => Write(instances::deregister),
        "UpdateInstanceCustomHealthStatus" => Write(instances::update_health),
        "TagResource" => Write(tag),
        "UntagResource" => Write(untag),
        _ => return None,
    })
}

fn answer(lab: &Lab, handler: Handler, input: Input) -> ApiResult {
    let scope = Scope { settings: &lab.settings, now: lab.clock.now() };
    match handler {
        Handler::Read(read) => lab.read(|state| read(state, &scope, input)),
        Handler::Write(write) => lab.write(|state| write(state, &scope, input)),
    }
}

/// `ns-` or `srv-` and 16 characters.
fn new_id(prefix: &str) -> String {
    format!("{prefix}-{}", random_hex(16))
}

/// Notes a finished operation and answers with its id.
fn operation(state: &mut State, scope: &Scope, kind: &str, targets: &[(&str, &str)]) -> Value {
    let id = random_hex(32);
    state.discovery.operations.push(Operation {
        id: id.clone(),
        kind: kind.to_owned(),
        created_at: scope.now,
        targets: targets.iter().map(|(kind, id)| ((*kind).to_owned(), (*id).to_owned())).collect(),
    });
    // Nobody asks for old ones.
    let surplus = state.discovery.operations.len().saturating_sub(1000);
    state.discovery.operations.drain(..surplus);
    json!({ "OperationId": id })
}

fn get_operation(state: &State, _: &Scope, input: Input) -> ApiResult {
    let id = input.required("OperationId")?;
    let operation = state.discovery.operations.iter().find(|operation| operation.id == id);
    let operation = operation
        .ok_or_else(|| ApiError::new("OperationNotFound", format!("No operation with the ID {id} exists.")))?;
    Ok(json!({
        "Operation": {
            "Id": operation.id,
            "Type": operation.kind,
            "Status": "SUCCESS",
            "CreateDate": seconds(operation.created_at),
            "UpdateDate": seconds(operation.created_at),
            "Targets": operation.targets,
        },
    }))
}

fn list_operations(state: &State, _: &Scope, input: Input) -> ApiResult {
    let mut found = Vec::new();
    for operation in &state.discovery.operations {
        let target = |kind: &str| operation.targets.get(kind).cloned().unwrap_or_default();
        let value_of = |filter: &str| match filter {
            "NAMESPACE_ID" => Some(target("NAMESPACE")),
            "SERVICE_ID" => Some(target("SERVICE")),
            "TYPE" => Some(operation.kind.clone()),
            "STATUS" => Some("SUCCESS".to_owned()),
            _ => None,
        };
        if passes(input, value_of)? {
            found.push(json!({ "Id": operation.id, "Status": "SUCCESS" }));
        }
    }
    listing(input, "Operations", found)
}

fn tags_of<'a>(state: &'a mut State, arn: &str) -> Result<&'a mut BTreeMap<String, String>, ApiError> {
    let discovery = &mut state.discovery;
    let namespaces = discovery.namespaces.iter_mut().map(|one| (&one.arn, &mut one.tags));
    let services = discovery.services.iter_mut().map(|one| (&one.arn, &mut one.tags));
    namespaces.chain(services).find(|(own, _)| *own == arn).map(|(_, tags)| tags).ok_or_else(no_resource)
}

fn tag(state: &mut State, _: &Scope, input: Input) -> ApiResult {
    let tags = input.pairs("Tags")?;
    tags_of(state, input.required("ResourceARN")?)?.extend(tags);
    Ok(json!({}))
}

fn untag(state: &mut State, _: &Scope, input: Input) -> ApiResult {
    let keys = input.texts("TagKeys");
    tags_of(state, input.required("ResourceARN")?)?.retain(|key, _| !keys.contains(&key.as_str()));
    Ok(json!({}))
}

fn list_tags(state: &State, _: &Scope, input: Input) -> ApiResult {
    let arn = input.required("ResourceARN")?;
    let namespaces = state.discovery.namespaces.iter().map(|one| (&one.arn, &one.tags));
    let services = state.discovery.services.iter().map(|one| (&one.arn, &one.tags));
    let (_, tags) = namespaces.chain(services).find(|(own, _)| *own == arn).ok_or_else(no_resource)?;
    let tags: Vec<Value> = tags.iter().map(|(key, value)| json!({ "Key": key, "Value": value })).collect();
    Ok(json!({ "Tags": tags }))
}

fn no_resource() -> ApiError {
    ApiError::new("ResourceNotFoundException", "The requested resource does not exist.")
}

/// Epoch milliseconds as JSON 1.1 writes times.
fn seconds(epoch_ms: i64) -> f64 {
    epoch_ms as f64 / 1000.0
}

/// Whether a resource passes a list's filters, given what it has under each filter name.
fn passes(input: Input, value_of: impl Fn(&str) -> Option<String>) -> Result<bool, ApiError> {
    for filter in input.list("Filters") {
        let name = filter.required("Name")?;
        let wanted = filter.texts("Values");
        let value = value_of(name).ok_or_else(|| input.error(format!("The filter '{name}' is not valid")))?;
        let passed = match filter.text("Condition").unwrap_or("EQ") {
            "EQ" | "IN" => wanted.contains(&value.as_str()),
            "BEGINS_WITH" => wanted.iter().any(|wanted| value.starts_with(wanted)),
            other => return Err(input.error(format!("The condition '{other}' is not valid for filter '{name}'"))),
        };
        if !passed {
            return Ok(false);
        }
    }
    Ok(true)
}

/// One page of a list as a reply.
fn listing(input: Input, name: &str, items: Vec<Value>) -> ApiResult {
    let start: usize = match input.text("NextToken") {
        None => 0,
        Some(token) => token.parse().map_err(|_| input.error("The NextToken is not valid"))?,
    };
    let size = input.number_in("MaxResults", 1..=1000)?.unwrap_or(100) as usize;
    let next = (start + size < items.len()).then(|| (start + size).to_string());
    let items: Vec<Value> = items.into_iter().skip(start).take(size).collect();
    let mut reply = json!({ name: items });
    if let Some(next) = next {
        reply["NextToken"] = json!(next);
    }
    Ok(reply)
}
