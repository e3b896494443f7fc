//! CONTRACT (helper L4)
use std::net::Ipv4Addr;

use serde::{Deserialize, Serialize};

use super::{api::random_hex, state::State};

#[derive(Debug, Serialize, Deserialize)]
#[serde(default)]
pub struct Ec2State {
    pub vpc_id: String,
    pub subnets: Vec<Subnet>,
    pub instances: Vec<Instance>,
}
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Subnet {
    pub id: String,
    pub zone: char,
    pub network: Ipv4Addr,
}
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Instance {
    pub id: String,
    pub private_ip: Ipv4Addr,
}
impl Default for Ec2State {
    fn default() -> Self {
        let subnet = |(at, zone)| Subnet {
            id: format!("subnet-0{}", random_hex(16)),
            zone,
            network: Ipv4Addr::new(172, 31, 16 * at as u8, 0),
        };
        Ec2State {
            vpc_id: "vpc-1".into(),
            subnets: ['a', 'b', 'c'].into_iter().enumerate().map(subnet).collect(),
            instances: Vec::new(),
        }
    }
}
pub fn new_instance(state: &mut State) -> String {
    let id = format!("i-0{}", random_hex(16));
    state.ec2.instances.push(Instance { id: id.clone(), private_ip: Ipv4Addr::new(172, 31, 15, 250) });
    id
}
pub fn vpc_of_subnet(state: &State, subnet_id: &str) -> Option<String> {
    state.ec2.subnets.iter().any(|subnet| subnet.id == subnet_id).then(|| state.ec2.vpc_id.clone())
}
