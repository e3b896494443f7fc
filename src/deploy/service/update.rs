//! UpdateService has no client token: after a lost reply, what AWS did is read back, never sent blindly again.

use std::time::{Duration, Instant};

use serde_json::Value;

use super::decide::{self, Decision, decide};
use super::throttled::{NotYet, Throttled};
use crate::aws::Clients;
use crate::aws::failure::Reach;
use crate::aws::reply::{list, text};
use crate::deploy::event::Events;
use crate::deploy::service;
use crate::error::{Error, Kind, Result};

/// The service as UpdateService leaves it. `live` is how it was before; throttling is waited out to `until`.
pub(in crate::deploy) async fn update(
    input: Value,
    live: Option<&Value>,
    until: Instant,
    clients: &Clients,
    events: &Events,
) -> Result<Value> {
    let before = list(live.unwrap_or(&Value::Null), "deployments");
    let mut changed = input.clone();
    let flag = changed.as_object_mut().and_then(|members| members.shift_remove("forceNewDeployment"));
    // Another strategy has to be forced, and can be read back like any other change; a bare flag leaves no trace.
    let forced = flag == Some(Value::Bool(true)) && input.get("capacityProviderStrategy").is_none();
    let (mut throttled, mut not_yet) = (Throttled::new(until), NotYet::new(until));
    let mut attempt = 0;
    loop {
        let failure = match clients.update_service(input.clone()).await {
            Ok(reply) => return Ok(reply["service"].clone()),
            Err(failure) => failure,
        };
        if failure.is_throttled() {
            throttled.wait(failure, events).await?;
            continue;
        }
        let Some(failure) = not_yet.wait(failure, events).await? else { continue };
        attempt += 1;
        match failure.reach {
            Reach::Unknown => {}
            // Credentials are resolved anew.
            Reach::Refused if failure.is_expired() && attempt == 1 => continue,
            Reach::NotSent if attempt < 3 => {
                tokio::time::sleep(Duration::from_millis(300)).await;
                continue;
            }
            Reach::Refused if !failure.is_denied() && !failure.is_expired() => {
                return Err(failure.error(Kind::Input).hint("ECS refuses this update; the service is as it was"));
            }
            Reach::NotSent => {
                return Err(Error::from(failure).hint("the service is as it was; the same command again goes on"));
            }
            Reach::Refused => return Err(failure.into()),
        }
        events.warn(format!("{failure}; looking whether the update was made all the same"), None);
        for wait in [0, 200, 600, 1500] {
            tokio::time::sleep(Duration::from_millis(wait)).await;
            let now = service::describe(text(&input, "cluster"), text(&input, "service"), clients).await?;
            let Some(now) = now else { continue };
            let new = decide::primary(&now).is_some_and(|primary| {
                !before.iter().any(|before| text(before, "id") == text(primary, "id"))
                    && text(primary, "taskDefinition") == text(&input, "taskDefinition")
            });
            let mut ignored = Vec::new();
            let covered = matches!(
                decide(Some(&now), &changed, 0, &mut ignored),
                Decision::Nothing { .. } | Decision::Follow { .. }
            );
            if new || (covered && !forced) {
                return Ok(now);
            }
        }
        if forced {
            return Err(Error::from(failure)
                .hint("sending it again could start a second deployment: look at `steady status`, then run it again"));
        }
        if attempt >= MAX_ATTEMPTS {
            return Err(Error::from(failure)
                .hint("the service is as it was: the update was not made, and the same command again is safe"));
        }
    }
}

const MAX_ATTEMPTS: u32 = 6;
