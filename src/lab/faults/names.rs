//! What faults and budgets call the lab's services and their operations.

use crate::aws_model::Service;
use crate::lab::pattern::matches;

/// The registry under `/v2/`, what the scheduler does by itself, and the load balancers.
pub const REGISTRY: &str = "registry";
pub const SCHEDULER: &str = "scheduler";
pub const BALANCER: &str = "balancer";

pub(super) const PLACE_TASK: &str = "PlaceTask";
pub(super) const PULL_IMAGE: &str = "PullImage";
pub(super) const INTERRUPT_TASK: &str = "InterruptTask";
const CHECK_HEALTH: &str = "CheckHealth";

const REGISTRY_OPERATIONS: [&str; 15] = [
    "Ping",
    "ListRepositories",
    "ListTags",
    "GetManifest",
    "HeadManifest",
    "PutManifest",
    "DeleteManifest",
    "ListReferrers",
    "GetBlob",
    "HeadBlob",
    "StartUpload",
    "GetUpload",
    "PatchUpload",
    "PutUpload",
    "DeleteUpload",
];

/// As in `ecs:UpdateService`.
pub fn service_name(service: Service) -> &'static str {
    match service {
        Service::Ecs => "ecs",
        Service::Ecr => "ecr",
        Service::EcrPublic => "ecr-public",
        Service::Elbv2 => "elbv2",
        Service::ServiceDiscovery => "servicediscovery",
        Service::Logs => "logs",
        Service::CloudWatch => "cloudwatch",
        Service::Sts => "sts",
        Service::Ec2 => "ec2",
        Service::Ssm => "ssm",
        Service::SecretsManager => "secretsmanager",
        Service::Iam => "iam",
    }
}

pub(super) fn service(name: &str) -> Option<Service> {
    Service::ALL.into_iter().find(|service| service_name(*service) == name)
}

pub(super) fn services() -> impl Iterator<Item = &'static str> {
    Service::ALL.into_iter().map(service_name).chain([REGISTRY, SCHEDULER, BALANCER])
}

pub(super) fn operations(service: &str) -> Vec<&'static str> {
    match service {
        REGISTRY => REGISTRY_OPERATIONS.to_vec(),
        SCHEDULER => vec![PLACE_TASK, PULL_IMAGE, INTERRUPT_TASK],
        BALANCER => vec![CHECK_HEALTH],
        other => {
            let model = self::service(other).map(Service::model);
            model.into_iter().flat_map(|model| model.operations.keys().map(String::as_str)).collect()
        }
    }
}

/// Whether `ecs:Update*`, `ecs:*` or `*` means this operation.
pub(super) fn means(on: &str, service: &str, operation: &str) -> bool {
    match on.split_once(':') {
        Some((of, operations)) => matches(of, service) && matches(operations, operation),
        // what happens without a request is only meant by its name
        None => on == "*" && service != SCHEDULER && service != BALANCER,
    }
}
