//! When tasks came to their states.

use serde_json::json;

use super::Sim;

#[test]
fn a_tasks_moments_are_kept_for_its_timeline() {
    let mut sim = Sim::new();
    sim.draining = 30_000;
    sim.register("v1");
    sim.create(1);
    sim.settle();
    let old = sim.state.ecs.tasks.values().next().cloned().expect("a task");
    let healthy_at = old.healthy_at.expect("a task behind a healthy target");
    assert!(old.started_at.is_some_and(|started| started <= healthy_at), "{old:?}");
    assert_eq!((old.stopping_at, old.drained_at), (None, None));
    sim.register("v2");
    sim.call("UpdateService", json!({"service": "web", "taskDefinition": "web"}));
    sim.settle();
    let gone = &sim.state.ecs.tasks[&old.id];
    assert_eq!(gone.healthy_at, Some(healthy_at), "when it was healthy first");
    let moments = [gone.stopping_at, gone.drained_at, gone.execution_stopped_at, gone.stopped_at];
    assert!(moments.is_sorted() && moments[0].is_some(), "{moments:?}");
    let (stopping, drained) = (gone.stopping_at.unwrap_or(0), gone.drained_at.unwrap_or(0));
    assert!((30_000..32_000).contains(&(drained - stopping)), "{moments:?}");

    let mut sim = Sim::new();
    sim.register("v1");
    sim.sick.insert("v1".into());
    sim.create(1);
    sim.until("stopped", |sim| sim.state.ecs.tasks.values().any(|task| task.is_stopped()));
    assert!(sim.state.ecs.tasks.values().all(|task| task.healthy_at.is_none()), "none was ever healthy");
}
