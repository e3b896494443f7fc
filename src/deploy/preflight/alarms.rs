//! Alarms that a deployment looks at: one that is firing already protects nothing, as ECS then watches none of them.
//! <https://docs.aws.amazon.com/AmazonECS/latest/developerguide/deployment-alarm-failure.html>

use serde_json::Value;

use super::checked::{Checked, listed};
use crate::aws::Clients;
use crate::aws::reply::{optional, text, texts};

/// The alarms that a deployment of this service would watch.
pub fn watched(live: Option<&Value>, wanted: &Value) -> Vec<String> {
    let of = |service: &Value| service.pointer("/deploymentConfiguration/alarms").cloned();
    // An update without alarms leaves them as they are.
    let Some(alarms) = of(wanted).or_else(|| live.and_then(of)) else { return Vec::new() };
    if alarms["enable"] == true { texts(&alarms, "alarmNames") } else { Vec::new() }
}

pub async fn check(live: Option<&Value>, wanted: &Value, clients: &Clients) -> Checked {
    let mut checked = Checked::new("alarms");
    let names = watched(live, wanted);
    if names.is_empty() {
        return checked;
    }
    let found = match clients.describe_alarms(&names).await {
        Ok(found) => found,
        Err(failure) => {
            checked.unread("whether a deployment alarm is firing", &failure);
            return checked;
        }
    };
    let missing = names.iter().filter(|name| !found.iter().any(|alarm| text(alarm, "AlarmName") == **name));
    for name in missing {
        checked.warn(
            format!("the deployment alarm `{name}` does not exist: it never stops a bad release"),
            Some("create it, or take it out of `deploymentConfiguration.alarms`".to_owned()),
        );
    }
    for alarm in found.iter().filter(|alarm| text(alarm, "StateValue") == "ALARM") {
        let reason = optional(alarm, "StateReason").map_or_else(String::new, |reason| format!(" ({reason})"));
        let name = text(alarm, "AlarmName");
        checked.warn(
            format!("the deployment alarm `{name}` is firing already{reason}: ECS watches no alarm of this deployment, so that none of them stops it or rolls it back"),
            Some("deploy only what is to mend that; watch it yourself, and the circuit breaker still counts failed tasks".to_owned()),
        );
    }
    checked.looked_at(&listed(names.iter().map(String::as_str)).replace('`', ""));
    checked
}
