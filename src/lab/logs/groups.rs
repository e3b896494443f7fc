//! Log groups and streams.

use serde_json::{Map, Value, json};

use super::{LogGroup, LogStream, find_group, find_group_mut, group_arn, group_name, name_of, no_group, no_stream};
use crate::lab::Settings;
use crate::lab::api::{ApiError, ApiResult};
use crate::lab::input::Input;
use crate::lab::state::State;

const RETENTION_DAYS: &[i64] =
    &[1, 3, 5, 7, 14, 30, 60, 90, 120, 150, 180, 365, 400, 545, 731, 1096, 1827, 2192, 2557, 2922, 3288, 3653];

pub(super) fn create(state: &mut State, input: Input, now: i64) -> ApiResult {
    let name = input.required("logGroupName")?;
    let valid = |character: char| character.is_ascii_alphanumeric() || "_-/.#".contains(character);
    if name.len() > 512 || !name.chars().all(valid) {
        return Err(input.error(format!(
            "1 validation error detected: Value '{name}' at 'logGroupName' failed to satisfy constraint: \
             Member must satisfy regular expression pattern: [\\.\\-_/#A-Za-z0-9]+"
        )));
    }
    if state.logs.groups.contains_key(name) {
        return Err(exists("group"));
    }
    let mut group = LogGroup {
        created_at: now,
        class: input.text("logGroupClass").map(str::to_owned),
        kms_key_id: input.text("kmsKeyId").map(str::to_owned),
        ..LogGroup::default()
    };
    for (key, value) in input.get("tags").and_then(Value::as_object).into_iter().flatten() {
        group.tags.insert(key.clone(), value.as_str().unwrap_or_default().to_owned());
    }
    state.logs.groups.insert(name.to_owned(), group);
    Ok(json!({}))
}

pub(super) fn delete(state: &mut State, input: Input) -> ApiResult {
    state.logs.groups.remove(group_name(input)?).ok_or_else(no_group)?;
    Ok(json!({}))
}

pub(super) fn describe(state: &State, settings: &Settings, input: Input) -> ApiResult {
    let prefix = input.text("logGroupNamePrefix").unwrap_or_default();
    let infix = input.text("logGroupNamePattern").unwrap_or_default();
    if !prefix.is_empty() && !infix.is_empty() {
        return Err(input.error("logGroupNamePrefix and logGroupNamePattern cannot be given together."));
    }
    let named: Vec<&str> = input.texts("logGroupIdentifiers").into_iter().map(name_of).collect();
    let class = input.text("logGroupClass");
    let groups = state.logs.groups.iter().filter(|(name, group)| {
        name.starts_with(prefix)
            && name.contains(infix)
            && (named.is_empty() || named.contains(&name.as_str()))
            && class.is_none_or(|class| class == group.class())
    });
    let (page, next) = page(input, groups.collect(), 50)?;
    let described = page.into_iter().map(|(name, group)| {
        let stored: usize = group.streams.values().map(LogStream::bytes).sum();
        let arn = group_arn(settings, name);
        let mut value = json!({
            "logGroupName": name,
            "creationTime": group.created_at,
            "metricFilterCount": 0,
            "arn": format!("{arn}:*"),
            "logGroupArn": arn,
            "storedBytes": stored,
            "logGroupClass": group.class(),
        });
        if let Some(key) = &group.kms_key_id {
            value["kmsKeyId"] = json!(key);
        }
        if let Some(days) = group.retention_days {
            value["retentionInDays"] = json!(days);
        }
        value
    });
    Ok(listing("logGroups", described.collect(), next))
}

pub(super) fn put_retention(state: &mut State, input: Input) -> ApiResult {
    let days = input.number("retentionInDays")?.filter(|days| RETENTION_DAYS.contains(days)).ok_or_else(|| {
        let allowed: Vec<String> = RETENTION_DAYS.iter().map(ToString::to_string).collect();
        input.error(format!("retentionInDays must be one of {}", allowed.join(", ")))
    })?;
    find_group_mut(state, group_name(input)?)?.retention_days = Some(days);
    Ok(json!({}))
}

pub(super) fn delete_retention(state: &mut State, input: Input) -> ApiResult {
    find_group_mut(state, group_name(input)?)?.retention_days = None;
    Ok(json!({}))
}

pub(super) fn create_stream(state: &mut State, input: Input, now: i64) -> ApiResult {
    let name = input.required("logStreamName")?;
    if name.len() > 512 || name.contains([':', '*']) {
        return Err(input.error(format!("The log stream name '{name}' must not contain ':' or '*'")));
    }
    let group = group_name(input)?;
    if find_group(state, group)?.streams.contains_key(name) {
        return Err(exists("stream"));
    }
    let stream = state.logs.new_stream(now);
    find_group_mut(state, group)?.streams.insert(name.to_owned(), stream);
    Ok(json!({}))
}

pub(super) fn delete_stream(state: &mut State, input: Input) -> ApiResult {
    let name = input.required("logStreamName")?;
    find_group_mut(state, group_name(input)?)?.streams.remove(name).ok_or_else(no_stream)?;
    Ok(json!({}))
}

pub(super) fn describe_streams(state: &State, settings: &Settings, input: Input) -> ApiResult {
    let name = group_name(input)?;
    let group = find_group(state, name)?;
    let prefix = input.text("logStreamNamePrefix").unwrap_or_default();
    let mut streams: Vec<_> = group.streams.iter().filter(|(name, _)| name.starts_with(prefix)).collect();
    if input.text("orderBy") == Some("LastEventTime") {
        if !prefix.is_empty() {
            return Err(input.error("Cannot order by LastEventTime with a logStreamNamePrefix."));
        }
        streams.sort_by_key(|(_, stream)| stream.events.back().map(|event| event.timestamp));
    }
    if input.flag("descending") == Some(true) {
        streams.reverse();
    }
    let (page, next) = page(input, streams, 50)?;
    let described = page.into_iter().map(|(stream_name, stream)| {
        let mut value = json!({
            "logStreamName": stream_name,
            "creationTime": stream.created_at,
            "uploadSequenceToken": format!("{:056}", stream.end()),
            "arn": format!("{}:log-stream:{stream_name}", group_arn(settings, name)),
            "storedBytes": 0,
        });
        if let (Some(first), Some(last)) = (stream.events.front(), stream.events.back()) {
            value["firstEventTimestamp"] = json!(first.timestamp);
            value["lastEventTimestamp"] = json!(last.timestamp);
            value["lastIngestionTime"] = json!(last.ingested_at);
        }
        value
    });
    Ok(listing("logStreams", described.collect(), next))
}

fn exists(what: &str) -> ApiError {
    ApiError::new("ResourceAlreadyExistsException", format!("The specified log {what} already exists"))
}

/// One page, and the token of the next.
pub(super) fn page<T>(input: Input, items: Vec<T>, most: i64) -> Result<(Vec<T>, Option<String>), ApiError> {
    let start: usize = match input.text("nextToken") {
        None => 0,
        Some(token) => token.parse().map_err(|_| input.error("The specified nextToken is invalid."))?,
    };
    let limit = input.number_in("limit", 1..=most)?.unwrap_or(most) as usize;
    let end = start.saturating_add(limit);
    let next = (end < items.len()).then(|| end.to_string());
    Ok((items.into_iter().skip(start).take(limit).collect(), next))
}

pub(super) fn listing(name: &str, items: Vec<Value>, next: Option<String>) -> Value {
    let mut reply = Map::from_iter([(name.to_owned(), Value::Array(items))]);
    if let Some(next) = next {
        reply.insert("nextToken".to_owned(), Value::String(next));
    }
    Value::Object(reply)
}
