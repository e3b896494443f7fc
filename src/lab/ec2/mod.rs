//! CONTRACT (helper L4)
use serde::{Deserialize, Serialize};

#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Ec2State {
    pub instances: Vec<String>,
}
pub fn launch_instance(state: &mut super::state::State) -> String {
    let id = format!("i-{}", super::api::random_hex(17));
    state.ec2.instances.push(id.clone());
    id
}
