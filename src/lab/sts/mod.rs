//! STS: who the caller is. In a lab that is always the same user, also with the credentials of a session.

use serde_json::{Value, json};

use super::Lab;
use super::api::{ApiError, ApiResult, random_hex};
use super::conformance;
use super::input::Input;
use super::lifecycle::{ACCESS_KEY_ID, SECRET_ACCESS_KEY};
use super::wire::iso8601;
use crate::aws_model::Service;

/// STS, `Version` 2011-06-15.
pub fn handle(lab: &Lab, operation: &str, input: Value) -> ApiResult {
    let answer: Option<fn(&Lab, Input) -> ApiResult> = match operation {
        "GetCallerIdentity" => Some(caller_identity),
        "GetAccessKeyInfo" => Some(|lab, _| Ok(json!({ "Account": lab.settings.account_id }))),
        "GetSessionToken" => Some(session_token),
        _ => None,
    };
    let answer = answer.ok_or_else(|| ApiError::unknown_operation(operation));
    let answer = answer.map(|answer| move |input: Value| answer(lab, Input::new(&input, "ValidationError")));
    conformance::answered(Service::Sts, operation, input, answer)
}

/// How long a session lasts unless it is said, in seconds.
const SESSION: i64 = 43_200;

fn caller_identity(lab: &Lab, _: Input) -> ApiResult {
    let account = &lab.settings.account_id;
    Ok(json!({
        "Arn": format!("arn:aws:iam::{account}:user/steady-lab"),
        "UserId": "AIDASTEADYLABSTEADYLA",
        "Account": account,
    }))
}

fn session_token(lab: &Lab, input: Input) -> ApiResult {
    let seconds = input.number_in("DurationSeconds", 900..=129_600)?.unwrap_or(SESSION);
    Ok(json!({
        "Credentials": {
            "AccessKeyId": ACCESS_KEY_ID,
            "SecretAccessKey": SECRET_ACCESS_KEY,
            "SessionToken": random_hex(64),
            "Expiration": iso8601(lab.clock.now() + seconds * 1000),
        },
    }))
}
