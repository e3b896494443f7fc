//! The lab held to AWS's own models, in debug builds: a reply that no real service gives proves nothing.

use serde_json::Value;

use super::api::ApiResult;
use super::validation;
use crate::aws_model::{Problem, Service, check, operation};
use crate::lab::wire::without_nulls;

/// Answers a request that fits the model of its operation, and holds the reply to it.
pub fn answered(service: Service, name: &str, input: Value, answer: impl FnOnce(Value) -> ApiResult) -> ApiResult {
    validation::check_request(service, name, &input)?;
    checked(service, name, answer(input))
}

/// Passes a reply on. In debug builds it panics when the reply does not fit the model of its operation.
pub fn checked(service: Service, name: &str, reply: ApiResult) -> ApiResult {
    if cfg!(debug_assertions)
        && let Ok(reply) = &reply
    {
        let findings = findings(service, name, reply);
        // not what secrets hold
        let reply = match service {
            Service::Ssm | Service::SecretsManager => String::new(),
            _ => format!("{reply:#}"),
        };
        assert!(findings.is_empty(), "{name} of {service:?} answers what AWS does not: {findings:#?}\n{reply}");
    }
    reply
}

fn findings(service: Service, name: &str, reply: &Value) -> Vec<String> {
    let Some(operation) = operation(service, name) else {
        // of EC2 the tables have a part only
        if service == Service::Ec2 {
            return Vec::new();
        }
        return vec!["there is no such operation".to_owned()];
    };
    let Some(output) = &operation.output else { return Vec::new() };
    let mut reply = reply.clone();
    without_nulls(&mut reply);
    let findings = check(service, output, &reply).into_iter();
    let findings = findings.filter(|finding| match finding.problem {
        // a service does not keep to its own bounds in what it says
        Problem::Range { .. } => false,
        // users' documents come back whole, with members that these models do not know yet
        Problem::Unknown { .. } => !finding.pointer.starts_with("/taskDefinition/"),
        _ => true,
    });
    findings.map(|finding| format!("{}: {}", finding.pointer, finding.problem)).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn replies_that_aws_never_gives_are_found() {
        let find = |reply| findings(Service::Ecs, "ListClusters", &reply);
        assert_eq!(find(json!({"clusterArns": ["a"], "nextToken": null})), [""; 0]);
        for reply in [json!({"clusterArns": "a"}), json!({"clusterArns": [1]}), json!({"clusters": []})] {
            assert_eq!(find(reply.clone()).len(), 1, "{reply}");
        }
        assert_eq!(findings(Service::Ecs, "MakeCoffee", &json!({})), ["there is no such operation"]);
    }

    #[test]
    #[should_panic(expected = "answers what AWS does not")]
    fn and_stop_a_debug_build() {
        let _ = checked(Service::Ecs, "ListClusters", Ok(json!({"clusters": []})));
    }
}
