//! CONTRACT stub, helper L2's: only what the balancer calls.

use serde::{Deserialize, Serialize};

use super::state::State;

#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct EcsState {}

// CONTRACT
pub fn locate(_state: &State, _target_id: &str, _port: u16) -> Option<(String, u16)> {
    None
}
