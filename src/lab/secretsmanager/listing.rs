//! What there is, without any value: DescribeSecret, ListSecrets, ListSecretVersionIds.

use serde_json::{Map, Value, json};

use super::{Secret, find};
use crate::lab::Settings;
use crate::lab::api::{ApiError, ApiResult};
use crate::lab::input::Input;
use crate::lab::paging;
use crate::lab::state::State;
use crate::lab::wire::epoch_seconds;

const MOST: i64 = 100;

pub(super) fn describe(state: &State, input: Input) -> ApiResult {
    let (name, secret) = find::find(state, input.required("SecretId")?)?;
    Ok(view(name, secret, "VersionIdsToStages"))
}

pub(super) fn list(state: &State, settings: &Settings, input: Input) -> ApiResult {
    let with_deleted = input.flag("IncludePlannedDeletion") == Some(true);
    let filters = input.list("Filters");
    for filter in &filters {
        let key = filter.text("Key").unwrap_or_default();
        if !["name", "description", "tag-key", "tag-value", "primary-region", "all"].contains(&key) {
            return Err(input.error(format!("The lab's ListSecrets has no filter {key}.")));
        }
    }
    let all = state.secrets.secrets.iter().filter(|(_, secret)| with_deleted || secret.deleted_at.is_none());
    let mut found: Vec<_> =
        all.filter(|(name, secret)| filters.iter().all(|filter| is_wanted(name, secret, *filter, settings))).collect();
    let time = |secret: &Secret| match input.text("SortBy") {
        Some("last-changed-date") => secret.changed_at,
        Some("last-accessed-date") => secret.accessed_at.unwrap_or_default(),
        _ => secret.created_at,
    };
    match (input.text("SortBy"), input.text("SortOrder")) {
        (Some("name"), Some("asc")) => {}
        (Some("name"), _) => found.reverse(),
        (_, Some("asc")) => found.sort_by_key(|(_, secret)| time(secret)),
        _ => found.sort_by_key(|(_, secret)| std::cmp::Reverse(time(secret))),
    }
    let (page, next) = page(input, found)?;
    let views = page.into_iter().map(|(name, secret)| view(name, secret, "SecretVersionsToStages"));
    Ok(json!({ "SecretList": views.collect::<Vec<_>>(), "NextToken": next }))
}

/// Names are of one case, all else is of any; a `!` in front of a value turns it round.
fn is_wanted(name: &str, secret: &Secret, filter: Input, settings: &Settings) -> bool {
    let key = filter.text("Key").unwrap_or_default();
    let has = |wanted: &str| {
        let lower = wanted.to_lowercase();
        let begins = |text: &str| text.to_lowercase().starts_with(&lower);
        let words = |text: &str| begins(text) || text.split([' ', '/', '-', '_']).any(begins);
        let described = || secret.description.as_deref().is_some_and(words);
        match key {
            "name" => name.starts_with(wanted),
            "description" => described(),
            "tag-key" => secret.tags.keys().any(|key| key.starts_with(wanted)),
            "tag-value" => secret.tags.values().any(|value| value.starts_with(wanted)),
            "primary-region" => settings.region.starts_with(wanted),
            _ => words(name) || described() || secret.tags.iter().any(|(key, value)| begins(key) || begins(value)),
        }
    };
    filter.texts("Values").into_iter().any(|value| match value.strip_prefix('!') {
        Some(unwanted) => !has(unwanted),
        None => has(value),
    })
}

pub(super) fn versions(state: &State, input: Input) -> ApiResult {
    let (name, secret) = find::find(state, input.required("SecretId")?)?;
    let deprecated = input.flag("IncludeDeprecated") == Some(true);
    let mut versions: Vec<_> =
        secret.versions.iter().filter(|(_, version)| deprecated || !version.stages.is_empty()).collect();
    versions.sort_by_key(|(_, version)| std::cmp::Reverse(version.created_at));
    let (page, next) = page(input, versions)?;
    let views = page.into_iter().map(|(id, version)| {
        json!({
            "VersionId": id,
            "VersionStages": (!version.stages.is_empty()).then_some(&version.stages),
            "CreatedDate": epoch_seconds(version.created_at),
        })
    });
    Ok(json!({ "Versions": views.collect::<Vec<_>>(), "NextToken": next, "ARN": secret.arn, "Name": name }))
}

fn page<T>(input: Input, items: Vec<T>) -> Result<(Vec<T>, Option<String>), ApiError> {
    let limit = input.number_in("MaxResults", 1..=MOST)?.unwrap_or(MOST) as usize;
    let invalid = || ApiError::new("InvalidNextTokenException", "The NextToken value is invalid.");
    paging::page(items, input.text("NextToken"), limit).ok_or_else(invalid)
}

fn view(name: &str, secret: &Secret, versions: &str) -> Value {
    let tags = secret.tags.iter().map(|(key, value)| json!({ "Key": key, "Value": value }));
    let staged = secret.versions.iter().filter(|(_, version)| !version.stages.is_empty());
    let staged: Map<String, Value> = staged.map(|(id, version)| (id.clone(), json!(version.stages))).collect();
    let mut view = json!({
        "ARN": secret.arn,
        "Name": name,
        "Description": secret.description,
        "KmsKeyId": secret.kms_key_id,
        "LastChangedDate": epoch_seconds(secret.changed_at),
        "LastAccessedDate": secret.accessed_at.map(epoch_seconds),
        "DeletedDate": secret.deleted_at.map(epoch_seconds),
        "CreatedDate": epoch_seconds(secret.created_at),
        "Tags": (!secret.tags.is_empty()).then(|| tags.collect::<Vec<_>>()),
    });
    if !staged.is_empty() {
        view[versions] = Value::Object(staged);
    }
    view
}
