//! AWS's own service models as data, and a validator over them: the one thing that both sides of
//! the wire share.
//!
//! The tables under `tables/` are made by `generate.py` from botocore's models; nothing in them is
//! written by hand. [`check`] holds a JSON value against a shape and names everything that does not
//! fit. What a finding means is the caller's decision: the client refuses a document, the lab
//! answers a request with an error.

mod check;
mod table;

pub use check::{Finding, Problem, check};
pub use table::{Member, Model, Operation, Protocol, Shape, Structure};

/// The services whose models are carried.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Service {
    Ecs,
    Ecr,
    /// Only the authorization token of the public registry.
    EcrPublic,
    Elbv2,
    /// AWS Cloud Map.
    ServiceDiscovery,
    /// CloudWatch Logs.
    Logs,
    Sts,
    /// Only the `Describe` operations of networks and instances.
    Ec2,
    /// Only the operations of parameters.
    Ssm,
    SecretsManager,
    /// Only the operations of roles.
    Iam,
    /// Only the operations of alarms.
    CloudWatch,
}

impl Service {
    pub const ALL: [Service; 12] = [
        Service::Ecs,
        Service::Ecr,
        Service::EcrPublic,
        Service::Elbv2,
        Service::ServiceDiscovery,
        Service::Logs,
        Service::Sts,
        Service::Ec2,
        Service::Ssm,
        Service::SecretsManager,
        Service::Iam,
        Service::CloudWatch,
    ];

    /// The service's model, parsed at its first use.
    pub fn model(self) -> &'static Model {
        table::model(self)
    }

    /// The service whose JSON protocol uses this `X-Amz-Target` prefix.
    pub fn by_target_prefix(prefix: &str) -> Option<Service> {
        Service::ALL.into_iter().find(|service| !prefix.is_empty() && service.model().target_prefix == prefix)
    }
}

/// The shape of this name, `None` when the service has none.
pub fn shape(service: Service, name: &str) -> Option<&'static Shape> {
    service.model().shape(name)
}

/// The operation of this name, `None` when the service has none.
pub fn operation(service: Service, name: &str) -> Option<&'static Operation> {
    service.model().operations.get(name)
}
