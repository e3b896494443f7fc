//! A service's events, in ECS's words.

use crate::lab::ecs::{
    model::{Event, Service},
    request::uuid,
};

use super::Step;

const MOST_EVENTS: usize = 100;
/// Seconds at AWS.
const SILENCE: u64 = 6 * 3600;
const SEE_ALSO: &str = "For more information, see the Troubleshooting section of the Amazon ECS Developer Guide.";

/// What happened to a service's task, to be told together with what happened to others.
#[derive(PartialEq, Eq)]
pub(super) enum What {
    Registered(String),
    Deregistered(String),
    Draining,
}

/// Later than the deployment that it is about: clients ask for what is newer.
pub(super) fn say(service: &mut Service, at: i64, message: impl AsRef<str>) {
    let at = service.primary().map_or(at, |primary| at.max(primary.created_at + 1));
    let message = format!("(service {}) {}", service.name, message.as_ref());
    service.events.push_front(Event { id: uuid(), created_at: at, message });
    service.events.truncate(MOST_EVENTS);
}

/// Says what is wrong, with where to read on.
pub(super) fn say_trouble(step: &mut Step, service: &mut Service, message: &str) -> bool {
    say_unless_told(step, service, &format!("{message} {SEE_ALSO}"))
}

/// ECS says the same of a service once in six hours; then again, if it is still so.
pub(super) fn say_unless_told(step: &mut Step, service: &mut Service, message: &str) -> bool {
    let (now, silence) = (step.context.now, step.context.wait(SILENCE));
    service.told.retain(|_, told_at| now < *told_at + silence);
    let told_at = service.told.get(message).copied();
    step.wake_at(told_at.unwrap_or(now) + silence);
    if told_at.is_none() {
        service.told.insert(message.to_owned(), now);
        say(service, now, message);
    }
    told_at.is_none()
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
