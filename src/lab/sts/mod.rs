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
    conformance::answered(Service::Sts, operation, input, |input| answer(lab, operation, &input))
}

/// How long a session lasts unless it is said, in seconds.
const SESSION: i64 = 43_200;

fn answer(lab: &Lab, operation: &str, input: &Value) -> ApiResult {
    let input = Input::new(input, "ValidationError");
    match operation {
        "GetCallerIdentity" => {
            let account = &lab.settings.account_id;
            Ok(json!({
                "Arn": format!("arn:aws:iam::{account}:user/steady-lab"),
                "UserId": "AIDASTEADYLABSTEADYLA",
                "Account": account,
            }))
        }
        "GetAccessKeyInfo" => Ok(json!({ "Account": lab.settings.account_id })),
        "GetSessionToken" => {
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
        _ => Err(ApiError::unknown_operation(operation)),
    }
}
