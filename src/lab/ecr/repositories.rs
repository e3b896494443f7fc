//! Repositories and their settings: policy, tags, mutability, scanning.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::{
    EcrState, Repository, invalid, listed, named, not_found, page, repository, repository_mut, required, required_list,
};
use crate::lab::api::{ApiError, ApiResult};
use crate::lab::wire::epoch_seconds;
use crate::lab::{Lab, Settings};

const MUTABILITIES: [&str; 4] = ["MUTABLE", "IMMUTABLE", "IMMUTABLE_WITH_EXCLUSION", "MUTABLE_WITH_EXCLUSION"];
const MOST_TAGS: usize = 50;
const MOST_WILDCARDS: usize = 2;

pub fn create(lab: &Lab, input: &Value) -> ApiResult {
    let name = required(input, "repositoryName")?;
    if !is_repository_name(name) {
        let pattern = "(?:[a-z0-9]+(?:[._-][a-z0-9]+)*/)*[a-z0-9]+(?:[._-][a-z0-9]+)*";
        return Err(invalid("repositoryName", &format!("must satisfy regular expression '{pattern}'")));
    }
    let (tag_mutability, tag_mutability_exclusion_filters) = mutability(input, "MUTABLE")?;
    let created = Repository {
        name: name.to_owned(),
        created_at: lab.clock.now(),
        tag_mutability,
        tag_mutability_exclusion_filters,
        scan_on_push: scan_on_push(input),
        encryption: input.get("encryptionConfiguration").map(|given| encryption(&lab.settings, given)),
        resource_tags: resource_tags(input.get("tags"))?,
        ..Repository::default()
    };
    lab.write(|state| {
        let repositories = &mut state.ecr.repositories;
        if repositories.contains_key(name) {
            let id = &lab.settings.account_id;
            return Err(ApiError::new(
                "RepositoryAlreadyExistsException",
                format!("The repository with name '{name}' already exists in the registry with id '{id}'"),
            ));
        }
        let reply = json!({ "repository": description(&lab.settings, &created) });
        repositories.insert(name.to_owned(), created);
        Ok(reply)
    })
}

pub fn describe(lab: &Lab, input: &Value) -> ApiResult {
    let settings = &lab.settings;
    lab.read(|state| {
        let all = &state.ecr.repositories;
        let found = match listed(input, "repositoryNames")? {
            None => all.values().collect(),
            Some(names) => names
                .iter()
                .filter_map(Value::as_str)
                .map(|name| all.get(name).ok_or_else(|| not_found(name, &settings.account_id)))
                .collect::<Result<Vec<_>, _>>()?,
        };
        let (page, next) = page(found, input)?;
        let repositories: Vec<Value> = page.into_iter().map(|one| description(settings, one)).collect();
        Ok(json!({ "repositories": repositories, "nextToken": next }))
    })
}

pub fn delete(lab: &Lab, input: &Value) -> ApiResult {
    let force = input.get("force").and_then(Value::as_bool).unwrap_or(false);
    lab.write(|state| {
        let repository = repository(&state.ecr, &lab.settings, input)?;
        let name = repository.name.clone();
        if !force && !repository.images.is_empty() {
            let id = &lab.settings.account_id;
            return Err(ApiError::new(
                "RepositoryNotEmptyException",
                format!(
                    "The repository with name '{name}' in registry with id '{id}' cannot be deleted because it still \
                     contains images"
                ),
            ));
        }
        let reply = json!({ "repository": description(&lab.settings, repository) });
        if let Some(gone) = state.ecr.repositories.remove(&name) {
            state.ecr.collect(gone.blobs.into_keys().chain(gone.images.into_keys()));
        }
        Ok(reply)
    })
}

fn description(settings: &Settings, repository: &Repository) -> Value {
    let Settings { region, account_id, address, .. } = settings;
    let name = &repository.name;
    let mut description = json!({
        "repositoryArn": format!("arn:aws:ecr:{region}:{account_id}:repository/{name}"),
        "registryId": account_id,
        "repositoryName": name,
        "repositoryUri": format!("{address}/{name}"),
        "createdAt": epoch_seconds(repository.created_at),
        "imageTagMutability": repository.tag_mutability,
        "imageScanningConfiguration": { "scanOnPush": repository.scan_on_push },
        "encryptionConfiguration": repository.encryption.clone().unwrap_or(json!({ "encryptionType": "AES256" })),
    });
    if !repository.tag_mutability_exclusion_filters.is_empty() {
        description["imageTagMutabilityExclusionFilters"] = json!(repository.tag_mutability_exclusion_filters);
    }
    description
}

/// With KMS and no key of one's own it is the one that AWS keeps for ECR in this account.
fn encryption(settings: &Settings, given: &Value) -> Value {
    let mut encryption = given.clone();
    if given["encryptionType"] != "AES256" && given["kmsKey"].as_str().is_none_or(str::is_empty) {
        let key = "6b1d0e5c-0c4a-4f1e-9e3a-2f6a0d9c7b11";
        let Settings { region, account_id, .. } = settings;
        encryption["kmsKey"] = json!(format!("arn:aws:kms:{region}:{account_id}:key/{key}"));
    }
    encryption
}

/// ECR's grammar of names.
pub fn is_repository_name(name: &str) -> bool {
    (2..=256).contains(&name.len()) && name.split('/').all(is_name_part)
}

fn is_name_part(part: &str) -> bool {
    let separators = |byte: u8| matches!(byte, b'.' | b'_' | b'-');
    let bytes = part.as_bytes();
    let (Some(&first), Some(&last)) = (bytes.first(), bytes.last()) else { return false };
    let runs = bytes.chunk_by(|a, b| separators(*a) == separators(*b)).filter(|run| separators(run[0]));
    bytes.iter().all(|&byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || separators(byte))
        && !separators(first)
        && !separators(last)
        && runs.into_iter().all(|run| run.len() == 1 || run == b"__" || run.iter().all(|&byte| byte == b'-'))
}

pub fn tag(lab: &Lab, input: &Value) -> ApiResult {
    let added = resource_tags(Some(&Value::Array(required_list(input, "tags", MOST_TAGS)?.to_vec())))?;
    lab.write(|state| {
        let tags = &mut by_arn(&mut state.ecr, lab, input)?.resource_tags;
        let all: BTreeMap<String, String> = tags.clone().into_iter().chain(added).collect();
        if all.len() > MOST_TAGS {
            return Err(ApiError::new("TooManyTagsException", "a repository can have at most 50 tags"));
        }
        *tags = all;
        Ok(json!({}))
    })
}

pub fn untag(lab: &Lab, input: &Value) -> ApiResult {
    let keys = required_list(input, "tagKeys", 200)?;
    lab.write(|state| {
        let tags = &mut by_arn(&mut state.ecr, lab, input)?.resource_tags;
        keys.iter().filter_map(Value::as_str).for_each(|key| {
            tags.remove(key);
        });
        Ok(json!({}))
    })
}

pub fn list_tags(lab: &Lab, input: &Value) -> ApiResult {
    let name = name_in_arn(lab, input)?;
    lab.read(|state| {
        let repository = state.ecr.repositories.get(name).ok_or_else(|| not_found(name, &lab.settings.account_id))?;
        let tags: Vec<Value> =
            repository.resource_tags.iter().map(|(key, value)| json!({ "Key": key, "Value": value })).collect();
        Ok(json!({ "tags": tags }))
    })
}

fn name_in_arn<'a>(lab: &Lab, input: &'a Value) -> Result<&'a str, ApiError> {
    let arn = required(input, "resourceArn")?;
    let parts: Vec<&str> = arn.splitn(6, ':').collect();
    match parts[..] {
        ["arn", _, "ecr", region, account, resource]
            if account == lab.settings.account_id && region == lab.settings.region =>
        {
            resource.strip_prefix("repository/")
        }
        _ => None,
    }
    .ok_or_else(|| invalid("resourceArn", "Invalid ARN"))
}

fn by_arn<'a>(state: &'a mut EcrState, lab: &Lab, input: &Value) -> Result<&'a mut Repository, ApiError> {
    let name = name_in_arn(lab, input)?;
    state.repositories.get_mut(name).ok_or_else(|| not_found(name, &lab.settings.account_id))
}

fn resource_tags(tags: Option<&Value>) -> Result<BTreeMap<String, String>, ApiError> {
    let tags = tags.and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    if tags.len() > MOST_TAGS {
        return Err(ApiError::new("TooManyTagsException", "a repository can have at most 50 tags"));
    }
    tags.iter()
        .map(|tag| match (tag["Key"].as_str(), tag["Value"].as_str()) {
            (Some(key), _) if key.to_lowercase().starts_with("aws:") => {
                Err(ApiError::new("InvalidTagParameterException", "Tag keys beginning with aws: are reserved"))
            }
            (Some(key), Some(value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
            _ => Err(ApiError::new("InvalidTagParameterException", "a tag needs a Key and a Value")),
        })
        .collect()
}

pub fn set_policy(lab: &Lab, input: &Value) -> ApiResult {
    let text = required(input, "policyText")?;
    if !is_policy(text) {
        return Err(invalid("PolicyText", "Invalid repository policy provided"));
    }
    lab.write(|state| {
        repository_mut(&mut state.ecr, &lab.settings, input)?.policy = Some(text.to_owned());
        policy_reply(lab, input, "policyText", text)
    })
}

/// Whether a text is a policy: statements with an effect, a principal and an action each.
pub fn is_policy(text: &str) -> bool {
    let statements = match serde_json::from_str::<Value>(text) {
        Ok(Value::Object(mut policy)) => policy.remove("Statement").unwrap_or_default(),
        _ => Value::Null,
    };
    let statements = if statements.is_object() { json!([statements]) } else { statements };
    let complete = |statement: &Value| {
        let has = |names: [&str; 2]| names.iter().any(|name| statement.get(name).is_some());
        matches!(statement["Effect"].as_str(), Some("Allow" | "Deny"))
            && has(["Principal", "NotPrincipal"])
            && has(["Action", "NotAction"])
    };
    statements.as_array().is_some_and(|all| !all.is_empty() && all.iter().all(complete))
}

pub fn get_policy(lab: &Lab, input: &Value) -> ApiResult {
    lab.read(|state| {
        let repository = repository(&state.ecr, &lab.settings, input)?;
        let text = repository.policy.as_ref().ok_or_else(|| no_policy(lab, repository))?;
        policy_reply(lab, input, "policyText", text)
    })
}

pub fn delete_policy(lab: &Lab, input: &Value) -> ApiResult {
    lab.write(|state| {
        let repository = repository_mut(&mut state.ecr, &lab.settings, input)?;
        let text = repository.policy.take().ok_or_else(|| no_policy(lab, repository))?;
        policy_reply(lab, input, "policyText", &text)
    })
}

fn policy_reply(lab: &Lab, input: &Value, member: &str, text: &str) -> ApiResult {
    let mut reply = named(lab, input);
    reply.insert(member.to_owned(), text.into());
    Ok(Value::Object(reply))
}

fn no_policy(lab: &Lab, repository: &Repository) -> ApiError {
    let (name, id) = (&repository.name, &lab.settings.account_id);
    ApiError::new(
        "RepositoryPolicyNotFoundException",
        format!(
            "Repository policy does not exist for the repository with name '{name}' in the registry with id '{id}'"
        ),
    )
}

pub fn put_tag_mutability(lab: &Lab, input: &Value) -> ApiResult {
    required(input, "imageTagMutability")?;
    let (tag_mutability, filters) = mutability(input, "")?;
    lab.write(|state| {
        let repository = repository_mut(&mut state.ecr, &lab.settings, input)?;
        let mut reply = named(lab, input);
        reply.insert("imageTagMutability".to_owned(), tag_mutability.as_str().into());
        if !filters.is_empty() {
            reply.insert("imageTagMutabilityExclusionFilters".to_owned(), filters.clone().into());
        }
        repository.tag_mutability = tag_mutability;
        repository.tag_mutability_exclusion_filters = filters;
        Ok(Value::Object(reply))
    })
}

fn mutability(input: &Value, default: &str) -> Result<(String, Vec<Value>), ApiError> {
    let mutability = input.get("imageTagMutability").and_then(Value::as_str).unwrap_or(default);
    if !MUTABILITIES.contains(&mutability) {
        let allowed = MUTABILITIES.join(", ");
        return Err(invalid("imageTagMutability", &format!("Member must satisfy enum value set: [{allowed}]")));
    }
    let filters = input.get("imageTagMutabilityExclusionFilters").and_then(Value::as_array).cloned();
    let filters = filters.unwrap_or_default();
    if mutability.ends_with("_WITH_EXCLUSION") == filters.is_empty() {
        return Err(invalid(
            "imageTagMutabilityExclusionFilters",
            "exclusion filters go with a mutability that has exclusions, and only with it",
        ));
    }
    let wildcards = |filter: &Value| filter["filter"].as_str().map_or(0, |filter| filter.matches('*').count());
    if filters.iter().any(|filter| wildcards(filter) > MOST_WILDCARDS) {
        return Err(invalid(
            "imageTagMutabilityExclusionFilters",
            &format!("a filter can have at most {MOST_WILDCARDS} wildcards (*)"),
        ));
    }
    Ok((mutability.to_owned(), filters))
}

pub fn put_scanning(lab: &Lab, input: &Value) -> ApiResult {
    let scan_on_push = scan_on_push(input);
    lab.write(|state| {
        repository_mut(&mut state.ecr, &lab.settings, input)?.scan_on_push = scan_on_push;
        let mut reply = named(lab, input);
        reply.insert("imageScanningConfiguration".to_owned(), json!({ "scanOnPush": scan_on_push }));
        Ok(Value::Object(reply))
    })
}

fn scan_on_push(input: &Value) -> bool {
    input["imageScanningConfiguration"]["scanOnPush"].as_bool().unwrap_or(false)
}
