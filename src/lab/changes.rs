//! What changed since it was last saved, as lines of a journal, and back into a state.
//!
//! A line is all of one moment: `[{"state": …}, {"service": {…}}, {"task": ["0123", {…}]}, {"task": ["4567", null]}, …]`,
//! where null is what was removed. What a line holds, it holds whole, so that reading it twice does no harm.

use std::mem;

use ring::digest::{SHA256, digest};
use serde::{Deserialize, Serialize};

use super::ecs::model::{Family, Service, Task};
use super::state::State;

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
enum Change<'a> {
    Family(&'a str, Option<&'a Family>),
    Service(&'a Service),
    Task(&'a str, Option<&'a Task>),
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
enum Entry {
    /// Everything but families, services and tasks.
    State(Box<State>),
    Family(String, Option<Box<Family>>),
    Service(Box<Service>),
    Task(String, Option<Box<Task>>),
}

/// Finds out what is new.
#[derive(Debug, Default)]
pub struct Recorder {
    /// The digest of all that has no list of its changes.
    rest: Vec<u8>,
}

impl Recorder {
    /// The whole state; from here on only what changes after this is new.
    pub fn everything(&mut self, state: &mut State) -> serde_json::Result<Vec<u8>> {
        forget(state);
        self.rest(state)?;
        serde_json::to_vec(state)
    }

    /// A line with what changed since this was last called; empty when nothing did.
    pub fn line(&mut self, state: &mut State) -> serde_json::Result<Vec<u8>> {
        let mut line = Vec::new();
        if let Some(rest) = self.rest(state)? {
            line.extend_from_slice(b",{\"state\":");
            line.extend_from_slice(&rest);
            line.push(b'}');
        }
        let mut add = |change: &Change| {
            line.push(b',');
            serde_json::to_writer(&mut line, change)
        };
        let ecs = &mut state.ecs;
        for name in ecs.families.take_unsaved() {
            add(&Change::Family(&name, ecs.families.get(&name)))?;
        }
        for (cluster, name) in ecs.services.take_unsaved() {
            ecs.services.find(&cluster, &name).map_or(Ok(()), |service| add(&Change::Service(service)))?;
        }
        for id in ecs.tasks.take_unsaved() {
            add(&Change::Task(&id, ecs.tasks.get(&id)))?;
        }
        if let Some(first) = line.first_mut() {
            *first = b'[';
            line.extend_from_slice(b"]\n");
        }
        Ok(line)
    }

    /// All but families, services and tasks, when it is new.
    fn rest(&mut self, state: &mut State) -> serde_json::Result<Option<Vec<u8>>> {
        let families = mem::take(&mut state.ecs.families);
        let services = mem::take(&mut state.ecs.services);
        let tasks = mem::take(&mut state.ecs.tasks);
        let rest = serde_json::to_vec(state);
        state.ecs.families = families;
        state.ecs.services = services;
        state.ecs.tasks = tasks;
        let rest = rest?;
        let sum = digest(&SHA256, &rest).as_ref().to_vec();
        Ok((mem::replace(&mut self.rest, sum.clone()) != sum).then_some(rest))
    }
}

/// Applies the lines of a journal. One that was cut short by a crash is the last one, and was never promised.
pub fn apply(state: &mut State, journal: &[u8]) -> serde_json::Result<()> {
    let Some(end) = journal.iter().rposition(|byte| *byte == b'\n') else { return Ok(()) };
    for line in journal[..end].split(|byte| *byte == b'\n') {
        for entry in serde_json::from_slice::<Vec<Entry>>(line)? {
            replace(state, entry);
        }
    }
    forget(state);
    Ok(())
}

fn replace(state: &mut State, entry: Entry) {
    let ecs = &mut state.ecs;
    match entry {
        Entry::State(mut rest) => {
            rest.ecs.families = mem::take(&mut ecs.families);
            rest.ecs.services = mem::take(&mut ecs.services);
            rest.ecs.tasks = mem::take(&mut ecs.tasks);
            rest.logs = mem::take(&mut state.logs);
            *state = *rest;
        }
        Entry::Family(name, Some(family)) => ecs.families.insert(name, *family),
        Entry::Family(name, None) => drop(ecs.families.remove(&name)),
        Entry::Service(service) => ecs.services.put(*service),
        Entry::Task(id, Some(task)) => ecs.tasks.insert(id, *task),
        Entry::Task(id, None) => drop(ecs.tasks.remove(&id)),
    }
}

fn forget(state: &mut State) {
    state.ecs.families.take_unsaved();
    state.ecs.services.take_unsaved();
    state.ecs.tasks.take_unsaved();
}
