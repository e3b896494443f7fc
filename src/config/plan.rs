//! The plan: everything a deploy needs, resolved. Files are read and paths absolute; templates are not yet rendered.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use super::around::Around;
use crate::error::{Place, SourceText};
use crate::image::engine::{Builder, Secret};
pub use crate::image::layers::LayerEntry;
use crate::image::{Compression, Platform};

#[derive(Clone)]
pub struct Plan {
    /// The folder of the project file; absolute.
    pub project: PathBuf,
    pub environment: Option<String>,
    /// The ECS service's name.
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
    /// What runs before the service is touched, in this order.
    pub before: Vec<Around>,
    /// What runs once it is steady.
    pub after: Vec<Around>,
    /// `var.*` of templates.
    pub variables: BTreeMap<String, serde_json::Value>,
    /// `env.*` of templates: the environment of this process.
    pub env: BTreeMap<String, String>,
    /// `git.*` of templates: `sha`, `short_sha`, `branch`, `tag`, `dirty`; only what was found.
    pub git: BTreeMap<String, String>,
    /// What to GET when steady: a path at the load balancer, or a whole URL.
    pub check_url: Option<String>,
    pub desired_count: Option<i64>,
    /// `EC2`, `FARGATE` or `EXTERNAL`, as ECS spells them.
    pub launch_type: Option<String>,
    /// The name of this release, for people: a tag given on the command line, else the variable `release`, else git's.
    pub release: Option<String>,
}

impl fmt::Debug for Plan {
    // Variables and the environment may hold secrets: only their names are shown.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Plan")
            .field("project", &self.project)
            .field("environment", &self.environment)
            .field("service", &self.service)
            .field("cluster", &self.cluster)
            .field("image", &self.image)
            .field("task_definition", &self.task_definition)
            .field("service_document", &self.service_document)
            .field("allow_unknown_fields", &self.allow_unknown_fields)
            .field("load_balancer", &self.load_balancer)
            .field("network", &self.network)
            .field("service_discovery", &self.service_discovery)
            .field("rollout", &self.rollout)
            .field("before", &self.before)
            .field("after", &self.after)
            .field("variables", &self.variables.keys())
            .field("env", &format_args!("{} variables", self.env.len()))
            .field("git", &self.git)
            .field("check_url", &self.check_url)
            .field("desired_count", &self.desired_count)
            .field("launch_type", &self.launch_type)
            .field("release", &self.release)
            .finish()
    }
}

#[derive(Debug, Clone, PartialEq)]
pub struct ImagePlan {
    /// An ECR repository's name, or registry and repository in full.
    pub repository: String,
    /// Templates; labels only, the digest is what gets deployed.
    pub tags: Vec<String>,
    pub source: ImageSource,
    /// How layers travel that are not compressed yet.
    pub compression: Compression,
    /// The container whose image this is; `None` when the task definition has only one.
    pub container: Option<String>,
    /// Create the repository when it is missing, and bring these settings to it.
    pub create: Option<CreateRepository>,
}

impl ImagePlan {
    /// The command that has to run before the image can be made.
    pub fn run(&self) -> Option<&str> {
        match &self.source {
            ImageSource::Layers(build) => build.run.as_deref(),
            ImageSource::Dockerfile(build) => build.run.as_deref(),
            ImageSource::Existing(existing) => existing.run.as_deref(),
        }
    }
}

#[derive(Debug, Clone, Default, PartialEq)]
pub struct CreateRepository {
    /// A repository policy document or its template, merged statement by statement into what is there.
    pub policy: Option<SourceText>,
    /// `MUTABLE` or `IMMUTABLE`, as ECR spells it.
    pub tag_mutability: Option<String>,
    /// Tags for which the contrary holds, `*` in them for anything.
    pub tag_mutability_exclusions: Vec<String>,
    pub scan_on_push: Option<bool>,
}

#[derive(Debug, Clone, PartialEq)]
pub enum ImageSource {
    Layers(LayersBuild),
    Dockerfile(DockerfileBuild),
    Existing(ExistingImage),
}

/// An image that is there already.
#[derive(Debug, Clone, PartialEq)]
pub struct ExistingImage {
    pub run: Option<String>,
    /// An OCI layout or an archive (an absolute path), an engine's image, `-` for stdin, else a reference.
    pub image: String,
    /// The part of it that is meant; none is all of it.
    pub platforms: Vec<Platform>,
}

/// An image that is assembled from files, with no engine.
#[derive(Clone, PartialEq)]
pub struct LayersBuild {
    pub run: Option<String>,
    /// A reference or the absolute path of an OCI layout or archive; `None` is `scratch`.
    pub base: Option<String>,
    /// Bottom layer first.
    pub layers: Vec<Vec<LayerEntry>>,
    pub entrypoint: Option<Vec<String>>,
    pub command: Option<Vec<String>>,
    pub env: BTreeMap<String, String>,
    pub working_dir: Option<String>,
    pub user: Option<String>,
    /// As images spell them: `8080` or `8080/tcp`.
    pub exposed_ports: Vec<String>,
    pub labels: BTreeMap<String, String>,
    pub stop_signal: Option<String>,
    /// Whether the image says which commit of which repository it is from.
    pub annotations: bool,
    /// Such as `linux/amd64`, each once: several make an index. None is the base's, else this machine's.
    pub platforms: Vec<Platform>,
}

impl fmt::Debug for LayersBuild {
    // What an image's environment holds may be secret.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LayersBuild")
            .field("run", &self.run)
            .field("base", &self.base)
            .field("layers", &self.layers)
            .field("entrypoint", &self.entrypoint)
            .field("command", &self.command)
            .field("env", &self.env.keys())
            .field("working_dir", &self.working_dir)
            .field("user", &self.user)
            .field("exposed_ports", &self.exposed_ports)
            .field("labels", &self.labels)
            .field("stop_signal", &self.stop_signal)
            .field("annotations", &self.annotations)
            .field("platforms", &self.platforms)
            .finish()
    }
}

#[derive(Clone, PartialEq)]
pub struct DockerfileBuild {
    pub run: Option<String>,
    /// Absolute.
    pub dockerfile: PathBuf,
    /// Absolute.
    pub context: PathBuf,
    /// `None` is the first engine that answers.
    pub builder: Option<Builder>,
    pub target: Option<String>,
    pub args: BTreeMap<String, String>,
    /// By id.
    pub secrets: BTreeMap<String, Secret>,
    /// Variables of secrets that are not set: only a build needs them.
    pub unset: Vec<String>,
    pub labels: BTreeMap<String, String>,
    /// Whether the image says which commit of which repository it is from.
    pub annotations: bool,
    pub cache_from: Vec<String>,
    pub cache_to: Vec<String>,
    /// One build for each; several make an index. None is what the task definition asks for, else the engine's own.
    pub platforms: Vec<Platform>,
}

impl fmt::Debug for DockerfileBuild {
    // Build arguments may be secret.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DockerfileBuild")
            .field("run", &self.run)
            .field("dockerfile", &self.dockerfile)
            .field("context", &self.context)
            .field("target", &self.target)
            .field("args", &self.args.keys())
            .field("builder", &self.builder)
            .field("secrets", &self.secrets.keys())
            .field("labels", &self.labels)
            .field("annotations", &self.annotations)
            .field("cache_from", &self.cache_from)
            .field("cache_to", &self.cache_to)
            .field("platforms", &self.platforms)
            .finish()
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LoadBalancerType {
    Network,
    Application,
}

#[derive(Debug, Clone, PartialEq)]
pub struct LoadBalancerPlan {
    pub kind: LoadBalancerType,
    /// Name and `arn` exclude each other; without either the service's name is the name.
    pub name: Option<String>,
    /// An existing one: attached to, never created.
    pub arn: Option<String>,
    /// Create what is missing; else a missing one is an error before anything is touched.
    pub create: bool,
    /// `internal` or `internet-facing`.
    pub scheme: Option<String>,
    pub subnets: Selector,
    pub security_groups: Selector,
    pub listener: ListenerPlan,
    pub target_group: TargetGroupPlan,
    pub container: Option<String>,
    pub container_port: Option<u16>,
    /// For deployments that shift traffic.
    pub advanced: Option<AdvancedPlan>,
}

/// ECS's `advancedConfiguration` of a load balancer.
#[derive(Debug, Clone, PartialEq)]
pub struct AdvancedPlan {
    /// In which ECS changes the listeners' weights.
    pub role: String,
    /// Name and ARN exclude each other; without either the name is made from the first target group's.
    pub alternate_name: Option<String>,
    pub alternate_arn: Option<String>,
    pub test_listener: Option<ListenerPlan>,
}

#[derive(Debug, Clone, PartialEq)]
pub struct ListenerPlan {
    pub arn: Option<String>,
    pub port: u16,
    /// As ELB spells it: `TCP`, `TLS`, `UDP`, `HTTP`, `HTTPS`; by the load balancer's type when not given.
    pub protocol: String,
    pub certificate_arn: Option<String>,
}

#[derive(Debug, Clone, Default, PartialEq)]
pub struct TargetGroupPlan {
    pub name: Option<String>,
    pub arn: Option<String>,
    pub port: Option<u16>,
    /// As ELB spells it; by the load balancer's type when not given.
    pub protocol: Option<String>,
    /// `ip` or `instance`; by the task definition's network mode when not given.
    pub target_type: Option<String>,
    pub deregistration_delay: Option<Duration>,
    pub health_check: HealthCheckPlan,
}

#[derive(Debug, Clone, Default, PartialEq)]
pub struct HealthCheckPlan {
    pub path: Option<String>,
    /// A port number or `traffic-port`.
    pub port: Option<String>,
    pub protocol: Option<String>,
    pub interval: Option<Duration>,
    pub timeout: Option<Duration>,
    pub healthy_threshold: Option<i64>,
    pub unhealthy_threshold: Option<i64>,
    /// HTTP codes, such as `200-299`.
    pub matcher: Option<String>,
}

#[derive(Debug, Clone, PartialEq)]
pub struct NetworkPlan {
    pub subnets: Selector,
    pub security_groups: Selector,
    pub assign_public_ip: Option<bool>,
}

/// Which subnets or security groups.
#[derive(Debug, Clone, Default, PartialEq)]
pub enum Selector {
    /// Those of the default VPC.
    #[default]
    Default,
    Ids(Vec<String>),
    /// Those that carry all of these tags.
    Tags(BTreeMap<String, String>),
}

#[derive(Debug, Clone, PartialEq)]
pub struct DiscoveryPlan {
    /// An existing Cloud Map service; the other members are then only for the container.
    pub arn: Option<String>,
    /// The name or id of an existing namespace; empty exactly when `arn` is given.
    pub namespace: String,
    /// The Cloud Map service's name; the ECS service's when not given.
    pub name: String,
    /// `SRV` or `A`; by the task definition's network mode when not given.
    pub record_type: Option<String>,
    pub ttl: Duration,
    pub container: Option<String>,
    pub container_port: Option<u16>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnFailure {
    Rollback,
    /// Leave it as it is, for inspection.
    Stop,
}

/// What to do when a deployment waits for an answer.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum OnPause {
    /// Go on following it.
    #[default]
    Wait,
    /// End, so that another run may take it up.
    Exit,
}

/// What a signal does while the rollout is followed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum OnInterrupt {
    /// The rollout goes on at AWS.
    #[default]
    Detach,
    /// The release before is brought back.
    Rollback,
}

#[derive(Debug, Clone, PartialEq)]
pub struct RolloutPlan {
    pub timeout: Duration,
    /// Nobody gave the timeout: a rollout that has to wait for more gets more.
    pub timeout_is_least: bool,
    pub on_failure: OnFailure,
    pub on_pause: OnPause,
    pub on_interrupt: OnInterrupt,
    /// Give up after this many tasks of the deployment that failed for the same cause; 0 leaves it to ECS.
    pub fail_fast: u32,
    pub deployment: DeploymentPlan,
}

impl Default for RolloutPlan {
    fn default() -> Self {
        RolloutPlan {
            timeout: Duration::from_secs(15 * 60),
            timeout_is_least: false,
            on_failure: OnFailure::Rollback,
            on_pause: OnPause::Wait,
            on_interrupt: OnInterrupt::Detach,
            fail_fast: 3,
            deployment: DeploymentPlan::default(),
        }
    }
}

/// What the project file says of the service's `deploymentConfiguration`.
#[derive(Clone, Default, PartialEq)]
pub struct DeploymentPlan {
    /// As ECS takes them.
    pub members: serde_json::Map<String, serde_json::Value>,
    /// Where the project file says each of them.
    pub places: BTreeMap<String, Place>,
}

impl fmt::Debug for DeploymentPlan {
    // What a hook's function is given may be secret.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.members.keys()).finish()
    }
}
