//! Which container instance a task goes to: placement constraints leave some, placement strategies order them.

use std::collections::BTreeMap;

use ring::rand::{SecureRandom, SystemRandom};
use serde_json::{Map, Value};

use crate::lab::{
    ecs::{
        expression::{self, Expression},
        instances,
        model::{Instance, Task, TaskDefinition},
    },
    state::State,
};

use super::placement::{Misfit, Need, Wanted, bound};

/// The rules of RunTask or a service, and of the task definition, together.
pub struct Constraints {
    members: Vec<Expression>,
    distinct: bool,
}

impl Constraints {
    pub fn of(settings: &Map<String, Value>, definition: &TaskDefinition) -> Constraints {
        let list = |of: &Map<String, Value>| of.get("placementConstraints").and_then(Value::as_array).cloned();
        let all: Vec<Value> = [list(settings), list(&definition.document)].into_iter().flatten().flatten().collect();
        let daemon = settings.get("schedulingStrategy").is_some_and(|of| of == "DAEMON");
        Constraints {
            distinct: daemon || all.iter().any(|of| of["type"] == "distinctInstance"),
            members: all
                .iter()
                .filter(|of| of["type"] == "memberOf")
                .filter_map(|of| expression::parse(of["expression"].as_str()?))
                .collect(),
        }
    }

    /// Whether an instance may have tasks of this group, and one more of it.
    fn allow(&self, state: &State, region: &str, instance: &Instance, group: &str) -> Result<(), &'static str> {
        if !self.members.is_empty() {
            let subject = instances::subject(state, region, instance);
            if !self.members.iter().all(|member| member.holds(&subject)) {
                return Err("MemberOf placement constraint unsatisfied.");
            }
        }
        let mut tasks = state.ecs.tasks.on_instance(&instance.id);
        // one that is to stop is no hindrance
        if self.distinct && tasks.any(|task| task.group == group && !task.stop) {
            return Err("DistinctInstance placement constraint unsatisfied.");
        }
        Ok(())
    }
}

/// How many of a cluster's instances a daemon is to run on.
pub fn eligible(state: &State, region: &str, cluster: &str, settings: &Map<String, Value>, of: &TaskDefinition) -> i64 {
    let constraints = Constraints { distinct: false, ..Constraints::of(settings, of) };
    let allowed = |instance: &&Instance| constraints.allow(state, region, instance, "").is_ok();
    instances::active(state, cluster).filter(allowed).count() as i64
}

/// The instance for a task, or what hinders the one that comes nearest.
pub(super) fn choose(state: &State, region: &str, wanted: &Wanted, need: &Need) -> Result<String, Misfit> {
    let constraints = Constraints::of(wanted.settings, wanted.definition);
    let mut nearest = Misfit::NoInstances;
    let mut fitting: Vec<&Instance> = Vec::new();
    for instance in instances::active(state, wanted.cluster) {
        if wanted.on.is_some_and(|id| id != instance.id) {
            continue;
        }
        if wanted.provider.is_some_and(|provider| instance.capacity_provider.as_deref() != Some(provider)) {
            continue;
        }
        // To be named on an instance is to be there whatever the rules say (StartTask).
        let allowed = match wanted.on {
            Some(_) => Ok(()),
            None => constraints.allow(state, region, instance, &wanted.group),
        };
        match allowed {
            Err(why) if !matches!(nearest, Misfit::Cpu(_) | Misfit::Memory(_) | Misfit::Ports(_)) => {
                nearest = Misfit::Constraint(instance.id.clone(), why);
            }
            Err(_) => {}
            Ok(()) => match fits(state, instance, need) {
                Ok(()) => fitting.push(instance),
                Err(misfit) => nearest = misfit,
            },
        }
    }
    if fitting.len() > 1 {
        order(state, region, wanted, &mut fitting);
    }
    fitting.first().map(|instance| instance.id.clone()).ok_or(nearest)
}

fn fits(state: &State, instance: &Instance, need: &Need) -> Result<(), Misfit> {
    let (cpu, memory) = left(state, instance);
    let id = || instance.id.clone();
    if cpu < need.cpu {
        Err(Misfit::Cpu(id()))
    } else if memory < need.memory {
        Err(Misfit::Memory(id()))
    } else if !need.ports.is_empty() && bound(&state.ecs, &instance.id).iter().any(|port| need.ports.contains(port)) {
        Err(Misfit::Ports(id()))
    } else {
        Ok(())
    }
}

/// CPU units and MiB that nobody has reserved.
fn left(state: &State, instance: &Instance) -> (i64, i64) {
    let tasks = || state.ecs.tasks.on_instance(&instance.id);
    (
        instance.cpu - tasks().map(|task| task.cpu).sum::<i64>(),
        instance.memory - tasks().map(|task| task.memory).sum::<i64>(),
    )
}

/// Best first: by the first rule, of equals by the second, and so on. Without a rule, tasks are spread over zones.
fn order(state: &State, region: &str, wanted: &Wanted, fitting: &mut Vec<&Instance>) {
    let given = wanted.settings.get("placementStrategy").and_then(Value::as_array);
    let default = [serde_json::json!({"type": "spread", "field": "attribute:ecs.availability-zone"})];
    let rules = given.filter(|rules| !rules.is_empty()).map_or(&default[..], Vec::as_slice);
    for rule in rules {
        let field = rule["field"].as_str().unwrap_or_default().to_ascii_lowercase();
        match rule["type"].as_str() {
            Some("random") => {
                let mut byte = [0; 2];
                let _ = SystemRandom::new().fill(&mut byte);
                let at = usize::from(u16::from_le_bytes(byte)) % fitting.len();
                let chosen = fitting[at];
                *fitting = vec![chosen];
            }
            Some("binpack") => {
                let remaining = |instance: &Instance| {
                    let (cpu, memory) = left(state, instance);
                    if field == "cpu" { cpu } else { memory }
                };
                keep_least(fitting, remaining);
            }
            _ => {
                let mut counts: BTreeMap<Option<String>, i64> = BTreeMap::new();
                let places: BTreeMap<&str, Option<String>> = instances::active(state, wanted.cluster)
                    .map(|instance| (instance.id.as_str(), place(state, region, instance, &field)))
                    .collect();
                for task in state.ecs.tasks.of_group(wanted.cluster, &wanted.group).filter(|task| Task::is_wanted(task))
                {
                    if let Some(place) = task.instance.as_deref().and_then(|id| places.get(id)) {
                        *counts.entry(place.clone()).or_default() += 1;
                    }
                }
                keep_least(fitting, |instance| {
                    let place = places.get(instance.id.as_str());
                    place.and_then(|place| counts.get(place)).copied().unwrap_or(0)
                });
            }
        }
    }
}

fn keep_least(fitting: &mut Vec<&Instance>, of: impl Fn(&Instance) -> i64) {
    let values: Vec<i64> = fitting.iter().map(|instance| of(instance)).collect();
    let Some(least) = values.iter().copied().min() else { return };
    let mut values = values.into_iter();
    fitting.retain(|_| values.next() == Some(least));
}

/// What an instance shares with others in this field: nothing when it is the instance itself.
fn place(state: &State, region: &str, instance: &Instance, field: &str) -> Option<String> {
    match field.strip_prefix("attribute:") {
        Some(name) => {
            let all = instances::attributes(state, region, instance);
            all.into_iter().find(|(known, _)| known.eq_ignore_ascii_case(name)).and_then(|(_, value)| value)
        }
        None => Some(instance.id.clone()),
    }
}
