//! EC2's Describe operations: each resource as the API writes it, then ids and filters.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde_json::{Value, json};

use super::{Ec2State, Instance};
use crate::lab::Settings;
use crate::lab::api::{ApiError, ApiResult};
use crate::lab::input::Input;
use crate::lab::state::State;
use crate::lab::{paging, pattern};

const NO_TAGS: &BTreeMap<String, String> = &BTreeMap::new();

/// Filter names, beside the tags', with the reply's member that each one looks at (a JSON pointer).
type Filters = &'static [(&'static str, &'static str)];

const VPC: Filters = &[
    ("vpc-id", "/vpcId"),
    ("isDefault", "/isDefault"),
    ("is-default", "/isDefault"),
    ("state", "/state"),
    ("cidr", "/cidrBlock"),
    ("cidr-block-association.cidr-block", "/cidrBlock"),
    ("owner-id", "/ownerId"),
];

const SUBNET: Filters = &[
    ("vpc-id", "/vpcId"),
    ("subnet-id", "/subnetId"),
    ("default-for-az", "/defaultForAz"),
    ("defaultForAz", "/defaultForAz"),
    ("availability-zone", "/availabilityZone"),
    ("availabilityZone", "/availabilityZone"),
    ("availability-zone-id", "/availabilityZoneId"),
    ("cidr-block", "/cidrBlock"),
    ("map-public-ip-on-launch", "/mapPublicIpOnLaunch"),
    ("state", "/state"),
    ("owner-id", "/ownerId"),
];

const SECURITY_GROUP: Filters = &[
    ("group-id", "/groupId"),
    ("group-name", "/groupName"),
    ("vpc-id", "/vpcId"),
    ("description", "/groupDescription"),
    ("owner-id", "/ownerId"),
];

const INSTANCE: Filters = &[
    ("instance-id", "/instanceId"),
    ("instance-state-name", "/instanceState/name"),
    ("instance-type", "/instanceType"),
    ("image-id", "/imageId"),
    ("subnet-id", "/subnetId"),
    ("vpc-id", "/vpcId"),
    ("private-ip-address", "/privateIpAddress"),
    ("private-dns-name", "/privateDnsName"),
    ("availability-zone", "/placement/availabilityZone"),
    ("instance.group-id", "/groupSet/0/groupId"),
];

const ZONE: Filters =
    &[("zone-name", "/zoneName"), ("zone-id", "/zoneId"), ("state", "/zoneState"), ("region-name", "/regionName")];

pub(super) fn vpcs(state: &State, settings: &Settings, input: Input) -> ApiResult {
    let ec2 = &state.ec2;
    let vpc = json!({
        "vpcId": ec2.vpc_id,
        "ownerId": settings.account_id,
        "state": "available",
        "cidrBlock": "172.31.0.0/16",
        "dhcpOptionsId": "default",
        "instanceTenancy": "default",
        "isDefault": true,
        "tagSet": tag_set(ec2, &ec2.vpc_id),
    });
    let found = select(input, vec![vpc], "VpcId", "vpcId", ("InvalidVpcID.NotFound", "vpc ID"), VPC)?;
    Ok(json!({ "vpcSet": found }))
}

pub(super) fn subnets(state: &State, settings: &Settings, input: Input) -> ApiResult {
    let ec2 = &state.ec2;
    let subnets = ec2.subnets.iter().map(|subnet| {
        json!({
            "subnetId": subnet.id,
            "subnetArn": format!("arn:aws:ec2:{}:{}:subnet/{}", settings.region, settings.account_id, subnet.id),
            "state": "available",
            "ownerId": settings.account_id,
            "vpcId": ec2.vpc_id,
            "cidrBlock": format!("{}/20", subnet.network),
            "availableIpAddressCount": 4091,
            "availabilityZone": format!("{}{}", settings.region, subnet.zone),
            "availabilityZoneId": zone_id(settings, subnet.zone),
            "defaultForAz": true,
            "mapPublicIpOnLaunch": true,
            "tagSet": tag_set(ec2, &subnet.id),
        })
    });
    let not_found = ("InvalidSubnetID.NotFound", "subnet ID");
    let found = select(input, subnets.collect(), "SubnetId", "subnetId", not_found, SUBNET)?;
    Ok(json!({ "subnetSet": found }))
}

pub(super) fn security_groups(state: &State, settings: &Settings, input: Input) -> ApiResult {
    let ec2 = &state.ec2;
    let group = json!({
        "groupId": ec2.security_group_id,
        "groupName": "default",
        "groupDescription": "default VPC security group",
        "ownerId": settings.account_id,
        "vpcId": ec2.vpc_id,
        "ipPermissions": [{
            "ipProtocol": "-1",
            "groups": [{ "groupId": ec2.security_group_id, "userId": settings.account_id }],
        }],
        "ipPermissionsEgress": [{ "ipProtocol": "-1", "ipRanges": [{ "cidrIp": "0.0.0.0/0" }] }],
        "tagSet": tag_set(ec2, &ec2.security_group_id),
    });
    if let Some(name) = input.texts("GroupName").into_iter().find(|name| *name != "default") {
        return Err(ApiError::new("InvalidGroup.NotFound", format!("The security group '{name}' does not exist")));
    }
    let not_found = ("InvalidGroup.NotFound", "security group");
    let found = select(input, vec![group], "GroupId", "groupId", not_found, SECURITY_GROUP)?;
    Ok(json!({ "securityGroupInfo": found }))
}

pub(super) fn instances(state: &State, settings: &Settings, input: Input) -> ApiResult {
    let all = state.ec2.instances.iter().map(|one| instance(&state.ec2, settings, one)).collect();
    let not_found = ("InvalidInstanceID.NotFound", "instance ID");
    let found = select(input, all, "InstanceId", "instanceId", not_found, INSTANCE)?;
    let reservations: Vec<Value> = found
        .into_iter()
        .map(|instance| {
            let id = instance["instanceId"].as_str().unwrap_or_default().replacen('i', "r", 1);
            json!({ "reservationId": id, "ownerId": settings.account_id, "instancesSet": [instance] })
        })
        .collect();
    let most = input.number_in("MaxResults", 5..=1000)?.unwrap_or(1000) as usize;
    let (page, next) = paging::page(reservations, input.text("NextToken"), most)
        .ok_or_else(|| ApiError::new("InvalidNextToken", "The token is not valid"))?;
    Ok(json!({ "reservationSet": page, "nextToken": next }))
}

pub(super) fn availability_zones(state: &State, settings: &Settings, input: Input) -> ApiResult {
    let zones = state.ec2.subnets.iter().map(|subnet| {
        json!({
            "zoneName": format!("{}{}", settings.region, subnet.zone),
            "zoneId": zone_id(settings, subnet.zone),
            "zoneState": "available",
            "zoneType": "availability-zone",
            "regionName": settings.region,
            "optInStatus": "opt-in-not-required",
            "groupName": settings.region,
            "networkBorderGroup": settings.region,
        })
    });
    let not_found = ("InvalidParameterValue", "availability zone");
    let found = select(input, zones.collect(), "ZoneName", "zoneName", not_found, ZONE)?;
    Ok(json!({ "availabilityZoneInfo": found }))
}

fn instance(ec2: &Ec2State, settings: &Settings, instance: &Instance) -> Value {
    let zone = ec2.subnets.iter().find(|subnet| subnet.id == instance.subnet_id).map_or('a', |subnet| subnet.zone);
    let groups = json!([{ "groupId": ec2.security_group_id, "groupName": "default" }]);
    let host = instance.private_ip.to_string().replace('.', "-");
    json!({
        "instanceId": instance.id,
        "imageId": instance.image_id,
        "instanceState": { "code": 16, "name": "running" },
        "privateDnsName": format!("ip-{host}.{}.compute.internal", settings.region),
        "privateIpAddress": instance.private_ip.to_string(),
        "instanceType": "t3.medium",
        "launchTime": Timestamp::from_millisecond(instance.launched_at).unwrap_or_default().to_string(),
        "placement": {
            "availabilityZone": format!("{}{zone}", settings.region),
            "groupName": "",
            "tenancy": "default",
        },
        "monitoring": { "state": "disabled" },
        "subnetId": instance.subnet_id,
        "vpcId": ec2.vpc_id,
        "architecture": if cfg!(target_arch = "aarch64") { "arm64" } else { "x86_64" },
        "groupSet": groups,
        "tagSet": tag_set(ec2, &instance.id),
    })
}

/// Such as `usw2-az1`.
fn zone_id(settings: &Settings, zone: char) -> String {
    let parts: Vec<&str> = settings.region.split('-').collect();
    let short: String = match parts.as_slice() {
        [area, direction, number] => format!("{area}{}{number}", &direction[..1.min(direction.len())]),
        _ => settings.region.clone(),
    };
    format!("{short}-az{}", u32::from(zone) - u32::from('a') + 1)
}

fn tag_set(ec2: &Ec2State, id: &str) -> Value {
    let tags = ec2.tags.get(id).unwrap_or(NO_TAGS);
    tags.iter().map(|(key, value)| json!({ "key": key, "value": value })).collect()
}

/// The resources that the input's ids and filters leave; an id that does not exist is an error.
fn select(
    input: Input,
    resources: Vec<Value>,
    ids: &str,
    id_member: &str,
    (code, what): (&str, &str),
    filters: Filters,
) -> Result<Vec<Value>, ApiError> {
    let ids = input.texts(ids);
    if let Some(unknown) = ids.iter().find(|id| !resources.iter().any(|resource| resource[id_member] == **id)) {
        return Err(ApiError::new(code, format!("The {what} '{unknown}' does not exist")));
    }
    let mut found: Vec<Value> = resources
        .into_iter()
        .filter(|resource| ids.is_empty() || ids.iter().any(|id| resource[id_member] == **id))
        .collect();
    for filter in input.list("Filter") {
        let name = filter.required("Name")?;
        let wanted = filter.texts("Value");
        let known = name == "tag-key" || name.starts_with("tag:") || filters.iter().any(|(known, _)| *known == name);
        if !known {
            return Err(input.error(format!("The filter '{name}' is invalid")));
        }
        found.retain(|resource| {
            let values = values(resource, name, filters);
            values.iter().any(|value| wanted.iter().any(|wanted| pattern::matches(wanted, value)))
        });
    }
    Ok(found)
}

/// What a resource has under a filter's name.
fn values(resource: &Value, name: &str, filters: Filters) -> Vec<String> {
    let tags = resource["tagSet"].as_array().into_iter().flatten();
    if let Some(key) = name.strip_prefix("tag:") {
        return tags.filter(|tag| tag["key"] == key).map(|tag| text(&tag["value"])).collect();
    }
    if name == "tag-key" {
        return tags.map(|tag| text(&tag["key"])).collect();
    }
    let pointer = filters.iter().find(|(known, _)| *known == name).map(|(_, pointer)| pointer);
    pointer.and_then(|pointer| resource.pointer(pointer)).map(text).into_iter().collect()
}

fn text(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}
