//! What ECS refuses of deployment strategies, in its words where these are known.

use serde_json::{Map, Value};

use super::request::{client, invalid};
use crate::lab::{api::ApiError, elbv2, state::State};

type Checked = Result<(), ApiError>;

/// AWS's bounds: minutes, and tenths of a percent.
const MOST_MINUTES: i64 = 1440;
const LEAST_CANARY: i64 = 1;
const LEAST_STEP: i64 = 30;

/// Where a lifecycle hook of the lab is: functions are URLs on this machine.
pub struct HookUrl {
    pub host: String,
    /// Host and port as a request names them.
    pub authority: String,
    pub port: u16,
    /// With its query.
    pub path: String,
}

impl HookUrl {
    pub fn parse(text: &str) -> Option<HookUrl> {
        let url = url::Url::parse(text).ok().filter(|url| url.scheme() == "http" && url.username().is_empty())?;
        let host = match url.host()? {
            url::Host::Domain("localhost") => "localhost".to_owned(),
            url::Host::Ipv4(address) if address.is_loopback() => address.to_string(),
            url::Host::Ipv6(address) if address.is_loopback() => address.to_string(),
            _ => return None,
        };
        let path = url.query().map_or_else(|| url.path().to_owned(), |query| format!("{}?{query}", url.path()));
        Some(HookUrl { host, authority: url.authority().to_owned(), port: url.port_or_known_default()?, path })
    }
}

pub fn check(state: &State, settings: &Map<String, Value>) -> Checked {
    let configuration = settings.get("deploymentConfiguration").unwrap_or(&Value::Null);
    let strategy = configuration["strategy"].as_str().unwrap_or("ROLLING");
    let balancers = settings.get("loadBalancers").and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
    let advanced = balancers.iter().filter(|of| of["advancedConfiguration"].is_object()).count();
    if strategy != "ROLLING" && advanced < balancers.len() {
        let name = match strategy {
            "BLUE_GREEN" => "Blue/green",
            "CANARY" => "canary",
            _ => "linear",
        };
        return Err(client(format!(
            "advancedConfiguration field is required for all loadBalancers when using the {name} deployment strategy"
        )));
    }
    if advanced > 0 && advanced < balancers.len() {
        return Err(client("Either all or none of the provided loadBalancers must have advancedConfiguration defined"));
    }
    if matches!(strategy, "CANARY" | "LINEAR") && balancers.is_empty() {
        return Err(client(format!(
            "The {} deployment strategy requires a load balancer whose traffic can be shifted.",
            strategy.to_lowercase()
        )));
    }
    let mut groups: Vec<&str> = Vec::new();
    for balancer in balancers.iter().filter(|of| of["advancedConfiguration"].is_object()) {
        load_balancer(state, balancer)?;
        for group in [&balancer["targetGroupArn"], &balancer["advancedConfiguration"]["alternateTargetGroupArn"]] {
            let group = group.as_str().unwrap_or_default();
            if groups.contains(&group) {
                return Err(client(format!("Duplicate targetGroupArn found: {group}")));
            }
            groups.push(group);
        }
    }
    times(configuration, strategy)?;
    configuration["lifecycleHooks"].as_array().into_iter().flatten().try_for_each(hook)
}

fn load_balancer(state: &State, balancer: &Value) -> Checked {
    let advanced = &balancer["advancedConfiguration"];
    let group = balancer["targetGroupArn"].as_str().unwrap_or_default();
    for member in ["alternateTargetGroupArn", "productionListenerRule", "roleArn"] {
        if advanced[member].as_str().is_none_or(str::is_empty) {
            return Err(client(format!("{member} is required in advancedConfiguration.")));
        }
    }
    let alternate = advanced["alternateTargetGroupArn"].as_str().unwrap_or_default();
    let types = [group, alternate].map(|arn| state.elbv2.target_group(arn).map(|group| &group.target_type));
    if types[1].is_none() {
        return Err(invalid(format!("The specified target group does not exist: {alternate}.")));
    }
    if types[0] != types[1] {
        return Err(invalid(format!("The target groups {group} and {alternate} must have the same target type.")));
    }
    let production = advanced["productionListenerRule"].as_str().unwrap_or_default();
    let test = advanced["testListenerRule"].as_str();
    for (member, arn) in [("productionListenerRule", Some(production)), ("testListenerRule", test)] {
        let Some(arn) = arn else { continue };
        if !arn.contains(":listener-rule/app/") && !arn.contains(":listener/net/") {
            return Err(client(format!(
                "{member} has an invalid ARN format. Must be RuleArn for ALB or ListenerArn for NLB. Got: {arn}"
            )));
        }
    }
    if test == Some(production) {
        return Err(client(format!(
            "The following rules cannot be used as both production and test listener rules: {production}"
        )));
    }
    let forwards = elbv2::forwards(state, production).unwrap_or_default();
    let has_both = [group, alternate].iter().all(|group| forwards.iter().any(|(known, _)| known == group));
    if production.contains(":listener-rule/") && test.is_none() && !has_both {
        return Err(client(
            "For Application LoadBalancer, testListenerRule is required when productionListenerRule is not associated with both targetGroup and alternateTargetGroup",
        ));
    }
    Ok(())
}

fn times(configuration: &Value, strategy: &str) -> Checked {
    let minutes = |name: &str, value: &Value| match value.as_i64() {
        Some(given) if !(0..=MOST_MINUTES).contains(&given) => {
            Err(invalid(format!("{name} must be between 0 and {MOST_MINUTES}.")))
        }
        _ => Ok(()),
    };
    minutes("bakeTimeInMinutes", &configuration["bakeTimeInMinutes"])?;
    for (member, of, percent, bake, least) in [
        ("canaryConfiguration", "CANARY", "canaryPercent", "canaryBakeTimeInMinutes", LEAST_CANARY),
        ("linearConfiguration", "LINEAR", "stepPercent", "stepBakeTimeInMinutes", LEAST_STEP),
    ] {
        let given = &configuration[member];
        if given.is_object() && strategy != of {
            return Err(invalid(format!("{member} is only valid when the deployment strategy is {of}.")));
        }
        minutes(bake, &given[bake])?;
        let Some(share) = given[percent].as_f64() else { continue };
        let tenths = (share * 10.0).round();
        let is_multiple = (share * 10.0 - tenths).abs() < 1e-6;
        if !is_multiple || tenths < least as f64 || tenths > 1000.0 {
            let least = least as f64 / 10.0;
            return Err(invalid(format!("{percent} must be a multiple of 0.1 between {least:.1} and 100.0.")));
        }
    }
    Ok(())
}

fn hook(hook: &Value) -> Checked {
    let stages: Vec<&str> =
        hook["lifecycleStages"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    if stages.is_empty() {
        return Err(invalid("A lifecycle hook must have lifecycleStages."));
    }
    if hook["targetType"] == "PAUSE" {
        let shifts = ["TEST_TRAFFIC_SHIFT", "PRODUCTION_TRAFFIC_SHIFT"];
        return match stages.iter().any(|stage| shifts.contains(stage)) {
            true => Err(invalid("Invalid lifecycle stage provided for Pause Hook")),
            false => Ok(()),
        };
    }
    match hook["hookTargetArn"].as_str() {
        None => Err(invalid("A lifecycle hook of type AWS_LAMBDA must have a hookTargetArn.")),
        Some(target) if HookUrl::parse(target).is_none() => Err(invalid(format!(
            "The lab has no Lambda: give hookTargetArn the http URL of a program on this machine, not {target}."
        ))),
        Some(_) => Ok(()),
    }
}
