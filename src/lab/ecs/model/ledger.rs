//! Values by name that know which of them were changed since they were last saved.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Deref;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Reads as the map that it holds. Whoever borrows a value to change it has changed it.
#[derive(Debug, Clone)]
pub struct Ledger<V> {
    all: BTreeMap<String, V>,
    unsaved: BTreeSet<String>,
}

impl<V> Default for Ledger<V> {
    fn default() -> Self {
        Ledger { all: BTreeMap::new(), unsaved: BTreeSet::new() }
    }
}

impl<V> Deref for Ledger<V> {
    type Target = BTreeMap<String, V>;

    fn deref(&self) -> &Self::Target {
        &self.all
    }
}

impl<V> Ledger<V> {
    pub fn get_mut(&mut self, name: &str) -> Option<&mut V> {
        let found = self.all.get_mut(name)?;
        if !self.unsaved.contains(name) {
            self.unsaved.insert(name.to_owned());
        }
        Some(found)
    }

    /// The value of that name, a new one if there is none.
    pub fn or_default(&mut self, name: &str) -> &mut V
    where
        V: Default,
    {
        self.unsaved.insert(name.to_owned());
        self.all.entry(name.to_owned()).or_default()
    }

    pub fn insert(&mut self, name: String, value: V) {
        self.unsaved.insert(name.clone());
        self.all.insert(name, value);
    }

    pub fn remove(&mut self, name: &str) -> Option<V> {
        let removed = self.all.remove(name)?;
        self.unsaved.insert(name.to_owned());
        Some(removed)
    }

    /// The names of what was changed, added or removed since this was last asked.
    pub fn take_unsaved(&mut self) -> BTreeSet<String> {
        std::mem::take(&mut self.unsaved)
    }

    /// To change what is not saved, or to say so by [`Ledger::changed`].
    pub(super) fn quietly(&mut self, name: &str) -> Option<&mut V> {
        self.all.get_mut(name)
    }

    pub(super) fn changed(&mut self, name: &str) {
        self.unsaved.insert(name.to_owned());
    }
}

impl<V: Serialize> Serialize for Ledger<V> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.all.serialize(serializer)
    }
}

impl<'de, V: Deserialize<'de>> Deserialize<'de> for Ledger<V> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(Ledger { all: BTreeMap::deserialize(deserializer)?, unsaved: BTreeSet::new() })
    }
}
