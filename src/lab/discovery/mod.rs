//! CONTRACT (helper L4)
use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct DiscoveryState {
    pub instances: BTreeMap<String, BTreeMap<String, BTreeMap<String, String>>>,
}
pub fn register_instance(
    state: &mut super::state::State,
    service: &str,
    id: &str,
    attributes: BTreeMap<String, String>,
) {
    state.discovery.instances.entry(service.into()).or_default().insert(id.into(), attributes);
}
pub fn deregister_instance(state: &mut super::state::State, service: &str, id: &str) {
    state.discovery.instances.entry(service.into()).or_default().remove(id);
}
