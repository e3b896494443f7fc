//! How far a service deployment is: its lifecycle stage, the traffic and the tasks of the new revision and of the old
//! ones, the hooks that it waits for. Read from the reply that is asked for anyway.

use std::collections::HashMap;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde_json::Value;

use crate::aws::reply::{list, millis, number, optional, text, texts};
use crate::deploy::event::{Event, Events};
use crate::deploy::pause;

const AWAITING: &str = "AWAITING_ACTION";

/// Enums stay the texts that AWS sent; what is not said is empty.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Stage {
    pub strategy: String,
    /// `lifecycleStage`; a rolling deployment need not have one.
    pub name: String,
    pub new: Share,
    pub old: Share,
    pub hooks: Vec<Hook>,
    /// What the strategy's bake times take from the beginning of this stage on.
    pub bakes: Option<Duration>,
    pub alarms: Vec<String>,
    /// MONITORING while alarms can end the deployment.
    pub alarms_status: String,
    pub triggered: Vec<String>,
}

/// Tasks, and the traffic that was asked for, in percent; none where there is no such listener.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Share {
    pub production: Option<f64>,
    pub test: Option<f64>,
    pub running: i64,
    pub pending: i64,
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Hook {
    pub id: String,
    /// `PAUSE`, `AWS_LAMBDA`, or what a newer ECS has.
    pub kind: String,
    pub target: Option<String>,
    pub status: String,
    /// Epoch milliseconds; 0 where ECS does not say.
    pub expires_at: i64,
    /// `ROLLBACK` or `CONTINUE`.
    pub on_timeout: String,
    /// Its deployment has ended, or goes back: what the hook waits for never comes.
    pub is_over: bool,
}

impl Hook {
    pub fn is_paused(&self) -> bool {
        self.status == AWAITING && !self.is_over
    }

    fn is_open(&self) -> bool {
        !matches!(self.status.as_str(), "SUCCEEDED" | "FAILED" | "TIMED_OUT")
    }

    /// Until ECS goes on by itself, or back.
    pub fn left(&self) -> Option<Duration> {
        let at = UNIX_EPOCH + Duration::from_millis(u64::try_from(self.expires_at).ok().filter(|at| *at > 0)?);
        Some(at.duration_since(SystemTime::now()).unwrap_or_default())
    }
}

impl Stage {
    /// Of a service deployment as DescribeServiceDeployments has it.
    pub fn of(deployment: &Value) -> Stage {
        let configuration = &deployment["deploymentConfiguration"];
        let name = text(deployment, "lifecycleStage").to_owned();
        let new = share(&deployment["targetServiceRevision"]);
        let old = list(deployment, "sourceServiceRevisions").iter().map(share).fold(Share::default(), |sum, one| {
            let both = |a: Option<f64>, b: Option<f64>| if a.is_none() { b } else { Some(a? + b.unwrap_or_default()) };
            Share {
                production: both(sum.production, one.production),
                test: both(sum.test, one.test),
                running: sum.running + one.running,
                pending: sum.pending + one.pending,
            }
        });
        let status = text(deployment, "status");
        let goes_back = status.starts_with("ROLLBACK_");
        let is_over = goes_back || matches!(status, "SUCCESSFUL" | "STOP_REQUESTED" | "STOPPED");
        Stage {
            bakes: bakes(configuration, &name, new.production).filter(|_| !goes_back),
            strategy: text(configuration, "strategy").to_owned(),
            name,
            new,
            old,
            hooks: list(deployment, "lifecycleHookDetails").iter().map(|one| Hook { is_over, ..hook(one) }).collect(),
            alarms: texts(&deployment["alarms"], "alarmNames"),
            alarms_status: text(&deployment["alarms"], "status").to_owned(),
            triggered: texts(&deployment["alarms"], "triggeredAlarmNames"),
        }
    }

    /// The pauses that wait for an answer.
    pub fn pauses(&self) -> impl Iterator<Item = &Hook> {
        self.hooks.iter().filter(|hook| hook.is_paused())
    }
}

pub(in crate::deploy) fn share(revision: &Value) -> Share {
    let percent = |member: &str| revision.get(member).and_then(Value::as_f64);
    Share {
        production: percent("requestedProductionTrafficWeight"),
        test: percent("requestedTestTrafficWeight"),
        running: number(revision, "runningTaskCount"),
        pending: number(revision, "pendingTaskCount"),
    }
}

fn hook(of: &Value) -> Hook {
    Hook {
        is_over: false,
        id: text(of, "hookId").to_owned(),
        kind: text(of, "targetType").to_owned(),
        target: optional(of, "targetArn").map(str::to_owned),
        status: text(of, "status").to_owned(),
        expires_at: millis(of, "expiresAt"),
        on_timeout: text(of, "timeoutAction").to_owned(),
    }
}

/// What bake times take from the beginning of a stage on, by ECS's defaults where nothing is said. Stages that wait for
/// tasks, targets and hooks come on top of that.
pub fn bakes(configuration: &Value, stage: &str, production: Option<f64>) -> Option<Duration> {
    let minutes = |value: &Value, default: u64| value.as_u64().unwrap_or(default);
    let last = minutes(&configuration["bakeTimeInMinutes"], 0);
    let share = production.unwrap_or_default();
    let steps = match (text(configuration, "strategy"), stage) {
        (_, "") => return None,
        (_, "CLEAN_UP") => return Some(Duration::ZERO),
        (_, "BAKE_TIME" | "POST_PRODUCTION_TRAFFIC_SHIFT") | ("BLUE_GREEN", _) => 0,
        ("CANARY", _) => {
            let of = &configuration["canaryConfiguration"];
            let whole = share >= 100.0 || of["canaryPercent"].as_f64().unwrap_or(5.0) >= 100.0;
            if whole { 0 } else { minutes(&of["canaryBakeTimeInMinutes"], 10) }
        }
        ("LINEAR", _) => {
            let of = &configuration["linearConfiguration"];
            let step = of["stepPercent"].as_f64().unwrap_or(10.0).max(0.1);
            // The first step begins at once, and after the last nothing is waited for.
            let left = ((100.0 - share) / step - 1e-9).ceil().max(0.0) as u64;
            let waits = if share > 0.0 { left } else { left.saturating_sub(1) };
            waits * minutes(&of["stepBakeTimeInMinutes"], 6)
        }
        _ => return None,
    };
    Some(Duration::from_secs(60 * (steps + last)))
}

/// Says each stage, share of traffic and hook once.
#[derive(Debug, Default)]
pub struct StageTeller {
    told: Option<(String, Option<f64>, Option<f64>)>,
    /// Of each hook its status, and the stage that it is of.
    hooks: HashMap<String, (String, String)>,
    bakes: bool,
}

impl StageTeller {
    /// `done` when all tasks of the new release run and none of another one do.
    pub fn tell(&mut self, stage: &Stage, done: bool, events: &Events) {
        let now = (stage.name.clone(), stage.new.production, stage.new.test);
        if !stage.name.is_empty() && self.told.as_ref() != Some(&now) {
            self.told = Some(now);
            events.emit(Event::Stage {
                strategy: stage.strategy.clone(),
                stage: stage.name.clone(),
                production_traffic: stage.new.production,
                test_traffic: stage.new.test,
                new_tasks: stage.new.running,
                old_tasks: stage.old.running,
                bakes_ms: stage.bakes.map(|bakes| bakes.as_millis() as u64),
            });
        }
        for hook in &stage.hooks {
            let known = self.hooks.get(&hook.id);
            // One that is over when it is first seen may be of a stage before.
            let at = known.map_or(if hook.is_open() { stage.name.as_str() } else { "" }, |(_, at)| at).to_owned();
            if known.is_none_or(|(status, _)| *status != hook.status) {
                events.emit(event(hook, &at));
                self.hooks.insert(hook.id.clone(), (hook.status.clone(), at));
            }
        }
        let bakes = done && stage.name.is_empty() && stage.alarms_status == "MONITORING" && !stage.alarms.is_empty();
        if bakes && !std::mem::replace(&mut self.bakes, true) {
            let names = stage.alarms.join(", ");
            let message = format!("all tasks run; until its bake time is over, ECS watches the alarms {names}");
            events.emit(Event::Notice { message });
        }
    }
}

/// A hook as displays show it; what to type next is said of a pause.
pub fn event(hook: &Hook, stage: &str) -> Event {
    Event::Hook {
        id: hook.id.clone(),
        kind: hook.kind.clone(),
        target: hook.target.clone(),
        stage: stage.to_owned(),
        status: hook.status.clone(),
        expires_at: Some(hook.expires_at).filter(|at| *at > 0),
        on_timeout: hook.on_timeout.clone(),
        hints: match hook.is_paused() {
            true => {
                let typed = pause::HINTS.into_iter().map(str::to_owned);
                typed.chain(pause::by_itself(hook.left(), &hook.on_timeout)).collect()
            }
            false => Vec::new(),
        },
    }
}

/// What ended the deployment, as far as its tasks and targets do not show it.
pub fn causes(stage: &Stage) -> Vec<String> {
    let alarms = stage.triggered.join(" ");
    let triggered = (!alarms.is_empty()).then(|| {
        format!("in alarm: {}; see `aws cloudwatch describe-alarms --alarm-names {alarms}`", stage.triggered.join(", "))
    });
    let failed = stage.hooks.iter().filter(|hook| matches!(hook.status.as_str(), "FAILED" | "TIMED_OUT"));
    let failed = failed.filter_map(|hook| {
        let target = hook.target.as_ref()?;
        let logs = target.split_once(":function:").map(|(_, name)| name.split(':').next().unwrap_or(name));
        let logs = logs.map_or(String::new(), |name| format!("; its log group is /aws/lambda/{name}"));
        Some(format!("the lifecycle hook {target} ended as {}{logs}", hook.status))
    });
    triggered.into_iter().chain(failed).collect()
}
