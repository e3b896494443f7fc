//! Putting, reading and filtering log events.

use serde_json::{Value, json};

use super::filter::Filter;
use super::groups::{listing, page};
use super::{DAY, LogEvent, find_group, find_group_mut, group_name, no_stream};
use crate::lab::api::{ApiError, ApiResult};
use crate::lab::input::Input;
use crate::lab::state::State;

const MOST_EVENTS: i64 = 10_000;
/// Of a request's events, each with what it takes beside its text.
const MOST_BYTES: usize = 1_048_576;
/// Events from longer ago are not taken, …
const OLDEST: i64 = 14 * DAY;
/// … nor those from so far ahead.
const NEWEST: i64 = 2 * 3_600_000;

pub(super) fn put(state: &mut State, input: Input, now: i64) -> ApiResult {
    let name = input.required("logStreamName")?;
    let group = find_group_mut(state, group_name(input)?)?;
    let kept_since = group.kept_since(now);
    let stream = group.streams.get_mut(name).ok_or_else(no_stream)?;
    let mut events = Vec::new();
    for event in input.list("logEvents") {
        let timestamp = event.number("timestamp")?.ok_or_else(|| input.error("A log event needs a timestamp"))?;
        events.push(LogEvent { timestamp, ingested_at: now, message: event.required("message")?.to_owned() });
    }
    let bytes: usize = events.iter().map(LogEvent::bytes).sum();
    if bytes > MOST_BYTES {
        return Err(input.error(format!("Upload too large: {bytes} bytes exceeds limit of {MOST_BYTES}")));
    }
    if events.is_empty() {
        return Err(input.error("1 validation error detected: Value at 'logEvents' must have at least one member"));
    }
    if events.windows(2).any(|pair| pair[0].timestamp > pair[1].timestamp) {
        return Err(input.error("Log events in a single PutLogEvents request must be in chronological order."));
    }
    let span = events.last().map_or(0, |last| last.timestamp) - events.first().map_or(0, |first| first.timestamp);
    if span > DAY {
        return Err(
            input.error("The batch of log events in a single PutLogEvents request cannot span more than 24 hours.")
        );
    }
    // Those in order, so that the rejected ones are at either end.
    let before = |time: i64| events.partition_point(|event| event.timestamp < time);
    let (expired, old) = (before(kept_since), before(now - OLDEST));
    let new = events.partition_point(|event| event.timestamp <= now + NEWEST);
    let mut rejected = serde_json::Map::new();
    for (member, at, is) in [
        ("tooNewLogEventStartIndex", new, new < events.len()),
        ("tooOldLogEventEndIndex", old, old > 0),
        ("expiredLogEventEndIndex", expired, expired > 0),
    ] {
        if is {
            rejected.insert(member.to_owned(), json!(at));
        }
    }
    let first = expired.max(old).min(new);
    events.drain(..new).skip(first).for_each(|event| stream.push(event));
    let mut reply = json!({ "nextSequenceToken": format!("{:056}", stream.end()) });
    if !rejected.is_empty() {
        reply["rejectedLogEventsInfo"] = Value::Object(rejected);
    }
    Ok(reply)
}

pub(super) fn get(state: &State, input: Input, now: i64) -> ApiResult {
    let name = input.required("logStreamName")?;
    let group = find_group(state, group_name(input)?)?;
    let kept_since = group.kept_since(now);
    let stream = group.streams.get(name).ok_or_else(no_stream)?;
    let limit = input.number_in("limit", 1..=MOST_EVENTS)?.unwrap_or(MOST_EVENTS) as usize;
    let (from, until) = (input.number("startTime")?, input.number("endTime")?);
    let end = stream.end();
    let in_time = |event: &LogEvent| {
        event.timestamp >= kept_since
            && from.is_none_or(|from| event.timestamp >= from)
            && until.is_none_or(|until| event.timestamp < until)
    };
    let numbered = || (stream.first..).zip(&stream.events).filter(|(_, event)| in_time(event));

    let token = input.text("nextToken").map(|token| Token::parse(token).ok_or_else(invalid_token)).transpose()?;
    let forward = match token {
        None if input.flag("startFromHead") == Some(true) => Token::Forward(stream.first),
        None => Token::Backward(end),
        Some(token) => token,
    };
    let events: Vec<(u64, &LogEvent)> = match forward {
        Token::Forward(start) => numbered().filter(|(at, _)| *at >= start).take(limit).collect(),
        Token::Backward(before) => {
            let mut latest: Vec<_> =
                numbered().filter(|(at, _)| *at < before).collect::<Vec<_>>().into_iter().rev().take(limit).collect();
            latest.reverse();
            latest
        }
    };
    // At either end the token that was given comes back, which is how a reader knows that it is there.
    let at = match forward {
        Token::Forward(at) | Token::Backward(at) => at.clamp(stream.first, end),
    };
    let next_forward = events.last().map_or(at, |(at, _)| at + 1);
    let next_backward = events.first().map_or(at, |(at, _)| *at);
    let described: Vec<Value> = events
        .iter()
        .map(|(_, event)| {
            json!({ "timestamp": event.timestamp, "message": event.message, "ingestionTime": event.ingested_at })
        })
        .collect();
    Ok(json!({
        "events": described,
        "nextForwardToken": Token::Forward(next_forward).text(),
        "nextBackwardToken": Token::Backward(next_backward).text(),
    }))
}

pub(super) fn filter(state: &State, input: Input, now: i64) -> ApiResult {
    let group = find_group(state, group_name(input)?)?;
    let kept_since = group.kept_since(now);
    let pattern = Filter::parse(input.text("filterPattern").unwrap_or_default())?;
    let names = input.texts("logStreamNames");
    if let Some(unknown) = names.iter().find(|name| !group.streams.contains_key(**name)) {
        return Err(ApiError::new(
            "ResourceNotFoundException",
            format!("The specified log stream does not exist: {unknown}"),
        ));
    }
    let prefix = input.text("logStreamNamePrefix").unwrap_or_default();
    if !names.is_empty() && !prefix.is_empty() {
        return Err(input.error("logStreamNames and logStreamNamePrefix cannot be given together."));
    }
    let (from, until) = (input.number("startTime")?, input.number("endTime")?);
    let mut found: Vec<(&String, u64, u64, &LogEvent)> = group
        .streams
        .iter()
        .filter(|(name, _)| (names.is_empty() || names.contains(&name.as_str())) && name.starts_with(prefix))
        .flat_map(|(name, stream)| {
            (stream.first..).zip(&stream.events).map(move |(at, event)| (name, stream.id, at, event))
        })
        .filter(|(.., event)| event.timestamp >= kept_since)
        .filter(|(.., event)| from.is_none_or(|from| event.timestamp >= from))
        .filter(|(.., event)| until.is_none_or(|until| event.timestamp <= until))
        .filter(|(.., event)| pattern.matches(&event.message))
        .collect();
    found.sort_by_key(|(.., event)| event.timestamp);
    let (found, next) = page(input, found, MOST_EVENTS)?;
    let events = found.into_iter().map(|(name, stream, at, event)| {
        json!({
            "logStreamName": name,
            "timestamp": event.timestamp,
            "message": event.message,
            "ingestionTime": event.ingested_at,
            "eventId": format!("{:020}{stream:017}{at:019}", event.timestamp),
        })
    });
    let mut reply = listing("events", events.collect(), next);
    reply["searchedLogStreams"] = json!([]);
    Ok(reply)
}

fn invalid_token() -> ApiError {
    ApiError::new("InvalidParameterException", "The specified nextToken is invalid.")
}

/// Where to read on: events from a sequence number, or those before it.
#[derive(Clone, Copy)]
enum Token {
    Forward(u64),
    Backward(u64),
}

impl Token {
    fn parse(text: &str) -> Option<Token> {
        let (direction, rest) = text.split_once('/')?;
        let number = rest.strip_suffix("/s")?.parse().ok()?;
        match direction {
            "f" => Some(Token::Forward(number)),
            "b" => Some(Token::Backward(number)),
            _ => None,
        }
    }

    fn text(self) -> String {
        match self {
            Token::Forward(at) => format!("f/{at:056}/s"),
            Token::Backward(at) => format!("b/{at:056}/s"),
        }
    }
}
