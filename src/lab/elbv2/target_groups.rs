//! Target groups and their health check settings, with AWS's defaults.

use serde_json::{Value, json};

use super::{
    HealthCheck, Protocol, Scope, TargetGroup, attributes, check_name, listing, malformed, page, protocol, tags,
};
use crate::lab::api::{ApiError, ApiResult, random_hex};
use crate::lab::ec2;
use crate::lab::input::Input;
use crate::lab::state::State;

const INVALID: &str = "InvalidConfigurationRequest";

pub(super) fn create(state: &mut State, scope: &Scope, input: Input) -> ApiResult {
    let name = input.required("Name")?;
    check_name(input, "Target group", name)?;
    let target_type = input.text("TargetType").unwrap_or("instance");
    if !["instance", "ip"].contains(&target_type) {
        return Err(input.error(format!("The lab has targets of type instance and ip, not '{target_type}'")));
    }
    let name_of_protocol = input.text("Protocol").ok_or_else(|| input.error("A protocol must be specified"))?;
    let protocol = protocol(name_of_protocol, INVALID)?;
    if input.text("ProtocolVersion").is_some_and(|version| version != "HTTP1") {
        return Err(ApiError::new(INVALID, "The lab's application load balancers speak HTTP1 to targets"));
    }
    let port = input.port("Port")?.ok_or_else(|| input.error("A port must be specified"))?;
    let vpc_id = input.text("VpcId").ok_or_else(|| input.error("A VPC ID must be specified"))?;
    if !ec2::has_vpc(state, vpc_id) {
        return Err(input.error(format!("The VPC ID '{vpc_id}' is not found")));
    }
    let health_check = health_check(input, protocol, None)?;

    if let Some(existing) = state.elbv2.target_groups.iter().find(|group| group.name == name) {
        let same = existing.protocol == protocol
            && existing.port == port
            && existing.vpc_id == vpc_id
            && existing.target_type == target_type
            && existing.health_check == health_check;
        if !same {
            return Err(ApiError::new(
                "DuplicateTargetGroupName",
                format!("A target group with the same name '{name}' exists, but with different settings"),
            ));
        }
        return Ok(json!({ "TargetGroups": [describe_one(state, existing)] }));
    }

    let group = TargetGroup {
        arn: scope.arn(&format!("targetgroup/{name}/{}", random_hex(16))),
        name: name.to_owned(),
        protocol,
        port,
        vpc_id: vpc_id.to_owned(),
        target_type: target_type.to_owned(),
        health_check,
        attributes: attributes::of_target_group(protocol),
        tags: tags::given(input, "ValidationError")?,
        targets: Vec::new(),
    };
    let reply = json!({ "TargetGroups": [describe_one(state, &group)] });
    state.elbv2.target_groups.push(group);
    Ok(reply)
}

pub(super) fn modify(state: &mut State, _: &Scope, input: Input) -> ApiResult {
    let arn = input.required("TargetGroupArn")?;
    let group = find_mut(state, arn)?;
    group.health_check = health_check(input, group.protocol, Some(&group.health_check))?;
    let group = find(state, arn)?;
    Ok(json!({ "TargetGroups": [describe_one(state, group)] }))
}

pub(super) fn describe(state: &State, _: &Scope, input: Input) -> ApiResult {
    let all = &state.elbv2.target_groups;
    let (arns, names) = (input.texts("TargetGroupArns"), input.texts("Names"));
    let mut found = Vec::new();
    for arn in &arns {
        found.push(find(state, arn)?);
    }
    for name in &names {
        let named = all.iter().find(|group| group.name == *name);
        found.push(named.ok_or_else(|| not_found("One or more target groups not found".to_owned()))?);
    }
    if let Some(load_balancer) = input.text("LoadBalancerArn") {
        super::load_balancers::find(state, load_balancer)?;
        found.extend(state.elbv2.target_groups_of(load_balancer));
    } else if arns.is_empty() && names.is_empty() {
        found.extend(all);
    }
    let (found, next) = page(input, found)?;
    Ok(listing("TargetGroups", found.into_iter().map(|group| describe_one(state, group)).collect(), next))
}

pub(super) fn delete(state: &mut State, _: &Scope, input: Input) -> ApiResult {
    let arn = input.required("TargetGroupArn")?;
    if !state.elbv2.load_balancers_of(arn).is_empty() {
        return Err(ApiError::new(
            "ResourceInUse",
            format!("Target group '{arn}' is currently in use by a listener or a rule"),
        ));
    }
    state.elbv2.target_groups.retain(|group| group.arn != arn);
    Ok(json!({}))
}

pub(super) fn find<'a>(state: &'a State, arn: &str) -> Result<&'a TargetGroup, ApiError> {
    state.elbv2.target_group(arn).ok_or_else(|| no_such(arn))
}

pub(super) fn find_mut<'a>(state: &'a mut State, arn: &str) -> Result<&'a mut TargetGroup, ApiError> {
    state.elbv2.target_group_mut(arn).ok_or_else(|| no_such(arn))
}

fn no_such(arn: &str) -> ApiError {
    malformed(arn, "targetgroup", "target group")
        .unwrap_or_else(|| not_found(format!("Target groups '{arn}' not found")))
}

fn not_found(message: String) -> ApiError {
    ApiError::new("TargetGroupNotFound", message)
}

/// The settings that the input asks for; what it leaves out comes from `present`, or else from AWS's defaults.
fn health_check(input: Input, group: Protocol, present: Option<&HealthCheck>) -> Result<HealthCheck, ApiError> {
    let check_protocol = match input.text("HealthCheckProtocol") {
        Some(name) => protocol(name, INVALID)?,
        None => present.map_or(group, |present| present.protocol),
    };
    if group == Protocol::Http && check_protocol == Protocol::Tcp {
        return Err(input.error("Health check protocol 'TCP' is not supported for target groups with protocol 'HTTP'"));
    }
    let http = check_protocol == Protocol::Http;
    // What belongs to HTTP does not survive a change to TCP.
    let present_http = present.filter(|_| http);
    if !http && input.get("HealthCheckPath").is_some() {
        return Err(input.error("Health check path is not supported for health checks with protocol 'TCP'"));
    }
    let matcher = input.structure("Matcher").and_then(|matcher| matcher.text("HttpCode"));
    if !http && matcher.is_some() {
        return Err(input.error("Matcher is not supported for health checks with protocol 'TCP'"));
    }
    let default_matcher = if group == Protocol::Tcp { "200-399" } else { "200" };
    let default_timeout = match (group, check_protocol) {
        (Protocol::Http, _) => 5,
        (Protocol::Tcp, Protocol::Http) => 6,
        (Protocol::Tcp, Protocol::Tcp) => 10,
    };
    let seconds = |name, range, present: Option<u64>, default| -> Result<u64, ApiError> {
        Ok(input.number_in(name, range)?.map(|seconds| seconds as u64).or(present).unwrap_or(default))
    };
    let count = |name, present: Option<u32>, default| -> Result<u32, ApiError> {
        Ok(input.number_in(name, 2..=10)?.map(|count| count as u32).or(present).unwrap_or(default))
    };
    let check = HealthCheck {
        enabled: input.flag("HealthCheckEnabled").unwrap_or(present.is_none_or(|present| present.enabled)),
        protocol: check_protocol,
        port: match input.text("HealthCheckPort") {
            Some("traffic-port") => None,
            Some(_) => input.port("HealthCheckPort")?,
            None => present.and_then(|present| present.port),
        },
        path: http.then(|| {
            let present = present_http.and_then(|present| present.path.clone());
            input.text("HealthCheckPath").map(str::to_owned).or(present).unwrap_or_else(|| "/".to_owned())
        }),
        interval: seconds("HealthCheckIntervalSeconds", 5..=300, present.map(|present| present.interval), 30)?,
        timeout: seconds(
            "HealthCheckTimeoutSeconds",
            2..=120,
            present.map(|present| present.timeout),
            default_timeout,
        )?,
        healthy_threshold: count("HealthyThresholdCount", present.map(|present| present.healthy_threshold), 5)?,
        unhealthy_threshold: count("UnhealthyThresholdCount", present.map(|present| present.unhealthy_threshold), 2)?,
        matcher: http.then(|| {
            let present = present_http.and_then(|present| present.matcher.clone());
            matcher.map(str::to_owned).or(present).unwrap_or_else(|| default_matcher.to_owned())
        }),
    };
    check_settings(input, group, &check)?;
    Ok(check)
}

fn check_settings(input: Input, group: Protocol, check: &HealthCheck) -> Result<(), ApiError> {
    if !check.enabled {
        return Err(
            input.error("Health check enabled must be true for target groups with target type 'instance' or 'ip'")
        );
    }
    if check.path.as_ref().is_some_and(|path| !path.starts_with('/')) {
        return Err(input.error("Health check path must begin with a '/' character"));
    }
    if group == Protocol::Http && check.timeout >= check.interval {
        return Err(input.error(format!(
            "Health check timeout '{}' must be smaller than the interval '{}'",
            check.timeout, check.interval
        )));
    }
    let is_code = |text: &str| text.trim().parse().is_ok_and(|code: u16| (200..=599).contains(&code));
    if let Some(matcher) = &check.matcher {
        let valid = matcher.split(',').all(|part| match part.split_once('-') {
            Some((from, to)) => is_code(from) && is_code(to),
            None => is_code(part),
        });
        if !valid {
            return Err(input.error(format!("Health check matcher HTTP code '{matcher}' must be within '200-599'")));
        }
    }
    Ok(())
}

fn describe_one(state: &State, group: &TargetGroup) -> Value {
    let check = &group.health_check;
    let mut value = json!({
        "TargetGroupArn": group.arn,
        "TargetGroupName": group.name,
        "Protocol": group.protocol.name(),
        "Port": group.port,
        "VpcId": group.vpc_id,
        "HealthCheckProtocol": check.protocol.name(),
        "HealthCheckPort": check.port.map_or_else(|| "traffic-port".to_owned(), |port| port.to_string()),
        "HealthCheckEnabled": check.enabled,
        "HealthCheckIntervalSeconds": check.interval,
        "HealthCheckTimeoutSeconds": check.timeout,
        "HealthyThresholdCount": check.healthy_threshold,
        "UnhealthyThresholdCount": check.unhealthy_threshold,
        "LoadBalancerArns": state.elbv2.load_balancers_of(&group.arn),
        "TargetType": group.target_type,
        "IpAddressType": "ipv4",
    });
    if group.protocol == Protocol::Http {
        value["ProtocolVersion"] = json!("HTTP1");
    }
    if let Some(path) = &check.path {
        value["HealthCheckPath"] = json!(path);
    }
    if let Some(matcher) = &check.matcher {
        value["Matcher"] = json!({ "HttpCode": matcher });
    }
    value
}
