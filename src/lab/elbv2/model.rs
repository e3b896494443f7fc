//! Load balancers, target groups, listeners and rules, as the lab remembers them.

use std::collections::BTreeMap;
use std::net::IpAddr;

use serde::{Deserialize, Serialize};

#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct ElbState {
    pub load_balancers: Vec<LoadBalancer>,
    pub target_groups: Vec<TargetGroup>,
    pub listeners: Vec<Listener>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LoadBalancerType {
    Network,
    Application,
}

impl LoadBalancerType {
    pub fn name(self) -> &'static str {
        match self {
            LoadBalancerType::Network => "network",
            LoadBalancerType::Application => "application",
        }
    }

    /// How this type is written in ARNs.
    pub fn in_arn(self) -> &'static str {
        match self {
            LoadBalancerType::Network => "net",
            LoadBalancerType::Application => "app",
        }
    }

    /// The one protocol that the lab's listeners and target groups of this type speak.
    pub fn protocol(self) -> Protocol {
        match self {
            LoadBalancerType::Network => Protocol::Tcp,
            LoadBalancerType::Application => Protocol::Http,
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum Protocol {
    Tcp,
    Http,
}

impl Protocol {
    pub fn name(self) -> &'static str {
        match self {
            Protocol::Tcp => "TCP",
            Protocol::Http => "HTTP",
        }
    }
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct LoadBalancer {
    pub arn: String,
    pub name: String,
    pub kind: LoadBalancerType,
    pub scheme: String,
    pub vpc_id: String,
    pub subnets: Vec<String>,
    pub security_groups: Vec<String>,
    pub ip_address_type: String,
    /// Epoch milliseconds.
    pub created_at: i64,
    /// The loopback address that is its own, and its DNS name.
    pub address: IpAddr,
    pub attributes: BTreeMap<String, String>,
    pub tags: BTreeMap<String, String>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct TargetGroup {
    pub arn: String,
    pub name: String,
    pub protocol: Protocol,
    pub port: u16,
    pub vpc_id: String,
    /// `instance` or `ip`.
    pub target_type: String,
    pub health_check: HealthCheck,
    pub attributes: BTreeMap<String, String>,
    pub tags: BTreeMap<String, String>,
    pub targets: Vec<Target>,
}

/// Times in seconds of AWS's.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HealthCheck {
    pub enabled: bool,
    pub protocol: Protocol,
    /// None is `traffic-port`.
    pub port: Option<u16>,
    pub path: Option<String>,
    pub interval: u64,
    pub timeout: u64,
    pub healthy_threshold: u32,
    pub unhealthy_threshold: u32,
    /// HTTP codes such as `200`, `200,202` or `200-299`.
    pub matcher: Option<String>,
}

impl HealthCheck {
    pub fn matches(&self, code: u16) -> bool {
        self.matcher.as_deref().unwrap_or("200").split(',').any(|part| match part.split_once('-') {
            Some((from, to)) => {
                from.trim().parse().is_ok_and(|from: u16| from <= code) && to.trim().parse().is_ok_and(|to| code <= to)
            }
            None => part.trim().parse() == Ok(code),
        })
    }
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Target {
    /// An instance id or an IP address, as the group's target type says.
    pub id: String,
    pub port: u16,
    pub status: TargetStatus,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", rename_all_fields = "camelCase")]
pub enum TargetStatus {
    /// `checking` once a first health check has failed.
    Initial {
        checking: bool,
    },
    Healthy,
    Unhealthy {
        reason: String,
        description: String,
    },
    /// Deregistered `since` (epoch milliseconds); `drained` when no connection is left.
    Draining {
        since: i64,
        drained: bool,
    },
}

impl TargetStatus {
    pub fn is_draining(&self) -> bool {
        matches!(self, TargetStatus::Draining { .. })
    }
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Listener {
    pub arn: String,
    pub load_balancer_arn: String,
    pub port: u16,
    pub protocol: Protocol,
    /// By priority; the default rule is the last one.
    pub rules: Vec<Rule>,
    #[serde(default)]
    pub attributes: BTreeMap<String, String>,
    pub tags: BTreeMap<String, String>,
}

impl Listener {
    pub fn default_action(&self) -> Option<&Action> {
        self.rules.last().map(|rule| &rule.action)
    }
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Rule {
    pub arn: String,
    /// None is the listener's default rule.
    pub priority: Option<u32>,
    pub conditions: Vec<Condition>,
    pub action: Action,
    pub tags: BTreeMap<String, String>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Condition {
    PathPattern(Vec<String>),
    HostHeader(Vec<String>),
    Method(Vec<String>),
    /// Pairs of key and value; without a key any has it.
    QueryString(Vec<(Option<String>, String)>),
    HttpHeader {
        name: String,
        values: Vec<String>,
    },
    /// Networks such as `10.0.0.0/8`.
    SourceIp(Vec<String>),
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", rename_all_fields = "camelCase")]
pub enum Action {
    /// Target group ARNs with their weights.
    Forward {
        groups: Vec<(String, u32)>,
        /// For so many seconds a client stays with the group that it came to.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        sticky: Option<u64>,
    },
    FixedResponse {
        status: u16,
        content_type: Option<String>,
        body: Option<String>,
    },
    /// Parts may hold `#{protocol}`, `#{host}`, `#{port}`, `#{path}` and `#{query}`.
    Redirect {
        protocol: String,
        host: String,
        port: String,
        path: String,
        query: String,
        status: u16,
    },
}

impl Action {
    pub fn target_groups(&self) -> &[(String, u32)] {
        match self {
            Action::Forward { groups, .. } => groups,
            _ => &[],
        }
    }
}

impl Action {
    pub fn sticky(&self) -> Option<u64> {
        match self {
            Action::Forward { sticky, .. } => *sticky,
            _ => None,
        }
    }
}

impl ElbState {
    pub fn load_balancer(&self, arn: &str) -> Option<&LoadBalancer> {
        self.load_balancers.iter().find(|load_balancer| load_balancer.arn == arn)
    }

    pub fn target_group(&self, arn: &str) -> Option<&TargetGroup> {
        self.target_groups.iter().find(|group| group.arn == arn)
    }

    pub fn target_group_mut(&mut self, arn: &str) -> Option<&mut TargetGroup> {
        self.target_groups.iter_mut().find(|group| group.arn == arn)
    }

    pub fn listener(&self, arn: &str) -> Option<&Listener> {
        self.listeners.iter().find(|listener| listener.arn == arn)
    }

    /// The load balancers whose listeners or rules forward to this group.
    pub fn load_balancers_of(&self, target_group_arn: &str) -> Vec<&str> {
        let mut arns: Vec<&str> = Vec::new();
        for listener in &self.listeners {
            let forwards = listener.rules.iter().flat_map(|rule| rule.action.target_groups());
            if forwards.into_iter().any(|(arn, _)| arn == target_group_arn)
                && !arns.contains(&listener.load_balancer_arn.as_str())
            {
                arns.push(&listener.load_balancer_arn);
            }
        }
        arns
    }

    /// The groups that any listener or rule of this load balancer forwards to.
    pub fn target_groups_of(&self, load_balancer_arn: &str) -> Vec<&TargetGroup> {
        self.target_groups
            .iter()
            .filter(|group| self.load_balancers_of(&group.arn).contains(&load_balancer_arn))
            .collect()
    }
}
