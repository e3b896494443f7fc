//! What to do with the service, decided from what is live and what is wanted. Pure: table-tested.

use serde_json::{Map, Value, json};

use super::controller;
use crate::aws::reply::{list, number, object, optional, text};
use crate::document::{self, Change, Values};
use crate::error::{Error, Kind};

/// Members of CreateService that UpdateService does not have.
const CREATE_ONLY: [&str; 5] = ["tags", "role", "launchType", "clientToken", "schedulingStrategy"];

/// The members of a service revision, beside its task definition, that UpdateService takes: a change of them is a
/// release.
pub(in crate::deploy) const RELEASED: [&str; 7] = [
    "networkConfiguration",
    "platformVersion",
    "loadBalancers",
    "serviceRegistries",
    "serviceConnectConfiguration",
    "volumeConfigurations",
    "vpcLatticeConfigurations",
];

/// The other members that make ECS start a deployment; what is in neither list takes effect at once.
const DEPLOYING: [&str; 3] = ["taskDefinition", "capacityProviderStrategy", "forceNewDeployment"];

#[derive(Debug)]
pub enum Decision {
    /// CreateService with this input.
    Create(Value),
    /// UpdateService with this input; `deploys` when a change makes ECS roll.
    Update {
        input: Value,
        changes: Vec<String>,
        deploys: bool,
    },
    /// All is as it is wanted, by this deployment.
    Nothing {
        deployment_id: String,
    },
    /// An earlier run started this deployment, and it is under way.
    Follow {
        deployment_id: String,
    },
    /// The old service has to be gone first.
    WaitDraining,
    Refuse(Error),
}

/// `wanted` holds members of CreateService and UpdateService, `taskDefinition` an ARN among them. `fail_fast` is the
/// number of failed tasks after which another's deployment with nothing running counts as failed (0: 3).
pub fn decide(live: Option<&Value>, wanted: &Value, fail_fast: u32, warnings: &mut Vec<String>) -> Decision {
    let Some(live) = live else { return Decision::Create(create_input(wanted, None)) };
    match text(live, "status") {
        "DRAINING" => return Decision::WaitDraining,
        "INACTIVE" | "" => return Decision::Create(create_input(wanted, Some(live))),
        _ => {}
    }
    if let Some(refused) = controller::refusal(live) {
        return Decision::Refuse(refused);
    }
    let mut changes = changes(live, wanted, warnings);
    let mut input = update_input(live, wanted, &changes);
    let deploys = changes.iter().any(|change| RELEASED.iter().chain(&DEPLOYING).any(|member| member == change));
    let Some(primary) = primary(live) else { return Decision::Update { input, changes, deploys } };
    let id = text(primary, "id").to_owned();
    let settled = changes.is_empty();
    // A document that forces does so once a run: what an earlier run forced and did not see to its end is followed.
    let only_forced = changes == ["forceNewDeployment"];
    match optional(primary, "rolloutState") {
        Some("FAILED") if !deploys => {
            // The same release again is a wish to try again.
            input["forceNewDeployment"] = true.into();
            changes.push("forceNewDeployment".into());
            return Decision::Update { input, changes, deploys: true };
        }
        Some("IN_PROGRESS") if settled || only_forced => return Decision::Follow { deployment_id: id },
        Some("IN_PROGRESS") if !deploys => {}
        Some("IN_PROGRESS") if !is_failing(primary, fail_fast) => return Decision::Refuse(in_progress(live, primary)),
        Some("IN_PROGRESS") => {
            warnings.push(format!(
                "deployment {id} is in progress and has {} failed tasks and none running: it is replaced",
                number(primary, "failedTasks")
            ));
        }
        Some(_) if settled => return Decision::Nothing { deployment_id: id },
        // Servers without rollout states: counts tell.
        None if settled && number(live, "runningCount") == number(live, "desiredCount") => {
            return Decision::Nothing { deployment_id: id };
        }
        None if settled => return Decision::Follow { deployment_id: id },
        _ => {}
    }
    Decision::Update { input, changes, deploys }
}

pub fn primary(service: &Value) -> Option<&Value> {
    let deployments = list(service, "deployments");
    // ECS lists it first: under a name that is not known yet, it is still that one
    let unheard_of = |deployment: &&Value| !matches!(text(deployment, "status"), "ACTIVE" | "INACTIVE" | "DRAINING");
    deployments
        .iter()
        .find(|deployment| text(deployment, "status") == "PRIMARY")
        .or_else(|| deployments.first().filter(unheard_of))
}

fn is_failing(deployment: &Value, fail_fast: u32) -> bool {
    let enough = if fail_fast == 0 { 3 } else { i64::from(fail_fast) };
    number(deployment, "failedTasks") >= enough && number(deployment, "runningCount") == 0
}

fn in_progress(live: &Value, primary: &Value) -> Error {
    let rolling_back = text(primary, "rolloutStateReason").contains("rolling back");
    let what = if rolling_back { "a rollback" } else { "another deployment" };
    let id = text(primary, "id");
    let revision = crate::aws::reply::id(text(primary, "taskDefinition"));
    Error::new(Kind::InProgress, format!("{what} is in progress: {id} of {revision}"))
        .hint("wait for it: `steady wait`")
        .hint("then run the same command again; what was pushed and registered is used again")
        .hint(match list(live, "deployments") {
            [_] => "or end it: `steady rollback`; where nothing was good before it, `steady delete --yes` and a deploy begin anew",
            _ => "or end it: `steady rollback`",
        })
}

fn create_input(wanted: &Value, inactive: Option<&Value>) -> Value {
    let mut input = without_nulls(wanted);
    input.shift_remove("forceNewDeployment");
    let daemon = input.get("schedulingStrategy").and_then(Value::as_str) == Some("DAEMON");
    if !input.contains_key("desiredCount") && !daemon {
        input.insert("desiredCount".into(), 1.into());
    }
    // The same plan is the same request, so that a lost reply or a killed run makes no second service; a service that
    // was deleted meanwhile is a new one.
    if !input.contains_key("clientToken") {
        let generation = inactive.map(|inactive| inactive["createdAt"].to_string()).unwrap_or_default();
        let seed = format!("{}\n{generation}", Value::Object(input.clone()));
        let hash = ring::digest::digest(&ring::digest::SHA256, seed.as_bytes());
        input.insert("clientToken".into(), hex::encode(&hash.as_ref()[..16]).into());
    }
    Value::Object(input)
}

/// Only what changes: ECS may roll for members that are sent again as they are, or refuse them (load balancers of a
/// service with a role of its own).
fn update_input(live: &Value, wanted: &Value, changes: &[String]) -> Value {
    let mut input = without_nulls(wanted);
    for member in CREATE_ONLY {
        input.shift_remove(member);
    }
    if let Some(name) = input.shift_remove("serviceName") {
        input.insert("service".into(), name);
    }
    input.retain(|member, _| {
        ["cluster", "service", "taskDefinition"].contains(&member.as_str()) || changes.contains(member)
    });
    // ECS refuses another strategy without it.
    if input.contains_key("capacityProviderStrategy") {
        input.insert("forceNewDeployment".into(), true.into());
    }
    if let Some(Value::Object(configuration)) = input.get_mut("deploymentConfiguration") {
        // It is replaced as a whole: what was set elsewhere stays.
        for (member, now) in object(live, "deploymentConfiguration").into_iter().flatten() {
            if !configuration.contains_key(member) && stays(member, now, configuration.get("strategy"), live) {
                configuration.insert(member.clone(), now.clone());
            }
        }
    }
    Value::Object(input)
}

/// Whether a member of `deploymentConfiguration` that nobody speaks of stays as it is when the strategy is `wanted`.
fn stays(member: &str, now: &Value, wanted: Option<&Value>, live: &Value) -> bool {
    let strategy = wanted.unwrap_or(&live["deploymentConfiguration"]["strategy"]).as_str().unwrap_or("ROLLING");
    match member {
        "minimumHealthyPercent" | "maximumPercent" | "alarms" => !now.is_null(),
        // ECS answers with these though nobody set them, and sent back they would be as if somebody had.
        "strategy" => now != "ROLLING",
        "bakeTimeInMinutes" => now.as_i64() != Some(0),
        "lifecycleHooks" => now.as_array().is_none_or(|hooks| !hooks.is_empty()),
        "canaryConfiguration" => strategy == "CANARY",
        "linearConfiguration" => strategy == "LINEAR",
        "earlySuccessCriteria" => strategy == "ROLLING" && now["enable"] == true,
        _ => false,
    }
}

fn without_nulls(wanted: &Value) -> Map<String, Value> {
    let members = wanted.as_object().cloned().unwrap_or_default();
    members.into_iter().filter(|(_, value)| !value.is_null()).collect()
}

/// The wanted members that are not so in the live service.
fn changes(live: &Value, wanted: &Value, warnings: &mut Vec<String>) -> Vec<String> {
    let mut changes = Vec::new();
    let Some(wanted) = wanted.as_object() else { return changes };
    for (member, value) in wanted.iter().filter(|(_, value)| !value.is_null()) {
        match member.as_str() {
            "cluster" | "service" | "serviceName" | "clientToken" | "tags" | "role" => {}
            "forceNewDeployment" => {
                if value == true {
                    changes.push(member.clone());
                }
            }
            // It is what would be deployed if a rollback came first that counts, so look at the deployment.
            "taskDefinition" => {
                if running(live) != value {
                    changes.push(member.clone());
                }
            }
            "launchType" | "schedulingStrategy" => {
                if let Some(now) = optional(live, member)
                    && now != value
                {
                    warnings.push(format!(
                        "`{member}` is {now} and cannot be changed to {value} by an update: delete the service and deploy anew"
                    ));
                }
            }
            "desiredCount" if optional(live, "schedulingStrategy") == Some("DAEMON") => {}
            _ if document::uncovered(member, live_member(live, member), value, Values::Shown).is_empty() => {}
            _ => changes.push(member.clone()),
        }
    }
    changes
}

/// Some members are only shown on the deployment.
pub(in crate::deploy) fn live_member<'a>(live: &'a Value, member: &str) -> &'a Value {
    live.get(member).or_else(|| primary(live)?.get(member)).unwrap_or(&Value::Null)
}

/// The revision that the service was last told to run.
pub fn running(live: &Value) -> &str {
    primary(live).map_or(text(live, "taskDefinition"), |primary| text(primary, "taskDefinition"))
}

/// All that an update would change, in its parts.
pub fn differences(live: &Value, wanted: &Value, values: Values) -> Vec<Change> {
    parts(live, wanted, &changes(live, wanted, &mut Vec::new()), values)
}

/// What of each of these members would change.
pub fn parts(live: &Value, wanted: &Value, changes: &[String], values: Values) -> Vec<Change> {
    let parts = changes.iter().map(|member| match member.as_str() {
        "forceNewDeployment" => vec![Change::new(member, None, Some(true.into()))],
        "taskDefinition" => {
            vec![Change::new(member, Some(running(live).into()), wanted.get(member).cloned())]
        }
        _ => document::uncovered(member, live_member(live, member), &wanted[member], values),
    });
    parts.flatten().collect()
}

/// Whether `live` is as `wanted` says. AWS fills in defaults, so that members which were not asked for do not count;
/// lists have no order where they name subnets, groups or load balancers.
pub fn covers(live: &Value, wanted: &Value) -> bool {
    document::uncovered("", live, wanted, Values::Shown).is_empty()
}

/// Turns on the deployment circuit breaker where the user's document does not speak of it.
pub fn with_circuit_breaker(wanted: &mut Value, rollback: bool) {
    let own = optional(&wanted["deploymentController"], "type").is_none_or(|kind| kind == "ECS");
    let spoken_of = object(wanted, "deploymentConfiguration")
        .is_some_and(|configuration| configuration.contains_key("deploymentCircuitBreaker"));
    if !own || spoken_of {
        return;
    }
    if !wanted["deploymentConfiguration"].is_object() {
        wanted["deploymentConfiguration"] = json!({});
    }
    wanted["deploymentConfiguration"]["deploymentCircuitBreaker"] = json!({ "enable": true, "rollback": rollback });
}

/// Takes out a `role` that ECS would refuse, and says why.
pub fn without_conflicting_role(wanted: &mut Value, network_mode: &str, warnings: &mut Vec<String>) {
    let Some(role) = optional(wanted, "role").map(str::to_owned) else { return };
    let reason = if !list(wanted, "serviceRegistries").is_empty() {
        "it conflicts with service discovery"
    } else if network_mode == "awsvpc" {
        "tasks in network mode awsvpc use the service-linked role"
    } else if list(wanted, "loadBalancers").len() != 1 {
        "it is only for services with exactly one load balancer"
    } else if role.contains("AWSServiceRoleForECS") {
        "ECS uses the service-linked role by itself"
    } else {
        return;
    };
    warnings.push(format!("`role` ({role}) is left out: {reason}"));
    if let Some(wanted) = wanted.as_object_mut() {
        wanted.shift_remove("role");
    }
}
