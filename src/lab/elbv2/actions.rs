//! Actions: what a rule does.

use serde_json::{Value, json};

use super::{Action, LoadBalancer, limits, target_groups};
use crate::lab::api::ApiError;
use crate::lab::input::Input;
use crate::lab::state::State;

/// The one action of a list, checked against the load balancer that is to do it.
pub(super) fn action(
    state: &State,
    load_balancer: &LoadBalancer,
    input: Input,
    name: &str,
) -> Result<Action, ApiError> {
    let actions = input.list(name);
    let [action] = actions.as_slice() else {
        return Err(input.error(match actions.len() {
            0 => "An action must be specified",
            _ => "The lab takes one action: forward, redirect or fixed-response",
        }));
    };
    let parsed = parse(*action)?;
    if load_balancer.kind.name() == "network" && !matches!(parsed, Action::Forward { .. }) {
        return Err(ApiError::new(
            "InvalidLoadBalancerAction",
            "The listeners of a network load balancer take only forward actions",
        ));
    }
    for (arn, _) in parsed.target_groups() {
        let group = target_groups::find(state, arn)?;
        if group.protocol != load_balancer.kind.protocol() {
            return Err(ApiError::new(
                "IncompatibleProtocols",
                format!(
                    "Listener protocol '{}' is not supported with a target group with the protocol '{}'",
                    load_balancer.kind.protocol().name(),
                    group.protocol.name()
                ),
            ));
        }
        if group.vpc_id != load_balancer.vpc_id {
            return Err(ApiError::new(
                "InvalidConfigurationRequest",
                format!("The following target groups are not in the same VPC as the load balancer: {arn}"),
            ));
        }
        if state.elbv2.load_balancers_of(arn).iter().any(|other| *other != load_balancer.arn) {
            return Err(ApiError::new(
                "TargetGroupAssociationLimit",
                format!("The following target groups cannot be associated with more than one load balancer: {arn}"),
            ));
        }
    }
    Ok(parsed)
}

fn parse(input: Input) -> Result<Action, ApiError> {
    let invalid = |message: String| ApiError::new("InvalidLoadBalancerAction", message);
    match input.required("Type")? {
        "forward" => {
            let config = input.structure("ForwardConfig");
            let mut groups = Vec::new();
            for group in config.map(|config| config.list("TargetGroups")).unwrap_or_default() {
                let weight = group.number_in("Weight", 0..=999)?.unwrap_or(1) as u32;
                groups.push((group.required("TargetGroupArn")?.to_owned(), weight));
            }
            if groups.len() > limits::TARGET_GROUPS {
                let most = limits::TARGET_GROUPS;
                return Err(input.error(format!("An action can forward to at most '{most}' target groups")));
            }
            if groups.is_empty() {
                groups.push((input.required("TargetGroupArn")?.to_owned(), 1));
            }
            let of_all = config.and_then(|config| config.structure("TargetGroupStickinessConfig"));
            let sticky = match of_all.filter(|of| of.flag("Enabled") == Some(true)) {
                None => None,
                Some(of) => {
                    let seconds = of.number_in("DurationSeconds", 1..=604_800)?;
                    let seconds = seconds.ok_or_else(|| invalid("Stickiness needs DurationSeconds".to_owned()))?;
                    Some(seconds as u64)
                }
            };
            Ok(Action::Forward { groups, sticky })
        }
        "fixed-response" => {
            let config = input
                .structure("FixedResponseConfig")
                .ok_or_else(|| invalid("A fixed-response action needs a FixedResponseConfig".to_owned()))?;
            let status = config.required("StatusCode")?;
            let status = status
                .parse()
                .ok()
                .filter(|status| (200..600).contains(status))
                .ok_or_else(|| invalid(format!("The status code '{status}' is not a 2XX, 4XX or 5XX code")))?;
            Ok(Action::FixedResponse {
                status,
                content_type: config.text("ContentType").map(str::to_owned),
                body: config.text("MessageBody").map(str::to_owned),
            })
        }
        "redirect" => {
            let config = input
                .structure("RedirectConfig")
                .ok_or_else(|| invalid("A redirect action needs a RedirectConfig".to_owned()))?;
            let part = |name: &str, default: &str| config.text(name).unwrap_or(default).to_owned();
            let status = match config.required("StatusCode")? {
                "HTTP_301" => 301,
                "HTTP_302" => 302,
                other => return Err(invalid(format!("The status code '{other}' is not HTTP_301 or HTTP_302"))),
            };
            Ok(Action::Redirect {
                protocol: part("Protocol", "#{protocol}"),
                host: part("Host", "#{host}"),
                port: part("Port", "#{port}"),
                path: part("Path", "/#{path}"),
                query: part("Query", "#{query}"),
                status,
            })
        }
        other => Err(invalid(format!("The lab has the actions forward, redirect and fixed-response, not '{other}'"))),
    }
}

pub(super) fn describe_action(action: &Action) -> Value {
    match action {
        Action::Forward { groups, sticky } => {
            let mut value = json!({ "Type": "forward" });
            if let [(arn, _)] = groups.as_slice() {
                value["TargetGroupArn"] = json!(arn);
            }
            let groups: Vec<Value> =
                groups.iter().map(|(arn, weight)| json!({ "TargetGroupArn": arn, "Weight": weight })).collect();
            let mut stickiness = json!({ "Enabled": sticky.is_some() });
            if let Some(seconds) = sticky {
                stickiness["DurationSeconds"] = json!(seconds);
            }
            value["ForwardConfig"] = json!({ "TargetGroups": groups, "TargetGroupStickinessConfig": stickiness });
            value
        }
        Action::FixedResponse { status, content_type, body } => {
            let mut config = json!({ "StatusCode": status.to_string() });
            if let Some(content_type) = content_type {
                config["ContentType"] = json!(content_type);
            }
            if let Some(body) = body {
                config["MessageBody"] = json!(body);
            }
            json!({ "Type": "fixed-response", "FixedResponseConfig": config })
        }
        Action::Redirect { protocol, host, port, path, query, status } => json!({
            "Type": "redirect",
            "RedirectConfig": {
                "Protocol": protocol,
                "Host": host,
                "Port": port,
                "Path": path,
                "Query": query,
                "StatusCode": format!("HTTP_{status}"),
            },
        }),
    }
}
