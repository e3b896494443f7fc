//! The cluster, and what its tasks can be placed on.

use serde_json::{Value, json};

use super::checked::Checked;
use crate::aws::Clients;
use crate::aws::reply::{list, number, optional, text, texts};
use crate::error::{Error, Kind};

/// The cluster as DescribeClusters has it, `None` when it is not there or could not be asked for.
pub async fn find(name: &str, clients: &Clients) -> (Option<Value>, Checked) {
    let mut checked = Checked::new("cluster");
    let reply = match clients.describe_clusters(json!({ "clusters": [name] })).await {
        Ok(reply) => reply,
        // A deploy does not need to look at clusters.
        Err(failure) if failure.is_denied() => {
            checked.unread(&format!("the cluster `{name}`"), &failure);
            return (None, checked);
        }
        Err(failure) => {
            checked.find(failure.error(Kind::Preflight));
            return (None, checked);
        }
    };
    let found = list(&reply, "clusters").iter().find(|cluster| text(cluster, "status") != "INACTIVE").cloned();
    match &found {
        Some(cluster) if matches!(text(cluster, "status"), "FAILED" | "DEPROVISIONING") => {
            let error = Error::preflight(format!("the cluster `{name}` is {}", text(cluster, "status")));
            checked.find(error.hint("create it anew, or name another: --cluster"));
        }
        Some(cluster) => {
            let instances = number(cluster, "registeredContainerInstancesCount");
            let plural = if instances == 1 { "" } else { "s" };
            checked.looked_at(&format!("{name}, {instances} container instance{plural}"));
        }
        None => {
            checked.find(Error::preflight(format!("the cluster `{name}` does not exist in {}", clients.region)).hint(
                format!("create it (`aws ecs create-cluster --cluster-name {name}`), or name another: --cluster"),
            ))
        }
    }
    (found, checked)
}

/// Where a service's tasks run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Capacity {
    Fargate,
    /// Container instances that are there, or not.
    Instances,
    /// Capacity providers bring instances as they are needed.
    Provided,
    External,
}

/// As ECS decides it: a strategy, else a launch type, else the cluster's default strategy, else EC2.
pub fn capacity(live: Option<&Value>, wanted: &Value, cluster: Option<&Value>) -> Capacity {
    let strategy = |service: &Value| {
        let providers: Vec<&str> =
            list(service, "capacityProviderStrategy").iter().map(|one| text(one, "capacityProvider")).collect();
        match providers[..] {
            [] => None,
            _ if providers.iter().all(|provider| provider.starts_with("FARGATE")) => Some(Capacity::Fargate),
            _ => Some(Capacity::Provided),
        }
    };
    let launch_type = |service: &Value| match optional(service, "launchType") {
        Some("FARGATE") => Some(Capacity::Fargate),
        Some("EXTERNAL") => Some(Capacity::External),
        Some("EC2") => Some(Capacity::Instances),
        // A type that is newer than this binary: nothing is known of its instances.
        Some(_) => Some(Capacity::Provided),
        None => None,
    };
    // An update changes the strategy, and never the launch type.
    strategy(wanted)
        .or_else(|| live.and_then(|live| strategy(live).or_else(|| launch_type(live))))
        .or_else(|| launch_type(wanted))
        .or_else(|| {
            let default = json!({ "capacityProviderStrategy": cluster?.get("defaultCapacityProviderStrategy") });
            strategy(&default)
        })
        .unwrap_or(Capacity::Instances)
}

/// A strategy names providers that the cluster has.
pub fn providers(wanted: &Value, cluster: &Value) -> Option<Error> {
    let has = texts(cluster, "capacityProviders");
    let named = list(wanted, "capacityProviderStrategy").iter().map(|one| text(one, "capacityProvider"));
    let missing: Vec<&str> = named.filter(|name| !has.iter().any(|has| has == name)).collect();
    if missing.is_empty() {
        return None;
    }
    let name = text(cluster, "clusterName");
    let message = format!("the cluster `{name}` has no capacity provider {}", super::checked::listed(missing));
    let has = if has.is_empty() { "it has none".to_owned() } else { format!("it has {}", has.join(", ")) };
    let fix = format!("`aws ecs put-cluster-capacity-providers --cluster {name} …` adds one");
    Some(Error::preflight(message).hint(format!("{has}; {fix}")))
}
