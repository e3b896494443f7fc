//! CONTRACT: the types of PLAN.md that deploy reads; config's own replace them at the merge.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use crate::error::SourceText;

// CONTRACT
#[derive(Debug, Clone)]
pub struct Plan {
    pub project: PathBuf,
    pub environment: Option<String>,
    pub service: String,
    pub cluster: String,
    pub image: Option<ImagePlan>,
    pub task_definition: SourceText,
    pub service_document: Option<SourceText>,
    pub allow_unknown_fields: bool,
    pub load_balancer: Option<LoadBalancerPlan>,
    pub network: Option<NetworkPlan>,
    pub service_discovery: Option<DiscoveryPlan>,
    pub rollout: RolloutPlan,
    pub variables: BTreeMap<String, serde_json::Value>,
    pub env: BTreeMap<String, String>,
    pub git: BTreeMap<String, String>,
    pub check_url: Option<String>,
    pub desired_count: Option<i64>,
    pub launch_type: Option<String>,
    pub release: Option<String>,
}

// CONTRACT
#[derive(Debug, Clone)]
pub struct ImagePlan {
    pub repository: String,
    pub tags: Vec<String>,
    pub source: ImageSource,
    pub container: Option<String>,
    pub create: Option<CreateRepository>,
}

// CONTRACT
#[derive(Debug, Clone, Default)]
pub struct CreateRepository {
    pub policy: Option<SourceText>,
    pub tag_mutability: Option<String>,
    pub scan_on_push: Option<bool>,
}

// CONTRACT
#[derive(Debug, Clone)]
pub enum ImageSource {
    Layers(LayersBuild),
    Dockerfile(DockerfileBuild),
    Existing(String),
}

// CONTRACT
#[derive(Debug, Clone, Default)]
pub struct LayersBuild {
    pub run: Option<String>,
}

// CONTRACT
#[derive(Debug, Clone, Default)]
pub struct DockerfileBuild {
    pub run: Option<String>,
}

// CONTRACT
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LoadBalancerType {
    Network,
    Application,
}

// CONTRACT
#[derive(Debug, Clone)]
pub struct LoadBalancerPlan {
    pub kind: LoadBalancerType,
    pub name: Option<String>,
    pub arn: Option<String>,
    pub scheme: Option<String>,
    pub target_group: TargetGroupPlan,
    pub listener: ListenerPlan,
    pub container: Option<String>,
    pub container_port: Option<u16>,
}

// CONTRACT
#[derive(Debug, Clone, Default)]
pub struct TargetGroupPlan {
    pub name: Option<String>,
    pub arn: Option<String>,
    pub health_check: HealthCheckPlan,
    pub target_type: Option<String>,
    pub deregistration_delay: Option<Duration>,
}

// CONTRACT
#[derive(Debug, Clone, Default)]
pub struct HealthCheckPlan {
    pub path: Option<String>,
    pub port: Option<String>,
    pub protocol: Option<String>,
    pub interval: Option<Duration>,
    pub timeout: Option<Duration>,
    pub healthy_threshold: Option<u32>,
    pub unhealthy_threshold: Option<u32>,
    pub matcher: Option<String>,
}

// CONTRACT
#[derive(Debug, Clone)]
pub struct ListenerPlan {
    pub port: u16,
    pub protocol: Option<String>,
    pub arn: Option<String>,
}

// CONTRACT
#[derive(Debug, Clone)]
pub struct NetworkPlan {
    pub subnets: Selector,
    pub security_groups: Selector,
    pub assign_public_ip: Option<bool>,
}

// CONTRACT
#[derive(Debug, Clone)]
pub enum Selector {
    Default,
    Ids(Vec<String>),
    Tags(BTreeMap<String, String>),
}

// CONTRACT
#[derive(Debug, Clone)]
pub struct DiscoveryPlan {
    pub namespace: Option<String>,
    pub name: Option<String>,
    pub arn: Option<String>,
    pub record: Option<String>,
    pub ttl: Option<u64>,
    pub container: Option<String>,
    pub container_port: Option<u16>,
}

// CONTRACT
#[derive(Debug, Clone)]
pub struct RolloutPlan {
    pub timeout: Duration,
    pub on_failure: OnFailure,
    pub fail_fast: u32,
}

// CONTRACT
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnFailure {
    Rollback,
    Stop,
}
