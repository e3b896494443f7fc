//! The lab held to AWS's own models, in debug builds: a reply that no real service gives proves nothing.

mod always;
mod errors;
mod tally;

use std::cell::Cell;
use std::io::Write;

use serde_json::Value;

use super::api::{ApiError, ApiResult};
use super::validation;
use crate::aws_model::{Problem, Service, check, operation};
use crate::lab::wire::without_nulls;

thread_local! {
    /// This thread answered what AWS does not.
    static BROKEN: Cell<bool> = const { Cell::new(false) };
}

/// Answers a request that fits the model of its operation, and holds the reply to it. `answer` is an error where the
/// lab does not know the operation: that is said before anything about the request.
pub fn answered<A>(service: Service, name: &str, input: Value, answer: Result<A, ApiError>) -> ApiResult
where
    A: FnOnce(Value) -> ApiResult,
{
    let answer = answer?;
    let reply = validation::check_request(service, name, &input).and_then(|()| answer(input));
    checked(service, name, reply)
}

/// Passes a reply on. In debug builds it panics when the reply does not fit the model of its operation.
pub fn checked(service: Service, name: &str, reply: ApiResult) -> ApiResult {
    if cfg!(debug_assertions) {
        let findings = match &reply {
            Ok(reply) => findings(service, name, reply),
            Err(error) => errors::findings(service, name, error),
        };
        let code = reply.as_ref().err().map(|error| error.code.as_str());
        tally::add(service, name, if findings.is_empty() { code.unwrap_or("ok") } else { "BROKEN" });
        if !findings.is_empty() {
            BROKEN.set(true);
            // not what secrets hold
            let reply = match (service, &reply) {
                (Service::Ssm | Service::SecretsManager, _) => String::new(),
                (_, Ok(reply)) => format!("{reply:#}"),
                (_, Err(error)) => error.to_string(),
            };
            panic!("{name} of {service:?} answers what AWS does not: {findings:#?}\n{reply}");
        }
    }
    reply
}

/// After a panic of a handler on this thread: ends the process when its reply was one that AWS does not give. Answered
/// with a 500, a client that tries again or a test that expects a failure would never know.
pub fn end_if_broken() {
    if cfg!(debug_assertions) && BROKEN.get() {
        let _ = writeln!(std::io::stderr(), "the lab answered what AWS does not, and ends here");
        std::process::abort();
    }
}

fn findings(service: Service, name: &str, reply: &Value) -> Vec<String> {
    let Some(operation) = operation(service, name) else {
        // of EC2 the tables have a part only
        if service == Service::Ec2 {
            return Vec::new();
        }
        return vec!["there is no such operation".to_owned()];
    };
    let mut reply = reply.clone();
    without_nulls(&mut reply);
    let Some(output) = &operation.output else {
        let empty = reply.as_object().is_some_and(serde_json::Map::is_empty);
        return if empty { Vec::new() } else { vec!["the operation answers nothing".to_owned()] };
    };
    let findings = check(service, output, &reply).into_iter();
    let findings = findings.filter(|finding| match finding.problem {
        // a service does not keep to its own bounds in what it says
        Problem::Range { .. } => false,
        // users' documents come back whole, with members that these models do not know yet
        Problem::Unknown { .. } => !finding.pointer.starts_with("/taskDefinition/"),
        _ => true,
    });
    let findings = findings.map(|finding| format!("{}: {}", finding.pointer, finding.problem));
    findings.chain(always::missing(service, output, &reply)).collect()
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
        assert_eq!(findings(Service::Logs, "DeleteLogGroup", &json!({})), [""; 0]);
        assert_eq!(findings(Service::Logs, "DeleteLogGroup", &json!({"a": 1})), ["the operation answers nothing"]);
    }

    #[test]
    fn what_real_replies_always_carry_is_missed() {
        let reply = json!({"cluster": {"clusterArn": "a", "clusterName": "b"}});
        let findings = findings(Service::Ecs, "CreateCluster", &reply);
        assert!(findings.iter().any(|finding| finding.starts_with("/cluster: ") && finding.contains("status")));
    }
}
