//! A request held against its operation's model before the operation sees it, refused in the words of each service.

use serde_json::Value;

use super::api::ApiError;
use super::input::lower_first;
use crate::aws_model::{Finding, Problem, Protocol, Service, check, operation};

/// Refuses a request whose values have other types than the model's, are beyond its bounds or are missing.
/// AWS ignores members that it does not know, and so does this.
///
/// # Errors
///
/// As the service answers such a request: `SerializationException` for types in JSON, else its own validation error.
pub fn check_request(service: Service, name: &str, input: &Value) -> Result<(), ApiError> {
    let shape = operation(service, name).and_then(|operation| operation.input.as_deref());
    let Some(shape) = shape else { return Ok(()) };
    let is_json = service.model().protocol == Protocol::Json;
    // A form has `Member=` for a list with nothing in it.
    let is_empty_list = |finding: &Finding| {
        let is_list = matches!(finding.problem, Problem::Type { expected: "a list", found: "a string" });
        !is_json && is_list && at(input, finding) == Some("")
    };
    let mut findings = check(service, shape, input);
    findings.retain(|finding| match finding.problem {
        Problem::Unknown { .. } => false,
        // ECS has words of its own for each member of a request that is not there.
        Problem::Missing { .. } => service != Service::Ecs || !finding.pointer.is_empty(),
        _ => !is_empty_list(finding),
    });
    if let Some(malformed) = findings.iter().find_map(|finding| conversion(finding, input)) {
        let code = if is_json { "SerializationException" } else { "MalformedInput" };
        return Err(ApiError::new(code, malformed));
    }
    let constraints: Vec<Constraint> = findings.iter().filter_map(|finding| constraint(finding, input)).collect();
    match constraints.as_slice() {
        [] => Ok(()),
        failed => Err(refusal(service, failed)),
    }
}

/// A value that fails what the model asks of it.
struct Constraint {
    value: String,
    path: String,
    demand: String,
}

/// Each service has its code for it; ECR has a text of its own, another for names, and says the first only.
fn refusal(service: Service, failed: &[Constraint]) -> ApiError {
    let code = match service {
        Service::Ecs | Service::Ecr | Service::EcrPublic | Service::Logs => "InvalidParameterException",
        Service::Elbv2 | Service::Sts | Service::Iam | Service::CloudWatch => "ValidationError",
        Service::Ssm | Service::SecretsManager => "ValidationException",
        Service::ServiceDiscovery => "InvalidInput",
        Service::Ec2 => "InvalidParameterValue",
    };
    if let (Service::Ecr, [first, ..]) = (service, failed) {
        let is_name = first.path == "repositoryName";
        let demand = first.demand.strip_prefix("Member ").filter(|_| is_name).unwrap_or(&first.demand);
        let message = format!("Invalid parameter at '{}' failed to satisfy constraint: '{demand}'", first.path);
        return ApiError::new(code, message);
    }
    let each = failed.iter().map(|Constraint { value, path, demand }| {
        // What a secret holds is not repeated.
        let value = match path.as_str() {
            "secretString" | "secretBinary" => String::new(),
            _ => format!(" {value}"),
        };
        format!("Value{value} at '{path}' failed to satisfy constraint: {demand}")
    });
    let errors = if failed.len() == 1 { "error" } else { "errors" };
    let all = each.collect::<Vec<_>>().join("; ");
    ApiError::new(code, format!("{} validation {errors} detected: {all}", failed.len()))
}

/// What AWS's JSON and form readers say of a value of another type.
fn conversion(finding: &Finding, input: &Value) -> Option<String> {
    let Problem::Type { expected, .. } = finding.problem else { return None };
    let found = input.pointer(&finding.pointer)?;
    let token = match found {
        Value::Object(_) => return Some("Start of structure or map found where not expected.".to_owned()),
        Value::Array(_) => return Some("Start of list found where not expected.".to_owned()),
        Value::String(_) => "STRING_VALUE",
        Value::Number(number) if number.is_f64() => "DECIMAL_VALUE",
        Value::Number(_) => "NUMBER_VALUE",
        Value::Bool(true) => "TRUE_VALUE",
        Value::Bool(false) => "FALSE_VALUE",
        Value::Null => "NULL_VALUE",
    };
    Some(match expected {
        "a list" | "an object" => format!("Unexpected token {token} where {expected} is expected."),
        "a string" => format!("{token} cannot be converted to String"),
        "an integer" => format!("{token} cannot be converted to Integer"),
        "a number" => format!("{token} cannot be converted to Double"),
        "true or false" => format!("{token} cannot be converted to Boolean"),
        _ => format!("{token} cannot be converted to Timestamp"),
    })
}

fn constraint(finding: &Finding, input: &Value) -> Option<Constraint> {
    let value = input.pointer(&finding.pointer).map_or_else(|| "null".to_owned(), shown);
    let path = path(&finding.pointer);
    let demand = match &finding.problem {
        Problem::Missing { member } => {
            let path = if path.is_empty() { lower_first(member) } else { format!("{path}.{}", lower_first(member)) };
            return Some(Constraint { value: "null".into(), path, demand: "Member must not be null".into() });
        }
        Problem::Value { allowed, .. } => format!("Member must satisfy enum value set: [{}]", allowed.join(", ")),
        Problem::Range { what, found, min, max } => {
            let number = found.parse::<f64>().unwrap_or_default();
            let (bound, order) = match (min, max) {
                (Some(min), _) if number < *min => (min, "greater"),
                (_, Some(max)) => (max, "less"),
                _ => return None,
            };
            format!("Member must have {what} {order} than or equal to {bound}")
        }
        Problem::Null | Problem::Unknown { .. } | Problem::Type { .. } => return None,
    };
    Some(Constraint { value, path, demand })
}

/// `/containerDefinitions/0/portMappings` as `containerDefinitions.1.member.portMappings`.
fn path(pointer: &str) -> String {
    let tokens = pointer.split('/').skip(1).map(|token| match token.parse::<usize>() {
        Ok(index) => format!("{}.member", index + 1),
        Err(_) => lower_first(&token.replace("~1", "/").replace("~0", "~")),
    });
    tokens.collect::<Vec<_>>().join(".")
}

/// In quotes, as these texts show a value: `'[a, b]'`.
fn shown(value: &Value) -> String {
    fn plain(value: &Value) -> String {
        match value {
            Value::String(text) => text.clone(),
            Value::Array(items) => format!("[{}]", items.iter().map(plain).collect::<Vec<_>>().join(", ")),
            other => other.to_string(),
        }
    }
    format!("'{}'", plain(value))
}

fn at<'a>(input: &'a Value, finding: &Finding) -> Option<&'a str> {
    input.pointer(&finding.pointer)?.as_str()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// Request, code and text; an empty code passes.
    #[test]
    fn requests_are_refused_in_the_words_of_their_service() {
        use Service::{Ec2, Ecr, Ecs, Elbv2, Logs, ServiceDiscovery};
        let constraint = |value: &str, at: &str, demand: &str| {
            format!("1 validation error detected: Value {value} at '{at}' failed to satisfy constraint: {demand}")
        };
        let serialization = "SerializationException";
        let table = [
            (Ecs, "ListClusters", json!({ "maxResults": 5, "whatever": 1 }), "", String::new()),
            (Ecs, "ListClusters", json!({ "maxResults": "5" }), serialization, "STRING_VALUE cannot be converted to Integer".into()),
            (Ecs, "ListClusters", json!({ "nextToken": 5 }), serialization, "NUMBER_VALUE cannot be converted to String".into()),
            (Ecs, "ListClusters", json!({ "nextToken": {} }), serialization, "Start of structure or map found where not expected.".into()),
            (Ecs, "DeleteService", json!({ "service": "a", "force": "yes" }), serialization, "STRING_VALUE cannot be converted to Boolean".into()),
            (
                Ecs,
                "CreateService",
                json!({ "serviceName": "a", "launchType": "MOON" }),
                "InvalidParameterException",
                constraint(
                    "'MOON'",
                    "launchType",
                    "Member must satisfy enum value set: [EC2, FARGATE, EXTERNAL, MANAGED_INSTANCES]",
                ),
            ),
            (
                Ecr,
                "CreateRepository",
                json!({ "repositoryName": "a" }),
                "InvalidParameterException",
                "Invalid parameter at 'repositoryName' failed to satisfy constraint: 'must have length greater than or equal to 2'".into(),
            ),
            (
                Ecr,
                "BatchGetImage",
                json!({ "repositoryName": "aa", "imageIds": [] }),
                "InvalidParameterException",
                "Invalid parameter at 'imageIds' failed to satisfy constraint: 'Member must have length greater than or equal to 1'".into(),
            ),
            (
                Ecr,
                "ListImages",
                json!({ "repositoryName": "aa", "maxResults": 1001 }),
                "InvalidParameterException",
                "Invalid parameter at 'maxResults' failed to satisfy constraint: 'Member must have value less than or equal to 1000'".into(),
            ),
            (
                Logs,
                "PutLogEvents",
                json!({ "logGroupName": "a", "logStreamName": "b", "logEvents": [] }),
                "InvalidParameterException",
                constraint("'[]'", "logEvents", "Member must have length greater than or equal to 1"),
            ),
            (
                Logs,
                "PutLogEvents",
                json!({ "logGroupName": "a", "logStreamName": "b", "logEvents": [{ "timestamp": 1 }] }),
                "InvalidParameterException",
                constraint("null", "logEvents.1.member.message", "Member must not be null"),
            ),
            (
                ServiceDiscovery,
                "CreatePrivateDnsNamespace",
                json!({ "Name": "a.local" }),
                "InvalidInput",
                constraint("null", "vpc", "Member must not be null"),
            ),
            (Elbv2, "DescribeLoadBalancers", json!({ "PageSize": "5", "Names": "" }), "", String::new()),
            (Elbv2, "DescribeLoadBalancers", json!({ "PageSize": "many" }), "MalformedInput", "STRING_VALUE cannot be converted to Integer".into()),
            (
                Elbv2,
                "DescribeLoadBalancers",
                json!({ "PageSize": "0" }),
                "ValidationError",
                constraint("'0'", "pageSize", "Member must have value greater than or equal to 1"),
            ),
            (Ec2, "NoSuchOperation", json!({}), "", String::new()),
        ];
        for (service, operation, input, code, message) in table {
            let refused = check_request(service, operation, &input).err();
            let refused = refused.map_or_else(Default::default, |error| (error.code, error.message));
            assert_eq!(refused, (code.to_owned(), message), "{operation} {input}");
        }
    }

    #[test]
    fn all_that_is_wrong_is_said_at_once() {
        let input = json!({ "Type": "moon", "Scheme": "hidden", "Name": "a" });
        let error = check_request(Service::Elbv2, "CreateLoadBalancer", &input).unwrap_err();
        assert!(error.message.starts_with("2 validation errors detected: Value 'moon' at 'type'"), "{error}");
        assert!(error.message.contains("; Value 'hidden' at 'scheme' failed"), "{error}");
    }
}
