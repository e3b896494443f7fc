//! CONTRACT (helper L4)
use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::state::State;

#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct DiscoveryState {
    pub instances: BTreeMap<String, BTreeMap<String, BTreeMap<String, String>>>,
}
pub fn register_instance(state: &mut State, service: &str, id: &str, attributes: BTreeMap<String, String>) -> bool {
    state.discovery.instances.entry(service.into()).or_default().insert(id.into(), attributes).is_none()
}
pub fn deregister_instance(state: &mut State, service: &str, id: &str) -> bool {
    state.discovery.instances.entry(service.into()).or_default().remove(id).is_some()
}
pub fn service_exists(_: &State, service: &str) -> bool {
    !service.contains("nothing")
}
