//! A service's events, in ECS's words.

use crate::lab::ecs::{
    model::{Event, Service},
    request::uuid,
};

use super::Step;

const MOST_EVENTS: usize = 100;
const SEE_ALSO: &str = "For more information, see the Troubleshooting section of the Amazon ECS Developer Guide.";

/// What happened to a service's task, to be told together with what happened to others.
#[derive(PartialEq, Eq)]
pub(super) enum What {
    Registered(String),
    Deregistered(String),
    Draining,
}

pub(super) fn say(service: &mut Service, at: i64, message: impl AsRef<str>) {
    let message = format!("(service {}) {}", service.name, message.as_ref());
    service.events.push_front(Event { id: uuid(), created_at: at, message });
    service.events.truncate(MOST_EVENTS);
}

/// Says what needs saying once in a deployment, with where to read on.
pub(super) fn say_trouble(service: &mut Service, at: i64, message: &str) -> bool {
    let whole = format!("{message} {SEE_ALSO}");
    say_once(service, at, &whole)
}

pub(super) fn say_once(service: &mut Service, at: i64, message: &str) -> bool {
    let told = format!("(service {}) {message}", service.name);
    let since = service.primary().map_or(service.created_at, |primary| primary.created_at);
    if service.events.iter().any(|event| event.created_at >= since && event.message == told) {
        return false;
    }
    say(service, at, message);
    true
}

/// `(task a) (task b)`.
pub(super) fn tasks(ids: &[String]) -> String {
    ids.iter().map(|id| format!("(task {id})")).collect::<Vec<_>>().join(" ")
}

/// Tells the service what was noted of its tasks.
pub(super) fn tell(step: &mut Step, service: &mut Service) {
    let mine = step.notes.remove(&service.key()).unwrap_or_default();
    let mut told: Vec<&What> = Vec::new();
    for what in &mine {
        if told.contains(&what) {
            continue;
        }
        told.push(what);
        let count = mine.iter().filter(|other| *other == what).count();
        let message = match what {
            What::Registered(group) => format!("registered {count} targets in (target-group {group})"),
            What::Deregistered(group) => format!("deregistered {count} targets in (target-group {group})"),
            What::Draining => format!("has begun draining connections on {count} tasks."),
        };
        say(service, step.context.now, message);
        step.changed();
    }
}
