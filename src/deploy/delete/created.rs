//! What steady created around a service, taken away again: only what carries our tag, listeners before their target
//! groups, and a load balancer only when nothing else listens on it.

use std::collections::BTreeSet;
use std::time::Duration;

use serde_json::{Value, json};

use super::{DeleteOptions, Named, is_ours};
use crate::aws::reply::{list, optional, text};
use crate::aws::{Clients, Failure};
use crate::deploy::event::{Event, Events, ResourceAction};
use crate::deploy::load_balancer::{elb_name, failed, find, target_group};
use crate::deploy::register;
use crate::error::{Error, Result};

#[derive(Debug, Clone, Default)]
pub struct Left {
    pub deleted: Vec<String>,
    pub kept: Vec<String>,
}

impl Left {
    fn deleted(&mut self, events: &Events, kind: &str, id: &str) {
        events.emit(Event::Resource { action: ResourceAction::Deleted, kind: kind.into(), id: id.into() });
        self.deleted.push(format!("{kind} {id}"));
    }

    fn kept(&mut self, kind: &str, id: &str) {
        self.kept.push(format!("{kind} {id}"));
    }
}

pub async fn delete_created(
    named: Named<'_>,
    live: Option<&Value>,
    options: DeleteOptions,
    clients: &Clients,
    events: &Events,
) -> Result<Left> {
    let mut left = Left::default();
    balancing(named, live, clients, events, &mut left).await?;
    discovery(named, live, clients, events, &mut left).await?;
    repositories(named, live, options.images, clients, events, &mut left).await?;
    Ok(left)
}

async fn balancing(
    named: Named<'_>,
    live: Option<&Value>,
    clients: &Clients,
    events: &Events,
    left: &mut Left,
) -> Result<()> {
    let (mut groups, mut balancers) = (BTreeSet::new(), BTreeSet::new());
    for balancer in list(live.unwrap_or(&Value::Null), "loadBalancers") {
        groups.extend(optional(balancer, "targetGroupArn").map(str::to_owned));
        let advanced = &balancer["advancedConfiguration"];
        groups.extend(optional(advanced, "alternateTargetGroupArn").map(str::to_owned));
    }
    // An earlier run may have been stopped between listener and load balancer: then only the name leads there.
    let found = find(None, Some(&elb_name(named.service)), clients).await?;
    if let Some(arn) = found.and_then(|found| found.load_balancer_arn)
        && tagged(&arn, named, clients).await?
    {
        balancers.insert(arn);
    }
    let mut there = BTreeSet::new();
    for group in groups {
        // An earlier run may have deleted it already.
        if let Some(found) = target_group::find(Some(&group), None, clients).await? {
            balancers.extend(found.load_balancer_arns().iter().cloned());
            there.insert(group);
        }
    }
    for balancer in &balancers {
        let ours = tagged(balancer, named, clients).await?;
        let listeners = clients.elbv2.describe_listeners().load_balancer_arn(balancer).send().await;
        let listeners = listeners.map_err(|error| failed("DescribeListeners", error))?.listeners.unwrap_or_default();
        let mut others = 0;
        for listener in &listeners {
            let arn = listener.listener_arn().unwrap_or_default();
            if tagged(arn, named, clients).await? {
                let deleting = clients.elbv2.delete_listener().listener_arn(arn).send().await;
                deleting.map_err(|error| failed("DeleteListener", error))?;
                left.deleted(events, "listener", arn);
            } else {
                others += 1;
                left.kept("listener", arn);
            }
        }
        if ours && others == 0 {
            let deleting = clients.elbv2.delete_load_balancer().load_balancer_arn(balancer).send().await;
            deleting.map_err(|error| failed("DeleteLoadBalancer", error))?;
            left.deleted(events, "load balancer", balancer);
        } else {
            left.kept("load balancer", balancer);
        }
    }
    for group in &there {
        if !tagged(group, named, clients).await? {
            left.kept("target group", group);
            continue;
        }
        persist(|| async {
            let deleting = clients.elbv2.delete_target_group().target_group_arn(group).send().await;
            deleting.map(drop).map_err(|error| Failure::from_sdk("ELBv2", "DeleteTargetGroup", error))
        })
        .await?;
        left.deleted(events, "target group", group);
    }
    Ok(())
}

async fn tagged(arn: &str, named: Named<'_>, clients: &Clients) -> Result<bool> {
    let call = clients.elbv2.describe_tags().resource_arns(arn).send().await;
    let reply = call.map_err(|error| failed("DescribeTags", error))?;
    let tags = reply.tag_descriptions().iter().flat_map(|described| described.tags());
    let tags: Vec<Value> =
        tags.map(|tag| json!({ "Key": tag.key().unwrap_or_default(), "Value": tag.value() })).collect();
    Ok(is_ours(&tags, named))
}

async fn discovery(
    named: Named<'_>,
    live: Option<&Value>,
    clients: &Clients,
    events: &Events,
    left: &mut Left,
) -> Result<()> {
    for registry in list(live.unwrap_or(&Value::Null), "serviceRegistries") {
        let arn = text(registry, "registryArn");
        let id = crate::aws::reply::id(arn);
        let namespace = match clients.get_discovery_service(json!({ "Id": id })).await {
            Ok(reply) => text(&reply["Service"], "NamespaceId").to_owned(),
            Err(failure) if failure.is("ServiceNotFound") => continue,
            Err(failure) => return Err(failure.into()),
        };
        let tags = clients.list_discovery_tags(json!({ "ResourceARN": arn })).await?;
        if !is_ours(list(&tags, "Tags"), named) {
            left.kept("Cloud Map service", arn);
            continue;
        }
        persist(|| async { clients.delete_discovery_service(json!({ "Id": id })).await.map(drop) }).await?;
        left.deleted(events, "Cloud Map service", id);
        delete_namespace(named, &namespace, clients, events, left).await?;
    }
    Ok(())
}

async fn delete_namespace(
    named: Named<'_>,
    id: &str,
    clients: &Clients,
    events: &Events,
    left: &mut Left,
) -> Result<()> {
    let namespaces = clients.list_namespaces(json!({ "MaxResults": 100 })).await?;
    let Some(found) = list(&namespaces, "Namespaces").iter().find(|one| text(one, "Id") == id) else {
        return Ok(());
    };
    let name = text(found, "Name");
    let tags = clients.list_discovery_tags(json!({ "ResourceARN": text(found, "Arn") })).await?;
    if !is_ours(list(&tags, "Tags"), named) {
        left.kept("namespace", name);
        return Ok(());
    }
    match clients.delete_namespace(json!({ "Id": id })).await {
        Ok(_) => left.deleted(events, "namespace", name),
        // Other services live in it by now.
        Err(failure) if failure.is("ResourceInUse") => left.kept("namespace", name),
        Err(failure) => return Err(failure.into()),
    }
    Ok(())
}

/// The repositories of the images that the service ran last. Other environments may run from the same one, whoever's
/// tag it carries: with images in it, it goes only when that was asked for.
async fn repositories(
    named: Named<'_>,
    live: Option<&Value>,
    with_images: bool,
    clients: &Clients,
    events: &Events,
    left: &mut Left,
) -> Result<()> {
    let running = text(live.unwrap_or(&Value::Null), "taskDefinition");
    if running.is_empty() {
        return Ok(());
    }
    let Some(revision) = register::describe(running, clients).await? else { return Ok(()) };
    let images = list(&revision["taskDefinition"], "containerDefinitions").iter().map(|one| text(one, "image"));
    // Others' registries are not asked about: only what ECR itself lists under this very URI can be ours.
    let uris: BTreeSet<&str> = images.filter_map(|image| image.split_once("@sha256:")).map(|(uri, _)| uri).collect();
    for uri in uris {
        let Some((_, name)) = uri.split_once('/') else { continue };
        let found = match clients.describe_repositories(json!({ "repositoryNames": [name] })).await {
            Ok(reply) => list(&reply, "repositories").first().cloned().unwrap_or_default(),
            Err(failure) if failure.is("RepositoryNotFoundException") => continue,
            Err(failure) => return Err(failure.into()),
        };
        if text(&found, "repositoryUri") != uri {
            continue;
        }
        let tags = clients.list_tags_for_resource(json!({ "resourceArn": text(&found, "repositoryArn") })).await?;
        if !is_ours(list(&tags, "tags"), named) {
            left.kept("repository", name);
            continue;
        }
        match clients.delete_repository(json!({ "repositoryName": name, "force": with_images })).await {
            Ok(_) => left.deleted(events, "repository", name),
            Err(failure) if failure.is("RepositoryNotEmptyException") => {
                let message = format!("the repository `{name}` is kept: it holds images, and others may run them");
                events.emit(Event::Notice { message: format!("{message}; --images deletes it with them") });
                left.kept("repository", name);
            }
            Err(failure) => return Err(failure.into()),
        }
    }
    Ok(())
}

/// What was in use a moment ago is free in a moment.
async fn persist<F>(call: impl Fn() -> F) -> Result<()>
where
    F: Future<Output = Result<(), Failure>>,
{
    let mut pause = Duration::from_millis(100);
    for _ in 0..10 {
        match call().await {
            Ok(()) => return Ok(()),
            Err(failure) if failure.is("ResourceInUse") => {}
            Err(failure) if failure.is("TargetGroupNotFound") || failure.is("ServiceNotFound") => return Ok(()),
            Err(failure) => return Err(failure.into()),
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(Duration::from_secs(10));
    }
    call().await.map_err(Error::from)
}
