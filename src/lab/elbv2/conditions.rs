//! Conditions: which requests a rule is for.

use serde_json::{Value, json};

use super::Condition;
use crate::lab::api::ApiError;
use crate::lab::input::Input;

/// How many values the conditions of one rule may have.
const MOST_VALUES: usize = 5;

/// The conditions of a rule. Each kind holds its values in a member of its own, or two of them in `Values`.
pub(super) fn conditions(input: Input) -> Result<Vec<Condition>, ApiError> {
    let conditions: Vec<Condition> =
        input.list("Conditions").into_iter().map(condition).collect::<Result<_, ApiError>>()?;
    if conditions.is_empty() {
        return Err(input.error("A condition must be specified"));
    }
    let only_once = |kind: fn(&Condition) -> bool| conditions.iter().filter(|of| kind(of)).count() <= 1;
    let once = only_once(|of| matches!(of, Condition::PathPattern(_)))
        && only_once(|of| matches!(of, Condition::HostHeader(_)))
        && only_once(|of| matches!(of, Condition::Method(_)))
        && only_once(|of| matches!(of, Condition::SourceIp(_)));
    if !once {
        return Err(input.error(
            "A rule can have one condition each of host-header, path-pattern, http-request-method and source-ip",
        ));
    }
    if conditions.iter().map(count).sum::<usize>() > MOST_VALUES {
        return Err(input.error(format!("A rule can only have '{MOST_VALUES}' condition values")));
    }
    Ok(conditions)
}

fn count(condition: &Condition) -> usize {
    match condition {
        Condition::PathPattern(values)
        | Condition::HostHeader(values)
        | Condition::Method(values)
        | Condition::SourceIp(values)
        | Condition::HttpHeader { values, .. } => values.len(),
        Condition::QueryString(pairs) => pairs.len(),
    }
}

fn condition(condition: Input) -> Result<Condition, ApiError> {
    let field = condition.required("Field")?;
    let missing = || condition.error("A condition value must be specified");
    let own = |member: &str| condition.structure(member).map(|own| own.owned_texts("Values")).unwrap_or_default();
    let values = |member: &str| match own(member) {
        values if !values.is_empty() => Ok(values),
        _ => Err(missing()),
    };
    let or_plain = |member: &str| match values(member) {
        Ok(values) => Ok(values),
        Err(error) => Some(condition.owned_texts("Values")).filter(|plain| !plain.is_empty()).ok_or(error),
    };
    let wildcards = |values: Vec<String>| match values.iter().find(|value| value.chars().count() > 128) {
        Some(value) => {
            Err(condition.error(format!("Condition value '{value}' cannot be longer than '128' characters")))
        }
        None => Ok(values),
    };
    // The characters are the documentation's, the words are inferred.
    let of_characters = |values: Vec<String>, allowed: &str| {
        let is_odd = |value: &&String| !value.chars().all(|c| c.is_ascii_alphanumeric() || allowed.contains(c));
        match values.iter().find(is_odd) {
            Some(value) => {
                Err(condition.error(format!("Condition value '{value}' contains a character that is not valid")))
            }
            None => Ok(values),
        }
    };
    Ok(match field {
        "path-pattern" => {
            Condition::PathPattern(of_characters(wildcards(or_plain("PathPatternConfig")?)?, "_-.$/~\"'@:+&*?")?)
        }
        "host-header" => Condition::HostHeader(of_characters(wildcards(or_plain("HostHeaderConfig")?)?, "-.*?")?),
        "http-request-method" => {
            let methods = values("HttpRequestMethodConfig")?;
            let is_method = |method: &String| method.len() <= 40 && method.chars().all(|c| c.is_ascii_uppercase() || "-_".contains(c));
            match methods.iter().find(|method| !is_method(method)) {
                Some(method) => return Err(condition.error(format!("The HTTP request method '{method}' is not valid"))),
                None => Condition::Method(methods),
            }
        }
        "query-string" => {
            let pairs = condition.structure("QueryStringConfig").map(|own| own.list("Values")).unwrap_or_default();
            let pairs = pairs.into_iter().map(|pair| {
                let value = pair.text("Value").ok_or_else(&missing)?;
                Ok((pair.text("Key").filter(|key| !key.is_empty()).map(str::to_owned), value.to_owned()))
            });
            let pairs: Vec<_> = pairs.collect::<Result<_, ApiError>>()?;
            if pairs.is_empty() {
                return Err(missing());
            }
            Condition::QueryString(pairs)
        }
        "http-header" => {
            let own = condition.structure("HttpHeaderConfig").ok_or_else(&missing)?;
            let name = own.required("HttpHeaderName")?;
            if name.eq_ignore_ascii_case("host") {
                return Err(condition.error("The http-header condition cannot be used for the host header: use host-header"));
            }
            Condition::HttpHeader { name: name.to_owned(), values: wildcards(values("HttpHeaderConfig")?)? }
        }
        "source-ip" => {
            let networks = values("SourceIpConfig")?;
            match networks.iter().find(|network| super::network(network).is_none()) {
                Some(network) => {
                    return Err(condition.error(format!("The CIDR block '{network}' is not valid")));
                }
                None => Condition::SourceIp(networks),
            }
        }
        other => return Err(condition.error(format!("Condition field '{other}' must be one of '[http-header, http-request-method, host-header, path-pattern, query-string, source-ip]'"))),
    })
}

pub(super) fn describe(condition: &Condition) -> Value {
    let (field, member, values) = match condition {
        Condition::PathPattern(values) => ("path-pattern", "PathPatternConfig", values),
        Condition::HostHeader(values) => ("host-header", "HostHeaderConfig", values),
        Condition::Method(values) => {
            return json!({ "Field": "http-request-method", "HttpRequestMethodConfig": { "Values": values } });
        }
        Condition::SourceIp(values) => {
            return json!({ "Field": "source-ip", "SourceIpConfig": { "Values": values } });
        }
        Condition::HttpHeader { name, values } => {
            let config = json!({ "HttpHeaderName": name, "Values": values });
            return json!({ "Field": "http-header", "HttpHeaderConfig": config });
        }
        Condition::QueryString(pairs) => {
            let pair = |(key, value): &(Option<String>, String)| match key {
                Some(key) => json!({ "Key": key, "Value": value }),
                None => json!({ "Value": value }),
            };
            let values: Vec<Value> = pairs.iter().map(pair).collect();
            return json!({ "Field": "query-string", "QueryStringConfig": { "Values": values } });
        }
    };
    json!({ "Field": field, "Values": values, member: { "Values": values } })
}
