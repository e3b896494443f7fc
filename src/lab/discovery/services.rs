//! Services, with their DNS records and health checks.

use serde_json::{Value, json};

use super::{NamespaceType, Scope, Service, find_service_mut, listing, namespaces, new_id, operation, passes, seconds};
use crate::lab::api::{ApiError, ApiResult};
use crate::lab::input::Input;
use crate::lab::state::State;

pub(super) fn create(state: &mut State, scope: &Scope, input: Input) -> ApiResult {
    let name = input.required("Name")?;
    let dns_config = input.structure("DnsConfig");
    let namespace = match input.text("NamespaceId") {
        Some(id) => id,
        None => dns_config
            .and_then(|config| config.text("NamespaceId"))
            .ok_or_else(|| input.error("A namespace ID must be specified"))?,
    };
    let namespace = namespaces::find(state, namespace)?;
    let namespace_id = namespace.id.clone();
    if let Some(config) = dns_config {
        if namespace.kind == NamespaceType::Http {
            return Err(input.error("DnsConfig is not allowed for services in an HTTP namespace"));
        }
        check_records(config)?;
    }
    if input.structure("HealthCheckConfig").is_some() && input.structure("HealthCheckCustomConfig").is_some() {
        return Err(input.error("Specify either HealthCheckConfig or HealthCheckCustomConfig, not both"));
    }
    if input.structure("HealthCheckConfig").is_some() && namespace.kind != NamespaceType::DnsPublic {
        return Err(input.error("HealthCheckConfig is only allowed for services in a public DNS namespace"));
    }
    let mut services = state.discovery.services.iter();
    let taken = services.find(|service| service.namespace_id == namespace_id && service.name == name);
    if let Some(existing) = taken {
        let error = ApiError::new("ServiceAlreadyExists", format!("Service already exists: {}", existing.id))
            .member("ServiceId", existing.id.clone())
            .member("ServiceArn", existing.arn.clone());
        return Err(match &existing.creator_request_id {
            Some(id) => error.member("CreatorRequestId", id.clone()),
            None => error,
        });
    }
    let id = new_id("srv");
    let service = Service {
        arn: scope.arn(&format!("service/{id}")),
        id,
        name: name.to_owned(),
        namespace_id,
        description: input.text("Description").map(str::to_owned),
        creator_request_id: input.text("CreatorRequestId").map(str::to_owned),
        dns_config: input.get("DnsConfig").cloned(),
        health_check_config: input.get("HealthCheckConfig").cloned(),
        health_check_custom_config: input.get("HealthCheckCustomConfig").cloned(),
        created_at: scope.now,
        revision: 1,
        instances: Vec::new(),
        attributes: Default::default(),
        tags: input.pairs("Tags")?,
    };
    let reply = json!({ "Service": describe(state, &service, true) });
    state.discovery.services.push(service);
    Ok(reply)
}

pub(super) fn update(state: &mut State, scope: &Scope, input: Input) -> ApiResult {
    let id = find(state, input.required("Id")?)?.id.clone();
    let change = input.structure("Service").ok_or_else(|| input.error("A service change must be specified"))?;
    if let Some(records) = change.structure("DnsConfig") {
        check_records(records)?;
    }
    let service = find_service_mut(state, &id).ok_or_else(|| not_found(&id))?;
    if let Some(description) = change.text("Description") {
        service.description = Some(description.to_owned());
    }
    if let Some(records) = change.get("DnsConfig").and_then(|config| config.get("DnsRecords")) {
        let config = service.dns_config.get_or_insert_with(|| json!({}));
        config["DnsRecords"] = records.clone();
    }
    Ok(operation(state, scope, "UPDATE_SERVICE", &[("SERVICE", &id)]))
}

pub(super) fn list(state: &State, _: &Scope, input: Input) -> ApiResult {
    let mut found = Vec::new();
    for service in &state.discovery.services {
        let value_of = |filter: &str| match filter {
            "NAMESPACE_ID" => Some(service.namespace_id.clone()),
            "RESOURCE_OWNER" => Some("SELF".to_owned()),
            _ => None,
        };
        if passes(input, value_of)? {
            found.push(describe(state, service, false));
        }
    }
    listing(input, "Services", found)
}

pub(super) fn get(state: &State, _: &Scope, input: Input) -> ApiResult {
    let service = find(state, input.required("Id")?)?;
    Ok(json!({ "Service": describe(state, service, true) }))
}

pub(super) fn delete(state: &mut State, _: &Scope, input: Input) -> ApiResult {
    let service = find(state, input.required("Id")?)?;
    if !service.instances.is_empty() {
        return Err(ApiError::new("ResourceInUse", format!("Service {} contains registered instances.", service.id)));
    }
    let id = service.id.clone();
    state.discovery.services.retain(|service| service.id != id);
    Ok(json!({}))
}

pub(super) fn find<'a>(state: &'a State, id_or_arn: &str) -> Result<&'a Service, ApiError> {
    state.discovery.services.iter().find(|service| service.is(id_or_arn)).ok_or_else(|| not_found(id_or_arn))
}

fn not_found(id: &str) -> ApiError {
    ApiError::new("ServiceNotFound", format!("Can't find service with ID {id}."))
}

fn check_records(config: Input) -> Result<(), ApiError> {
    let records = config.list("DnsRecords");
    let mut types = Vec::new();
    for record in &records {
        let kind = record.required("Type")?;
        if !["A", "AAAA", "CNAME", "SRV"].contains(&kind) {
            return Err(config.error(format!("'{kind}' is not a type of DNS record: A, AAAA, CNAME or SRV")));
        }
        record.number_in("TTL", 0..=2_147_483_647)?.ok_or_else(|| config.error("A DNS record needs a TTL"))?;
        types.push(kind);
    }
    if types.contains(&"CNAME") && types.len() > 1 {
        return Err(config.error("A CNAME record cannot be combined with other records"));
    }
    match types.is_empty() {
        true => Err(config.error("At least one DNS record must be specified")),
        false => Ok(()),
    }
}

/// `in_full` is what GetService and CreateService say; a list says less.
fn describe(state: &State, service: &Service, in_full: bool) -> Value {
    let http = namespaces::find(state, &service.namespace_id).is_ok_and(|one| one.kind == NamespaceType::Http);
    let mut value = json!({
        "Id": service.id,
        "Arn": service.arn,
        "Name": service.name,
        "InstanceCount": service.instances.len(),
        "Type": match (http, &service.dns_config) {
            (true, _) | (false, None) => "HTTP",
            (false, Some(_)) => "DNS_HTTP",
        },
        "CreateDate": seconds(service.created_at),
        "ResourceOwner": "SELF",
    });
    if in_full {
        value["NamespaceId"] = json!(service.namespace_id);
        if let Some(request) = &service.creator_request_id {
            value["CreatorRequestId"] = json!(request);
        }
    }
    if let Some(description) = &service.description {
        value["Description"] = json!(description);
    }
    if let Some(config) = &service.dns_config {
        value["DnsConfig"] = config.clone();
        value["DnsConfig"]["NamespaceId"] = json!(service.namespace_id);
        if config.get("RoutingPolicy").is_none() {
            value["DnsConfig"]["RoutingPolicy"] = json!("MULTIVALUE");
        }
    }
    if let Some(config) = &service.health_check_config {
        value["HealthCheckConfig"] = config.clone();
    }
    if let Some(config) = &service.health_check_custom_config {
        value["HealthCheckCustomConfig"] = config.clone();
        value["HealthCheckCustomConfig"]["FailureThreshold"] = json!(1);
    }
    value
}

/// How many attributes a service may have.
const MOST_ATTRIBUTES: usize = 30;

pub(super) fn get_attributes(state: &State, scope: &Scope, input: Input) -> ApiResult {
    let service = find(state, input.required("ServiceId")?)?;
    Ok(json!({
        "ServiceAttributes": {
            "ServiceArn": service.arn,
            "ResourceOwner": scope.settings.account_id,
            "Attributes": service.attributes,
        },
    }))
}

pub(super) fn update_attributes(state: &mut State, _: &Scope, input: Input) -> ApiResult {
    let id = find(state, input.required("ServiceId")?)?.id.clone();
    let Some(service) = find_service_mut(state, &id) else { return Ok(json!({})) };
    let mut all = service.attributes.clone();
    for (key, value) in input.get("Attributes").and_then(Value::as_object).into_iter().flatten() {
        all.insert(key.clone(), value.as_str().unwrap_or_default().to_owned());
    }
    if all.len() > MOST_ATTRIBUTES {
        let message = format!("A service can have no more than {MOST_ATTRIBUTES} attributes.");
        return Err(ApiError::new("ServiceAttributesLimitExceededException", message));
    }
    service.attributes = all;
    Ok(json!({}))
}

pub(super) fn delete_attributes(state: &mut State, _: &Scope, input: Input) -> ApiResult {
    let id = find(state, input.required("ServiceId")?)?.id.clone();
    let keys = input.texts("Attributes");
    if let Some(service) = find_service_mut(state, &id) {
        service.attributes.retain(|key, _| !keys.contains(&key.as_str()));
    }
    Ok(json!({}))
}
