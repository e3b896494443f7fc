//! Everything that a lab remembers. Each service owns its part; this puts the parts together.

use serde::{Deserialize, Serialize};

use super::{discovery, ec2, ecr, ecs, elbv2, logs};

#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct State {
    pub ecr: ecr::EcrState,
    pub ecs: ecs::EcsState,
    pub elbv2: elbv2::ElbState,
    pub ec2: ec2::Ec2State,
    pub logs: logs::LogsState,
    pub discovery: discovery::DiscoveryState,
}
