//! AWS Secrets Manager: secrets, their versions and the stages of these.

mod find;
mod lifecycle;
mod listing;
mod values;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::api::{ApiError, ApiResult};
use super::conformance;
use super::input::Input;
use super::sealed::Sealed;
use super::state::State;
use super::{Lab, Settings};
use crate::aws_model::Service;

pub use find::{find, version};

pub const CURRENT: &str = "AWSCURRENT";
pub const PREVIOUS: &str = "AWSPREVIOUS";

#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct SecretsState {
    /// By name.
    pub secrets: BTreeMap<String, Secret>,
}

#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Secret {
    /// With six random characters at its end, so that a secret of the same name is another one.
    pub arn: String,
    pub description: Option<String>,
    pub kms_key_id: Option<String>,
    pub tags: BTreeMap<String, String>,
    /// Epoch milliseconds, as are all times here.
    pub created_at: i64,
    pub changed_at: i64,
    /// The day of it.
    pub accessed_at: Option<i64>,
    pub deleted_at: Option<i64>,
    /// When a deleted secret is gone for good.
    pub gone_at: Option<i64>,
    /// By id.
    pub versions: BTreeMap<String, SecretVersion>,
}

#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct SecretVersion {
    pub string: Option<Sealed>,
    /// In base64, as requests and replies have it.
    pub binary: Option<Sealed>,
    /// Those without any are deprecated.
    pub stages: Vec<String>,
    pub created_at: i64,
}

/// One Secrets Manager operation.
pub fn handle(lab: &Lab, operation: &str, input: Value) -> ApiResult {
    conformance::answered(Service::SecretsManager, operation, input, |input| answer(lab, operation, input))
}

fn answer(lab: &Lab, operation: &str, input: Value) -> ApiResult {
    let input = Input::new(&input, "InvalidParameterException");
    let (settings, now) = (&lab.settings, lab.clock.now());
    lab.update(|state| {
        let before = state.secrets.secrets.len();
        state.secrets.secrets.retain(|_, secret| secret.gone_at.is_none_or(|at| at > now));
        ((), state.secrets.secrets.len() != before)
    });
    match operation {
        "CreateSecret" => lab.write(|state| lifecycle::create(state, settings, input, now)),
        "UpdateSecret" => lab.write(|state| lifecycle::update(state, input, now)),
        "DeleteSecret" => lab.write(|state| lifecycle::delete(state, settings, input, now)),
        "RestoreSecret" => lab.write(|state| lifecycle::restore(state, input)),
        "PutSecretValue" => lab.write(|state| values::put(state, input, now)),
        "GetSecretValue" => lab.update(|state| values::get(state, input, now)),
        "DescribeSecret" => lab.read(|state| listing::describe(state, input)),
        "ListSecrets" => lab.read(|state| listing::list(state, settings, input)),
        "ListSecretVersionIds" => lab.read(|state| listing::versions(state, input)),
        "TagResource" => lab.write(|state| tag(state, input)),
        "UntagResource" => lab.write(|state| untag(state, input)),
        _ => Err(ApiError::unknown_operation(operation)),
    }
}

fn arn(settings: &Settings, name: &str, suffix: &str) -> String {
    format!("arn:aws:secretsmanager:{}:{}:secret:{name}-{suffix}", settings.region, settings.account_id)
}

fn tag(state: &mut State, input: Input) -> ApiResult {
    let mut given = input.pairs("Tags")?;
    let (_, secret) = find::usable_mut(state, input)?;
    let added = given.keys().filter(|key| !secret.tags.contains_key(*key)).count();
    if secret.tags.len() + added > 50 {
        return Err(ApiError::new("LimitExceededException", "A secret can have at most 50 tags."));
    }
    secret.tags.append(&mut given);
    Ok(json!({}))
}

fn untag(state: &mut State, input: Input) -> ApiResult {
    let keys = input.texts("TagKeys");
    let (_, secret) = find::usable_mut(state, input)?;
    secret.tags.retain(|key, _| !keys.contains(&key.as_str()));
    Ok(json!({}))
}
