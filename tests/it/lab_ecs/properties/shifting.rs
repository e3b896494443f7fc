//! The same where traffic shifts: BLUE_GREEN, CANARY and LINEAR, their hooks and alarms, and the way back.

use proptest::prelude::*;
use proptest::sample::select;
use serde_json::{Value, json};
use steadystate::lab::ecs::model::{Phase, Service, Task};
use steadystate::lab::elbv2::TargetStatus;

use super::{Act, World, cases, walk_in};
use crate::lab_ecs::TARGET_GROUP;
use crate::lab_ecs::alarms::{ALARM, set_alarm};
use crate::lab_ecs::strategies::{ALTERNATE, HOOK, PRODUCTION, TEST, sim, weights};

/// What a world has for it.
#[derive(Default)]
pub(super) struct Shifts {
    /// Since the service was steady somebody took tasks away, so that a group may have none that is healthy.
    damaged: bool,
}

const SUCCEEDED: &str = r#"{"hookStatus": "SUCCEEDED"}"#;
const FAILED: &str = r#"{"hookStatus": "FAILED"}"#;
const NOT_YET: &str = r#"{"hookStatus": "IN_PROGRESS", "callBackDelay": 20}"#;

fn strategies() -> Vec<Value> {
    let alarms = json!({"alarmNames": [ALARM], "enable": true, "rollback": true});
    let none = json!({"alarmNames": [], "enable": false, "rollback": false});
    let canary = json!({"canaryPercent": 10.0, "canaryBakeTimeInMinutes": 1});
    let linear = json!({"stepPercent": 40.0, "stepBakeTimeInMinutes": 1});
    let pause = json!([{"targetType": "PAUSE", "lifecycleStages": ["POST_SCALE_UP", "PRE_PRODUCTION_TRAFFIC_SHIFT"]}]);
    let stages = ["PRE_SCALE_UP", "TEST_TRAFFIC_SHIFT", "PRODUCTION_TRAFFIC_SHIFT", "POST_PRODUCTION_TRAFFIC_SHIFT"];
    let asks =
        json!([{"hookTargetArn": HOOK, "roleArn": "arn:aws:iam::000000000000:role/h", "lifecycleStages": stages}]);
    vec![
        json!({"strategy": "BLUE_GREEN", "bakeTimeInMinutes": 1, "lifecycleHooks": [], "alarms": none}),
        json!({"strategy": "BLUE_GREEN", "bakeTimeInMinutes": 2, "lifecycleHooks": pause, "alarms": alarms}),
        json!({"strategy": "CANARY", "canaryConfiguration": canary, "lifecycleHooks": [], "alarms": alarms}),
        json!({"strategy": "CANARY", "canaryConfiguration": canary, "lifecycleHooks": asks, "alarms": none}),
        json!({"strategy": "LINEAR", "linearConfiguration": linear, "lifecycleHooks": asks, "alarms": alarms}),
        json!({"strategy": "LINEAR", "linearConfiguration": linear, "lifecycleHooks": pause, "alarms": none}),
        json!({"strategy": "ROLLING", "lifecycleHooks": [], "alarms": alarms}),
    ]
}

impl World {
    fn shifting() -> World {
        let mut sim = sim();
        set_alarm(&mut sim, ALARM, "OK");
        World::of(sim, Some(Shifts::default()))
    }

    pub(super) fn note_damage(&mut self, act: &Act) {
        let takes_away =
            matches!(act, Act::StopTask(_) | Act::Crash(_) | Act::Scale(_) | Act::Delete { .. } | Act::Create { .. });
        if let Some(shifts) = self.shifts.as_mut().filter(|_| takes_away) {
            shifts.damaged = true;
        }
    }

    /// A service that was deleted left the listener at one of the groups: a new one begins as with a new listener.
    pub(super) fn renew_listener(&mut self) {
        let exists = |of: &Service| of.status.name() != "INACTIVE";
        if self.shifts.is_some() && !self.sim.state.ecs.services.find("default", "web").is_some_and(exists) {
            self.sim.state.elbv2.listeners = sim().state.elbv2.listeners;
        }
    }

    pub(super) fn act_on_shift(&mut self, act: &Act) {
        match act {
            Act::Strategy(at) => self.update(json!({"deploymentConfiguration": strategies()[*at]})),
            Act::Alarm(value) => set_alarm(&mut self.sim, ALARM, value),
            Act::Continue(how) => self.go_on(how),
            Act::Answer(answer) => self.sim.functions.entry(HOOK.into()).or_default().push_front(Ok(answer)),
            _ => {}
        }
    }

    /// Answers what pauses.
    fn go_on(&mut self, how: &str) {
        let current = self.sim.state.ecs.services.find("default", "web").and_then(|service| service.current());
        let Some((arn, shift)) = current.and_then(|current| Some((current.arn.clone(), current.shift.as_ref()?)))
        else {
            return;
        };
        let paused = shift.hooks.iter().find(|hook| hook.status == "AWAITING_ACTION").map(|hook| hook.id.clone());
        if let Some(hook) = paused {
            let input = json!({"serviceDeploymentArn": arn, "hookId": hook, "action": how});
            // refused while the deployment goes back
            let _ = self.sim.try_call("ContinueServiceDeployment", input);
        }
    }

    /// Whether the next deployment replaces task by task.
    pub(super) fn rolls(&self) -> bool {
        let service = self.sim.state.ecs.services.find("default", "web").expect("web");
        let strategy = service.settings.get("deploymentConfiguration").map(|of| &of["strategy"]);
        strategy.is_none_or(|strategy| strategy.is_null() || strategy == "ROLLING")
    }

    /// Nothing holds the deployment up.
    pub(super) fn let_through(&mut self) {
        if self.shifts.is_some() {
            set_alarm(&mut self.sim, ALARM, "OK");
            self.go_on("CONTINUE");
        }
    }

    fn healthy(&self, group: &str) -> usize {
        let targets = &self.sim.state.elbv2.target_group(group).expect("a group").targets;
        targets.iter().filter(|target| target.status == TargetStatus::Healthy).count()
    }

    pub(super) fn step_of_shift(&mut self) {
        let answers = self.sim.functions.entry(HOOK.into()).or_default();
        if answers.is_empty() {
            answers.push_back(Ok(SUCCEEDED));
        }
        let groups = [TARGET_GROUP, ALTERNATE];
        let shares = |world: &World, listener: &str| {
            let (first, second) = weights(&world.sim, listener);
            [first, second]
        };
        let (before, healthy) = (shares(self, PRODUCTION), groups.map(|group| self.healthy(group)));
        self.sim.step();
        for listener in [PRODUCTION, TEST] {
            let now = shares(self, listener);
            assert!([1, 100, 1000].contains(&now.iter().sum::<u32>()), "all of the traffic goes somewhere: {now:?}");
        }
        let after = shares(self, PRODUCTION);
        let service = self.sim.state.ecs.services.find("default", "web");
        let Some(service) = service.filter(|service| service.status.name() == "ACTIVE").cloned() else { return };
        let damaged = self.shifts.as_ref().is_some_and(|shifts| shifts.damaged) || service.desired_count == 0;
        for at in 0..2 {
            assert!(
                damaged || before[at] > 0 || after[at] == 0 || healthy[at] > 0,
                "{} gets traffic with nobody there who is healthy: {before:?} {after:?} {healthy:?} {:#?}",
                groups[at],
                self.sim.events()
            );
        }
        // Side by side there are as many of each release as are wanted, and no more.
        for deployment in &service.deployments {
            let is_of = |task: &&Task| !task.stop && task.started_by.as_ref() == Some(&deployment.id);
            let wanted = self.tasks().filter(|task| task.group == "service:web").filter(is_of).count() as i64;
            let rolls = service.current().is_none_or(|current| current.shift.is_none());
            assert!(rolls || wanted <= service.desired_count, "{wanted} tasks of {}", deployment.id);
        }
        if let Some(current) = service.current() {
            let shift = current.shift.as_ref();
            let shown = shift.and_then(|shift| shift.production).filter(|_| current.status == "IN_PROGRESS");
            // What is said of the weights is what they are.
            if let Some((tenths, green)) = shown.zip(service.deployments[0].target_groups.first()) {
                let at = usize::from(green == ALTERNATE);
                let share = after[at] * 1000 / after.iter().sum::<u32>();
                assert_eq!(share, tenths, "{:?} {after:?}", shift.map(|shift| shift.phase));
            }
            let past = shift.is_some_and(|shift| shift.phase > Phase::Bake);
            let told = &current.alarms;
            assert!(told.status != "TRIGGERED" || !told.triggered.is_empty(), "{told:?}");
            assert!(!past || current.status != "IN_PROGRESS" || told.status != "TRIGGERED");
        }
        if service.steady {
            self.shifts = Some(Shifts::default());
        }
    }

    /// All production traffic goes to the group of the only release, and all its tasks are there.
    pub(super) fn has_all_traffic(&mut self) {
        let service = self.sim.state.ecs.services.find("default", "web").cloned().expect("web");
        let balanced = service.settings.get("loadBalancers").is_some();
        if service.status.name() != "ACTIVE" || !balanced {
            return;
        }
        let primary = service.primary().expect("a deployment");
        let group = primary.target_groups.first().map_or(TARGET_GROUP, String::as_str);
        let (first, second) = weights(&self.sim, PRODUCTION);
        let (ours, other) = if group == TARGET_GROUP { (first, second) } else { (second, first) };
        assert!(ours > 0 && other == 0, "{group}: {first} and {second}, {:#?}", self.sim.events());
        assert_eq!(self.healthy(group) as i64, service.desired_count);
        let left = if group == TARGET_GROUP { ALTERNATE } else { TARGET_GROUP };
        assert_eq!(self.sim.state.elbv2.target_group(left).expect("a group").targets.len(), 0, "targets are left");
    }
}

fn act() -> impl Strategy<Value = Act> {
    prop_oneof![
        3 => (0..strategies().len()).prop_map(Act::Strategy),
        2 => select(vec!["ALARM", "OK"]).prop_map(Act::Alarm),
        3 => select(vec!["CONTINUE", "CONTINUE", "ROLLBACK"]).prop_map(Act::Continue),
        2 => select(vec![FAILED, NOT_YET, "nonsense"]).prop_map(Act::Answer),
        8 => super::act(),
    ]
}

fn acts() -> impl Strategy<Value = Vec<Act>> {
    let create = (1..4i64, prop::bool::weighted(0.9)).prop_map(|(desired, balanced)| Act::Create { desired, balanced });
    let begin =
        (create, 0..strategies().len()).prop_map(|(create, at)| vec![create, Act::Wait(300), Act::Strategy(at)]);
    (begin, proptest::collection::vec(act(), 1..25)).prop_map(|(begin, rest)| [begin, rest].concat())
}

#[test]
fn traffic_keeps_to_the_rules_in_known_cases() {
    let begin = |at: usize| vec![Act::Create { desired: 2, balanced: true }, Act::Wait(300), Act::Strategy(at)];
    // The property test's own: without room there is no rolling update, whatever was shifted before.
    let tight = [Act::Create { desired: 1, balanced: true }, Act::Percents(100, 150), Act::Strategy(6), Act::Wait(60)];
    walk_in(World::shifting(), &tight);
    let table = [
        // each goes through, and back from each of its stages
        vec![Act::Deploy("good"), Act::Wait(300), Act::Continue("CONTINUE"), Act::Wait(300)],
        vec![Act::Deploy("good"), Act::Wait(60), Act::Alarm("ALARM"), Act::Wait(300)],
        vec![Act::Deploy("sick"), Act::Wait(300), Act::Restart, Act::StopDeployment("ROLLBACK")],
        vec![Act::Deploy("good"), Act::Answer(FAILED), Act::Wait(300), Act::Continue("ROLLBACK"), Act::Wait(60)],
        vec![
            Act::Deploy("good"),
            Act::Wait(60),
            Act::Deploy("good"),
            Act::Wait(30),
            Act::Restart,
            Act::Deploy("crashing"),
        ],
    ];
    // A service on the listener of one that was deleted after a shift, rolling before its first release was there.
    let create = || Act::Create { desired: 1, balanced: true };
    let again = [create(), Act::Wait(300), Act::Delete { force: true }, Act::Wait(60), create(), Act::Strategy(6)];
    walk_in(World::shifting(), &again);
    // Each strategy once, and each case at least once.
    for at in 0..strategies().len() {
        walk_in(World::shifting(), &[begin(at), table[at % table.len()].clone()].concat());
    }
}

proptest! {
    // These take longer: they bake.
    #![proptest_config(ProptestConfig { cases: cases() / 4, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn traffic_keeps_to_the_rules_whatever_happens(acts in acts()) {
        walk_in(World::shifting(), &acts);
    }
}
