//! Service discovery: the Cloud Map service that tasks register with, found or created.

use std::time::Duration;

use serde_json::{Value, json};

use super::network;
use crate::aws::reply::{list, optional, text};
use crate::aws::{Clients, Failure};
use crate::config::{DiscoveryPlan, Plan, Selector};
use crate::deploy::event::{Event, Events, ResourceAction};
use crate::deploy::load_balancer::{SERVICE_TAG, container};
use crate::deploy::repository::{OWNER, OWNER_TAG};
use crate::error::{Error, Kind, Result};

/// A service's `serviceRegistries`, with the Cloud Map service in place.
pub async fn ensure(
    plan: &Plan,
    discovery: &DiscoveryPlan,
    task_definition: &Value,
    clients: &Clients,
    events: &Events,
) -> Result<Value> {
    let network_mode = text(task_definition, "networkMode");
    let record = record_type(discovery.record_type.as_deref(), network_mode)?;
    let arn = match &discovery.arn {
        Some(arn) => arn.clone(),
        None => {
            let namespace = namespace(plan, discovery, clients, events).await?;
            service(plan, discovery, record, &namespace, clients, events).await?
        }
    };
    registries(plan, discovery, record, &arn, task_definition)
}

/// What [`ensure`] would come to, without making anything, and what it would make. A stand-in is the ARN of a Cloud Map
/// service that is yet to be made.
pub async fn look(
    plan: &Plan,
    discovery: &DiscoveryPlan,
    task_definition: &Value,
    clients: &Clients,
) -> Result<(Value, Vec<String>)> {
    let mut creates = Vec::new();
    let record = record_type(discovery.record_type.as_deref(), text(task_definition, "networkMode"))?;
    let arn = match &discovery.arn {
        Some(arn) => Some(arn.clone()),
        None => match find_namespace(&discovery.namespace, clients).await.map_err(preflight)? {
            None => {
                vpc_of_new(plan, discovery, clients).await?;
                creates.push(format!("namespace {}", discovery.namespace));
                None
            }
            Some(namespace) => match find_service(&discovery.name, &namespace, clients).await.map_err(preflight)? {
                None => None,
                Some(found) => {
                    check(&found, &discovery.name, record)?;
                    Some(text(&found, "Arn").to_owned())
                }
            },
        },
    };
    let arn = arn.unwrap_or_else(|| {
        creates.push(format!("Cloud Map service {}", discovery.name));
        format!("{} (new)", discovery.name)
    });
    Ok((registries(plan, discovery, record, &arn, task_definition)?, creates))
}

fn registries(
    plan: &Plan,
    discovery: &DiscoveryPlan,
    record: &str,
    arn: &str,
    task_definition: &Value,
) -> Result<Value> {
    if record == "A" {
        return Ok(json!([{ "registryArn": arn }]));
    }
    let (container, port) = container(discovery.container.as_deref(), discovery.container_port, plan, task_definition)?;
    Ok(json!([{ "registryArn": arn, "containerName": container, "containerPort": port }]))
}

/// Tasks in bridge or host mode share their instance's address, so that only SRV records, which carry the port, find them.
pub fn record_type<'a>(named: Option<&'a str>, network_mode: &str) -> Result<&'a str> {
    match (named, network_mode) {
        (Some("A" | "AAAA"), mode) if mode != "awsvpc" => {
            let mode = if mode.is_empty() { "bridge" } else { mode };
            Err(Error::input(format!("network mode {mode} allows only SRV records for service discovery"))
                .hint("write `type: SRV`, or set `networkMode` to awsvpc in the task definition"))
        }
        (Some(named), _) => Ok(named),
        (None, "awsvpc") => Ok("A"),
        (None, _) => Ok("SRV"),
    }
}

async fn namespace(plan: &Plan, discovery: &DiscoveryPlan, clients: &Clients, events: &Events) -> Result<String> {
    let wanted = discovery.namespace.as_str();
    if let Some(found) = find_namespace(wanted, clients).await? {
        return Ok(found);
    }
    let vpc = vpc_of_new(plan, discovery, clients).await?;
    let input = json!({
        "Name": wanted,
        "Vpc": vpc,
        "CreatorRequestId": format!("steady-{wanted}"),
        "Tags": tags(plan),
    });
    let operation = match clients.create_private_dns_namespace(input).await {
        Ok(reply) => text(&reply, "OperationId").to_owned(),
        // Another run was faster, or an earlier one's operation is still under way.
        Err(failure) if failure.is("NamespaceAlreadyExists") || failure.is("DuplicateRequest") => String::new(),
        Err(failure) => return Err(failure.into()),
    };
    let id = finished(&operation, wanted, clients).await?;
    let event = Event::Resource { action: ResourceAction::Created, kind: "namespace".into(), id: wanted.into() };
    events.emit(event);
    Ok(id)
}

/// The VPC of a namespace that is to be created.
async fn vpc_of_new(plan: &Plan, discovery: &DiscoveryPlan, clients: &Clients) -> Result<String> {
    let wanted = discovery.namespace.as_str();
    if wanted.starts_with("ns-") {
        let message = format!("the Cloud Map namespace `{wanted}` does not exist in {}", clients.region);
        return Err(Error::preflight(message).hint("name one that exists, or give a name instead: it is created"));
    }
    let subnets = plan.network.as_ref().map_or(&Selector::Default, |network| &network.subnets);
    Ok(network::subnets(subnets, clients).await?.vpc_id)
}

fn preflight(failure: Failure) -> Error {
    failure.error(Kind::Preflight)
}

async fn find_namespace(wanted: &str, clients: &Clients) -> Result<Option<String>, Failure> {
    let fits = |one: &Value| text(one, "Id") == wanted || text(one, "Name") == wanted;
    let found = pages("Namespaces", |token| {
        let mut input = json!({ "MaxResults": 100 });
        if let Some(token) = token {
            input["NextToken"] = token.into();
        }
        clients.list_namespaces(input)
    })
    .await?;
    Ok(found.iter().find(|one| fits(one)).map(|one| text(one, "Id").to_owned()))
}

/// Making a private namespace takes AWS a minute or so: it makes a hosted zone.
async fn finished(operation: &str, name: &str, clients: &Clients) -> Result<String> {
    let mut wait = Duration::from_millis(50);
    for _ in 0..60 {
        let state = match operation {
            "" => Value::Null,
            id => clients.get_operation(json!({ "OperationId": id })).await?["Operation"].clone(),
        };
        match text(&state, "Status") {
            "FAIL" => {
                let why = text(&state, "ErrorMessage");
                return Err(Error::other(format!("the Cloud Map namespace `{name}` could not be created: {why}")));
            }
            "SUCCESS" if optional(&state["Targets"], "NAMESPACE").is_some() => {
                return Ok(text(&state["Targets"], "NAMESPACE").to_owned());
            }
            "SUCCESS" | "" => {
                if let Some(id) = find_namespace(name, clients).await? {
                    return Ok(id);
                }
            }
            _ => {}
        }
        tokio::time::sleep(wait).await;
        wait = (wait * 2).min(Duration::from_secs(5));
    }
    Err(Error::other(format!("the Cloud Map namespace `{name}` is still being created"))
        .hint("run the same command again: it goes on from there"))
}

async fn service(
    plan: &Plan,
    discovery: &DiscoveryPlan,
    record: &str,
    namespace: &str,
    clients: &Clients,
    events: &Events,
) -> Result<String> {
    let name = discovery.name.as_str();
    if let Some(found) = find_service(name, namespace, clients).await? {
        check(&found, name, record)?;
        return Ok(text(&found, "Arn").to_owned());
    }
    let input = json!({
        "Name": name,
        "NamespaceId": namespace,
        "CreatorRequestId": format!("steady-{namespace}-{name}"),
        "DnsConfig": {
            "RoutingPolicy": "MULTIVALUE",
            "DnsRecords": [{ "Type": record, "TTL": discovery.ttl.as_secs() }],
        },
        "HealthCheckCustomConfig": { "FailureThreshold": 1 },
        "Tags": tags(plan),
    });
    match clients.create_discovery_service(input).await {
        Ok(reply) => {
            let id = name.to_owned();
            events.emit(Event::Resource { action: ResourceAction::Created, kind: "Cloud Map service".into(), id });
            Ok(text(&reply["Service"], "Arn").to_owned())
        }
        // Another run was faster.
        Err(failure) if failure.is("ServiceAlreadyExists") => match find_service(name, namespace, clients).await? {
            Some(found) => Ok(text(&found, "Arn").to_owned()),
            None => Err(failure.into()),
        },
        Err(failure) => Err(failure.into()),
    }
}

async fn find_service(name: &str, namespace: &str, clients: &Clients) -> Result<Option<Value>, Failure> {
    let found = pages("Services", |token| {
        let mut input = json!({
            "MaxResults": 100,
            "Filters": [{ "Name": "NAMESPACE_ID", "Values": [namespace], "Condition": "EQ" }],
        });
        if let Some(token) = token {
            input["NextToken"] = token.into();
        }
        clients.list_discovery_services(input)
    })
    .await?;
    Ok(found.into_iter().find(|one| text(one, "Name") == name))
}

fn check(found: &Value, name: &str, record: &str) -> Result<()> {
    let records = list(&found["DnsConfig"], "DnsRecords");
    if records.is_empty() || records.iter().any(|one| text(one, "Type") == record) {
        return Ok(());
    }
    let has: Vec<&str> = records.iter().map(|one| text(one, "Type")).collect();
    Err(Error::preflight(format!("the Cloud Map service `{name}` has {} records, not {record}", has.join(", ")))
        .hint("choose another `name:` below `service_discovery:`, or delete that Cloud Map service"))
}

fn tags(plan: &Plan) -> Value {
    json!([
        { "Key": OWNER_TAG, "Value": OWNER },
        { "Key": SERVICE_TAG, "Value": format!("{}/{}", plan.cluster, plan.service) },
    ])
}

async fn pages<F>(member: &str, call: impl Fn(Option<String>) -> F) -> Result<Vec<Value>, Failure>
where
    F: Future<Output = Result<Value, Failure>>,
{
    let mut all = Vec::new();
    let mut token = None;
    loop {
        let reply = call(token).await?;
        all.extend(list(&reply, member).iter().cloned());
        token = optional(&reply, "NextToken").map(str::to_owned);
        if token.is_none() {
            return Ok(all);
        }
    }
}
