//! A deployment in progress is taken back by ECS itself: StopServiceDeployment, and then looking until it shows.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::history::{self, Past};
use crate::aws::Clients;
use crate::aws::failure::Reach;
use crate::aws::reply::{id, optional, text};
use crate::deploy::event::Events;
use crate::deploy::service;
use crate::deploy::service::decide;
use crate::deploy::service::throttled::Throttled;
use crate::error::{Error, Kind, Result};

/// What came of asking ECS to take a deployment back.
#[derive(Debug)]
pub enum Stopped {
    /// The old release is the PRIMARY deployment again; the service as it is now, and as what ECS knows it.
    GoingBack(Value),
    /// It was over before ECS was asked: what to do has to be decided anew.
    Over,
    /// ECS does not do that here.
    NotHad,
}

/// ECS's own rollback, which brings load balancers and network back too. False where it is not to be had.
pub async fn ask(service_deployment: &str, until: Instant, clients: &Clients, events: &Events) -> Result<bool> {
    let input = json!({ "serviceDeploymentArn": service_deployment, "stopType": "ROLLBACK" });
    let mut throttled = Throttled::new(until);
    loop {
        match clients.stop_service_deployment(input.clone()).await {
            Ok(_) => return Ok(true),
            Err(failure) if failure.is_throttled() => throttled.wait(failure, events).await?,
            // It may have been heard all the same; asking again changes nothing then.
            Err(failure) if failure.reach != Reach::Refused => return Err(failure.into()),
            Err(failure) if failure.is_expired() => return Err(failure.into()),
            Err(_) => return Ok(false),
        }
    }
}

/// Asks for it, and waits until the old release is the PRIMARY deployment again. `primary` is the id of the PRIMARY
/// deployment that is to go.
pub async fn take_back(
    names: (&str, &str),
    deployment: &Past,
    primary: &str,
    until: Instant,
    clients: &Clients,
    events: &Events,
) -> Result<Stopped> {
    let asked = ask(&deployment.arn, until, clients, events).await?;
    let away = |now: &Value| text(now, "id") != primary;
    shown(names, deployment, asked, away, until, clients).await
}

/// The same where somebody asked already: `deployment` is being rolled back.
pub async fn going_back(names: (&str, &str), deployment: &Past, until: Instant, clients: &Clients) -> Result<Stopped> {
    let away = |now: &Value| {
        text(now, "taskDefinition") != deployment.release.task_definition
            || text(now, "rolloutStateReason").contains("rolling back")
            || optional(now, "rolloutState") == Some("COMPLETED")
    };
    shown(names, deployment, true, away, until, clients).await
}

async fn shown(
    (cluster, service_name): (&str, &str),
    deployment: &Past,
    asked: bool,
    away: impl Fn(&Value) -> bool,
    until: Instant,
    clients: &Clients,
) -> Result<Stopped> {
    let mut looks: u32 = 0;
    loop {
        let (record, live) = tokio::join!(
            history::described(&deployment.arn, clients),
            service::describe(cluster, service_name, clients),
        );
        let live = live?.unwrap_or_default();
        match text(&record, "status") {
            "ROLLBACK_FAILED" => return Err(failed(&record, deployment)),
            "SUCCESSFUL" | "STOPPED" => return Ok(Stopped::Over),
            // Its PRIMARY deployment may show a moment later. No status is one that may not be read.
            "ROLLBACK_IN_PROGRESS" | "ROLLBACK_SUCCESSFUL" | "" if decide::primary(&live).is_some_and(&away) => {
                return Ok(Stopped::GoingBack(live));
            }
            _ if !asked => return Ok(Stopped::NotHad),
            _ => {}
        }
        if Instant::now() >= until {
            let message = "ECS was told to take the deployment back, and has not begun in time";
            return Err(Error::new(Kind::DeadlinePassed, message).hint("resume: `steady wait`"));
        }
        tokio::time::sleep(Duration::from_millis(100) * 2u32.pow(looks.min(5))).await;
        looks += 1;
    }
}

fn failed(record: &Value, deployment: &Past) -> Error {
    let why = optional(record, "statusReason").unwrap_or("ECS gives no reason").trim_end_matches('.');
    let revision = id(&deployment.release.task_definition);
    Error::new(Kind::RolloutFailed, format!("ECS could not take the deployment of {revision} back: {why}"))
        .hint("see what there is to go back to: `steady rollback --list`")
        .hint("look closer: `steady status`")
}
