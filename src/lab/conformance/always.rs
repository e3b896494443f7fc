//! Members that no model requires and real replies always carry.

use serde_json::Value;

use crate::aws_model::{Service, Shape};

/// By service and shape. Of ECS's deployments, services and tasks it was seen in recorded replies, of the others it is
/// what AWS's documentation shows.
const ALWAYS: [(Service, &str, &[&str]); 17] = [
    (
        Service::Ecs,
        "Deployment",
        &[
            "createdAt",
            "desiredCount",
            "failedTasks",
            "id",
            "pendingCount",
            "rolloutState",
            "rolloutStateReason",
            "runningCount",
            "status",
            "taskDefinition",
            "updatedAt",
        ],
    ),
    (
        Service::Ecs,
        "Service",
        &[
            "clusterArn",
            "createdAt",
            "createdBy",
            "deploymentConfiguration",
            "deployments",
            "desiredCount",
            "enableECSManagedTags",
            "enableExecuteCommand",
            "events",
            "loadBalancers",
            "pendingCount",
            "placementConstraints",
            "placementStrategy",
            "propagateTags",
            "runningCount",
            "schedulingStrategy",
            "serviceArn",
            "serviceName",
            "serviceRegistries",
            "status",
            "taskDefinition",
        ],
    ),
    (
        Service::Ecs,
        "Task",
        &[
            "attachments",
            "attributes",
            "availabilityZone",
            "clusterArn",
            "containers",
            "cpu",
            "createdAt",
            "desiredStatus",
            "enableExecuteCommand",
            "group",
            "healthStatus",
            "lastStatus",
            "memory",
            "overrides",
            "tags",
            "taskArn",
            "taskDefinitionArn",
            "version",
        ],
    ),
    (
        Service::Ecs,
        "Container",
        &["containerArn", "cpu", "healthStatus", "image", "lastStatus", "name", "networkInterfaces", "taskArn"],
    ),
    (
        Service::Ecs,
        "Cluster",
        &[
            "activeServicesCount",
            "capacityProviders",
            "clusterArn",
            "clusterName",
            "defaultCapacityProviderStrategy",
            "pendingTasksCount",
            "registeredContainerInstancesCount",
            "runningTasksCount",
            "settings",
            "statistics",
            "status",
            "tags",
        ],
    ),
    (
        Service::Ecs,
        "ContainerInstance",
        &[
            "agentConnected",
            "attachments",
            "attributes",
            "containerInstanceArn",
            "pendingTasksCount",
            "registeredAt",
            "registeredResources",
            "remainingResources",
            "runningTasksCount",
            "status",
            "tags",
            "version",
            "versionInfo",
        ],
    ),
    (
        Service::Ecs,
        "ServiceDeploymentBrief",
        &["clusterArn", "createdAt", "serviceArn", "serviceDeploymentArn", "status"],
    ),
    (
        Service::Ecs,
        "ServiceDeployment",
        &[
            "clusterArn",
            "createdAt",
            "deploymentConfiguration",
            "serviceArn",
            "serviceDeploymentArn",
            "status",
            "targetServiceRevision",
            "updatedAt",
        ],
    ),
    (Service::Ecs, "CapacityProvider", &["capacityProviderArn", "name", "status", "tags"]),
    (
        Service::Elbv2,
        "LoadBalancer",
        &[
            "AvailabilityZones",
            "CanonicalHostedZoneId",
            "CreatedTime",
            "DNSName",
            "IpAddressType",
            "LoadBalancerArn",
            "LoadBalancerName",
            "Scheme",
            "State",
            "Type",
            "VpcId",
        ],
    ),
    (
        Service::Elbv2,
        "TargetGroup",
        &[
            "HealthCheckEnabled",
            "HealthCheckIntervalSeconds",
            "HealthCheckPort",
            "HealthCheckProtocol",
            "HealthCheckTimeoutSeconds",
            "HealthyThresholdCount",
            "LoadBalancerArns",
            "Port",
            "Protocol",
            "TargetGroupArn",
            "TargetGroupName",
            "TargetType",
            "UnhealthyThresholdCount",
            "VpcId",
        ],
    ),
    (Service::Elbv2, "Listener", &["DefaultActions", "ListenerArn", "LoadBalancerArn", "Port", "Protocol"]),
    (Service::Elbv2, "Rule", &["Actions", "Conditions", "IsDefault", "Priority", "RuleArn"]),
    (Service::Elbv2, "TargetHealthDescription", &["Target", "TargetHealth"]),
    (
        Service::Ecr,
        "Repository",
        &[
            "createdAt",
            "encryptionConfiguration",
            "imageScanningConfiguration",
            "imageTagMutability",
            "registryId",
            "repositoryArn",
            "repositoryName",
            "repositoryUri",
        ],
    ),
    (Service::Logs, "LogGroup", &["arn", "creationTime", "logGroupName", "metricFilterCount", "storedBytes"]),
    (Service::ServiceDiscovery, "Operation", &["CreateDate", "Id", "Status", "Targets", "Type", "UpdateDate"]),
];

/// What a reply of this shape leaves out.
pub(super) fn missing(service: Service, shape: &str, reply: &Value) -> Vec<String> {
    let mut missing = Vec::new();
    look(service, shape, reply, "", &mut missing);
    missing
}

fn look(service: Service, name: &str, value: &Value, pointer: &str, missing: &mut Vec<String>) {
    match (service.model().shape(name), value) {
        (Some(Shape::Structure(structure)), Value::Object(members)) => {
            let rule = ALWAYS.iter().find(|(of, shape, _)| *of == service && *shape == name);
            let absent = rule.into_iter().flat_map(|(.., all)| *all).filter(|member| !members.contains_key(**member));
            missing.extend(absent.map(|member| format!("{pointer}: {member:?} is always in real ones")));
            for (key, value) in members {
                if let Some(member) = structure.member(key) {
                    look(service, &member.shape, value, &format!("{pointer}/{key}"), missing);
                }
            }
        }
        (Some(Shape::List { element, .. }), Value::Array(items)) => {
            for (at, item) in items.iter().enumerate() {
                look(service, element, item, &format!("{pointer}/{at}"), missing);
            }
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_members_are_the_model_s() {
        for (service, name, members) in ALWAYS {
            let Some(Shape::Structure(structure)) = service.model().shape(name) else { panic!("no {name}") };
            for member in members {
                assert!(structure.member(member).is_some(), "{member} of {name}");
            }
        }
    }
}
