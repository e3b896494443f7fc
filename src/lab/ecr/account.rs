//! What is set for the whole registry: account settings, and who may do what in it.

use serde_json::{Value, json};

use super::repositories::is_policy;
use super::{EcrState, Repository, invalid, required};
use crate::lab::Lab;
use crate::lab::api::{ApiError, ApiResult};

/// Each setting with its values. A new account has the first.
const SETTINGS: [(&str, &[&str]); 3] = [
    ("BASIC_SCAN_TYPE_VERSION", &["AWS_NATIVE"]),
    ("REGISTRY_POLICY_SCOPE", &["V2"]),
    (BLOB_MOUNTING, &["DISABLED", "ENABLED"]),
];
const BLOB_MOUNTING: &str = "BLOB_MOUNTING";

pub fn put_setting(lab: &Lab, input: &Value) -> ApiResult {
    let (name, values) = setting(input)?;
    let value = required(input, "value")?;
    if !values.contains(&value) {
        let allowed = values.join(", ");
        return Err(invalid("value", &format!("Member must satisfy enum value set: [{allowed}]")));
    }
    lab.write(|state| state.ecr.account_settings.insert(name.to_owned(), value.to_owned()));
    Ok(json!({ "name": name, "value": value }))
}

pub fn get_setting(lab: &Lab, input: &Value) -> ApiResult {
    let (name, _) = setting(input)?;
    Ok(lab.read(|state| json!({ "name": name, "value": state.ecr.account_setting(name) })))
}

fn setting(input: &Value) -> Result<(&'static str, &'static [&'static str]), ApiError> {
    let wanted = required(input, "name")?;
    SETTINGS.into_iter().find(|(name, _)| *name == wanted).ok_or_else(|| {
        let names = SETTINGS.map(|(name, _)| name).join(", ");
        invalid("name", &format!("Member must satisfy enum value set: [{names}]"))
    })
}

pub fn put_policy(lab: &Lab, input: &Value) -> ApiResult {
    let text = required(input, "policyText")?;
    if !is_policy(text) {
        return Err(invalid("PolicyText", "Invalid registry policy provided"));
    }
    lab.write(|state| state.ecr.registry_policy = Some(text.to_owned()));
    Ok(policy_reply(lab, text))
}

pub fn get_policy(lab: &Lab) -> ApiResult {
    lab.read(|state| state.ecr.registry_policy.as_ref().map(|text| policy_reply(lab, text)))
        .ok_or_else(|| no_policy(lab))
}

pub fn delete_policy(lab: &Lab) -> ApiResult {
    let gone = lab.write(|state| state.ecr.registry_policy.take());
    gone.map(|text| policy_reply(lab, &text)).ok_or_else(|| no_policy(lab))
}

fn policy_reply(lab: &Lab, text: &str) -> Value {
    json!({ "registryId": lab.settings.account_id, "policyText": text })
}

fn no_policy(lab: &Lab) -> ApiError {
    let id = &lab.settings.account_id;
    ApiError::new(
        "RegistryPolicyNotFoundException",
        format!("Registry policy does not exist in the registry with id '{id}'"),
    )
}

pub fn describe_registry(lab: &Lab) -> ApiResult {
    Ok(json!({ "registryId": lab.settings.account_id, "replicationConfiguration": { "rules": [] } }))
}

impl EcrState {
    fn account_setting(&self, name: &str) -> String {
        let default = || SETTINGS.iter().find(|(known, _)| *known == name).map_or("", |(_, values)| values[0]);
        self.account_settings.get(name).cloned().unwrap_or_else(|| default().to_owned())
    }

    /// Gives a repository a blob of another, where the account has that switched on. ECR wants the blob to be in an
    /// image there, and both repositories to be encrypted alike.
    pub fn mount(&mut self, name: &str, digest: &str, from: Option<&str>) -> bool {
        if self.account_setting(BLOB_MOUNTING) != "ENABLED" {
            return false;
        }
        let Some(encryption) = self.repositories.get(name).map(|repository| &repository.encryption) else {
            return false;
        };
        let size_in = |source: &Repository| {
            let is_used = source.images.values().any(|image| image.refers_to.iter().any(|blob| blob == digest));
            source.blobs.get(digest).copied().filter(|_| is_used && source.encryption == *encryption)
        };
        let size = match from {
            Some(from) => self.repositories.get(from).and_then(size_in),
            None => self.repositories.values().find_map(size_in),
        };
        match (size, self.repositories.get_mut(name)) {
            (Some(size), Some(repository)) => {
                repository.blobs.insert(digest.to_owned(), size);
                true
            }
            _ => false,
        }
    }
}
