//! Whatever is asked of a service in whatever order, and wherever the lab ends in between: what holds at every step.
//!
//! `STEADY_PROPERTY_CASES=5000 cargo test --test it lab_ecs::properties` looks further than the suite does.

mod shifting;

use std::collections::{BTreeMap, BTreeSet, HashSet};

use proptest::prelude::*;
use proptest::sample::select;
use serde_json::{Value, json};
use steadystate::lab::changes::{self, Recorder};
use steadystate::lab::ecs::model::{Rollout, Task, TaskStatus};
use steadystate::lab::elbv2::TargetStatus;
use steadystate::lab::scheduler::Observation;

use super::{Sim, TARGET_GROUP, strategies};
use shifting::Shifts;

#[derive(Debug, Clone)]
enum Act {
    Create {
        desired: i64,
        balanced: bool,
    },
    Deploy(&'static str),
    Force,
    Scale(i64),
    Percents(i64, i64),
    StopTask(usize),
    Crash(usize),
    StopDeployment(&'static str),
    Delete {
        force: bool,
    },
    Restart,
    Wait(i64),
    /// Only where traffic shifts.
    Strategy(usize),
    Alarm(&'static str),
    Continue(&'static str),
    Answer(&'static str),
}

/// What the service's bounds allow, and what was seen so far.
struct World {
    sim: Sim,
    recorder: Recorder,
    /// The lab's folder: a snapshot and a journal.
    snapshot: Vec<u8>,
    journal: Vec<u8>,
    seen: HashSet<String>,
    alive: BTreeSet<String>,
    /// By deployment id, when it was made.
    deployments: BTreeMap<String, i64>,
    /// What there is beside, where traffic shifts between two target groups.
    shifts: Option<Shifts>,
}

impl World {
    fn new() -> World {
        World::of(Sim::new(), None)
    }

    fn of(mut sim: Sim, shifts: Option<Shifts>) -> World {
        sim.crashing.insert("crashing".into());
        sim.missing.insert("missing".into());
        sim.sick.insert("sick".into());
        sim.register("good");
        let mut recorder = Recorder::default();
        let snapshot = recorder.everything(&mut sim.state).expect("a snapshot");
        World {
            sim,
            recorder,
            snapshot,
            journal: Vec::new(),
            seen: HashSet::new(),
            alive: BTreeSet::new(),
            deployments: BTreeMap::new(),
            shifts,
        }
    }

    fn update(&mut self, input: Value) {
        let mut whole = json!({"service": "web"});
        whole.as_object_mut().expect("members").extend(input.as_object().expect("members").clone());
        // refused where there is no such service: that is no matter here
        let _ = self.sim.try_call("UpdateService", whole);
    }

    fn act(&mut self, act: &Act) {
        self.note_damage(act);
        match act {
            Act::Create { desired, balanced } => {
                self.renew_listener();
                let mut input = match self.shifts {
                    Some(_) => strategies::create_input(*desired, json!({"strategy": "BLUE_GREEN"})),
                    None => super::service(*desired),
                };
                if !balanced {
                    input.as_object_mut().expect("members").remove("loadBalancers");
                }
                let _ = self.sim.try_call("CreateService", input);
            }
            Act::Deploy(image) => {
                let revision = self.sim.register(image);
                self.update(json!({"taskDefinition": revision}));
            }
            Act::Force => self.update(json!({"forceNewDeployment": true})),
            Act::Scale(desired) => self.update(json!({"desiredCount": desired})),
            Act::Percents(minimum, maximum) => {
                let percents = json!({"minimumHealthyPercent": minimum, "maximumPercent": maximum});
                self.update(json!({"deploymentConfiguration": percents}));
            }
            Act::StopTask(at) => {
                if let Some(task) = self.nth(*at) {
                    self.sim.call("StopTask", json!({"task": task}));
                }
            }
            Act::Crash(at) => {
                if let Some(task_id) = self.nth(*at) {
                    let container = "app".to_owned();
                    self.sim.observe(Observation::Exited { task_id, container, exit_code: 1, oom_killed: false });
                }
            }
            Act::StopDeployment(how) => {
                let list = self.sim.try_call("ListServiceDeployments", json!({"service": "web"}));
                let Some(arn) = list.ok().map(|list| list["serviceDeployments"][0]["serviceDeploymentArn"].clone())
                else {
                    return;
                };
                let input = json!({"serviceDeploymentArn": arn, "stopType": how});
                let _ = self.sim.try_call("StopServiceDeployment", input);
            }
            Act::Delete { force } => {
                let _ = self.sim.try_call("DeleteService", json!({"service": "web", "force": force}));
            }
            Act::Restart => self.restart(),
            Act::Strategy(_) | Act::Alarm(_) | Act::Continue(_) | Act::Answer(_) => self.act_on_shift(act),
            Act::Wait(seconds) => {
                let end = self.sim.now + seconds * 1000;
                while self.sim.now < end {
                    self.step();
                }
            }
        }
        self.step();
    }

    /// One of the tasks that run.
    fn nth(&self, at: usize) -> Option<String> {
        let running: Vec<&Task> = self.tasks().filter(|task| task.status == TaskStatus::Running).collect();
        running.get(at % running.len().max(1)).map(|task| task.id.clone())
    }

    fn tasks(&self) -> impl Iterator<Item = &Task> {
        self.sim.state.ecs.tasks.values()
    }

    /// The lab ends and begins again, from what it wrote.
    fn restart(&mut self) {
        self.save();
        let mut restored = serde_json::from_slice(&self.snapshot).expect("a state");
        changes::apply(&mut restored, &self.journal).expect("a journal");
        let value = |state| serde_json::to_value(state).expect("JSON");
        let (live, kept) = (value(&self.sim.state), value(&restored));
        assert_eq!(kept, live, "the journal has all that changed");
        self.sim.state = restored;
        self.recorder = Recorder::default();
        self.snapshot = self.recorder.everything(&mut self.sim.state).expect("a snapshot");
        self.journal.clear();
    }

    fn save(&mut self) {
        self.journal.extend(self.recorder.line(&mut self.sim.state).expect("a line"));
    }

    /// Ids and ports of the targets that pass their health checks.
    fn passing(&self) -> HashSet<(String, u16)> {
        let targets = self.sim.state.elbv2.target_groups.iter().flat_map(|group| &group.targets);
        let healthy = targets.filter(|target| target.status == TargetStatus::Healthy);
        healthy.map(|target| (target.id.clone(), target.port)).collect()
    }

    fn bounds(&self) -> Option<(i64, i64)> {
        let service = self.sim.state.ecs.services.find("default", "web")?;
        let (minimum, maximum) =
            (service.percent("minimumHealthyPercent", 100), service.percent("maximumPercent", 200));
        // AWS rounds the minimum up and the maximum down.
        Some(((service.desired_count * minimum + 99) / 100, service.desired_count * maximum / 100))
    }

    fn step(&mut self) {
        if self.shifts.is_some() {
            self.step_of_shift();
            return self.check();
        }
        let active = |world: &World| {
            let service = world.sim.state.ecs.services.find("default", "web");
            service.is_some_and(|service| service.status.name() == "ACTIVE")
        };
        let bounds = self.bounds().filter(|_| active(self));
        let (now, passing) = (self.sim.now, self.passing());
        let is_healthy = |task: &&Task| {
            let ripe = !task.targets.is_empty() || task.started_at.is_some_and(|at| now >= at + 40_000);
            let passes = task.targets.iter().all(|target| passing.contains(&(target.id.clone(), target.port)));
            task.status == TaskStatus::Running && task.up_since.is_some() && ripe && passes
        };
        let healthy: BTreeSet<String> =
            self.tasks().filter(|task| !task.stop).filter(is_healthy).map(|task| task.id.clone()).collect();
        self.sim.step();
        let Some((lower, upper)) = bounds else { return self.check() };
        let desired = self.sim.state.ecs.services.find("default", "web").expect("it").desired_count;

        let begun = self.tasks().any(|task| !self.seen.contains(&task.id));
        let unstopped = self.tasks().filter(|task| !task.is_stopped()).count() as i64;
        assert!(!begun || unstopped <= upper, "{unstopped} tasks with a maximum of {upper}: {:#?}", self.sim.events());

        let by_scheduler = |id: &&String| {
            let task = self.sim.state.ecs.tasks.get(id.as_str());
            task.is_some_and(|task| {
                task.stop && task.stopped_reason.as_deref().is_some_and(|reason| reason.starts_with("Scaling activity"))
            })
        };
        let given_up = healthy.iter().filter(by_scheduler).count();
        let left = self.tasks().filter(|task| !task.stop).filter(is_healthy).count();
        assert!(
            given_up == 0 || left as i64 >= lower.min(desired),
            "{given_up} healthy tasks are stopped and {left} left, with a minimum of {lower}: {:#?}",
            self.sim.events()
        );
        self.check();
    }

    fn check(&mut self) {
        let mut ids = Vec::new();
        let mut addresses = HashSet::new();
        for task in self.tasks() {
            let stopping = task.stop || task.is_stopped();
            let told = |text: &Option<String>| text.as_ref().is_some_and(|text| !text.is_empty());
            assert!(!stopping || told(&task.stop_code) && told(&task.stopped_reason), "{task:#?}");
            assert!(!task.is_stopped() || task.stopped_at.is_some() && task.stopping_at.is_some(), "{task:#?}");
            for binding in task.containers.iter().flat_map(|of| &of.bindings).filter(|_| !task.is_stopped()) {
                assert!(addresses.insert(binding.host_port), "two tasks have host port {}", binding.host_port);
            }
            ids.push(task.id.clone());
        }
        for id in &ids {
            assert!(self.seen.insert(id.clone()) || self.alive.contains(id), "task {id} is there again");
        }
        self.alive = ids.into_iter().collect();
        let mut deployments = Vec::new();
        for service in self.sim.state.ecs.services.iter() {
            let open = service.service_deployments.iter().filter(|of| !of.is_over()).count();
            assert!(open <= 1, "{open} deployments are in progress: {:#?}", service.service_deployments);
            deployments.extend(service.deployments.iter().map(|of| (of.id.clone(), of.created_at)));
        }
        for (id, at) in deployments {
            let before = *self.deployments.entry(id.clone()).or_insert(at);
            assert_eq!(before, at, "{id} is another deployment than before");
        }
        let reply = self.sim.call("DescribeServices", json!({"services": ["web"]}));
        for service in reply["services"].as_array().into_iter().flatten().filter(|of| of["status"] == "ACTIVE") {
            let deployments = service["deployments"].as_array().expect("deployments");
            let primary = deployments.iter().filter(|of| of["status"] == "PRIMARY").count();
            assert_eq!(primary, 1, "{service:#}");
            let running = deployments.iter().filter_map(|of| of["runningCount"].as_i64()).sum::<i64>();
            assert_eq!(service["runningCount"], running);
        }
        self.save();
    }

    /// Nothing fails any more: the service becomes steady.
    fn settle(&mut self) {
        self.act(&Act::Deploy("good"));
        let Some((lower, upper)) = self.bounds() else { return };
        let service = |world: &World| world.sim.state.ecs.services.find("default", "web").cloned().expect("web");
        let desired = service(self).desired_count;
        if lower.min(desired) >= desired && upper <= desired && desired > 0 && self.rolls() {
            return; // without room there is no rolling update, at AWS neither
        }
        let is_settled = |world: &World| {
            let service = service(world);
            let tasks: Vec<&Task> = world.tasks().filter(|task| !task.is_stopped()).collect();
            let done = match service.status.name() {
                "ACTIVE" => service.steady && service.deployments.len() == 1,
                status => status == "INACTIVE" && service.desired_count == 0,
            };
            done && tasks.len() as i64 == service.desired_count && tasks.iter().all(|task| !task.stop)
        };
        let end = self.sim.now + 4 * 3_600_000;
        while !is_settled(self) {
            assert!(self.sim.now < end, "never steady: {:#?}\n{:#}", self.sim.events(), self.sim.service());
            self.let_through();
            self.step();
        }
        let service = service(self);
        if service.status.name() == "ACTIVE" {
            assert_eq!(service.deployments[0].rollout, Rollout::Completed);
            assert!(service.service_deployments.iter().all(|of| of.is_over()));
        }
        if self.shifts.is_some() {
            return self.has_all_traffic();
        }
        let attached = self.sim.state.elbv2.target_group(TARGET_GROUP).expect("the group").targets.len();
        assert!(attached as i64 <= service.desired_count, "{attached} targets are left");
    }
}

fn walk(acts: &[Act]) {
    walk_in(World::new(), acts);
}

fn walk_in(mut world: World, acts: &[Act]) {
    acts.iter().for_each(|act| world.act(act));
    world.settle();
    world.restart();
    world.settle();
}

fn act() -> impl Strategy<Value = Act> {
    prop_oneof![
        2 => (0..5i64, any::<bool>()).prop_map(|(desired, balanced)| Act::Create { desired, balanced }),
        5 => select(vec!["good", "good", "crashing", "missing", "sick"]).prop_map(Act::Deploy),
        1 => Just(Act::Force),
        3 => (0..7i64).prop_map(Act::Scale),
        2 => select(vec![(0, 100), (50, 100), (50, 200), (100, 150), (100, 200), (34, 167)])
            .prop_map(|(minimum, maximum)| Act::Percents(minimum, maximum)),
        2 => (0..9usize).prop_map(Act::StopTask),
        2 => (0..9usize).prop_map(Act::Crash),
        2 => select(vec!["ROLLBACK", "ABORT"]).prop_map(Act::StopDeployment),
        1 => any::<bool>().prop_map(|force| Act::Delete { force }),
        2 => Just(Act::Restart),
        6 => select(vec![1, 5, 30, 60, 300]).prop_map(Act::Wait),
    ]
}

fn acts() -> impl Strategy<Value = Vec<Act>> {
    let create = (1..5i64, any::<bool>()).prop_map(|(desired, balanced)| Act::Create { desired, balanced });
    (create, proptest::collection::vec(act(), 1..25)).prop_map(|(create, rest)| [vec![create], rest].concat())
}

fn cases() -> u32 {
    let asked = std::env::var("STEADY_PROPERTY_CASES").ok();
    asked.and_then(|cases| cases.parse().ok()).unwrap_or(20)
}

/// What the property test found once, and what is worth to be sure of.
#[test]
fn a_service_keeps_its_bounds_in_known_cases() {
    let create = |desired| Act::Create { desired, balanced: true };
    let table: [&[Act]; 4] = [
        // a new task is healthy and an old one stopped in one step
        &[create(1), Act::Create { desired: 0, balanced: false }],
        &[create(4), Act::Wait(300), Act::Deploy("sick"), Act::Wait(60), Act::StopDeployment("ROLLBACK"), Act::Restart],
        &[
            create(3),
            Act::Wait(300),
            Act::Percents(50, 100),
            Act::Deploy("good"),
            Act::Wait(5),
            Act::Scale(1),
            Act::Scale(6),
        ],
        &[create(2), Act::Wait(300), Act::Delete { force: true }, Act::Restart, Act::Wait(300), create(3)],
    ];
    table.into_iter().for_each(walk);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: cases(), failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_service_keeps_its_bounds_whatever_happens(acts in acts()) {
        walk(&acts);
    }
}
