//! What steady created around a service, taken away again: only what carries our tag, listeners before their target
//! groups, and a load balancer only when nothing else listens on it.

use std::collections::BTreeSet;
use std::time::Duration;

use serde_json::{Value, json};

use super::delete::is_ours;
use super::event::{Event, Events, ResourceAction};
use super::load_balancer::{balancer_name, elb_name, failed, find};
use super::{repository, target_group};
use crate::aws::reply::{list, optional, text};
use crate::aws::{Clients, Failure};
use crate::config::Plan;
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

pub async fn delete_created(plan: &Plan, live: Option<&Value>, clients: &Clients, events: &Events) -> Result<Left> {
    let mut left = Left::default();
    balancing(plan, live, clients, events, &mut left).await?;
    discovery(plan, live, clients, events, &mut left).await?;
    images(plan, clients, events, &mut left).await?;
    Ok(left)
}

async fn balancing(
    plan: &Plan,
    live: Option<&Value>,
    clients: &Clients,
    events: &Events,
    left: &mut Left,
) -> Result<()> {
    let (mut groups, mut balancers) = (BTreeSet::new(), BTreeSet::new());
    for balancer in list(live.unwrap_or(&Value::Null), "loadBalancers") {
        groups.extend(optional(balancer, "targetGroupArn").map(str::to_owned));
    }
    // An earlier run may have been stopped when the service was gone already: then the plan tells what to look for.
    if let Some(balancer) = &plan.load_balancer {
        let name = balancer.target_group.name.clone().unwrap_or_else(|| elb_name(&plan.service));
        let balancer_name = balancer_name(plan, balancer);
        let (group, found) = tokio::try_join!(
            target_group::find(balancer.target_group.arn.as_deref(), Some(&name), clients),
            find(balancer.arn.as_deref(), Some(&balancer_name), clients),
        )?;
        groups.extend(group.and_then(|group| group.target_group_arn));
        balancers.extend(found.and_then(|found| found.load_balancer_arn));
    }
    for group in &groups {
        if let Some(found) = target_group::find(Some(group), None, clients).await? {
            balancers.extend(found.load_balancer_arns().iter().cloned());
        }
    }
    for balancer in &balancers {
        let ours = tagged(balancer, plan, clients).await?;
        let listeners = clients.elbv2.describe_listeners().load_balancer_arn(balancer).send().await;
        let listeners = listeners.map_err(|error| failed("DescribeListeners", error))?.listeners.unwrap_or_default();
        let mut others = 0;
        for listener in &listeners {
            let arn = listener.listener_arn().unwrap_or_default();
            if tagged(arn, plan, clients).await? {
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
    for group in &groups {
        if !tagged(group, plan, clients).await? {
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

async fn tagged(arn: &str, plan: &Plan, clients: &Clients) -> Result<bool> {
    let call = clients.elbv2.describe_tags().resource_arns(arn).send().await;
    let reply = call.map_err(|error| failed("DescribeTags", error))?;
    let tags = reply.tag_descriptions().iter().flat_map(|described| described.tags());
    let tags: Vec<Value> =
        tags.map(|tag| json!({ "Key": tag.key().unwrap_or_default(), "Value": tag.value() })).collect();
    Ok(is_ours(&tags, plan))
}

async fn discovery(
    plan: &Plan,
    live: Option<&Value>,
    clients: &Clients,
    events: &Events,
    left: &mut Left,
) -> Result<()> {
    for registry in list(live.unwrap_or(&Value::Null), "serviceRegistries") {
        let arn = text(registry, "registryArn");
        let tags = match clients.list_discovery_tags(json!({ "ResourceARN": arn })).await {
            Ok(reply) => reply,
            Err(failure) if failure.is("ResourceNotFoundException") => continue,
            Err(failure) => return Err(failure.into()),
        };
        if !is_ours(list(&tags, "Tags"), plan) {
            left.kept("Cloud Map service", arn);
            continue;
        }
        let id = crate::aws::reply::id(arn);
        persist(|| async { clients.delete_discovery_service(json!({ "Id": id })).await.map(drop) }).await?;
        left.deleted(events, "Cloud Map service", id);
    }
    let Some(wanted) = plan.service_discovery.as_ref().map(|plan| plan.namespace.as_str()).filter(|n| !n.is_empty())
    else {
        return Ok(());
    };
    let namespaces = clients.list_namespaces(json!({ "MaxResults": 100 })).await?;
    let Some(found) = list(&namespaces, "Namespaces").iter().find(|one| text(one, "Name") == wanted) else {
        return Ok(());
    };
    let tags = clients.list_discovery_tags(json!({ "ResourceARN": text(found, "Arn") })).await?;
    if !is_ours(list(&tags, "Tags"), plan) {
        left.kept("namespace", wanted);
        return Ok(());
    }
    match clients.delete_namespace(json!({ "Id": text(found, "Id") })).await {
        Ok(_) => left.deleted(events, "namespace", wanted),
        // Other services live in it by now.
        Err(failure) if failure.is("ResourceInUse") => left.kept("namespace", wanted),
        Err(failure) => return Err(failure.into()),
    }
    Ok(())
}

async fn images(plan: &Plan, clients: &Clients, events: &Events, left: &mut Left) -> Result<()> {
    let Some(name) = plan.image.as_ref().map(|image| image.repository.as_str()) else { return Ok(()) };
    if repository::names_registry(name) {
        left.kept("repository", name);
        return Ok(());
    }
    let found = match clients.describe_repositories(json!({ "repositoryNames": [name] })).await {
        Ok(reply) => list(&reply, "repositories").first().cloned().unwrap_or_default(),
        Err(failure) if failure.is("RepositoryNotFoundException") => return Ok(()),
        Err(failure) => return Err(failure.into()),
    };
    let arn = text(&found, "repositoryArn");
    let tags = clients.list_tags_for_resource(json!({ "resourceArn": arn })).await?;
    if !is_ours(list(&tags, "tags"), plan) {
        left.kept("repository", name);
        return Ok(());
    }
    clients.delete_repository(json!({ "repositoryName": name, "force": true })).await?;
    left.deleted(events, "repository", name);
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
