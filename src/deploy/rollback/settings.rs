//! The settings of an earlier release: what UpdateService has to be told so that they come back with it.

use serde_json::{Map, Value, json};

use super::history::Release;
use crate::aws::reply::{list, optional, text};
use crate::deploy::service::decide;

/// UpdateService's input that brings a release back with the settings it ran with. What is so already is not sent.
/// `configuration` is the deployment configuration that it was deployed with; null where it is not known.
pub fn update_to((cluster, service): (&str, &str), live: &Value, release: &Release, configuration: &Value) -> Value {
    let mut input = json!({ "cluster": cluster, "service": service, "taskDefinition": release.task_definition });
    let then = &release.settings;
    if then.is_null() {
        return input;
    }
    for member in decide::RELEASED {
        let now = decide::live_member(live, member);
        let then = match then.get(member).filter(|value| !value.is_null()) {
            Some(then) => then.clone(),
            // What it did not have yet is taken away.
            None if now.as_array().is_some_and(|now| !now.is_empty()) => json!([]),
            None if member == "serviceConnectConfiguration" && now["enabled"] == true => json!({ "enabled": false }),
            None => continue,
        };
        // Of `LATEST` the deployment says which it is.
        let resolved = decide::primary(live).map_or(&Value::Null, |primary| &primary[member]);
        let is_so = decide::covers(now, &then) || (member == "platformVersion" && *resolved == then);
        if !is_so {
            input[member] = then;
        }
    }
    if let Some(strategy) = capacity(live, then) {
        input["capacityProviderStrategy"] = strategy;
        // ECS refuses another strategy without it.
        input["forceNewDeployment"] = true.into();
    }
    if let Some(configuration) = deployed_by(&live["deploymentConfiguration"], configuration) {
        input["deploymentConfiguration"] = configuration;
    }
    input
}

/// The capacity provider strategy to send, if it was another one. An empty one leads back to the launch type.
fn capacity(live: &Value, then: &Value) -> Option<Value> {
    let strategy = |of: &Value| list(of, "capacityProviderStrategy").to_vec();
    let deployment = decide::primary(live).map(strategy).unwrap_or_default();
    let now = Some(strategy(live)).filter(|now| !now.is_empty()).unwrap_or(deployment);
    let then_strategy = strategy(then);
    if then_strategy.is_empty() && optional(then, "launchType").is_none() {
        return None;
    }
    // ECS writes a weight or a base of 0 where none was given.
    let same = decide::covers(&json!(now), &json!(then_strategy)) && now.len() == then_strategy.len();
    (!same).then(|| json!(then_strategy))
}

/// The deployment configuration to send, if it was another one. What it did not have is turned off.
fn deployed_by(now: &Value, then: &Value) -> Option<Value> {
    let mut wanted: Map<String, Value> = then.as_object().filter(|then| !then.is_empty())?.clone();
    wanted.retain(|_, value| !value.is_null());
    if !wanted.contains_key("alarms") && now["alarms"]["enable"] == true {
        wanted.insert("alarms".into(), json!({ "alarmNames": [], "enable": false, "rollback": false }));
    }
    if !wanted.contains_key("lifecycleHooks") && !list(now, "lifecycleHooks").is_empty() {
        wanted.insert("lifecycleHooks".into(), json!([]));
    }
    (!decide::covers(now, &Value::Object(wanted.clone()))).then_some(Value::Object(wanted))
}

/// Whether an input of [`update_to`] changes anything but the task definition.
pub fn changes_settings(input: &Value) -> bool {
    input.as_object().is_some_and(|input| input.len() > 3)
}

/// What of an input of [`update_to`] goes back, for people.
pub fn named(input: &Value) -> Vec<&str> {
    let base = ["cluster", "service", "taskDefinition", "forceNewDeployment"];
    let members = input.as_object().into_iter().flat_map(Map::keys).map(String::as_str);
    members.filter(|member| !base.contains(member)).collect()
}

/// The digests that ECS recorded for a service revision's containers, by their names.
pub fn recorded(revision: &Value) -> impl Iterator<Item = (&str, &str, &str)> {
    list(revision, "containerImages")
        .iter()
        .filter_map(|one| Some((text(one, "containerName"), text(one, "image"), optional(one, "imageDigest")?)))
}
