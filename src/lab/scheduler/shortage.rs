//! Capacity that is lost and comes back, as faults say.

use std::time::Instant;

use crate::lab::{
    api::random_hex,
    ec2,
    ecs::{
        instances,
        model::{Instance, SPOT_INTERRUPTION, Task},
        tasks::halt,
    },
    faults::Faults,
    state::State,
};

use super::{
    Context,
    placement::{Misfit, Wanted},
};

const SPOT: &str = "FARGATE_SPOT";

/// Seconds at AWS until a placement that a fault refused is tried again.
pub(super) const RETRY: u64 = 15;

/// Takes capacity away, with the tasks on it, or brings other machines in place of those that were lost. Whether it did.
pub(super) fn follow(state: &mut State, context: &Context) -> bool {
    let interrupted = state.faults.trouble_spot() && interrupt(state);
    match state.faults.capacity_lost() {
        Some(_) if !state.ecs.instances.is_empty() => lose(state),
        None if !state.ecs.lost.is_empty() => bring_back(state, context.now),
        _ => return interrupted,
    }
    true
}

/// When lost capacity comes back by itself (epoch milliseconds).
pub(super) fn returns(state: &State, now: i64) -> Option<i64> {
    let ends = [state.faults.capacity_lost(), state.faults.spot_lost()].into_iter().flatten().flatten();
    let until = |at: Instant| now + at.saturating_duration_since(Instant::now()).as_millis() as i64 + 1;
    ends.map(until).min()
}

/// Gives tasks the notice that their Spot capacity is needed elsewhere.
fn interrupt(state: &mut State) -> bool {
    let on_spot = |task: &&Task| task.capacity_provider.as_deref() == Some(SPOT) && task.is_wanted();
    let tasks: Vec<String> = state.ecs.tasks.values().filter(on_spot).map(|task| task.id.clone()).collect();
    let mut interrupted = false;
    for id in tasks {
        if state.faults.interruption()
            && let Some(task) = state.ecs.tasks.get_mut(&id)
        {
            halt(task, SPOT_INTERRUPTION, "Your Spot Task was interrupted.");
            interrupted = true;
        }
    }
    interrupted
}

fn lose(state: &mut State) {
    for (id, instance) in std::mem::take(&mut state.ecs.instances) {
        let reason = format!("Host EC2 (instance {}) terminated.", instance.ec2_instance_id);
        let on_it: Vec<String> = state.ecs.tasks.on_instance(&id).map(|task| task.id.clone()).collect();
        for task in on_it {
            if let Some(task) = state.ecs.tasks.get_mut(&task) {
                halt(task, "TerminationNotice", &reason);
            }
        }
        instances::touch(state, &instance.cluster);
        state.ecs.lost.push(instance);
    }
}

fn bring_back(state: &mut State, now: i64) {
    for lost in std::mem::take(&mut state.ecs.lost) {
        if !state.ecs.clusters.get(&lost.cluster).is_some_and(|cluster| cluster.active) {
            continue;
        }
        let id = random_hex(32);
        let ec2_instance_id = ec2::new_instance(state);
        let instance = Instance { id: id.clone(), ec2_instance_id, registered_at: now, ..lost };
        instances::touch(state, &instance.cluster);
        state.ecs.instances.insert(id, instance);
    }
}

/// Why a fault lets a task have no place.
pub(super) fn refusal(state: &State, wanted: &Wanted) -> Option<Misfit> {
    let faults: &Faults = &state.faults;
    let fargate = wanted.launch_type == "FARGATE";
    let gone = if wanted.provider == Some(SPOT) { faults.spot_lost() } else { faults.capacity_lost() };
    if fargate && gone.is_some() {
        return Some(Misfit::Capacity);
    }
    if !faults.placement() {
        return None;
    }
    let mut instances = state.ecs.instances.values().filter(|instance| instance.cluster == wanted.cluster);
    Some(match instances.next() {
        _ if fargate => Misfit::Capacity,
        Some(nearest) => Misfit::Memory(nearest.id.clone()),
        None => Misfit::NoInstances,
    })
}
