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
use super::input::{Answer, Input};
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
    let answer = self::operation(operation).ok_or_else(|| ApiError::unknown_operation(operation));
    let now = lab.clock.now();
    lab.update(|state| {
        let before = state.secrets.secrets.len();
        state.secrets.secrets.retain(|_, secret| secret.gone_at.is_none_or(|at| at > now));
        ((), state.secrets.secrets.len() != before)
    });
    let answer = answer.map(|answer| move |input: Value| answer(lab, Input::new(&input, "InvalidParameterException")));
    conformance::answered(Service::SecretsManager, operation, input, answer)
}

fn operation(name: &str) -> Option<Answer> {
    let answer: Answer = match name {
        "CreateSecret" => {
            |lab, input| lab.write(|state| lifecycle::create(state, &lab.settings, input, lab.clock.now()))
        }
        "UpdateSecret" => |lab, input| lab.write(|state| lifecycle::update(state, input, lab.clock.now())),
        "DeleteSecret" => {
            |lab, input| lab.write(|state| lifecycle::delete(state, &lab.settings, input, lab.clock.now()))
        }
        "RestoreSecret" => |lab, input| lab.write(|state| lifecycle::restore(state, input)),
        "PutSecretValue" => |lab, input| lab.write(|state| values::put(state, input, lab.clock.now())),
        "GetSecretValue" => |lab, input| lab.update(|state| values::get(state, input, lab.clock.now())),
        "DescribeSecret" => |lab, input| lab.read(|state| listing::describe(state, input)),
        "ListSecrets" => |lab, input| lab.read(|state| listing::list(state, &lab.settings, input)),
        "ListSecretVersionIds" => |lab, input| lab.read(|state| listing::versions(state, input)),
        "TagResource" => |lab, input| lab.write(|state| tag(state, input)),
        "UntagResource" => |lab, input| lab.write(|state| untag(state, input)),
        _ => return None,
    };
    Some(answer)
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
