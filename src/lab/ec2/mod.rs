//! EC2, as far as a deploy reads it: the default VPC, its subnets and security group, and the cluster's instances.

mod describe;

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::Lab;
use super::api::{ApiError, ApiResult, random_hex};
use super::clock::Clock;
use super::conformance;
use super::input::{Answer, Input};
use super::state::State;
use crate::aws_model::Service;

/// One default VPC, as a new account has in every region.
#[derive(Debug, Serialize, Deserialize)]
#[serde(default)]
pub struct Ec2State {
    pub vpc_id: String,
    pub subnets: Vec<Subnet>,
    pub security_group_id: String,
    pub instances: Vec<Instance>,
    /// By resource id.
    pub tags: BTreeMap<String, BTreeMap<String, String>>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Subnet {
    pub id: String,
    /// The letter after the region's name.
    pub zone: char,
    /// The network of its /20.
    pub network: Ipv4Addr,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Instance {
    pub id: String,
    pub image_id: String,
    pub subnet_id: String,
    pub private_ip: Ipv4Addr,
    /// Epoch milliseconds.
    pub launched_at: i64,
}

impl Default for Ec2State {
    fn default() -> Self {
        let subnet =
            |(at, zone)| Subnet { id: new_id("subnet"), zone, network: Ipv4Addr::new(172, 31, 16 * at as u8, 0) };
        Ec2State {
            vpc_id: new_id("vpc"),
            subnets: ['a', 'b', 'c'].into_iter().enumerate().map(subnet).collect(),
            security_group_id: new_id("sg"),
            instances: Vec::new(),
            tags: BTreeMap::new(),
        }
    }
}

fn new_id(prefix: &str) -> String {
    format!("{prefix}-0{}", random_hex(16))
}

/// Starts a container instance in the default VPC and returns its id.
pub fn new_instance(state: &mut State) -> String {
    let ec2 = &mut state.ec2;
    let at = ec2.instances.len();
    let subnet = &ec2.subnets[at % ec2.subnets.len()];
    let id = new_id("i");
    let instance = Instance {
        id: id.clone(),
        image_id: new_id("ami"),
        subnet_id: subnet.id.clone(),
        // From the end of the /20: tasks with addresses of their own are counted from its start.
        private_ip: Ipv4Addr::from(u32::from(subnet.network) + 0xffa - at as u32 % 0x7ff),
        launched_at: Clock::default().now(),
    };
    ec2.instances.push(instance);
    id
}

pub fn has_instance(state: &State, id: &str) -> bool {
    state.ec2.instances.iter().any(|instance| instance.id == id)
}

/// Where an instance is.
pub fn subnet_of_instance<'s>(state: &'s State, id: &str) -> Option<&'s Subnet> {
    let instance = state.ec2.instances.iter().find(|instance| instance.id == id)?;
    state.ec2.subnets.iter().find(|subnet| subnet.id == instance.subnet_id)
}

pub fn has_vpc(state: &State, id: &str) -> bool {
    state.ec2.vpc_id == id
}

pub fn has_security_group(state: &State, id: &str) -> bool {
    state.ec2.security_group_id == id
}

pub fn default_security_group(state: &State, vpc_id: &str) -> Option<String> {
    has_vpc(state, vpc_id).then(|| state.ec2.security_group_id.clone())
}

pub fn vpc_of_subnet(state: &State, subnet_id: &str) -> Option<String> {
    let mut subnets = state.ec2.subnets.iter();
    subnets.any(|subnet| subnet.id == subnet_id).then(|| state.ec2.vpc_id.clone())
}

/// The availability zone's name, such as `us-west-2a`.
pub fn zone_of_subnet(state: &State, region: &str, subnet_id: &str) -> Option<String> {
    let subnet = state.ec2.subnets.iter().find(|subnet| subnet.id == subnet_id)?;
    Some(format!("{region}{}", subnet.zone))
}

/// One EC2 operation. Lists of the reply are to be written as `<item>` elements.
pub fn handle(lab: &Lab, operation: &str, input: Value) -> ApiResult {
    let answer = self::operation(operation).ok_or_else(|| {
        ApiError::new(
            "InvalidAction",
            format!("The action {operation} is not valid for this web service: the lab does not know it."),
        )
    });
    let answer = answer.map(|answer| move |input: Value| answer(lab, Input::new(&input, "InvalidParameterValue")));
    conformance::answered(Service::Ec2, operation, input, answer)
}

fn operation(name: &str) -> Option<Answer> {
    let answer: Answer = match name {
        "DescribeVpcs" => |lab, input| lab.read(|state| describe::vpcs(state, &lab.settings, input)),
        "DescribeSubnets" => |lab, input| lab.read(|state| describe::subnets(state, &lab.settings, input)),
        "DescribeSecurityGroups" => {
            |lab, input| lab.read(|state| describe::security_groups(state, &lab.settings, input))
        }
        "DescribeInstances" => |lab, input| lab.read(|state| describe::instances(state, &lab.settings, input)),
        "DescribeAvailabilityZones" => {
            |lab, input| lab.read(|state| describe::availability_zones(state, &lab.settings, input))
        }
        "CreateTags" => |lab, input| lab.write(|state| create_tags(state, input)),
        _ => return None,
    };
    Some(answer)
}

fn create_tags(state: &mut State, input: Input) -> ApiResult {
    let tags = input.pairs("Tag")?;
    let ec2 = &mut state.ec2;
    let ids = input.texts("ResourceId");
    for id in &ids {
        let known = *id == ec2.vpc_id
            || *id == ec2.security_group_id
            || ec2.subnets.iter().any(|subnet| subnet.id == *id)
            || ec2.instances.iter().any(|instance| instance.id == *id);
        if !known {
            return Err(ApiError::new("InvalidID", format!("The ID '{id}' is not valid")));
        }
    }
    for id in ids {
        ec2.tags.entry(id.to_owned()).or_default().extend(tags.clone());
    }
    Ok(json!({ "return": true }))
}
