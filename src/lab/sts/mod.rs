//! STS: who the caller is. In a lab that is always the same user.

use serde_json::{Value, json};

use super::Lab;
use super::api::{ApiError, ApiResult};
use super::conformance;
use crate::aws_model::Service;

/// STS, `Version` 2011-06-15.
pub fn handle(lab: &Lab, operation: &str, input: Value) -> ApiResult {
    let answer = match operation {
        "GetCallerIdentity" => Ok(|_| caller_identity(lab)),
        _ => Err(ApiError::unknown_operation(operation)),
    };
    conformance::answered(Service::Sts, operation, input, answer)
}

fn caller_identity(lab: &Lab) -> ApiResult {
    let account = &lab.settings.account_id;
    Ok(json!({
        "Arn": format!("arn:aws:iam::{account}:user/steady-lab"),
        "UserId": "AIDASTEADYLABSTEADYLA",
        "Account": account,
    }))
}
