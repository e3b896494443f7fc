//! The load balancer and its listener: attached to by name or ARN, or created, and then tagged as ours.

pub mod listener;
pub(super) mod shifting;
pub mod target_group;

use aws_sdk_elasticloadbalancingv2::types::{
    Listener, LoadBalancer, LoadBalancerSchemeEnum, LoadBalancerTypeEnum, Tag, TargetGroup,
};
use aws_smithy_runtime_api::client::orchestrator::HttpResponse;
use aws_smithy_runtime_api::client::result::SdkError;
use aws_smithy_types::error::metadata::ProvideErrorMetadata;
use serde_json::{Value, json};

use super::event::{Event, Events, ResourceAction};
use super::repository::{OWNER, OWNER_TAG};
use super::surroundings;
use super::surroundings::network;
use super::surroundings::network::Subnets;
use crate::aws::reply::{list, number, text};
use crate::aws::{Clients, Failure};
use crate::config::{AdvancedPlan, LoadBalancerPlan, LoadBalancerType, NetworkPlan, Plan, Selector};
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

/// What there is of a plan's load balancer, and what of it is to be created.
pub struct Looked {
    name: String,
    load_balancer: Option<LoadBalancer>,
    /// Where a load balancer that is to be created goes: its subnets and security groups.
    place: Option<(Subnets, Option<Vec<String>>)>,
    listener: Option<Listener>,
    group_name: String,
    group: Option<TargetGroup>,
    /// The group is what the listener has: nobody named it, so it stays as it is.
    adopted: bool,
    container: String,
    port: u16,
    /// For deployments that shift traffic.
    advanced: Option<(AdvancedPlan, shifting::Looked)>,
}

/// Looks and changes nothing; what does not fit, or is missing and not to be created, is told together.
pub async fn look(
    plan: &Plan,
    balancer: &LoadBalancerPlan,
    task_definition: &Value,
    clients: &Clients,
) -> Result<Looked, Vec<Error>> {
    let network_mode = text(task_definition, "networkMode");
    let (container, port) = container(balancer.container.as_deref(), balancer.container_port, plan, task_definition)
        .map_err(|error| vec![error])?;
    let name = balancer_name(plan, balancer);
    let wanted = &balancer.target_group;
    let unnamed = wanted.name.is_none() && wanted.arn.is_none();
    let group_name = wanted.name.clone().unwrap_or_else(|| elb_name(&plan.service));
    let (found, group) = tokio::join!(
        find(balancer.arn.as_deref(), Some(&name), clients),
        target_group::find(wanted.arn.as_deref(), Some(&group_name), clients),
    );
    let (load_balancer, mut group) = match (found, group) {
        (Ok(found), Ok(group)) => (found, group),
        (found, group) => {
            let failures = found.err().into_iter().chain(group.err());
            return Err(failures.map(|failure| failure.error(Kind::Preflight)).collect());
        }
    };
    let mut findings = Vec::new();
    let (mut place, mut listener) = (None, None);
    match &load_balancer {
        Some(found) => {
            findings.extend(fits(found, balancer).err());
            match listener::of_plan(found, &balancer.listener, clients).await {
                Ok(found) => listener = found,
                Err(error) => findings.push(error),
            }
        }
        None if balancer.create && balancer.arn.is_none() => match self::place(balancer, clients).await {
            Ok(found) => place = Some(found),
            Err(error) => findings.push(error),
        },
        None => findings.push(missing(balancer.arn.as_deref().unwrap_or(&name))),
    }
    if listener.is_none() && (load_balancer.is_some() || balancer.create) {
        findings.extend(listener::missing(&balancer.listener, balancer.create, &name));
    }
    let mut adopted = false;
    match &group {
        // What nobody named is ours by its name only as long as it is not another service's.
        Some(group) if unnamed => findings.extend(target_group::owned_by_another(group, plan, clients).await),
        Some(_) => {}
        // Attach to what the listener has, when nothing else was named and nothing is to be created.
        None if unnamed && !balancer.create => {
            if let Some(arn) = listener.as_ref().and_then(listener::forwards_to) {
                match target_group::find(Some(arn), None, clients).await {
                    Ok(found) => group = found,
                    Err(failure) => findings.push(failure.error(Kind::Preflight)),
                }
                adopted = group.is_some();
            }
            if load_balancer.is_some() && group.is_none() {
                findings.push(target_group::missing(&group_name));
            }
        }
        None if wanted.arn.is_some() || !balancer.create => {
            findings.push(target_group::missing(wanted.arn.as_deref().unwrap_or(&group_name)));
        }
        None => {}
    }
    if let Some(group) = &group {
        findings.extend(target_group::check(group, balancer, network_mode).err());
    }
    if let Some(listener) = &listener
        && (group.is_some() || (balancer.create && wanted.arn.is_none()))
    {
        let arn = group.as_ref().and_then(|group| group.target_group_arn());
        findings.extend(listener::check(listener, arn, &name, clients).await.err());
    }
    let mut advanced = None;
    if let Some(wanted) = balancer.advanced.as_ref().filter(|_| findings.is_empty()) {
        let there = (load_balancer.as_ref(), listener.as_ref());
        let first = (group_name.as_str(), group.as_ref());
        match shifting::look(plan, balancer, wanted, there, first, network_mode, clients).await {
            Ok(found) => advanced = Some((wanted.clone(), found)),
            Err(errors) => findings.extend(errors),
        }
    }
    match findings.is_empty() {
        true => {
            Ok(Looked { name, load_balancer, place, listener, group_name, group, adopted, container, port, advanced })
        }
        false => Err(findings),
    }
}

impl Looked {
    /// A service's `loadBalancers`, as far as they are there.
    pub fn attached(&self) -> Value {
        let mut attached = match self.group.as_ref().and_then(|group| group.target_group_arn()) {
            Some(arn) => self.attaching(arn),
            None => self.attaching(&format!("{} (new)", self.group_name)),
        };
        if let Some((advanced, looked)) = &self.advanced {
            attached[0]["advancedConfiguration"] = looked.attached(advanced);
        }
        attached
    }

    fn attaching(&self, group: &str) -> Value {
        json!([{ "targetGroupArn": group, "containerName": self.container, "containerPort": self.port }])
    }

    /// A warning, and what to do, where a load balancer is to be created that cannot be reached, or reaches no task.
    pub fn closed(&self, balancer: &LoadBalancerPlan, network: Option<&NetworkPlan>) -> Option<(String, String)> {
        self.place.as_ref()?;
        surroundings::closed(balancer.kind, &balancer.security_groups, network.map(|network| &network.security_groups))
    }

    /// What [`ensure`] would create.
    pub fn creates(&self, balancer: &LoadBalancerPlan) -> Vec<String> {
        let load_balancer = self.load_balancer.is_none().then(|| format!("load balancer {}", self.name));
        let group = self.group.is_none().then(|| format!("target group {}", self.group_name));
        let (protocol, port) = (&balancer.listener.protocol, balancer.listener.port);
        let listener = self.listener.is_none().then(|| format!("listener {protocol}:{port}"));
        let advanced = self.advanced.iter().flat_map(|(advanced, looked)| looked.creates(advanced));
        load_balancer.into_iter().chain(group).chain(listener).chain(advanced).collect()
    }
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
    // Anew: a build and a push ago is long ago. What was found then has ended the deploy before it touched anything.
    let looked = match look(plan, balancer, task_definition, clients).await {
        Ok(looked) => looked,
        Err(findings) => {
            let findings = findings.into_iter().map(|error| error.with_kind(Kind::Other)).collect();
            return Err(Error::all(findings).unwrap_or_else(|| Error::other("the load balancer does not fit")));
        }
    };
    let load_balancer = match (&looked.load_balancer, &looked.place) {
        (Some(found), _) => found.clone(),
        (None, Some((subnets, groups))) => {
            create(plan, balancer, &looked.name, (subnets, groups), clients, events).await?
        }
        (None, None) => return Err(missing(&looked.name)),
    };
    let group = match &looked.group {
        Some(group) => group.clone(),
        None => {
            let vpc = load_balancer.vpc_id().unwrap_or_default();
            let ports = (network_mode, looked.port);
            target_group::create(plan, balancer, &looked.group_name, vpc, ports, clients, events).await?
        }
    };
    if !looked.adopted {
        target_group::settle(&group, balancer, clients, events).await?;
    }
    let group_arn = group.target_group_arn().unwrap_or_default();
    let alternate = match &looked.advanced {
        Some((_, advanced)) => {
            let vpc = load_balancer.vpc_id().unwrap_or_default();
            let ports = (network_mode, looked.port);
            Some(advanced.group(plan, balancer, vpc, ports, clients, events).await?)
        }
        None => None,
    };
    let groups: Vec<&str> = std::iter::once(group_arn).chain(alternate.as_deref()).collect();
    let arn = load_balancer.load_balancer_arn().unwrap_or_default();
    let listener = match &looked.listener {
        Some(listener) => listener.clone(),
        None => listener::create(plan, &balancer.listener, arn, &groups, clients, events).await?,
    };
    let mut attached = looked.attaching(group_arn);
    if let (Some((advanced, found)), &[first, second]) = (&looked.advanced, &groups[..]) {
        let there = (arn, &listener);
        attached[0]["advancedConfiguration"] =
            shifting::ensure(plan, advanced, found, there, [first, second], clients, events).await?;
    }
    Ok(attached)
}

fn missing(name: &str) -> Error {
    Error::preflight(format!("the load balancer `{name}` does not exist"))
        .hint("let steady create what is missing: `create: true` below `load_balancer:`")
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

/// The subnets and security groups of a load balancer that is to be created.
async fn place(balancer: &LoadBalancerPlan, clients: &Clients) -> Result<(Subnets, Option<Vec<String>>)> {
    let subnets = network::subnets(&balancer.subnets, clients).await?;
    let groups = match balancer.kind {
        // Network load balancers get security groups only when these are named: they cannot be added later.
        LoadBalancerType::Network if balancer.security_groups == Selector::Default => None,
        _ => Some(network::security_groups(&balancer.security_groups, &subnets.vpc_id, clients).await?),
    };
    Ok((subnets, groups))
}

async fn create(
    plan: &Plan,
    balancer: &LoadBalancerPlan,
    name: &str,
    (subnets, groups): (&Subnets, &Option<Vec<String>>),
    clients: &Clients,
    events: &Events,
) -> Result<LoadBalancer> {
    let call = clients
        .elbv2
        .create_load_balancer()
        .name(name)
        .r#type(kind(balancer))
        .set_scheme(balancer.scheme.as_deref().map(LoadBalancerSchemeEnum::from))
        .set_subnets(Some(subnets.ids.clone()))
        .set_security_groups(groups.clone())
        .set_tags(Some(ownership(plan)));
    let reply = call.send().await.map_err(|error| failed("CreateLoadBalancer", error))?;
    let created = reply.load_balancers().first().cloned();
    let created = created.ok_or_else(|| Error::other("ELBv2.CreateLoadBalancer: the reply holds no load balancer"))?;
    let id = name.to_owned();
    events.emit(Event::Resource { action: ResourceAction::Created, kind: "load balancer".into(), id });
    Ok(created)
}

/// Where the service answers, by the listener that leads to it.
pub use listener::service_url;
