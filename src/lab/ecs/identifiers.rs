//! The names of a request that may be ARNs: one of another region, account, kind or cluster names nothing here, and is
//! refused before any operation takes its last part for a name of this cluster's.

use super::request::{Request, invalid};
use crate::lab::api::ApiError;

/// Members, one or a list, that name one kind of resource; a service is `service/CLUSTER/NAME`, or the older
/// `service/NAME`.
const NAMED: [(&str, &str); 14] = [
    ("cluster", "cluster"),
    ("clusters", "cluster"),
    ("service", "service"),
    ("services", "service"),
    ("serviceName", "service"),
    ("task", "task"),
    ("tasks", "task"),
    ("containerInstance", "container-instance"),
    ("containerInstances", "container-instance"),
    ("taskDefinition", "task-definition"),
    ("taskDefinitions", "task-definition"),
    ("serviceDeploymentArn", "service-deployment"),
    ("serviceDeploymentArns", "service-deployment"),
    ("serviceRevisionArns", "service-revision"),
];
/// What lies in a cluster, and what its ARN is looked up by as a whole.
const IN_CLUSTER: [&str; 3] = ["service", "task", "container-instance"];
const TAGGED: &str = "resourceArn";

pub fn check(request: &Request, operation: &str) -> Result<(), ApiError> {
    for (member, kind) in NAMED {
        for name in request.text(member).into_iter().chain(request.texts(member)) {
            match name.starts_with("arn:") {
                true => arn(request, operation, name, Some(kind))?,
                false if kind == "cluster" && !is_cluster_name(name) => {
                    return Err(invalid(format!("Cluster must match ^[a-zA-Z0-9\\-_]{{1,255}}$, but was {name}")));
                }
                false => in_cluster(request, kind, name)?,
            }
            let id = super::arn::short(name);
            if kind == "task" && ![32, 36].contains(&id.len()) {
                return Err(invalid("taskId length should be one of [32,36]"));
            }
        }
    }
    match request.text(TAGGED) {
        Some(name) => arn(request, operation, name, None),
        None => Ok(()),
    }
}

fn is_cluster_name(name: &str) -> bool {
    name.len() <= 255 && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '-' || c == '_')
}

fn arn(request: &Request, operation: &str, name: &str, kind: Option<&str>) -> Result<(), ApiError> {
    // What is no ARN at all each operation has words for.
    let Some((of, path)) = super::arn::parts(name) else { return Ok(()) };
    let mut fields = name.split(':').skip(3);
    let (region, account) = (fields.next().unwrap_or_default(), fields.next().unwrap_or_default());
    if region != request.settings.region {
        return Err(invalid("Invalid Region in ARN"));
    }
    if account != request.settings.account_id {
        return Err(request.settings.not_authorized(&format!("ecs:{operation}"), name));
    }
    match kind {
        Some(kind) if of != kind => Err(invalid(format!("Unsupported resource type: {of}"))),
        Some(kind) => in_cluster(request, kind, path),
        None if IN_CLUSTER.contains(&of) && !path.contains('/') => {
            Err(invalid("Long arn format must be used for tagging operations"))
        }
        None => Ok(()),
    }
}

/// `CLUSTER/NAME`, of the cluster that the request is about.
fn in_cluster(request: &Request, kind: &str, path: &str) -> Result<(), ApiError> {
    let Some((cluster, _)) = path.split_once('/').filter(|_| IN_CLUSTER.contains(&kind)) else { return Ok(()) };
    match request.cluster_name() {
        own if own == cluster => Ok(()),
        own => Err(invalid(format!("Invalid identifier: Identifier is for cluster {cluster}. Your cluster is {own}"))),
    }
}
