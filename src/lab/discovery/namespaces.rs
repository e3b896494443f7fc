//! Namespaces.

use serde_json::{Value, json};

use super::{Namespace, NamespaceType, Scope, listing, new_id, operation, passes, seconds, zone};
use crate::lab::api::{ApiError, ApiResult, random_hex};
use crate::lab::ec2;
use crate::lab::input::Input;
use crate::lab::state::State;

pub(super) fn create(state: &mut State, scope: &Scope, input: Input, kind: NamespaceType) -> ApiResult {
    let name = input.required("Name")?;
    let vpc_id = match kind {
        NamespaceType::DnsPrivate => Some(input.required("Vpc")?),
        _ => None,
    };
    if let Some(vpc_id) = vpc_id.filter(|vpc_id| !ec2::has_vpc(state, vpc_id)) {
        return Err(input.error(format!("The VPC ID '{vpc_id}' does not exist")));
    }
    let request = input.text("CreatorRequestId");
    let same_name =
        |other: &&Namespace| other.name == name && (other.kind == NamespaceType::Http) == (kind == NamespaceType::Http);
    if let Some(existing) = state.discovery.namespaces.iter().find(same_name) {
        let error = ApiError::new(
            "NamespaceAlreadyExists",
            format!("Namespace with name {name} already exists: {}", existing.id),
        );
        let error = error.member("NamespaceId", existing.id.clone());
        return Err(match &existing.creator_request_id {
            Some(id) => error.member("CreatorRequestId", id.clone()),
            None => error,
        });
    }
    let id = new_id("ns");
    state.discovery.namespaces.push(Namespace {
        arn: scope.arn(&format!("namespace/{id}")),
        id: id.clone(),
        name: name.to_owned(),
        kind,
        description: input.text("Description").map(str::to_owned),
        creator_request_id: request.map(str::to_owned),
        vpc_id: vpc_id.map(str::to_owned),
        soa_ttl: soa_ttl(input)?,
        hosted_zone_id: format!("Z{}", random_hex(20).to_uppercase()),
        created_at: scope.now,
        tags: input.pairs("Tags")?,
    });
    Ok(operation(state, scope, "CREATE_NAMESPACE", &[("NAMESPACE", &id)]))
}

pub(super) fn list(state: &State, _: &Scope, input: Input) -> ApiResult {
    let mut found = Vec::new();
    for namespace in &state.discovery.namespaces {
        let value_of = |filter: &str| match filter {
            "TYPE" => Some(namespace.kind.name().to_owned()),
            "NAME" | "HTTP_NAME" => Some(namespace.name.clone()),
            "RESOURCE_OWNER" => Some("SELF".to_owned()),
            _ => None,
        };
        if passes(input, value_of)? {
            found.push(describe(state, namespace));
        }
    }
    listing(input, "Namespaces", found)
}

pub(super) fn get(state: &State, _: &Scope, input: Input) -> ApiResult {
    let namespace = find(state, input.required("Id")?)?;
    let mut value = describe(state, namespace);
    if let Some(request) = &namespace.creator_request_id {
        value["CreatorRequestId"] = json!(request);
    }
    Ok(json!({ "Namespace": value }))
}

fn soa_ttl(input: Input) -> Result<Option<i64>, ApiError> {
    let dns = input.structure("Properties").and_then(|properties| properties.structure("DnsProperties"));
    match dns.and_then(|dns| dns.structure("SOA")) {
        Some(soa) => soa.number_in("TTL", 0..=2_147_483_647),
        None => Ok(None),
    }
}

pub(super) fn update(state: &mut State, scope: &Scope, input: Input, kind: NamespaceType) -> ApiResult {
    let namespace = find(state, input.required("Id")?)?;
    if namespace.kind != kind {
        return Err(input.error(format!("Namespace {} is of type {}", namespace.id, namespace.kind.name())));
    }
    let change =
        input.structure("Namespace").ok_or_else(|| input.error("A change of the namespace must be specified"))?;
    let (id, ttl) = (namespace.id.clone(), soa_ttl(change)?);
    for namespace in state.discovery.namespaces.iter_mut().filter(|of| of.id == id) {
        if let Some(description) = change.text("Description") {
            namespace.description = Some(description.to_owned());
        }
        namespace.soa_ttl = ttl.or(namespace.soa_ttl);
    }
    Ok(operation(state, scope, "UPDATE_NAMESPACE", &[("NAMESPACE", &id)]))
}

pub(super) fn delete(state: &mut State, scope: &Scope, input: Input) -> ApiResult {
    let id = find(state, input.required("Id")?)?.id.clone();
    if state.discovery.services.iter().any(|service| service.namespace_id == id) {
        return Err(ApiError::new("ResourceInUse", format!("Namespace {id} has services associated with it.")));
    }
    state.discovery.namespaces.retain(|namespace| namespace.id != id);
    Ok(operation(state, scope, "DELETE_NAMESPACE", &[("NAMESPACE", &id)]))
}

pub(super) fn find<'a>(state: &'a State, id_or_arn: &str) -> Result<&'a Namespace, ApiError> {
    state
        .discovery
        .namespaces
        .iter()
        .find(|namespace| namespace.is(id_or_arn))
        .ok_or_else(|| ApiError::new("NamespaceNotFound", format!("Can't find namespace with ID {id_or_arn}.")))
}

fn describe(state: &State, namespace: &Namespace) -> Value {
    let services = state.discovery.services.iter().filter(|service| service.namespace_id == namespace.id).count();
    let mut properties = json!({ "HttpProperties": { "HttpName": namespace.name } });
    if namespace.kind != NamespaceType::Http {
        properties["DnsProperties"] = json!({ "HostedZoneId": namespace.hosted_zone_id, "SOA": { "TTL": namespace.soa_ttl.unwrap_or(zone::SOA_TTL) } });
    }
    let mut value = json!({
        "Id": namespace.id,
        "Arn": namespace.arn,
        "Name": namespace.name,
        "Type": namespace.kind.name(),
        "ServiceCount": services,
        "Properties": properties,
        "CreateDate": seconds(namespace.created_at),
    });
    if let Some(description) = &namespace.description {
        value["Description"] = json!(description);
    }
    value
}
