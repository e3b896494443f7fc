//! CloudWatch Logs: groups, streams, reading from either end, filtering.

use std::collections::BTreeSet;

use serde_json::{Value, json};
use steadystate::lab::{Lab, logs};

use super::{error, lab, text};

fn call(lab: &Lab, operation: &str, input: Value) -> Value {
    logs::handle(lab, operation, input).unwrap_or_else(|error| panic!("{operation}: {error}"))
}

fn messages(reply: &Value) -> Vec<String> {
    reply["events"].as_array().unwrap().iter().map(|event| text(event, "/message")).collect()
}

/// A stream `s` of group `/g` with lines 1 to `count`, as the runtime writes them.
fn lab_with_lines(count: i64) -> std::sync::Arc<Lab> {
    let lab = lab();
    lab.write(|state| logs::append(state, "/g", "s", (1..=count).map(|at| (at, format!("line {at}"))).collect()));
    lab
}

#[test]
fn a_stream_is_read_forward_until_its_token_stays() {
    let lab = lab_with_lines(5);
    let mut token = None;
    let mut seen = Vec::new();
    loop {
        let mut input = json!({ "logGroupName": "/g", "logStreamName": "s", "startFromHead": true, "limit": 2 });
        if let Some(token) = &token {
            input["nextToken"] = json!(token);
        }
        let reply = call(&lab, "GetLogEvents", input);
        seen.extend(messages(&reply));
        let next = text(&reply, "/nextForwardToken");
        if token.as_ref() == Some(&next) {
            break;
        }
        token = Some(next);
    }
    assert_eq!(seen, ["line 1", "line 2", "line 3", "line 4", "line 5"]);
    // What is written later is found with the token that was kept.
    lab.write(|state| logs::append(state, "/g", "s", vec![(6, "line 6".to_owned())]));
    let later = call(&lab, "GetLogEvents", json!({ "logGroupName": "/g", "logStreamName": "s", "nextToken": token }));
    assert_eq!(messages(&later), ["line 6"]);
}

#[test]
fn the_last_events_come_first_unless_asked_otherwise() {
    let lab = lab_with_lines(5);
    let last = call(&lab, "GetLogEvents", json!({ "logGroupName": "/g", "logStreamName": "s", "limit": 2 }));
    assert_eq!(messages(&last), ["line 4", "line 5"]);
    let before =
        json!({ "logGroupName": "/g", "logStreamName": "s", "limit": 2, "nextToken": last["nextBackwardToken"] });
    assert_eq!(messages(&call(&lab, "GetLogEvents", before)), ["line 2", "line 3"]);
    let between = json!({ "logGroupName": "/g", "logStreamName": "s", "startTime": 2, "endTime": 4 });
    assert_eq!(messages(&call(&lab, "GetLogEvents", between)), ["line 2", "line 3"]);
}

#[test]
fn a_stream_keeps_its_newest_events() {
    let lab = lab_with_lines(logs::STREAM_CAPACITY as i64 + 3);
    let first = call(
        &lab,
        "GetLogEvents",
        json!({ "logGroupName": "/g", "logStreamName": "s", "startFromHead": true, "limit": 1 }),
    );
    assert_eq!(messages(&first), ["line 4"]);
}

#[test]
fn patterns_filter_over_streams() {
    let lab = lab();
    lab.write(|state| logs::append(state, "/g", "a/1", vec![(1, "ERROR disk full".into()), (4, "fine".into())]));
    lab.write(|state| {
        logs::append(state, "/g", "b/1", vec![(2, "WARN disk slow".into()), (3, "ERROR net down".into())])
    });
    let table = [
        (json!({}), vec!["ERROR disk full", "WARN disk slow", "ERROR net down", "fine"]),
        (json!({ "filterPattern": "ERROR" }), vec!["ERROR disk full", "ERROR net down"]),
        (json!({ "filterPattern": "disk -WARN" }), vec!["ERROR disk full"]),
        (json!({ "filterPattern": "?slow ?down" }), vec!["WARN disk slow", "ERROR net down"]),
        (json!({ "filterPattern": "\"net down\"" }), vec!["ERROR net down"]),
        (json!({ "logStreamNamePrefix": "a" }), vec!["ERROR disk full", "fine"]),
        (json!({ "logStreamNames": ["b/1"], "startTime": 3 }), vec!["ERROR net down"]),
        (json!({ "limit": 1 }), vec!["ERROR disk full"]),
    ];
    for (mut input, expected) in table {
        input["logGroupName"] = json!("/g");
        assert_eq!(messages(&call(&lab, "FilterLogEvents", input.clone())), expected, "{input}");
    }
}

#[test]
fn no_two_events_have_one_id() {
    let lab = lab();
    let now = lab.clock.now();
    call(&lab, "CreateLogGroup", json!({ "logGroupName": "/g" }));
    for stream in ["a", "b"] {
        call(&lab, "CreateLogStream", json!({ "logGroupName": "/g", "logStreamName": stream }));
        let events = json!([{ "timestamp": now, "message": "1" }, { "timestamp": now, "message": "2" }]);
        call(&lab, "PutLogEvents", json!({ "logGroupName": "/g", "logStreamName": stream, "logEvents": events }));
    }
    let found = call(&lab, "FilterLogEvents", json!({ "logGroupName": "/g" }));
    let ids: BTreeSet<String> = (0..4).map(|at| text(&found, &format!("/events/{at}/eventId"))).collect();
    assert_eq!(ids.len(), 4, "the same time and place in two streams: {found}");
    assert!(ids.iter().all(|id| id.len() == 56), "{ids:?}");
}

#[test]
fn groups_and_streams_are_made_listed_and_deleted() {
    let lab = lab();
    call(&lab, "CreateLogGroup", json!({ "logGroupName": "/ecs/hello" }));
    call(&lab, "PutRetentionPolicy", json!({ "logGroupName": "/ecs/hello", "retentionInDays": 7 }));
    call(&lab, "CreateLogStream", json!({ "logGroupName": "/ecs/hello", "logStreamName": "web/1" }));
    let now = lab.clock.now();
    let events = json!([{ "timestamp": now, "message": "hi" }]);
    call(&lab, "PutLogEvents", json!({ "logGroupName": "/ecs/hello", "logStreamName": "web/1", "logEvents": events }));
    let groups = call(&lab, "DescribeLogGroups", json!({ "logGroupNamePrefix": "/ecs" }));
    assert_eq!(text(&groups, "/logGroups/0/arn"), "arn:aws:logs:us-west-2:000000000000:log-group:/ecs/hello:*");
    assert_eq!(groups["logGroups"][0]["retentionInDays"], 7);
    let streams = call(
        &lab,
        "DescribeLogStreams",
        json!({ "logGroupName": "/ecs/hello", "orderBy": "LastEventTime", "descending": true }),
    );
    assert_eq!(streams["logStreams"][0]["lastEventTimestamp"], now);
    call(&lab, "DeleteLogGroup", json!({ "logGroupName": "/ecs/hello" }));
    assert_eq!(call(&lab, "DescribeLogGroups", json!({})), json!({ "logGroups": [] }));
}

#[test]
fn a_page_beyond_the_end_is_empty() {
    let lab = lab_with_lines(1);
    let token = u64::MAX.to_string();
    let groups = call(&lab, "DescribeLogGroups", json!({ "nextToken": token }));
    assert_eq!(groups, json!({ "logGroups": [] }));
    let streams = call(&lab, "DescribeLogStreams", json!({ "logGroupName": "/g", "nextToken": token }));
    assert_eq!(streams, json!({ "logStreams": [] }));
}

#[test]
fn errors_have_aws_s_codes() {
    let lab = lab_with_lines(1);
    let put = |events: Value| json!({ "logGroupName": "/g", "logStreamName": "s", "logEvents": events });
    let disorder = json!([{ "timestamp": 2, "message": "b" }, { "timestamp": 1, "message": "a" }]);
    let table = [
        ("CreateLogGroup", json!({ "logGroupName": "/g" }), "ResourceAlreadyExistsException"),
        ("CreateLogGroup", json!({ "logGroupName": "a b" }), "InvalidParameterException"),
        ("CreateLogStream", json!({ "logGroupName": "/g", "logStreamName": "s" }), "ResourceAlreadyExistsException"),
        ("CreateLogStream", json!({ "logGroupName": "/none", "logStreamName": "s" }), "ResourceNotFoundException"),
        ("GetLogEvents", json!({ "logGroupName": "/g", "logStreamName": "none" }), "ResourceNotFoundException"),
        (
            "GetLogEvents",
            json!({ "logGroupName": "/g", "logStreamName": "s", "nextToken": "x" }),
            "InvalidParameterException",
        ),
        ("GetLogEvents", json!({ "logGroupName": "/g" }), "InvalidParameterException"),
        ("PutLogEvents", put(json!([])), "InvalidParameterException"),
        ("PutLogEvents", put(disorder), "InvalidParameterException"),
        (
            "FilterLogEvents",
            json!({ "logGroupName": "/g", "filterPattern": "{ $.x = 1 }" }),
            "InvalidParameterException",
        ),
        (
            "FilterLogEvents",
            json!({ "logGroupName": "/g", "logStreamNames": ["s"], "logStreamNamePrefix": "s" }),
            "InvalidParameterException",
        ),
        (
            "GetLogEvents",
            json!({ "logGroupName": "/g", "logGroupIdentifier": "/g", "logStreamName": "s" }),
            "InvalidParameterException",
        ),
        (
            "DescribeLogGroups",
            json!({ "logGroupNamePrefix": "/", "logGroupNamePattern": "g" }),
            "InvalidParameterException",
        ),
        ("PutRetentionPolicy", json!({ "logGroupName": "/g", "retentionInDays": 8 }), "InvalidParameterException"),
        ("DeleteLogGroup", json!({ "logGroupName": "/none" }), "ResourceNotFoundException"),
        ("Dance", json!({}), "UnknownOperationException"),
    ];
    for (operation, input, code) in table {
        assert_eq!(error(logs::handle(&lab, operation, input.clone())).code, code, "{operation} {input}");
    }
}

#[test]
fn a_request_has_so_many_bytes() {
    let lab = lab_with_lines(0);
    let now = jiff::Timestamp::now().as_millisecond();
    call(&lab, "CreateLogStream", json!({ "logGroupName": "/g", "logStreamName": "t" }));
    let put = |length: usize| {
        let events = json!([{ "timestamp": now, "message": "x".repeat(length) }]);
        logs::handle(&lab, "PutLogEvents", json!({ "logGroupName": "/g", "logStreamName": "t", "logEvents": events }))
    };
    let most = 1_048_576 - 26;
    assert_eq!(error(put(most + 1)).message, "Upload too large: 1048577 bytes exceeds limit of 1048576");
    put(most).unwrap();
}

#[test]
fn a_group_keeps_its_class_and_is_found_by_it() {
    let lab = lab();
    let key = "arn:aws:kms:us-west-2:000000000000:key/1";
    call(&lab, "CreateLogGroup", json!({ "logGroupName": "/plain" }));
    call(
        &lab,
        "CreateLogGroup",
        json!({ "logGroupName": "/rare", "logGroupClass": "INFREQUENT_ACCESS", "kmsKeyId": key }),
    );
    let found = |input: Value| {
        let groups = call(&lab, "DescribeLogGroups", input)["logGroups"].clone();
        groups.as_array().unwrap().iter().map(|group| text(group, "/logGroupName")).collect::<Vec<_>>()
    };
    assert_eq!(found(json!({})), ["/plain", "/rare"]);
    assert_eq!(found(json!({ "logGroupClass": "STANDARD" })), ["/plain"]);
    assert_eq!(found(json!({ "logGroupClass": "INFREQUENT_ACCESS" })), ["/rare"]);
    assert_eq!(found(json!({ "logGroupIdentifiers": ["/plain"] })), ["/plain"]);
    let rare = call(&lab, "DescribeLogGroups", json!({ "logGroupNamePrefix": "/rare" }))["logGroups"][0].clone();
    assert_eq!((text(&rare, "/logGroupClass"), text(&rare, "/kmsKeyId")), ("INFREQUENT_ACCESS".into(), key.into()));
}

#[test]
fn a_group_s_tags_are_its_own() {
    let lab = lab();
    call(&lab, "CreateLogGroup", json!({ "logGroupName": "/g", "tags": { "a": "1" } }));
    let arn = text(&call(&lab, "DescribeLogGroups", json!({})), "/logGroups/0/arn");
    assert!(arn.ends_with(":log-group:/g:*"), "{arn}");
    call(&lab, "TagResource", json!({ "resourceArn": arn, "tags": { "b": "2" } }));
    call(&lab, "UntagResource", json!({ "resourceArn": arn.trim_end_matches(":*"), "tagKeys": ["a"] }));
    assert_eq!(call(&lab, "ListTagsForResource", json!({ "resourceArn": arn })), json!({ "tags": { "b": "2" } }));
    let many: serde_json::Map<String, Value> = (0..50).map(|at| (format!("k{at}"), json!(""))).collect();
    let refused = error(logs::handle(&lab, "TagResource", json!({ "resourceArn": arn, "tags": many })));
    assert_eq!(refused.code, "TooManyTagsException");
    for (arn, code) in
        [(format!("{arn}x"), "ResourceNotFoundException"), ("nothing".to_owned(), "InvalidParameterException")]
    {
        assert_eq!(error(logs::handle(&lab, "ListTagsForResource", json!({ "resourceArn": arn }))).code, code);
    }
}

#[test]
fn what_is_beyond_retention_is_gone() {
    const DAY: i64 = 86_400_000;
    let lab = lab();
    let now = lab.clock.now();
    let old = vec![(now - 8 * DAY, "old".to_owned()), (now - DAY / 2, "new".to_owned())];
    lab.write(|state| logs::append(state, "/g", "s", old));
    let read = || messages(&call(&lab, "GetLogEvents", json!({ "logGroupName": "/g", "logStreamName": "s" })));
    let found = || messages(&call(&lab, "FilterLogEvents", json!({ "logGroupName": "/g" })));
    assert_eq!((read(), found()), (vec!["old".to_owned(), "new".to_owned()], vec!["old".to_owned(), "new".to_owned()]));
    call(&lab, "PutRetentionPolicy", json!({ "logGroupName": "/g", "retentionInDays": 7 }));
    assert_eq!((read(), found()), (vec!["new".to_owned()], vec!["new".to_owned()]));
    call(&lab, "DeleteRetentionPolicy", json!({ "logGroupName": "/g" }));
    assert_eq!(read().len(), 2);
    call(&lab, "DeleteLogStream", json!({ "logGroupName": "/g", "logStreamName": "s" }));
    assert_eq!(call(&lab, "DescribeLogStreams", json!({ "logGroupName": "/g" }))["logStreams"], json!([]));
}

#[test]
fn events_that_are_too_old_or_too_new_are_rejected() {
    const HOUR: i64 = 3_600_000;
    let lab = lab();
    call(&lab, "CreateLogGroup", json!({ "logGroupName": "/g" }));
    call(&lab, "CreateLogStream", json!({ "logGroupName": "/g", "logStreamName": "s" }));
    let now = lab.clock.now();
    let put = |times: &[i64]| {
        let events: Vec<Value> = times.iter().map(|at| json!({ "timestamp": at, "message": at.to_string() })).collect();
        let input = json!({ "logGroupName": "/g", "logStreamName": "s", "logEvents": events });
        logs::handle(&lab, "PutLogEvents", input)
    };
    let reply = put(&[now - 2 * HOUR, now, now + 3 * HOUR]).unwrap();
    assert_eq!(reply["rejectedLogEventsInfo"], json!({ "tooNewLogEventStartIndex": 2 }));
    let edge = now - 14 * 24 * HOUR;
    let reply = put(&[edge - HOUR, edge + HOUR]).unwrap();
    assert_eq!(reply["rejectedLogEventsInfo"], json!({ "tooOldLogEventEndIndex": 1 }));
    call(&lab, "PutRetentionPolicy", json!({ "logGroupName": "/g", "retentionInDays": 1 }));
    let reply = put(&[now - 25 * HOUR, now - 2 * HOUR]).unwrap();
    assert_eq!(reply["rejectedLogEventsInfo"], json!({ "expiredLogEventEndIndex": 1 }));
    assert!(put(&[now]).unwrap().get("rejectedLogEventsInfo").is_none());
    assert_eq!(error(put(&[now - 25 * HOUR, now])).code, "InvalidParameterException");
    let all = call(&lab, "GetLogEvents", json!({ "logGroupName": "/g", "logStreamName": "s" }));
    assert_eq!(messages(&all), [now - 2 * HOUR, now, now - 2 * HOUR, now].map(|at| at.to_string()));
}
