//! A target that is INACTIVE: nothing deploys it any more, so its content is registered again, and known for what it is.

use serde_json::{Value, json};

use super::history::{Past, Release};
use crate::aws::Clients;
use crate::aws::reply::{id, list, tag, text};
use crate::deploy::event::{Event, Events};
use crate::deploy::register;
use crate::deploy::service::decide;
use crate::document::READ_ONLY;
use crate::error::{Error, Kind, Result};

/// On a revision that was registered again: the one that it is the content of.
const RESTORED_TAG: &str = "steady:restored";

/// What runs may be an earlier revision that was registered again: it is the same release under another number.
pub(in crate::deploy) async fn restored(live: &Value, history: &mut [Past], clients: &Clients) -> Result<()> {
    let current = decide::primary(live).map_or("", |primary| text(primary, "taskDefinition"));
    let newest = |past: &Past| past.release.task_definition == current;
    if history.iter().filter(|past| !newest(past)).count() == 0 {
        return Ok(());
    }
    let described = register::describe(current, clients).await?.unwrap_or_default();
    let Some(original) = tag(list(&described, "tags"), RESTORED_TAG) else { return Ok(()) };
    for past in history.iter_mut().filter(|past| id(&past.release.task_definition) == original) {
        past.release.task_definition = current.to_owned();
    }
    Ok(())
}

/// An INACTIVE revision cannot be deployed: its content is registered again.
pub(in crate::deploy) async fn deployable(target: Past, clients: &Clients, events: &Events) -> Result<(Past, Value)> {
    let revision = register::describe(&target.release.task_definition, clients).await?;
    let gone = || {
        Error::preflight(format!("the revision {} is gone", id(&target.release.task_definition)))
            .hint("see what there is to go back to: `steady rollback --list`")
    };
    let Some(revision) = revision else { return Err(gone()) };
    match text(&revision["taskDefinition"], "status") {
        "INACTIVE" => {}
        "DELETE_IN_PROGRESS" => return Err(gone()),
        _ => return Ok((target, revision)),
    }
    let message = format!("{} is INACTIVE: its content is registered again", id(&target.release.task_definition));
    events.emit(Event::Notice { message });
    let facts = crate::deploy::render::Facts {
        region: clients.region.clone(),
        account_id: String::new(),
        image: None,
        release: tag(list(&revision, "tags"), register::RELEASE_TAG).unwrap_or("unversioned").to_owned(),
    };
    let mut input = registrable(&revision);
    let of = json!({ "key": RESTORED_TAG, "value": id(&target.release.task_definition) });
    match input["tags"].as_array_mut() {
        Some(tags) => tags.push(of),
        None => input["tags"] = json!([of]),
    }
    let registered = register::register(&input, &facts, clients, events, None)
        .await
        .map_err(|error| error.with_kind(Kind::Other))?;
    let release = Release { task_definition: registered.arn, ..target.release };
    Ok((Past { release, ..target }, revision))
}

/// What can be registered of a described revision: without what only AWS writes.
pub fn registrable(described: &Value) -> Value {
    let mut input = described["taskDefinition"].clone();
    if let Some(members) = input.as_object_mut() {
        READ_ONLY.iter().for_each(|member| drop(members.shift_remove(*member)));
        members.retain(|_, value| !value.is_null());
    }
    let own = [register::FINGERPRINT_TAG, register::RELEASE_TAG];
    let others: Vec<&Value> = list(described, "tags").iter().filter(|tag| !own.contains(&text(tag, "key"))).collect();
    if !others.is_empty() {
        input["tags"] = json!(others);
    }
    input
}
