//! Load balancers. Each has a loopback address of its own, so that many can listen on port 80.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::net::{IpAddr, Ipv4Addr};

use serde_json::{Value, json};

use super::{LoadBalancer, LoadBalancerType, Scope, attributes, check_name, iso8601, listing, malformed, page, tags};
use crate::lab::api::{ApiError, ApiResult, random_hex};
use crate::lab::ec2;
use crate::lab::input::Input;
use crate::lab::state::State;

pub(super) fn create(state: &mut State, scope: &Scope, input: Input) -> ApiResult {
    let name = input.required("Name")?;
    check_name(input, "Load balancer", name)?;
    if name.starts_with("internal-") {
        return Err(input.error(format!("Load balancer name '{name}' cannot begin with 'internal-'")));
    }
    let kind = match input.text("Type").unwrap_or("application") {
        "application" => LoadBalancerType::Application,
        "network" => LoadBalancerType::Network,
        other => {
            return Err(input.error(format!("The lab has application and network load balancers, not '{other}'")));
        }
    };
    let scheme = input.text("Scheme").unwrap_or("internet-facing");
    if !["internet-facing", "internal"].contains(&scheme) {
        return Err(ApiError::new("InvalidScheme", format!("The scheme '{scheme}' is not valid")));
    }
    let subnets = subnets(state, scope, input, kind)?;
    let vpc_id = ec2::vpc_of_subnet(state, &subnets[0]).unwrap_or_default();
    let security_groups = security_groups(state, input, kind, &vpc_id)?;

    if let Some(existing) = state.elbv2.load_balancers.iter().find(|existing| existing.name == name) {
        let same = existing.kind == kind
            && existing.scheme == scheme
            && existing.subnets == subnets
            && existing.security_groups == security_groups;
        if !same {
            return Err(ApiError::new(
                "DuplicateLoadBalancerName",
                format!("A load balancer with the same name '{name}' exists, but with different settings"),
            ));
        }
        return Ok(json!({ "LoadBalancers": [describe_one(state, scope, existing)] }));
    }

    let load_balancer = LoadBalancer {
        arn: scope.arn(&format!("loadbalancer/{}/{name}/{}", kind.in_arn(), random_hex(16))),
        name: name.to_owned(),
        kind,
        scheme: scheme.to_owned(),
        vpc_id,
        subnets,
        security_groups,
        ip_address_type: input.text("IpAddressType").unwrap_or("ipv4").to_owned(),
        created_at: scope.now,
        address: free_address(state, scope, name),
        attributes: attributes::of_load_balancer(kind),
        tags: tags::given(input, tags::DUPLICATE)?,
    };
    let reply = json!({ "LoadBalancers": [describe_one(state, scope, &load_balancer)] });
    state.elbv2.load_balancers.push(load_balancer);
    Ok(reply)
}

pub(super) fn describe(state: &State, scope: &Scope, input: Input) -> ApiResult {
    let all = &state.elbv2.load_balancers;
    let (arns, names) = (input.texts("LoadBalancerArns"), input.texts("Names"));
    let mut found = Vec::new();
    for arn in &arns {
        found.push(find(state, arn)?);
    }
    for name in &names {
        let named = all.iter().find(|load_balancer| load_balancer.name == *name);
        found.push(named.ok_or_else(|| not_found(format!("Load balancers '[{name}]' not found")))?);
    }
    if arns.is_empty() && names.is_empty() {
        found.extend(all);
    }
    let (found, next) = page(input, found)?;
    Ok(listing("LoadBalancers", found.into_iter().map(|one| describe_one(state, scope, one)).collect(), next))
}

/// The lab's load balancers have one address, of IPv4.
pub(super) fn set_ip_address_type(state: &mut State, _: &Scope, input: Input) -> ApiResult {
    let (arn, kind) = (input.required("LoadBalancerArn")?, input.required("IpAddressType")?);
    if kind != "ipv4" {
        let message = format!("The lab's subnets have no IPv6 CIDR block, which '{kind}' needs");
        return Err(ApiError::new("InvalidConfigurationRequest", message));
    }
    find_mut(state, arn)?.ip_address_type = kind.to_owned();
    Ok(json!({ "IpAddressType": kind }))
}

pub(super) fn delete(state: &mut State, _: &Scope, input: Input) -> ApiResult {
    let arn = input.required("LoadBalancerArn")?;
    // Deleting what does not exist succeeds, as the API documents.
    let Some(load_balancer) = state.elbv2.load_balancer(arn) else { return Ok(json!({})) };
    if load_balancer.attributes.get("deletion_protection.enabled").is_some_and(|enabled| enabled == "true") {
        return Err(ApiError::new(
            "OperationNotPermitted",
            format!("Load balancer '{arn}' cannot be deleted because deletion protection is enabled"),
        ));
    }
    state.elbv2.load_balancers.retain(|load_balancer| load_balancer.arn != arn);
    state.elbv2.listeners.retain(|listener| listener.load_balancer_arn != arn);
    Ok(json!({}))
}

pub(super) fn set_subnets(state: &mut State, scope: &Scope, input: Input) -> ApiResult {
    let arn = input.required("LoadBalancerArn")?;
    let subnets = subnets(state, scope, input, find(state, arn)?.kind)?;
    find_mut(state, arn)?.subnets = subnets;
    let load_balancer = find(state, arn)?;
    Ok(json!({
        "AvailabilityZones": zones(state, scope, load_balancer),
        "IpAddressType": load_balancer.ip_address_type,
    }))
}

pub(super) fn set_security_groups(state: &mut State, _: &Scope, input: Input) -> ApiResult {
    let arn = input.required("LoadBalancerArn")?;
    let load_balancer = find(state, arn)?;
    let groups = security_groups(state, input, load_balancer.kind, &load_balancer.vpc_id)?;
    find_mut(state, arn)?.security_groups = groups.clone();
    Ok(json!({ "SecurityGroupIds": groups }))
}

pub(super) fn find<'a>(state: &'a State, arn: &str) -> Result<&'a LoadBalancer, ApiError> {
    state.elbv2.load_balancer(arn).ok_or_else(|| no_such(arn))
}

pub(super) fn find_mut<'a>(state: &'a mut State, arn: &str) -> Result<&'a mut LoadBalancer, ApiError> {
    let found = state.elbv2.load_balancers.iter_mut().find(|load_balancer| load_balancer.arn == arn);
    found.ok_or_else(|| no_such(arn))
}

fn no_such(arn: &str) -> ApiError {
    malformed(arn, "loadbalancer", "load balancer")
        .unwrap_or_else(|| not_found(format!("Load balancer '{arn}' not found")))
}

fn not_found(message: String) -> ApiError {
    ApiError::new("LoadBalancerNotFound", message)
}

fn subnets(state: &State, scope: &Scope, input: Input, kind: LoadBalancerType) -> Result<Vec<String>, ApiError> {
    let mut subnets = input.owned_texts("Subnets");
    for mapping in input.list("SubnetMappings") {
        subnets.push(mapping.required("SubnetId")?.to_owned());
    }
    let mut zones = Vec::new();
    for subnet in &subnets {
        let zone = ec2::zone_of_subnet(state, &scope.settings.region, subnet)
            .ok_or_else(|| ApiError::new("SubnetNotFound", format!("The subnet ID '{subnet}' is not valid")))?;
        if zones.contains(&zone) {
            return Err(ApiError::new(
                "InvalidConfigurationRequest",
                "A load balancer cannot be attached to multiple subnets in the same Availability Zone",
            ));
        }
        zones.push(zone);
    }
    match (kind, subnets.len()) {
        (_, 0) => Err(input.error("At least one subnet must be specified")),
        (LoadBalancerType::Application, 1) => {
            Err(input.error("At least two subnets in two different Availability Zones must be specified"))
        }
        _ => Ok(subnets),
    }
}

fn security_groups(state: &State, input: Input, kind: LoadBalancerType, vpc_id: &str) -> Result<Vec<String>, ApiError> {
    let mut groups = input.owned_texts("SecurityGroups");
    if let Some(unknown) = groups.iter().find(|group| !ec2::has_security_group(state, group)) {
        return Err(ApiError::new("InvalidSecurityGroup", format!("Security group '{unknown}' does not exist")));
    }
    // Without one, an application load balancer gets its VPC's default group and a network one gets none.
    if groups.is_empty() && kind == LoadBalancerType::Application {
        groups.extend(ec2::default_security_group(state, vpc_id));
    }
    Ok(groups)
}

/// An address that depends on the lab and the name, so that a URL outlives `lab reset`, and in a range wide enough
/// that labs side by side don't meet.
fn free_address(state: &State, scope: &Scope, name: &str) -> IpAddr {
    if !cfg!(target_os = "linux") {
        return IpAddr::V4(Ipv4Addr::LOCALHOST);
    }
    let mut hasher = DefaultHasher::new();
    (&scope.settings.data, name).hash(&mut hasher);
    let start = hasher.finish();
    (0..)
        .map(|step| {
            let at = start.wrapping_add(step);
            let octets = [127, 64 + (at % 64) as u8, (at >> 8) as u8, 1 + ((at >> 16) % 254) as u8];
            IpAddr::from(octets)
        })
        .find(|address| state.elbv2.load_balancers.iter().all(|taken| taken.address != *address))
        .expect("an unbounded range")
}

fn describe_one(state: &State, scope: &Scope, load_balancer: &LoadBalancer) -> Value {
    let active = scope.now >= load_balancer.created_at + scope.provisioning_ms;
    let mut value = json!({
        "LoadBalancerArn": load_balancer.arn,
        "DNSName": load_balancer.address.to_string(),
        "CanonicalHostedZoneId": "Z18D5FSROUN65G",
        "CreatedTime": iso8601(load_balancer.created_at),
        "LoadBalancerName": load_balancer.name,
        "Scheme": load_balancer.scheme,
        "VpcId": load_balancer.vpc_id,
        "State": { "Code": if active { "active" } else { "provisioning" } },
        "Type": load_balancer.kind.name(),
        "AvailabilityZones": zones(state, scope, load_balancer),
        "IpAddressType": load_balancer.ip_address_type,
    });
    if !load_balancer.security_groups.is_empty() {
        value["SecurityGroups"] = json!(load_balancer.security_groups);
    }
    value
}

fn zones(state: &State, scope: &Scope, load_balancer: &LoadBalancer) -> Value {
    let zone = |subnet: &String| {
        json!({
            "ZoneName": ec2::zone_of_subnet(state, &scope.settings.region, subnet),
            "SubnetId": subnet,
            "LoadBalancerAddresses": [],
        })
    };
    load_balancer.subnets.iter().map(zone).collect()
}
