//! Lifecycle hooks: pauses, and functions that are asked whether a deployment may go on.

use serde_json::{Map, Value, json};

use crate::lab::{
    api::random_hex,
    clock::floor,
    ecs::{
        arn,
        model::{Hook, Phase, Service},
        request::uuid,
    },
    state::State,
};

use super::{Effect, Step, traffic::ALL};

/// AWS's bounds: minutes until a hook's time is over, seconds until a function is asked again.
const TIMEOUT: u64 = 1440;
const CALL_AGAIN: u64 = 30;

pub(super) enum Progress {
    Done,
    Waiting,
    Failed(String),
}

/// The hooks of a stage, which begins now.
pub(super) fn at(step: &Step, service: &Service, phase: Phase) -> Vec<Hook> {
    let Some(stage) = phase.hook_stage() else { return Vec::new() };
    let configured = service.current().map_or(&Value::Null, |current| &current.configuration["lifecycleHooks"]);
    let of_stage = |hook: &&Value| hook["lifecycleStages"].as_array().is_some_and(|of| of.iter().any(|of| of == stage));
    let now = step.context.now;
    let hook = |hook: &Value| {
        let pauses = hook["targetType"] == "PAUSE";
        let timeout = &hook["timeoutConfiguration"];
        let minutes = timeout["timeoutInMinutes"].as_u64().unwrap_or(TIMEOUT);
        Hook {
            id: format!("ecs-{}-{}", if pauses { "pause" } else { "lambda" }, random_hex(43)),
            target: hook["hookTargetArn"].as_str().filter(|_| !pauses).map(str::to_owned),
            status: if pauses { "AWAITING_ACTION" } else { "IN_PROGRESS" }.into(),
            expires_at: now + step.context.wait_at_least(minutes * 60, floor::HOOK),
            on_timeout: timeout["action"].as_str().unwrap_or("ROLLBACK").into(),
            details: hook.get("hookDetails").cloned(),
            execution: uuid(),
            call_at: now,
            ..Hook::default()
        }
    };
    configured.as_array().into_iter().flatten().filter(of_stage).map(hook).collect()
}

/// Takes answers in, asks again what is due, and says whether the stage may end.
pub(super) fn settle(step: &mut Step, service: &mut Service) -> Progress {
    let event = event(step, service);
    let Some(current) = service.service_deployments.first_mut() else { return Progress::Done };
    let deployment = current.arn.clone();
    let Some(shift) = &mut current.shift else { return Progress::Done };
    let stage = shift.phase.hook_stage().unwrap_or_default();
    let mut progress = Progress::Done;
    for hook in &mut shift.hooks {
        if let Some(answer) = hook.answer.take() {
            take(step, hook, answer);
            step.changed();
        }
        if hook.is_open() && step.context.now >= hook.expires_at {
            hook.status = "TIMED_OUT".into();
            step.changed();
        }
        let failed = match hook.status.as_str() {
            "FAILED" => hook.reason.clone().unwrap_or_default(),
            "TIMED_OUT" if hook.on_timeout == "CONTINUE" => continue,
            "TIMED_OUT" if hook.is_pause() => {
                return Progress::Failed(format!(
                    "Service deployment rolled back because {stage} pause hook timed out."
                ));
            }
            "TIMED_OUT" => format!("Lifecycle hook target {} timed out.", hook.target.as_deref().unwrap_or_default()),
            "SUCCEEDED" => continue,
            _ => {
                progress = Progress::Waiting;
                step.wake_at(hook.expires_at);
                ask(step, &event, &deployment, hook);
                continue;
            }
        };
        return Progress::Failed(format!(
            "Service deployment rolled back because {stage} lifecycle hook(s) failed. {failed}"
        ));
    }
    progress
}

/// What a function is told, but for what is its hook's own.
fn event(step: &Step, service: &Service) -> Value {
    let Some((current, shift)) = service.current().and_then(|of| Some((of, of.shift.as_ref()?))) else {
        return Value::Null;
    };
    // Only while traffic is shifted there are weights.
    let weights = |tenths: Option<u32>, shifts: bool| {
        let percent =
            |tenths: u32| if tenths.is_multiple_of(10) { json!(tenths / 10) } else { json!(f64::from(tenths) / 10.0) };
        let mut of = Map::new();
        if let Some(tenths) = tenths.filter(|_| shifts) {
            of.insert(current.target.clone(), percent(tenths));
            of.extend(current.sources.iter().map(|(source, _)| (source.clone(), percent(ALL - tenths))));
        }
        of
    };
    json!({
        "executionDetails": {
            "testTrafficWeights": weights(shift.test, shift.phase == Phase::TestShift),
            "productionTrafficWeights": weights(shift.production, shift.phase == Phase::Production),
            "serviceArn": arn::service(step.context.settings, &service.cluster, &service.name),
            "targetServiceRevisionArn": current.target,
        },
        "lifecycleStage": shift.phase.hook_stage(),
        "resourceArn": current.arn,
    })
}

fn ask(step: &mut Step, event: &Value, deployment: &str, hook: &mut Hook) {
    let Some(url) = hook.target.clone().filter(|_| !hook.called) else { return };
    if step.context.now < hook.call_at {
        return step.wake_at(hook.call_at);
    }
    hook.called = true;
    let mut event = event.clone();
    event["executionId"] = json!(hook.execution);
    if let Some(details) = &hook.details {
        event["hookDetails"] = details.clone();
    }
    let (deployment, hook) = (deployment.to_owned(), hook.id.clone());
    step.outcome.effects.push(Effect::Call { deployment, hook, url, event: event.to_string() });
    step.changed();
}

/// What a function answered, or why it did not, for the next step.
pub(super) fn answered(state: &mut State, deployment: &str, hook: &str, answer: Result<String, String>) {
    let shift = state.ecs.services.deployment_mut(deployment).and_then(|of| of.shift.as_mut());
    let hook = shift.and_then(|shift| shift.hooks.iter_mut().find(|of| of.id == hook));
    if let Some(hook) = hook.filter(|hook| hook.called) {
        hook.called = false;
        hook.answer = Some(answer);
    }
}

fn take(step: &Step, hook: &mut Hook, answer: Result<String, String>) {
    let target = hook.target.clone().unwrap_or_default();
    let fail = |hook: &mut Hook, reason: String| {
        hook.status = "FAILED".into();
        hook.reason = Some(reason);
    };
    let text = match answer {
        Ok(text) => text,
        Err(why) => return fail(hook, format!("ECS was unable to invoke hook target {target} due to {why}")),
    };
    let answer: Value = serde_json::from_str(&text).unwrap_or_default();
    match answer["hookStatus"].as_str() {
        Some("SUCCEEDED") => hook.status = "SUCCEEDED".into(),
        Some("FAILED") => fail(hook, format!("Lifecycle hook target {target} returned FAILED status.")),
        Some("IN_PROGRESS") => {
            let delay = answer["callBackDelay"].as_u64().unwrap_or(CALL_AGAIN);
            hook.call_at = step.context.now + step.context.wait(delay);
            if let Some(details) = answer.get("hookDetails") {
                hook.details = Some(details.clone());
            }
        }
        Some(_) => {
            fail(hook, format!("ECS was unable to parse the response from {target} due to HookStatus is invalid"))
        }
        None => {
            fail(
                hook,
                format!("ECS was unable to parse the response from {target} due to HookStatus must not be null"),
            );
        }
    }
}
