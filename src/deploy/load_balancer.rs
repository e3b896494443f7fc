//! The load balancer and its listener: attached to by name or ARN, or created, and then tagged as ours.

use aws_sdk_elasticloadbalancingv2::types::{
    Action, ActionTypeEnum, Certificate, Listener, LoadBalancer, LoadBalancerSchemeEnum, LoadBalancerTypeEnum,
    ProtocolEnum, Tag,
};
use aws_smithy_runtime_api::client::orchestrator::HttpResponse;
use aws_smithy_runtime_api::client::result::SdkError;
use aws_smithy_types::error::metadata::ProvideErrorMetadata;
use serde_json::{Value, json};

use super::event::{Event, Events, ResourceAction};
use super::repository::{OWNER, OWNER_TAG};
use super::{network, target_group};
use crate::aws::reply::{list, number, text};
use crate::aws::{Clients, Failure};
use crate::config::{LoadBalancerPlan, LoadBalancerType, Plan};
use crate::error::{Error, Kind, Result};

/// Which service a resource was created for, as `cluster/service`.
pub const SERVICE_TAG: &str = "steady:service";

pub(super) fn ownership(plan: &Plan) -> Vec<Tag> {
    let service = format!("{}/{}", plan.cluster, plan.service);
    let tag = |key: &str, value: &str| Tag::builder().key(key).value(value).build();
    vec![tag(OWNER_TAG, OWNER), tag(SERVICE_TAG, &service)]
}

pub(super) fn failed<E>(operation: &'static str, error: SdkError<E, HttpResponse>) -> Error
where
    E: ProvideErrorMetadata + std::error::Error + Send + Sync + 'static,
{
    Failure::from_sdk("ELBv2", operation, error).error(Kind::Other)
}

/// What the plan names but does not let us create, and is not there.
pub async fn find_missing(plan: &Plan, clients: &Clients) -> Vec<Error> {
    let Some(balancer) = &plan.load_balancer else { return Vec::new() };
    let mut findings = Vec::new();
    let name = balancer_name(plan, balancer);
    let (arn, named) = (balancer.target_group.arn.as_deref(), balancer.target_group.name.as_deref());
    let own = elb_name(&plan.service);
    let (found, group) = tokio::join!(
        find(balancer.arn.as_deref(), Some(&name), clients),
        target_group::find(arn, named.or(Some(&own)), clients),
    );
    // What nobody named is ours by its name only as long as it is not another service's.
    if let (None, None, Ok(Some(group))) = (arn, named, &group) {
        findings.extend(target_group::owned_by_another(group, plan, clients).await);
    }
    match found {
        Ok(Some(_)) => {}
        Ok(None) if balancer.create && balancer.arn.is_none() => {}
        Ok(None) => {
            let name = balancer.arn.as_deref().unwrap_or(&name);
            findings.push(
                Error::preflight(format!("the load balancer `{name}` does not exist"))
                    .hint("let steady create what is missing: `create: true` below `load_balancer:`"),
            );
        }
        Err(failure) => findings.push(failure.error(Kind::Preflight)),
    }
    match group {
        Ok(None) if balancer.target_group.arn.is_some() || !balancer.create => {
            let named = balancer.target_group.arn.as_deref().or(balancer.target_group.name.as_deref());
            findings.extend(named.map(target_group::missing));
        }
        Ok(_) => {}
        Err(failure) => findings.push(failure.error(Kind::Preflight)),
    }
    findings
}

/// A service's `loadBalancers`, with all that they name in place.
pub async fn ensure(
    plan: &Plan,
    balancer: &LoadBalancerPlan,
    task_definition: &Value,
    clients: &Clients,
    events: &Events,
) -> Result<Value> {
    let network_mode = text(task_definition, "networkMode");
    let (container, port) = container(balancer.container.as_deref(), balancer.container_port, plan, task_definition)?;
    let name = balancer_name(plan, balancer);
    let group_name = balancer.target_group.name.clone().unwrap_or_else(|| elb_name(&plan.service));
    let (found, group) = tokio::try_join!(
        async { find(balancer.arn.as_deref(), Some(&name), clients).await.map_err(Error::from) },
        async {
            target_group::find(balancer.target_group.arn.as_deref(), Some(&group_name), clients)
                .await
                .map_err(Error::from)
        },
    )?;
    let load_balancer = match found {
        Some(found) => {
            fits(&found, balancer)?;
            found
        }
        None => create(plan, balancer, &name, clients, events).await?,
    };
    let arn = load_balancer.load_balancer_arn().unwrap_or_default();
    let listeners = clients.elbv2.describe_listeners().load_balancer_arn(arn).send().await;
    let listeners = listeners.map_err(|error| failed("DescribeListeners", error))?.listeners.unwrap_or_default();
    let listener = listeners.iter().find(|listener| match &balancer.listener.arn {
        Some(arn) => listener.listener_arn() == Some(arn),
        None => listener.port() == Some(balancer.listener.port.into()),
    });
    let unnamed = balancer.target_group.name.is_none() && balancer.target_group.arn.is_none();
    let group = match (group, listener.and_then(forwards_to)) {
        (Some(group), _) => {
            target_group::check(&group, balancer, network_mode)?;
            target_group::settle(&group, balancer, clients, events).await?;
            group
        }
        // Attach to what the listener has, when nothing else was named and nothing is to be created.
        (None, Some(arn)) if unnamed && !balancer.create => {
            let group = target_group::find(Some(arn), None, clients).await?;
            let group = group.ok_or_else(|| target_group::missing(arn))?;
            target_group::check(&group, balancer, network_mode)?;
            group
        }
        (None, _) if !balancer.create => return Err(target_group::missing(&group_name)),
        (None, _) => {
            let vpc = load_balancer.vpc_id().unwrap_or_default();
            let ports = (network_mode, port);
            let group = target_group::create(plan, balancer, &group_name, vpc, ports, clients, events).await?;
            target_group::settle(&group, balancer, clients, events).await?;
            group
        }
    };
    let group_arn = group.target_group_arn().unwrap_or_default();
    match listener {
        Some(listener) => listens(listener, group_arn, &name)?,
        None if balancer.listener.arn.is_some() => {
            let arn = balancer.listener.arn.as_deref().unwrap_or_default();
            return Err(Error::preflight(format!("the load balancer `{name}` has no listener {arn}")));
        }
        None => create_listener(plan, balancer, arn, group_arn, clients, events).await?,
    }
    Ok(json!([{ "targetGroupArn": group_arn, "containerName": container, "containerPort": port }]))
}

/// The container and port that targets are: those named, else the image's or the only container, and its first port.
pub(super) fn container(
    named: Option<&str>,
    port: Option<u16>,
    plan: &Plan,
    task_definition: &Value,
) -> Result<(String, u16)> {
    let containers = list(task_definition, "containerDefinitions");
    let names = || containers.iter().map(|container| text(container, "name")).collect::<Vec<_>>().join(", ");
    let named = named.or(plan.image.as_ref().and_then(|image| image.container.as_deref()));
    let listening: Vec<&Value> = containers.iter().filter(|c| !list(c, "portMappings").is_empty()).collect();
    let container = match (named, &listening[..], containers) {
        (Some(name), ..) => containers.iter().find(|container| text(container, "name") == name),
        (None, [only], _) => Some(*only),
        (None, _, [only]) => Some(only),
        _ => None,
    };
    let Some(container) = container else {
        let message = match named {
            Some(name) => format!("the task definition has no container `{name}`; it has {}", names()),
            None => format!("which container takes the traffic? The task definition has {}", names()),
        };
        return Err(Error::input(message).hint("name it: `container:` below `load_balancer:`"));
    };
    let name = text(container, "name");
    let ports: Vec<i64> = list(container, "portMappings").iter().map(|port| number(port, "containerPort")).collect();
    let first = ports.first().and_then(|port| u16::try_from(*port).ok());
    match port.or(first) {
        Some(port) if ports.contains(&port.into()) => Ok((name.to_owned(), port)),
        Some(port) => Err(Error::input(format!("the container `{name}` maps no port {port}"))
            .hint(format!("add {{ \"containerPort\": {port} }} to its `portMappings`"))),
        None => Err(Error::input(format!("the container `{name}` maps no port")).hint("add `portMappings` to it")),
    }
}

pub(super) fn balancer_name(plan: &Plan, balancer: &LoadBalancerPlan) -> String {
    balancer.name.clone().unwrap_or_else(|| elb_name(&plan.service))
}

/// A name as ELB allows it: at most 32 letters, digits and hyphens.
pub(super) fn elb_name(service: &str) -> String {
    let name: String = service.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '-' }).take(32).collect();
    name.trim_matches('-').to_owned()
}

pub(super) async fn find(
    arn: Option<&str>,
    name: Option<&str>,
    clients: &Clients,
) -> Result<Option<LoadBalancer>, Failure> {
    let call = clients.elbv2.describe_load_balancers();
    let call = match arn {
        Some(arn) => call.load_balancer_arns(arn),
        None => call.set_names(name.map(|name| vec![name.to_owned()])),
    };
    match call.send().await.map_err(|error| Failure::from_sdk("ELBv2", "DescribeLoadBalancers", error)) {
        Ok(reply) => Ok(reply.load_balancers().first().cloned()),
        Err(failure) if failure.is("LoadBalancerNotFound") => Ok(None),
        Err(failure) => Err(failure),
    }
}

fn fits(found: &LoadBalancer, plan: &LoadBalancerPlan) -> Result<()> {
    let name = found.load_balancer_name().unwrap_or_default();
    let has = found.r#type().map_or("", LoadBalancerTypeEnum::as_str);
    let wanted = kind(plan).as_str().to_owned();
    if has != wanted {
        return Err(Error::preflight(format!("the load balancer `{name}` is of type {has}, not {wanted}"))
            .hint(format!("write `type: {has}`, or name another load balancer")));
    }
    if let (Some(wanted), Some(has)) = (&plan.scheme, found.scheme())
        && has.as_str() != wanted
    {
        let has = has.as_str();
        return Err(Error::preflight(format!("the load balancer `{name}` is {has}, not {wanted}"))
            .hint("a load balancer's scheme cannot be changed: name another one"));
    }
    Ok(())
}

fn kind(plan: &LoadBalancerPlan) -> LoadBalancerTypeEnum {
    match plan.kind {
        LoadBalancerType::Network => LoadBalancerTypeEnum::Network,
        LoadBalancerType::Application => LoadBalancerTypeEnum::Application,
    }
}

async fn create(
    plan: &Plan,
    balancer: &LoadBalancerPlan,
    name: &str,
    clients: &Clients,
    events: &Events,
) -> Result<LoadBalancer> {
    if !balancer.create {
        return Err(Error::preflight(format!("the load balancer `{name}` does not exist"))
            .hint("let steady create it: `create: true` below `load_balancer:`"));
    }
    let subnets = network::subnets(&balancer.subnets, clients).await?;
    // Network load balancers get security groups only when these are named: they cannot be added later.
    let default_groups = balancer.security_groups == crate::config::Selector::Default;
    let groups = match balancer.kind {
        LoadBalancerType::Network if default_groups => None,
        _ => Some(network::security_groups(&balancer.security_groups, &subnets.vpc_id, clients).await?),
    };
    let call = clients
        .elbv2
        .create_load_balancer()
        .name(name)
        .r#type(kind(balancer))
        .set_scheme(balancer.scheme.as_deref().map(LoadBalancerSchemeEnum::from))
        .set_subnets(Some(subnets.ids))
        .set_security_groups(groups)
        .set_tags(Some(ownership(plan)));
    let reply = call.send().await.map_err(|error| failed("CreateLoadBalancer", error))?;
    let created = reply.load_balancers().first().cloned();
    let created = created.ok_or_else(|| Error::other("ELBv2.CreateLoadBalancer: the reply holds no load balancer"))?;
    let id = name.to_owned();
    events.emit(Event::Resource { action: ResourceAction::Created, kind: "load balancer".into(), id });
    Ok(created)
}

async fn create_listener(
    plan: &Plan,
    balancer: &LoadBalancerPlan,
    load_balancer: &str,
    target_group: &str,
    clients: &Clients,
    events: &Events,
) -> Result<()> {
    let action = Action::builder().r#type(ActionTypeEnum::Forward).target_group_arn(target_group).build();
    let certificate =
        balancer.listener.certificate_arn.as_ref().map(|arn| Certificate::builder().certificate_arn(arn).build());
    let call = clients
        .elbv2
        .create_listener()
        .load_balancer_arn(load_balancer)
        .port(balancer.listener.port.into())
        .protocol(ProtocolEnum::from(balancer.listener.protocol.as_str()))
        .set_certificates(certificate.map(|certificate| vec![certificate]))
        .default_actions(action)
        .set_tags(Some(ownership(plan)));
    call.send().await.map_err(|error| failed("CreateListener", error))?;
    let id = format!("{}:{}", balancer.listener.protocol, balancer.listener.port);
    events.emit(Event::Resource { action: ResourceAction::Created, kind: "listener".into(), id });
    Ok(())
}

/// Another's listener is never turned to our target group.
fn listens(listener: &Listener, target_group: &str, balancer: &str) -> Result<()> {
    let groups: Vec<&str> = listener.default_actions().iter().flat_map(groups_of).collect();
    if groups.contains(&target_group) {
        return Ok(());
    }
    // A rule of an application load balancer's listener may lead to it: ECS itself checks that.
    if matches!(listener.protocol(), Some(ProtocolEnum::Http | ProtocolEnum::Https)) && listener.port().is_none() {
        return Ok(());
    }
    let port = listener.port().unwrap_or_default();
    let leads = groups.first().map_or("does not forward".to_owned(), |arn| format!("forwards to {arn}"));
    Err(Error::preflight(format!(
        "the listener on port {port} of `{balancer}` {leads}, not to this service's target group"
    ))
    .hint("choose another `listener: { port: … }`, or name that target group below `target_group:`"))
}

fn groups_of(action: &Action) -> Vec<&str> {
    let weighted = action.forward_config().map_or(&[][..], |forward| forward.target_groups());
    action.target_group_arn().into_iter().chain(weighted.iter().filter_map(|group| group.target_group_arn())).collect()
}

fn forwards_to(listener: &Listener) -> Option<&str> {
    listener.default_actions().iter().flat_map(groups_of).next()
}

/// Where the service answers: its first load balancer's name and the port of the listener that leads to it.
pub async fn service_url(service: &Value, clients: &Clients) -> Result<Option<String>, Failure> {
    let Some(arn) =
        list(service, "loadBalancers").iter().map(|one| text(one, "targetGroupArn")).find(|a| !a.is_empty())
    else {
        return Ok(None);
    };
    let Some(group) = target_group::find(Some(arn), None, clients).await? else { return Ok(None) };
    let Some(balancer) = group.load_balancer_arns().first() else { return Ok(None) };
    let (found, listeners) = tokio::join!(
        find(Some(balancer), None, clients),
        clients.elbv2.describe_listeners().load_balancer_arn(balancer).send(),
    );
    let listeners = listeners.map_err(|error| Failure::from_sdk("ELBv2", "DescribeListeners", error))?;
    let leads = |listener: &&Listener| listener.default_actions().iter().flat_map(groups_of).any(|group| group == arn);
    let listener = listeners.listeners().iter().find(leads).or(listeners.listeners().first());
    let Some((found, listener)) = found?.zip(listener.cloned()) else { return Ok(None) };
    let scheme = match listener.protocol() {
        Some(ProtocolEnum::Https | ProtocolEnum::Tls) => "https",
        Some(ProtocolEnum::Http | ProtocolEnum::Tcp) => "http",
        _ => return Ok(None),
    };
    let port = listener.port().unwrap_or_default();
    let host = found.dns_name().unwrap_or_default();
    Ok(Some(match (scheme, port) {
        ("http", 80) | ("https", 443) => format!("{scheme}://{host}"),
        _ => format!("{scheme}://{host}:{port}"),
    }))
}
