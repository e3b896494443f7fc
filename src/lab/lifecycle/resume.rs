//! What ran when a lab ended, until it runs again.

use crate::lab::ecs::model::Run;
use crate::lab::elbv2::TargetStatus;
use crate::lab::state::State;

/// Tasks and healthy targets as a lab finds them at its start.
pub struct Earlier {
    tasks: Vec<String>,
    /// Target group, target and port.
    targets: Vec<(String, String, u16)>,
}

impl Earlier {
    pub fn of(state: &State) -> Earlier {
        let tasks = state.ecs.tasks.values().filter(|task| task.is_wanted() && task.started_at.is_some());
        let targets = state.elbv2.target_groups.iter().flat_map(|group| {
            let healthy = group.targets.iter().filter(|target| target.status == TargetStatus::Healthy);
            healthy.map(|target| (group.arn.clone(), target.id.clone(), target.port))
        });
        Earlier { tasks: tasks.map(|task| task.id.clone()).collect(), targets: targets.collect() }
    }

    /// How many of them are not yet what they were. What has ended or failed since is waited for no longer.
    pub fn resuming(&self, state: &State) -> usize {
        let starts = |id: &&String| {
            let task = state.ecs.tasks.get(*id);
            task.is_some_and(|task| task.is_wanted() && matches!(task.run, Run::No | Run::Starting))
        };
        let is_new = |(group, id, port): &&(String, String, u16)| {
            let targets = state.elbv2.target_group(group).map_or(&[][..], |group| &group.targets);
            let target = targets.iter().find(|target| target.id == *id && target.port == *port);
            target.is_some_and(|target| matches!(target.status, TargetStatus::Initial { .. }))
        };
        self.tasks.iter().filter(starts).count() + self.targets.iter().filter(is_new).count()
    }
}
