//! CONTRACT (helper L4): as in PLAN.md, in the shapes of L4's worktree.
use serde::{Deserialize, Serialize};

use super::state::State;

#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct ElbState {
    pub target_groups: Vec<TargetGroup>,
    pub listeners: Vec<serde_json::Value>,
}
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct TargetGroup {
    pub arn: String,
    pub target_type: String,
    pub targets: Vec<Target>,
}
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Target {
    pub id: String,
    pub port: u16,
    pub status: TargetStatus,
}
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", rename_all_fields = "camelCase")]
pub enum TargetStatus {
    Initial { checking: bool },
    Healthy,
    Unhealthy { reason: String, description: String },
    Draining { since: i64, drained: bool },
}
impl ElbState {
    pub fn target_group(&self, arn: &str) -> Option<&TargetGroup> {
        self.target_groups.iter().find(|group| group.arn == arn)
    }
    pub fn target_group_mut(&mut self, arn: &str) -> Option<&mut TargetGroup> {
        self.target_groups.iter_mut().find(|group| group.arn == arn)
    }
}
pub struct TargetHealth {
    pub state: String,
    pub reason: Option<String>,
    pub description: Option<String>,
}
pub fn register_target(state: &mut State, arn: &str, id: &str, port: u16, _now_ms: i64) -> bool {
    let Some(group) = state.elbv2.target_group_mut(arn) else { return false };
    group.targets.push(Target { id: id.into(), port, status: TargetStatus::Initial { checking: false } });
    true
}
pub fn deregister_target(state: &mut State, arn: &str, id: &str, port: u16, now_ms: i64) {
    let Some(group) = state.elbv2.target_group_mut(arn) else { return };
    for target in group.targets.iter_mut().filter(|target| target.id == id && target.port == port) {
        target.status = TargetStatus::Draining { since: now_ms, drained: false };
    }
}
pub fn target_health(state: &State, arn: &str, id: &str, port: u16) -> Option<TargetHealth> {
    let group = state.elbv2.target_group(arn)?;
    let target = group.targets.iter().find(|target| target.id == id && target.port == port)?;
    let (state, description) = match &target.status {
        TargetStatus::Initial { .. } => ("initial", None),
        TargetStatus::Healthy => ("healthy", None),
        TargetStatus::Unhealthy { description, .. } => ("unhealthy", Some(description.clone())),
        TargetStatus::Draining { .. } => ("draining", None),
    };
    Some(TargetHealth { state: state.into(), reason: None, description })
}
pub fn target_is_gone(state: &State, arn: &str, id: &str, port: u16) -> bool {
    let group = state.elbv2.target_group(arn);
    let target = group.and_then(|group| group.targets.iter().find(|target| target.id == id && target.port == port));
    target.is_none_or(|target| matches!(target.status, TargetStatus::Draining { drained: true, .. }))
}
pub fn is_attached(state: &State, arn: &str) -> bool {
    state.elbv2.listeners.iter().any(|listener| listener.to_string().contains(arn))
}
