//! What ECS refuses at CreateService and UpdateService, in its words.

use serde_json::{Map, Value, json};

use super::{model::TaskDefinition, placement_rules, request::invalid, service_view, strategy_rules};
use crate::lab::{api::ApiError, discovery, ec2, elbv2, state::State};

type Checked = Result<(), ApiError>;

fn items<'v>(settings: &'v Map<String, Value>, member: &str) -> &'v [Value] {
    settings.get(member).and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

pub const BOTH: &str =
    "Specifying both a launch type and capacity provider strategy is not supported. Remove one and try again.";

/// The rules that hold for CreateService only, then [`check`].
pub fn check_new(state: &State, settings: &Map<String, Value>, definition: &TaskDefinition) -> Checked {
    let has = |member: &str| !items(settings, member).is_empty();
    if settings.contains_key("role") {
        if has("serviceRegistries")
            || definition.network_mode() == "awsvpc"
            || items(settings, "loadBalancers").len() > 1
        {
            return Err(invalid("You cannot specify an IAM role for services that require a service linked role."));
        }
        if !has("loadBalancers") {
            return Err(invalid("IAM roles are only valid for services configured to use load balancers."));
        }
    }
    let daemon = settings.get("schedulingStrategy").is_some_and(|of| of == "DAEMON");
    if daemon && launch_type(settings) == "FARGATE" {
        return Err(invalid("The daemon scheduling strategy does not support the Fargate launch type."));
    }
    has_task_role(settings, definition, "created")?;
    namespace(state, settings.get("serviceConnectConfiguration"))?;
    check(state, settings, definition)
}

/// The rules that hold for what a service is after CreateService or UpdateService.
pub fn check(state: &State, settings: &Map<String, Value>, definition: &TaskDefinition) -> Checked {
    if let Some(controller) = settings.get("deploymentController").and_then(|of| of["type"].as_str())
        && controller != "ECS"
    {
        return Err(invalid(format!("The lab has no deployment controller {controller}: use ECS.")));
    }
    let launch_type = launch_type(settings);
    placement_rules::check(settings, launch_type)?;
    platform(settings, launch_type)?;
    launch(state, launch_type, settings.get("networkConfiguration"), definition)?;
    let balancers = items(settings, "loadBalancers");
    for (member, most) in [("loadBalancers", 5), ("serviceRegistries", 1)] {
        at_most(member, items(settings, member).len(), most)?;
    }
    for balancer in balancers {
        load_balancer(state, balancer, definition)?;
    }
    let grace = settings.get("healthCheckGracePeriodSeconds").and_then(Value::as_i64).unwrap_or_default();
    if grace < 0 {
        return Err(invalid("The health check grace period cannot be negative."));
    }
    if grace > 0 && balancers.is_empty() {
        return Err(invalid("Health check grace period is only valid for services configured to use load balancers"));
    }
    for registry in items(settings, "serviceRegistries") {
        service_registry(state, registry, definition)?;
    }
    service_connect(settings, definition)?;
    volumes(settings, definition)?;
    if let Some(deployment) = settings.get("deploymentConfiguration") {
        percents(deployment)?;
        alarms(&deployment["alarms"])?;
    }
    strategy_rules::check(state, settings)
}

fn at_most(what: &str, count: usize, most: usize) -> Checked {
    if count <= most { Ok(()) } else { Err(invalid(format!("{what} can have at most {most} items."))) }
}

/// A session of ExecuteCommand needs what a task role allows.
pub fn has_task_role(settings: &Map<String, Value>, definition: &TaskDefinition, done: &str) -> Checked {
    let wanted = settings.get("enableExecuteCommand").is_some_and(|of| of == true);
    let role = definition.document.get("taskRoleArn").and_then(Value::as_str).unwrap_or_default();
    if wanted && role.is_empty() {
        return Err(invalid(format!(
            "The service couldn't be {done} because a valid taskRoleArn is not being used. Specify a valid task role \
             in your task definition and try again."
        )));
    }
    Ok(())
}

/// Only Fargate has platform versions.
pub fn platform(settings: &Map<String, Value>, launch_type: &str) -> Checked {
    let version = settings.get("platformVersion").and_then(Value::as_str).unwrap_or_default();
    if version.is_empty() {
        return Ok(());
    }
    if launch_type == "EC2" {
        return Err(invalid("The platform version must be null when specifying an EC2 launch type."));
    }
    if !["LATEST", "1.4.0", "1.3.0"].contains(&version) {
        return Err(ApiError::new("PlatformUnknownException", "The specified platform version does not exist."));
    }
    Ok(())
}

/// The launch type that settings name or their capacity providers have.
pub fn launch_type(settings: &Map<String, Value>) -> &str {
    let given = settings.get("launchType").and_then(Value::as_str).unwrap_or("EC2");
    if service_view::on_fargate(settings) { "FARGATE" } else { given }
}

/// Launch type and network configuration fit the task definition (RunTask, CreateService).
pub fn launch(state: &State, launch_type: &str, network: Option<&Value>, definition: &TaskDefinition) -> Checked {
    if !["EC2", "FARGATE"].contains(&launch_type) {
        return Err(invalid(format!("The lab has no launch type {launch_type}: use EC2 or FARGATE.")));
    }
    let compatible = definition.document.get("compatibilities").and_then(Value::as_array);
    if launch_type == "FARGATE" && !compatible.is_some_and(|of| of.iter().any(|of| of == "FARGATE")) {
        return Err(invalid("Task definition does not support launch_type FARGATE."));
    }
    let subnets = network.and_then(|network| network["awsvpcConfiguration"]["subnets"].as_array());
    let given = subnets.is_some_and(|subnets| !subnets.is_empty());
    match definition.network_mode() {
        "awsvpc" if network.is_none() => {
            Err(invalid("Network Configuration must be provided when networkMode 'awsvpc' is specified."))
        }
        "awsvpc" if !given => Err(invalid("subnets can not be empty.")),
        "awsvpc" => {
            let configuration = network.map_or(&Value::Null, |network| &network["awsvpcConfiguration"]);
            at_most("subnets", subnets.map_or(0, Vec::len), 16)?;
            let groups = configuration["securityGroups"].as_array().map_or(&[][..], Vec::as_slice);
            at_most("securityGroups", groups.len(), 5)?;
            if let Some(group) =
                groups.iter().filter_map(Value::as_str).find(|group| !ec2::has_security_group(state, group))
            {
                return Err(invalid(format!(
                    "Error retrieving security group information for [{group}]: The security group '{group}' does not exist (ErrorCode: InvalidGroup.NotFound)"
                )));
            }
            if launch_type == "EC2" && configuration["assignPublicIp"] == "ENABLED" {
                return Err(invalid("Assign public IP is not supported for this launch type."));
            }
            let named = subnets.into_iter().flatten().filter_map(Value::as_str);
            match { named }.find(|subnet| ec2::vpc_of_subnet(state, subnet).is_none()) {
                None => Ok(()),
                Some(subnet) => Err(invalid(format!(
                    "Error retrieving subnet information for [{subnet}]: The subnet ID '{subnet}' does not exist (ErrorCode: InvalidSubnetID.NotFound)"
                ))),
            }
        }
        _ if network.is_some() => {
            Err(invalid("Network Configuration is not valid for the given networkMode of this task definition."))
        }
        _ => Ok(()),
    }
}

fn load_balancer(state: &State, balancer: &Value, definition: &TaskDefinition) -> Checked {
    let container = container(definition, &balancer["containerName"])?;
    let port = balancer["containerPort"].as_i64().unwrap_or_default();
    has_port(container, port)?;
    let Some(arn) = balancer["targetGroupArn"].as_str() else {
        return Err(invalid("The lab has no Classic Load Balancer: give loadBalancers a targetGroupArn."));
    };
    let target_type = state
        .elbv2
        .target_group(arn)
        .map(|group| group.target_type.clone())
        .ok_or_else(|| invalid(format!("The specified target group does not exist: {arn}.")))?;
    let expected = if definition.network_mode() == "awsvpc" { "ip" } else { "instance" };
    if target_type != expected {
        return Err(invalid(format!(
            "The provided target group {arn} has target type {target_type}, which is incompatible with the {} network mode specified in the task definition.",
            definition.network_mode()
        )));
    }
    if !elbv2::is_attached(state, arn) {
        return Err(invalid(format!(
            "The target group with targetGroupArn {arn} does not have an associated load balancer."
        )));
    }
    Ok(())
}

fn container<'d>(definition: &'d TaskDefinition, name: &Value) -> Result<&'d Value, ApiError> {
    let name = name.as_str().unwrap_or_default();
    definition
        .container(name)
        .ok_or_else(|| invalid(format!("The container {name} does not exist in the task definition.")))
}

fn has_port(container: &Value, port: i64) -> Checked {
    let mut mappings = container["portMappings"].as_array().into_iter().flatten();
    if mappings.any(|mapping| mapping["containerPort"] == port) {
        return Ok(());
    }
    let name = container["name"].as_str().unwrap_or_default();
    Err(invalid(format!("The container {name} did not have a container port {port} defined.")))
}

fn service_registry(state: &State, registry: &Value, definition: &TaskDefinition) -> Checked {
    match registry["registryArn"].as_str() {
        None => return Err(invalid("Service registries must have a registryArn.")),
        Some(arn) if !discovery::service_exists(state, arn) => {
            return Err(invalid(format!("The specified service registry does not exist: {arn}.")));
        }
        Some(_) => {}
    }
    let named = registry["containerName"].is_string();
    if definition.network_mode() != "awsvpc" && !(named && registry["containerPort"].is_i64()) {
        return Err(invalid(
            "When specifying 'host' or 'bridge' for networkMode, values for 'containerName' and 'containerPort' must be specified from the task definition.",
        ));
    }
    if named {
        let of = container(definition, &registry["containerName"])?;
        if let Some(port) = registry["containerPort"].as_i64() {
            has_port(of, port)?;
        }
    }
    Ok(())
}

/// The namespace that a request's Service Connect names.
pub fn namespace(state: &State, connect: Option<&Value>) -> Checked {
    let named = connect.filter(|of| of["enabled"] == true).and_then(|of| of["namespace"].as_str());
    match named.filter(|name| !name.is_empty()) {
        Some(name) if discovery::namespace_arn(state, name).is_none() => {
            Err(ApiError::new("NamespaceNotFoundException", "The specified namespace was not found."))
        }
        _ => Ok(()),
    }
}

/// Service Connect goes by the names of port mappings. The words are inferred.
fn service_connect(settings: &Map<String, Value>, definition: &TaskDefinition) -> Checked {
    let connect = settings.get("serviceConnectConfiguration").filter(|of| of["enabled"] == true);
    let mappings = || definition.containers().iter().flat_map(|of| of["portMappings"].as_array().into_iter().flatten());
    for service in connect.and_then(|of| of["services"].as_array()).into_iter().flatten() {
        let port = service["portName"].as_str().unwrap_or_default();
        if !mappings().any(|mapping| mapping["name"] == port) {
            return Err(invalid(format!("The port name {port} is not defined in the task definition.")));
        }
    }
    Ok(())
}

/// Only what a task definition leaves open is configured by its service. The words are inferred.
fn volumes(settings: &Map<String, Value>, definition: &TaskDefinition) -> Checked {
    let open = definition.document.get("volumes").and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
    for volume in items(settings, "volumeConfigurations") {
        let is_it = |of: &&Value| of["name"] == volume["name"] && of["configuredAtLaunch"] == true;
        if !open.iter().any(|of| is_it(&of)) {
            let name = volume["name"].as_str().unwrap_or_default();
            return Err(invalid(format!("The volume {name} is not configuredAtLaunch in the task definition.")));
        }
    }
    Ok(())
}

fn percents(deployment: &Value) -> Checked {
    let minimum = deployment["minimumHealthyPercent"].as_i64().unwrap_or(100);
    let maximum = deployment["maximumPercent"].as_i64().unwrap_or(200);
    if minimum < 0 || maximum < 0 {
        return Err(invalid("minimumHealthyPercent and maximumPercent cannot be negative."));
    }
    if maximum < minimum {
        return Err(invalid("maximumPercent cannot be less than minimumHealthyPercent."));
    }
    if minimum == 100 && maximum == 100 {
        return Err(invalid(
            "Both maximumPercent and minimumHealthyPercent cannot be 100 as this will block deployments.",
        ));
    }
    Ok(())
}

/// That an alarm exists is not asked for: it may look at a metric of the service that is to be created.
fn alarms(alarms: &Value) -> Checked {
    let unnamed = alarms["alarmNames"].as_array().is_none_or(Vec::is_empty);
    if alarms["enable"] == true && unnamed {
        return Err(invalid("alarmNames cannot be empty when deployment alarms are enabled."));
    }
    Ok(())
}

/// `given` over what the service had.
pub fn deployment_configuration(given: &Value, before: &Value) -> Value {
    let mut merged = before.as_object().cloned().unwrap_or_default();
    for (member, value) in given.as_object().into_iter().flatten() {
        merged.insert(member.clone(), value.clone());
    }
    // What belongs to another strategy goes with it, unless it is asked for.
    for (strategy, member) in [("CANARY", "canaryConfiguration"), ("LINEAR", "linearConfiguration")] {
        if given["strategy"].is_string() && given["strategy"] != strategy && given.get(member).is_none() {
            merged.shift_remove(member);
        }
    }
    json!(merged)
}
