// CONTRACT: another helper's; this only lets the front compile.
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::Lab;
use super::api::{ApiError, ApiResult};

#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Ec2State {}

pub fn handle(_lab: &Lab, operation: &str, _input: Value) -> ApiResult {
    Err(ApiError::unknown_operation(operation))
}
