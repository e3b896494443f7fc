//! What there is to look at: what was changed, and what is due. A step looks at nothing else.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::hash::{DefaultHasher, Hash, Hasher};

use serde_json::Value;

use super::defects::Defects;
use crate::lab::{
    ecs::model::{Service, ServiceKey},
    elbv2::{self, TargetGroup, TargetStatus},
    state::State,
};

/// Kept from step to step. A lab that starts has none: all its tasks and services count as changed.
#[derive(Debug, Default, Clone)]
pub struct Agenda {
    tasks: Timetable<String>,
    services: Timetable<ServiceKey>,
    /// They had no room for a task: whatever happens may make some.
    unplaced: BTreeSet<ServiceKey>,
    /// The last look at each target group.
    groups: HashMap<String, u64>,
    pub(super) defects: Defects,
}

#[derive(Debug, Clone)]
struct Timetable<K> {
    at: BTreeSet<(i64, K)>,
    of: BTreeMap<K, i64>,
}

impl<K: Ord> Default for Timetable<K> {
    fn default() -> Self {
        Timetable { at: BTreeSet::new(), of: BTreeMap::new() }
    }
}

impl<K: Ord + Clone> Timetable<K> {
    fn set(&mut self, key: K, at: Option<i64>) {
        if let Some(before) = self.of.remove(&key) {
            self.at.remove(&(before, key.clone()));
        }
        if let Some(at) = at {
            self.at.insert((at, key.clone()));
            self.of.insert(key, at);
        }
    }

    fn next(&self) -> Option<i64> {
        self.at.first().map(|(at, _)| *at)
    }

    fn pop_due(&mut self, now: i64) -> Option<K> {
        if self.next()? > now {
            return None;
        }
        let (_, key) = self.at.pop_first()?;
        self.of.remove(&key);
        Some(key)
    }
}

impl Agenda {
    /// When a task is to be looked at again though nothing happens to it.
    pub(super) fn plan_task(&mut self, id: &str, at: Option<i64>) {
        self.tasks.set(id.to_owned(), at);
    }

    pub(super) fn plan_service(&mut self, key: ServiceKey, at: Option<i64>) {
        self.unplaced.remove(&key);
        self.services.set(key, at);
    }

    pub(super) fn has_no_room(&mut self, key: ServiceKey) {
        self.unplaced.insert(key);
    }

    /// When something is due by itself.
    pub(super) fn next(&self) -> Option<i64> {
        self.tasks.next().into_iter().chain(self.services.next()).min()
    }
}

/// What is due is marked in parts, as requests wait meanwhile: what is over is due at once after it.
const MOST_DUE: usize = 1000;
const MOST_DUE_SERVICES: usize = 16;

/// Marks what is due by now, and what depends on others that changed.
pub(super) fn call_up(state: &mut State, now: i64) {
    let ecs = &mut state.ecs;
    for _ in 0..MOST_DUE {
        let Some(id) = ecs.agenda.tasks.pop_due(now) else { break };
        ecs.tasks.touch(&id);
    }
    for _ in 0..MOST_DUE_SERVICES {
        let Some((cluster, name)) = ecs.agenda.services.pop_due(now) else { break };
        ecs.services.touch(&cluster, &name);
    }
    let balanced = changed_groups(state);
    let ecs = &mut state.ecs;
    let mut also: Vec<ServiceKey> = ecs.services.iter().filter(|of| is_watchful(of)).map(Service::key).collect();
    if !balanced.is_empty() {
        let behind = |service: &&Service| target_groups(service).any(|arn| balanced.contains(arn));
        also.extend(ecs.services.iter().filter(behind).map(Service::key));
    }
    if ecs.tasks.is_touched() || ecs.services.is_touched() {
        also.extend(ecs.agenda.unplaced.iter().cloned());
    }
    for (cluster, name) in also {
        ecs.services.touch(&cluster, &name);
    }
}

/// Its deployment may depend on more than its tasks and targets: it is looked at whatever happened.
fn is_watchful(service: &Service) -> bool {
    let Some(current) = service.current() else { return false };
    if current.alarms.status == "MONITORING" {
        return true;
    }
    let Some(configuration) = service.settings.get("deploymentConfiguration") else { return false };
    configuration["strategy"].as_str().is_some_and(|strategy| strategy != "ROLLING")
        || configuration["lifecycleHooks"].as_array().is_some_and(|hooks| !hooks.is_empty())
}

/// The target groups of all of a service's deployments.
fn target_groups(service: &Service) -> impl Iterator<Item = &str> {
    let settings = service.deployments.iter().map(|deployment| &deployment.settings).chain([&service.settings]);
    let balancers = settings.filter_map(|settings| settings.get("loadBalancers")?.as_array()).flatten();
    balancers.flat_map(|balancer: &Value| {
        let second = &balancer["advancedConfiguration"]["alternateTargetGroupArn"];
        [&balancer["targetGroupArn"], second].into_iter().filter_map(Value::as_str)
    })
}

/// The groups whose targets, or their health, are others than at the last look. A tenth of a millisecond for a thousand
/// targets: cheaper than having everyone who changes one say so.
fn changed_groups(state: &mut State) -> BTreeSet<String> {
    let mut changed = BTreeSet::new();
    let forwarded: BTreeSet<&str> = state
        .elbv2
        .listeners
        .iter()
        .flat_map(|listener| &listener.rules)
        .flat_map(|rule| rule.action.target_groups())
        .map(|(arn, _)| arn.as_str())
        .collect();
    for group in &state.elbv2.target_groups {
        let look = look(group, forwarded.contains(group.arn.as_str()));
        if state.ecs.agenda.groups.get(&group.arn) != Some(&look) {
            state.ecs.agenda.groups.insert(group.arn.clone(), look);
            changed.insert(group.arn.clone());
        }
    }
    changed
}

fn look(group: &TargetGroup, attached: bool) -> u64 {
    let mut hasher = DefaultHasher::new();
    attached.hash(&mut hasher);
    for elbv2::Target { id, port, status } in &group.targets {
        (id, port, std::mem::discriminant(status)).hash(&mut hasher);
        if let TargetStatus::Unhealthy { reason, description } = status {
            (reason, description).hash(&mut hasher);
        }
        if let TargetStatus::Draining { since, drained } = status {
            (since, drained).hash(&mut hasher);
        }
    }
    hasher.finish()
}
