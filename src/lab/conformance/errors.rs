//! The errors that an operation may answer with: those of its model, and those that any operation of its protocol has.

use crate::aws_model::{Protocol, Service, Shape, operation};
use crate::lab::api::ApiError;

/// Of the awsJson protocol, and of the front that all services stand behind.
const JSON: [&str; 9] = [
    "AccessDeniedException",
    "InternalFailure",
    "InvalidSignatureException",
    "MissingAuthenticationTokenException",
    "SerializationException",
    "ThrottlingException",
    "UnknownOperationException",
    "UnrecognizedClientException",
    "ValidationException",
];
/// Of the query protocols.
const QUERY: [&str; 10] = [
    "AccessDenied",
    "InternalFailure",
    "InvalidAction",
    "InvalidParameterValue",
    "MalformedInput",
    "MalformedQueryString",
    "SignatureDoesNotMatch",
    "Throttling",
    "UnknownOperationException",
    "ValidationError",
];

/// What is wrong with an error as an answer of this operation. EC2's model declares none.
pub(super) fn findings(service: Service, name: &str, error: &ApiError) -> Vec<String> {
    if service == Service::Ec2 {
        return Vec::new();
    }
    let model = service.model();
    // CloudWatch keeps the query protocol's codes in the others, too (awsQueryCompatible).
    let is_json = model.protocol == Protocol::Json && service != Service::CloudWatch;
    let common: &[&str] = if is_json { &JSON } else { &QUERY };
    let Some(operation) = operation(service, name) else {
        let known = error.code == "UnknownOperationException" || error.code == "InvalidAction";
        return if known { Vec::new() } else { vec![format!("{} of no such operation", error.code)] };
    };
    let code = error.code.as_str();
    let is_declared = operation.errors.iter().any(|shape| match model.shape(shape) {
        Some(Shape::Structure(structure)) => {
            let called = structure.error.as_ref().map_or("", |(code, _)| code.as_str());
            code == if called.is_empty() { shape.as_str() } else { called }
        }
        _ => false,
    });
    // A parameter's value is an error of ECS's everywhere, also where its model forgets to say so.
    let is_ecs_s = service == Service::Ecs && ["InvalidParameterException", "ClientException"].contains(&code);
    if is_declared || is_ecs_s || common.contains(&code) {
        return Vec::new();
    }
    vec![format!("{code} is not among its errors: {}", operation.errors.join(", "))]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_declared_errors_are_answered() {
        let table = [
            (Service::Ecs, "DescribeServices", "ClusterNotFoundException", true),
            (Service::Ecs, "DescribeServices", "ServiceNotActiveException", false),
            (Service::Ecs, "DescribeServices", "ThrottlingException", true),
            (Service::Ecs, "MakeCoffee", "UnknownOperationException", true),
            (Service::Ecs, "MakeCoffee", "ClientException", false),
            (Service::Elbv2, "CreateListener", "DuplicateListener", true),
            (Service::Elbv2, "CreateListener", "DuplicateListenerException", false),
            (Service::Elbv2, "CreateListener", "ValidationError", true),
            (Service::CloudWatch, "PutMetricAlarm", "ValidationError", true),
            (Service::CloudWatch, "PutMetricAlarm", "ValidationException", false),
            (Service::Logs, "CreateLogGroup", "ResourceAlreadyExistsException", true),
            (Service::Logs, "CreateLogGroup", "ValidationError", false),
        ];
        for (service, operation, code, fits) in table {
            let findings = findings(service, operation, &ApiError::new(code, ""));
            assert_eq!(findings.is_empty(), fits, "{operation} {code}: {findings:?}");
        }
    }
}
