//! EC2's Describe operations and their filters.

use serde_json::{Value, json};
use steadystate::lab::{Lab, ec2};

use super::{error_text, lab};

fn ids(lab: &Lab, operation: &str, input: Value) -> Vec<String> {
    let reply = ec2::handle(lab, operation, input).unwrap_or_else(|error| panic!("{operation}: {error}"));
    let (_, list) = reply.as_object().unwrap().iter().next().unwrap();
    let id = |item: &Value| {
        let item = item.pointer("/instancesSet/0").unwrap_or(item);
        let id = ["instanceId", "subnetId", "groupId", "vpcId", "zoneName"].iter().find_map(|name| item[name].as_str());
        id.unwrap().to_owned()
    };
    list.as_array().unwrap().iter().map(id).collect()
}

fn filter(name: &str, value: &str) -> Value {
    json!({ "Filter": [{ "Name": name, "Value": [value] }] })
}

#[test]
fn filters_choose() {
    let lab = lab();
    let instance = lab.write(ec2::new_instance);
    let (vpc, subnets, group) = lab.read(|state| {
        let subnets: Vec<String> = state.ec2.subnets.iter().map(|subnet| subnet.id.clone()).collect();
        (state.ec2.vpc_id.clone(), subnets, state.ec2.security_group_id.clone())
    });
    let tags = json!({ "ResourceId": [subnets[1], subnets[2]], "Tag": [{ "Key": "tier", "Value": "private" }] });
    assert_eq!(ec2::handle(&lab, "CreateTags", tags), Ok(json!({ "return": true })));
    let (none, vpcs, groups, instances) =
        (Vec::<String>::new(), vec![vpc.clone()], vec![group.clone()], vec![instance.clone()]);
    let private = vec![subnets[1].clone(), subnets[2].clone()];
    let table = [
        ("DescribeVpcs", json!({}), vpcs.clone()),
        ("DescribeVpcs", filter("isDefault", "true"), vpcs.clone()),
        ("DescribeVpcs", filter("isDefault", "false"), none.clone()),
        ("DescribeVpcs", json!({ "VpcId": [vpc] }), vpcs),
        ("DescribeSubnets", filter("vpc-id", &vpc), subnets.clone()),
        ("DescribeSubnets", filter("default-for-az", "true"), subnets.clone()),
        ("DescribeSubnets", filter("availability-zone", "us-west-2b"), vec![subnets[1].clone()]),
        ("DescribeSubnets", filter("tag:tier", "private"), private.clone()),
        ("DescribeSubnets", filter("tag:tier", "pri*"), private.clone()),
        ("DescribeSubnets", filter("tag-key", "tier"), private),
        ("DescribeSubnets", filter("tag:tier", "public"), none.clone()),
        ("DescribeSubnets", filter("subnet-id", &subnets[0]), vec![subnets[0].clone()]),
        ("DescribeSecurityGroups", filter("group-name", "default"), groups.clone()),
        ("DescribeSecurityGroups", filter("vpc-id", &vpc), groups),
        ("DescribeInstances", json!({ "InstanceId": [instance] }), instances.clone()),
        ("DescribeInstances", filter("instance-state-name", "running"), instances),
        ("DescribeInstances", filter("instance-state-name", "stopped"), none),
        ("DescribeAvailabilityZones", filter("zone-name", "us-west-2c"), vec!["us-west-2c".to_owned()]),
    ];
    for (operation, input, expected) in table {
        assert_eq!(ids(&lab, operation, input.clone()), expected, "{operation} {input}");
    }
}

#[test]
fn instances_come_in_pages() {
    let lab = lab();
    let all: Vec<String> = (0..7).map(|_| lab.write(ec2::new_instance)).collect();
    let first = ec2::handle(&lab, "DescribeInstances", json!({ "MaxResults": "5" })).unwrap();
    let next = json!({ "MaxResults": "5", "NextToken": first["nextToken"] });
    assert_eq!(first["reservationSet"].as_array().map(Vec::len), Some(5));
    assert_eq!(ids(&lab, "DescribeInstances", next), all[5..]);
}

#[test]
fn unknown_things_are_errors() {
    let lab = lab();
    let table = [
        ("DescribeVpcs", json!({ "VpcId": ["vpc-1"] }), "InvalidVpcID.NotFound: The vpc ID 'vpc-1' does not exist"),
        (
            "DescribeSubnets",
            json!({ "SubnetId": ["subnet-1"] }),
            "InvalidSubnetID.NotFound: The subnet ID 'subnet-1' does not exist",
        ),
        (
            "DescribeSecurityGroups",
            json!({ "GroupId": ["sg-1"] }),
            "InvalidGroup.NotFound: The security group 'sg-1' does not exist",
        ),
        (
            "DescribeSecurityGroups",
            json!({ "GroupName": ["web"] }),
            "InvalidGroup.NotFound: The security group 'web' does not exist",
        ),
        (
            "DescribeInstances",
            json!({ "InstanceId": ["i-1"] }),
            "InvalidInstanceID.NotFound: The instance ID 'i-1' does not exist",
        ),
        ("DescribeSubnets", filter("colour", "red"), "InvalidParameterValue: The filter 'colour' is invalid"),
        (
            "CreateTags",
            json!({ "ResourceId": ["subnet-1"], "Tag": [{ "Key": "a" }] }),
            "InvalidID: The ID 'subnet-1' is not valid",
        ),
    ];
    for (operation, input, expected) in table {
        assert_eq!(error_text(ec2::handle(&lab, operation, input)), expected);
    }
    assert!(error_text(ec2::handle(&lab, "RunInstances", json!({}))).starts_with("InvalidAction: "));
}
