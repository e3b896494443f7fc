//! All tasks: found by their service, address or instance without looking at the others.

use std::collections::{BTreeSet, HashMap};
use std::ops::Deref;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::{Ledger, Task};

/// Reads as a map by id. A task that was borrowed to be changed is looked at in the scheduler's next step, and saved.
/// Where a task belongs (cluster, group, address, instance) never changes.
#[derive(Debug, Default, Clone)]
pub struct Tasks {
    ledger: Ledger<Task>,
    /// Ids by cluster and group.
    groups: HashMap<String, HashMap<String, BTreeSet<String>>>,
    /// Who has an address, until it is STOPPED.
    addresses: HashMap<String, String>,
    /// Who is on a container instance, until it is STOPPED.
    instances: HashMap<String, BTreeSet<String>>,
    /// When it stopped, and its id.
    stopped: BTreeSet<(i64, String)>,
    /// Cluster, group and id, so that a service's tasks are neighbours.
    touched: BTreeSet<(String, String, String)>,
}

impl Deref for Tasks {
    type Target = Ledger<Task>;

    fn deref(&self) -> &Self::Target {
        &self.ledger
    }
}

impl Tasks {
    pub fn insert(&mut self, id: String, task: Task) {
        self.remove(&id);
        self.index(&task);
        self.ledger.insert(id, task);
    }

    pub fn remove(&mut self, id: &str) -> Option<Task> {
        let task = self.ledger.remove(id)?;
        self.release(&task);
        if let Some(at) = task.stopped_at {
            self.stopped.remove(&(at, task.id.clone()));
        }
        self.touched.remove(&place(&task));
        if let Some(groups) = self.groups.get_mut(&task.cluster)
            && let Some(ids) = groups.get_mut(&task.group)
        {
            ids.remove(id);
            if ids.is_empty() {
                groups.remove(&task.group);
            }
        }
        Some(task)
    }

    pub fn pop_first(&mut self) -> Option<(String, Task)> {
        let id = self.ledger.keys().next()?.clone();
        let task = self.remove(&id)?;
        Some((id, task))
    }

    pub fn get_mut(&mut self, id: &str) -> Option<&mut Task> {
        let task = self.ledger.get_mut(id)?;
        self.touched.insert(place(task));
        Some(task)
    }

    /// The tasks of a group (`service:<name>`, `family:<name>`, …) in a cluster, by id.
    pub fn of_group<'t>(&'t self, cluster: &str, group: &str) -> impl Iterator<Item = &'t Task> + use<'t> {
        let ids = self.groups.get(cluster).and_then(|groups| groups.get(group));
        ids.into_iter().flatten().filter_map(|id| self.ledger.get(id))
    }

    /// The task that is not STOPPED and has this private address.
    pub fn at_address(&self, address: &str) -> Option<&Task> {
        self.ledger.get(self.addresses.get(address)?)
    }

    /// The tasks on a container instance that are not STOPPED.
    pub fn on_instance<'t>(&'t self, instance: &str) -> impl Iterator<Item = &'t Task> + use<'t> {
        self.instances.get(instance).into_iter().flatten().filter_map(|id| self.ledger.get(id))
    }

    /// When tasks stopped, with their ids; oldest first.
    pub fn stopped(&self) -> &BTreeSet<(i64, String)> {
        &self.stopped
    }

    /// Has the scheduler look at a task again.
    pub fn touch(&mut self, id: &str) {
        if let Some(task) = self.ledger.get(id) {
            self.touched.insert(place(task));
        }
    }

    pub fn is_touched(&self) -> bool {
        !self.touched.is_empty()
    }

    /// The ids of tasks to look at, at most so many; those of a service come together.
    pub fn take_touched(&mut self, most: usize) -> Vec<String> {
        let mut taken = Vec::new();
        while taken.len() < most
            && let Some((.., id)) = self.touched.pop_first()
        {
            taken.push(id);
        }
        taken
    }

    /// Lends a task to the scheduler, which gives it back by [`Tasks::put_back`]: a blank one is in its place.
    pub fn lend(&mut self, id: &str) -> Option<Task> {
        self.ledger.quietly(id).map(std::mem::take)
    }

    pub fn put_back(&mut self, task: Task, changed: bool) {
        if changed {
            self.ledger.changed(&task.id);
        }
        if let Some(at) = task.stopped_at.filter(|_| task.is_stopped()) {
            self.release(&task);
            self.stopped.insert((at, task.id.clone()));
        }
        if let Some(blank) = self.ledger.quietly(&task.id.clone()) {
            *blank = task;
        }
    }

    pub fn take_unsaved(&mut self) -> BTreeSet<String> {
        self.ledger.take_unsaved()
    }

    fn index(&mut self, task: &Task) {
        let groups = self.groups.entry(task.cluster.clone()).or_default();
        groups.entry(task.group.clone()).or_default().insert(task.id.clone());
        self.touched.insert(place(task));
        match task.stopped_at {
            Some(at) if task.is_stopped() => {
                self.stopped.insert((at, task.id.clone()));
            }
            _ => {
                if let Some(interface) = &task.interface {
                    self.addresses.insert(interface.address.clone(), task.id.clone());
                }
                if let Some(instance) = &task.instance {
                    self.instances.entry(instance.clone()).or_default().insert(task.id.clone());
                }
            }
        }
    }

    /// Its address and its place on an instance are free again.
    fn release(&mut self, task: &Task) {
        if let Some(interface) = &task.interface
            && self.addresses.get(&interface.address) == Some(&task.id)
        {
            self.addresses.remove(&interface.address);
        }
        if let Some(instance) = &task.instance
            && let Some(ids) = self.instances.get_mut(instance)
        {
            ids.remove(&task.id);
        }
    }
}

fn place(task: &Task) -> (String, String, String) {
    (task.cluster.clone(), task.group.clone(), task.id.clone())
}

impl Serialize for Tasks {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.ledger.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Tasks {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let ledger = Ledger::<Task>::deserialize(deserializer)?;
        let mut tasks = Tasks::default();
        for task in ledger.values() {
            tasks.index(task);
        }
        Ok(Tasks { ledger, ..tasks })
    }
}
