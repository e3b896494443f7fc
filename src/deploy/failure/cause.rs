//! Stopped tasks by what stopped them: ids, addresses and counts in a reason make no other cause.

use crate::deploy::follow::steady::{Container, Task};

/// Failed tasks that stopped for the same cause, the newest first.
#[derive(Debug, Clone, PartialEq)]
pub struct Group<'a> {
    pub tasks: Vec<&'a Task>,
}

impl Group<'_> {
    /// The one that tells most: a task that is still stopping may not have its exit codes yet.
    pub fn last(&self) -> &Task {
        self.tasks.iter().find(|task| task.containers.iter().any(says)).unwrap_or(&self.tasks[0])
    }
}

/// The most frequent cause first, and of two that are as frequent the newer.
pub fn groups<'a>(failed: impl IntoIterator<Item = &'a Task>) -> Vec<Group<'a>> {
    let mut newest: Vec<&Task> = failed.into_iter().collect();
    newest.sort_by_key(|task| std::cmp::Reverse(task.stopped_at));
    let mut groups: Vec<(String, Group<'_>)> = Vec::new();
    let mut unknown = Vec::new();
    for task in newest {
        // one that is stopping says nothing yet of why its containers ended
        if task.stop_code.as_deref() == Some("EssentialContainerExited") && !task.containers.iter().any(says) {
            unknown.push(task);
            continue;
        }
        let cause = key(task);
        match groups.iter_mut().find(|(known, _)| *known == cause) {
            Some((_, group)) => group.tasks.push(task),
            None => groups.push((cause, Group { tasks: vec![task] })),
        }
    }
    groups.sort_by_key(|(_, group)| std::cmp::Reverse(group.tasks.len()));
    match groups.first_mut() {
        _ if unknown.is_empty() => {}
        Some((_, first)) => first.tasks.extend(unknown),
        None => groups.push((String::new(), Group { tasks: unknown })),
    }
    groups.into_iter().map(|(_, group)| group).collect()
}

fn says(container: &Container) -> bool {
    container.exit_code.is_some() || container.reason.is_some()
}

/// The containers that ended the task; ECS ends the others, which says nothing.
pub fn culprits(task: &Task) -> Vec<&Container> {
    // When one ends by itself, ECS ends the others.
    let by_itself = |one: &Container| one.exit_code.is_some_and(|code| !matches!(code, 137 | 143));
    let essential = task.stop_code.as_deref() == Some("EssentialContainerExited");
    let any = task.containers.iter().any(by_itself);
    let tells = |container: &&Container| match (container.exit_code, container.reason.as_deref()) {
        (Some(0 | 137 | 143), None) if task.stop_code.as_deref() == Some("ServiceSchedulerInitiated") => false,
        (Some(137 | 143), None) if essential && any => false,
        (None, None) => false,
        _ => true,
    };
    task.containers.iter().filter(tells).collect()
}

fn key(task: &Task) -> String {
    let mut key = format!(
        "{} {}",
        task.stop_code.as_deref().unwrap_or_default(),
        like(task.stopped_reason.as_deref().unwrap_or_default())
    );
    for one in culprits(task) {
        let code = one.exit_code.map_or_else(String::new, |code| code.to_string());
        key.push_str(&format!("; {} {code} {}", one.name, like(one.reason.as_deref().unwrap_or_default())));
    }
    key
}

/// A text without what differs from one task to the next.
fn like(text: &str) -> String {
    let mut like = String::with_capacity(text.len());
    for word in text.split_inclusive(|c: char| !c.is_ascii_alphanumeric()) {
        let plain = word.trim_end_matches(|c: char| !c.is_ascii_alphanumeric());
        let is_id = plain.len() >= 4
            && (plain.chars().any(|c| c.is_ascii_digit()) || plain.chars().all(|c| c.is_ascii_hexdigit()));
        like.push_str(if is_id { "#" } else { plain });
        like.push_str(&word[plain.len()..]);
    }
    like
}
