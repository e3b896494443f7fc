//! Instances of services, and their discovery.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::{Instance, Scope, Service, deregister_instance, listing, operation, register_instance, services};
use crate::lab::api::{ApiError, ApiResult};
use crate::lab::input::Input;
use crate::lab::state::State;

pub(super) fn register(state: &mut State, scope: &Scope, input: Input) -> ApiResult {
    let service = services::find(state, input.required("ServiceId")?)?;
    let instance = input.required("InstanceId")?;
    let attributes: BTreeMap<String, String> = input
        .get("Attributes")
        .and_then(Value::as_object)
        .into_iter()
        .flatten()
        .map(|(key, value)| (key.clone(), value.as_str().unwrap_or_default().to_owned()))
        .collect();
    for (record, attribute) in [("SRV", "AWS_INSTANCE_PORT"), ("A", "AWS_INSTANCE_IPV4")] {
        if has_record(service, record) && !attributes.contains_key(attribute) {
            return Err(input.error(format!("{attribute} is required for a service with {record} records")));
        }
    }
    let id = service.id.clone();
    register_instance(state, &id, instance, attributes);
    Ok(operation(state, scope, "REGISTER_INSTANCE", &[("SERVICE", &id), ("INSTANCE", instance)]))
}

pub(super) fn deregister(state: &mut State, scope: &Scope, input: Input) -> ApiResult {
    let service = services::find(state, input.required("ServiceId")?)?;
    let instance = find(service, input)?.id.clone();
    let id = service.id.clone();
    deregister_instance(state, &id, &instance);
    Ok(operation(state, scope, "DEREGISTER_INSTANCE", &[("SERVICE", &id), ("INSTANCE", &instance)]))
}

pub(super) fn list(state: &State, _: &Scope, input: Input) -> ApiResult {
    let service = services::find(state, input.required("ServiceId")?)?;
    let instances = service.instances.iter().map(describe).collect();
    listing(input, "Instances", instances)
}

pub(super) fn get(state: &State, _: &Scope, input: Input) -> ApiResult {
    let service = services::find(state, input.required("ServiceId")?)?;
    Ok(json!({ "Instance": describe(find(service, input)?) }))
}

pub(super) fn health_status(state: &State, _: &Scope, input: Input) -> ApiResult {
    let service = services::find(state, input.required("ServiceId")?)?;
    let asked = input.texts("Instances");
    if let Some(unknown) = asked.iter().find(|id| !service.instances.iter().any(|instance| instance.id == **id)) {
        return Err(not_found(unknown));
    }
    let status: Map<String, Value> = service
        .instances
        .iter()
        .filter(|instance| asked.is_empty() || asked.contains(&instance.id.as_str()))
        .map(|instance| (instance.id.clone(), json!(status(service, instance))))
        .collect();
    Ok(json!({ "Status": status }))
}

pub(super) fn update_health(state: &mut State, _: &Scope, input: Input) -> ApiResult {
    let service = services::find(state, input.required("ServiceId")?)?;
    if service.health_check_custom_config.is_none() {
        return Err(ApiError::new(
            "CustomHealthNotFound",
            format!("Service {} has no custom health check configured.", service.id),
        ));
    }
    let healthy = match input.required("Status")? {
        "HEALTHY" => true,
        "UNHEALTHY" => false,
        other => return Err(input.error(format!("'{other}' is not a status: HEALTHY or UNHEALTHY"))),
    };
    let (service, instance) = (service.id.clone(), find(service, input)?.id.clone());
    for service in state.discovery.services.iter_mut().filter(|one| one.id == service) {
        service.revision += 1;
        for instance in service.instances.iter_mut().filter(|one| one.id == instance) {
            instance.healthy = healthy;
        }
    }
    Ok(json!({}))
}

/// The service that a client looks up by its names, as it would by DNS.
fn named<'s>(state: &'s State, input: Input) -> Result<&'s Service, ApiError> {
    let (namespace_name, service_name) = (input.required("NamespaceName")?, input.required("ServiceName")?);
    let namespaces: Vec<&str> = state
        .discovery
        .namespaces
        .iter()
        .filter(|namespace| namespace.name == namespace_name)
        .map(|namespace| namespace.id.as_str())
        .collect();
    if namespaces.is_empty() {
        return Err(ApiError::new("NamespaceNotFound", format!("Can't find namespace with name {namespace_name}.")));
    }
    let mut services = state.discovery.services.iter();
    services
        .find(|service| service.name == service_name && namespaces.contains(&service.namespace_id.as_str()))
        .ok_or_else(|| ApiError::new("ServiceNotFound", format!("Can't find service with name {service_name}.")))
}

pub(super) fn discover_revision(state: &State, _: &Scope, input: Input) -> ApiResult {
    Ok(json!({ "InstancesRevision": named(state, input)?.revision }))
}

pub(super) fn discover(state: &State, _: &Scope, input: Input) -> ApiResult {
    let service = named(state, input)?;
    let (namespace_name, service_name) = (input.required("NamespaceName")?, input.required("ServiceName")?);
    let has = |instance: &Instance, member: &str| {
        let mut wanted = input.get(member).and_then(Value::as_object).into_iter().flatten();
        wanted.all(|(key, value)| instance.attributes.get(key).map(String::as_str) == value.as_str())
    };
    let mut matching: Vec<&Instance> = service.instances.iter().filter(|of| has(of, "QueryParameters")).collect();
    // Where none has these, they are not asked for.
    if matching.iter().any(|of| has(of, "OptionalParameters")) {
        matching.retain(|of| has(of, "OptionalParameters"));
    }
    let healthy: Vec<&Instance> = matching.iter().copied().filter(|instance| instance.healthy).collect();
    let found = match input.text("HealthStatus").unwrap_or("HEALTHY_OR_ELSE_ALL") {
        "ALL" => matching,
        "HEALTHY" => healthy,
        "UNHEALTHY" => matching.into_iter().filter(|instance| !instance.healthy).collect(),
        "HEALTHY_OR_ELSE_ALL" if healthy.is_empty() => matching,
        "HEALTHY_OR_ELSE_ALL" => healthy,
        other => return Err(input.error(format!("'{other}' is not a health status filter"))),
    };
    let most = input.number_in("MaxResults", 1..=1000)?.unwrap_or(100) as usize;
    let instances: Vec<Value> = found
        .into_iter()
        .take(most)
        .map(|instance| {
            json!({
                "InstanceId": instance.id,
                "NamespaceName": namespace_name,
                "ServiceName": service_name,
                "HealthStatus": status(service, instance),
                "Attributes": instance.attributes,
            })
        })
        .collect();
    Ok(json!({ "Instances": instances, "InstancesRevision": service.revision }))
}

fn find<'a>(service: &'a Service, input: Input) -> Result<&'a Instance, ApiError> {
    let id = input.required("InstanceId")?;
    service.instances.iter().find(|instance| instance.id == id).ok_or_else(|| not_found(id))
}

fn not_found(id: &str) -> ApiError {
    ApiError::new("InstanceNotFound", format!("Can't find instance with ID {id}."))
}

fn has_record(service: &Service, kind: &str) -> bool {
    let records = service.dns_config.as_ref().and_then(|config| config["DnsRecords"].as_array());
    records.into_iter().flatten().any(|record| record["Type"] == kind)
}

/// Without a health check nobody knows.
fn status(service: &Service, instance: &Instance) -> &'static str {
    match (&service.health_check_custom_config, instance.healthy) {
        (None, _) => "UNKNOWN",
        (Some(_), true) => "HEALTHY",
        (Some(_), false) => "UNHEALTHY",
    }
}

fn describe(instance: &Instance) -> Value {
    json!({ "Id": instance.id, "Attributes": instance.attributes })
}
