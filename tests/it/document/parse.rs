use proptest::prelude::*;
use serde_json::{Map, Value, json};
use steadystate::document::{MAX_DEPTH, parse, to_json};

use super::{findings, source};

#[test]
fn values_keep_what_was_written() {
    let table = [
        ("null", json!(null)),
        (" [ ] ", json!([])),
        ("{}", json!({})),
        ("18446744073709551615", json!(u64::MAX)),
        ("-9223372036854775808", json!(i64::MIN)),
        ("1.5e3", json!(1500.0)),
        (r#""\u00e9\ud83d\ude00\n\/\u0000""#, json!("é😀\n/\0")),
        ("\"\u{202e}\"", json!("\u{202e}")),
        (r#"{"": {"a/b": 1, "~": 2}}"#, json!({"": {"a/b": 1, "~": 2}})),
    ];
    for (text, wanted) in table {
        let document = parse(&source(text)).unwrap_or_else(|error| panic!("{text}: {error:?}"));
        assert_eq!(document.value, wanted, "{text}");
    }
}

#[test]
fn members_keep_their_order() {
    let text = "{\n  \"b\": 1,\n  \"a\": [],\n  \"c\": {}\n}\n";
    assert_eq!(to_json(&parse(&source(text)).unwrap().value), text);
}

#[test]
fn every_value_and_key_has_its_place() {
    let text = r#"{"a": [1, {"b/c": "x"}]}"#;
    let document = parse(&source(text)).unwrap();
    let at = |pointer: &str| document.span_of(pointer).map(|span| &text[span]);
    assert_eq!(at(""), Some(text));
    assert_eq!(at("/a/0"), Some("1"));
    assert_eq!(at("/a/1/b~1c"), Some("\"x\""));
    assert_eq!(document.key_span_of("/a/1/b~1c").map(|span| &text[span]), Some("\"b/c\""));
    assert_eq!(document.key_span_of("/a/0"), None);
    assert_eq!(at("/b"), None);
}

#[test]
fn what_is_not_json_is_said_with_place_and_fix() {
    let table = [
        ("", "1:1: the document is empty"),
        (
            "{\"a\": 1,\n \"a\": 2}",
            "2:2: the key \"a\" is given twice in one object | remove one of the two; the first is at task.json:1:2",
        ),
        (
            "{\"a\": 1,\n}",
            "1:8: a comma with nothing after it | remove this comma: JSON has none after the last member",
        ),
        ("[1,]", "1:3: a comma with nothing after it"),
        ("[1,,2]", "1:4: a comma where a value should be | remove one comma"),
        ("{“a”: 1}", "1:2: “ is a typographic quote | write a straight double quote: \""),
        (
            "{\"a”: 1}",
            "1:2: this string is not closed | it ends in a typographic quote: write a straight double quote: \"",
        ),
        ("{'a': 1}", "1:2: ' does not quote in JSON | write a straight double quote: \""),
        ("{\"a\": “x”}", "1:7: “ is a typographic quote"),
        (
            "\u{feff}{}",
            "1:1: the file starts with a byte order mark (U+FEFF) | save the file as \"UTF-8\", not \"UTF-8 with BOM\"",
        ),
        ("{ // note\n}", "1:3: a comment, which JSON does not have | remove the comment"),
        ("# note\n{}", "1:1: a comment"),
        ("{\"a\": 1 \"b\": 2}", "1:9: \" where a comma or } should be | add the missing comma before this"),
        ("{a: 1}", "1:2: a where a key in double quotes should be | write \"a\" in double quotes"),
        ("{\"a\": None}", "1:7: None is not a JSON value | write null"),
        ("{\"a\": True}", "1:7: True is not a JSON value | write true"),
        ("{\"a\": NaN}", "1:7: NaN is not a JSON value"),
        ("{\"a\": 01}", "1:7: 01 is not a number that JSON knows | write 1, or \"01\" in quotes"),
        ("{\"a\": 1.}", "1:7: 1. is not a number"),
        ("{\"a\": 128m}", "1:7: 128m is not a number that JSON knows | write \"128m\" in quotes"),
        (
            "18446744073709551616",
            "1:1: 18446744073709551616 does not fit a 64-bit number | write \"18446744073709551616\" in quotes",
        ),
        ("-9223372036854775809", "1:1: -9223372036854775809 does not fit"),
        ("1e999", "1:1: 1e999 does not fit"),
        (
            "{\"a\": 0.12345678901234567890}",
            "1:7: 0.12345678901234567890 has more digits than a 64-bit number keeps: 0.12345678901234568 is left of it | \
             write 0.12345678901234568, or \"0.12345678901234567890\" in quotes",
        ),
        ("[-1e-400]", "1:2: -1e-400 has more digits than a 64-bit number keeps: -0.0 is left of it"),
        ("1e-99999999999", "1:1: 1e-99999999999 has more digits"),
        ("9007199254740993.0", "1:1: 9007199254740993.0 has more digits"),
        (r#""\ud800""#, "1:2: \\ud800 is half of a surrogate pair"),
        (r#""\udc00x""#, "1:2: \\udc00 is half of a surrogate pair"),
        (r#""\ud800\u0041""#, "1:2: \\ud800\\u0041 is half of a surrogate pair"),
        (r#""\x""#, "1:2: \\x is not an escape that JSON knows | write a backslash as \\\\"),
        ("\"a\tb\"", "1:3: a control character (U+0009) in a string | write it as \\t"),
        ("\"a\nb\"", "1:1: this string is not closed"),
        ("{\"a\": [1, 2", "1:7: this list is not closed | add the missing ]"),
        ("{\"a\":", "1:6: the document ends where a value should be"),
        ("[1}", "1:3: } where a comma or ] should be"),
        ("{} {}", "1:4: { where the end of the document should be"),
        ("{\"a\": {{json x}}}", "1:8: { where a key in double quotes should be"),
        ("{\u{a0}}", "1:2: an invisible character (U+00A0)"),
    ];
    for (text, wanted) in table {
        let error = parse(&source(text)).map(|document| document.value).expect_err(text);
        let said = &findings(&error)[0];
        assert!(said.starts_with(&format!("task.json:{wanted}")), "{text:?}\n  said   {said}\n  wanted {wanted}");
        assert!(
            text.is_empty() || !error.hints().is_empty() || said.contains("hexadecimal"),
            "{text:?} has no hint: {said}"
        );
    }
}

#[test]
fn duplicate_keys_are_all_reported_even_before_a_syntax_error() {
    let error = parse(&source("{\"a\":1,\"a\":2,\"b\":{\"c\":1,\"c\":2,\"c\":3},}")).unwrap_err();
    let said = findings(&error);
    assert_eq!(said.len(), 4, "{said:#?}");
    assert!(said[3].contains("a comma with nothing after it"), "{said:#?}");
}

#[test]
fn depth_is_limited_and_the_limit_itself_is_allowed() {
    let nested = |depth: usize| "[".repeat(depth) + &"]".repeat(depth);
    assert!(parse(&source(&nested(MAX_DEPTH))).is_ok());
    let error = parse(&source(&nested(MAX_DEPTH + 1))).unwrap_err();
    assert!(findings(&error)[0].starts_with("task.json:1:129: nested deeper than 128 levels"));
    assert!(parse(&source(&"[".repeat(1_000_000))).is_err());
}

#[test]
fn a_fraction_is_kept_however_it_is_spelt() {
    for text in [
        "0.1",
        "-0.0",
        "-0",
        "0e9",
        "0.10",
        "1.0",
        "1E+2",
        "100e-2",
        "0.000001e3",
        "1e-7",
        "123456789.125",
        "1.7976931348623157e308",
        "5e-324",
        "100000000000000000000.0",
        "0e99999999999",
    ] {
        let value = parse(&source(text)).unwrap_or_else(|error| panic!("{text}: {error}")).value;
        assert_eq!(value.as_f64(), text.parse().ok(), "{text}");
    }
}

/// serde_json may be off by a last bit where we are exact.
fn close(ours: &Value, theirs: &Value) -> bool {
    match (ours, theirs) {
        (Value::Number(ours), Value::Number(theirs)) if ours.is_f64() && theirs.is_f64() => {
            let (ours, theirs) = (ours.as_f64().unwrap(), theirs.as_f64().unwrap());
            (ours - theirs).abs() <= ours.abs() * 1e-14
        }
        (Value::Array(ours), Value::Array(theirs)) => {
            ours.len() == theirs.len() && ours.iter().zip(theirs).all(|(ours, theirs)| close(ours, theirs))
        }
        (Value::Object(ours), Value::Object(theirs)) => {
            ours.len() == theirs.len()
                && ours.iter().zip(theirs).all(|(ours, theirs)| ours.0 == theirs.0 && close(ours.1, theirs.1))
        }
        _ => ours == theirs,
    }
}

fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        any::<String>().prop_map(Value::from),
    ];
    leaf.prop_recursive(5, 60, 8, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..8).prop_map(Value::from),
            prop::collection::vec((any::<String>(), inner), 0..8)
                .prop_map(|members| Value::Object(Map::from_iter(members))),
        ]
    })
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn what_is_written_is_read(value in any_json()) {
        for text in [to_json(&value), value.to_string()] {
            let document = parse(&source(&text)).unwrap();
            prop_assert_eq!(&document.value, &value);
            // Order is part of it, which Value's equality does not look at.
            prop_assert_eq!(document.value.to_string(), value.to_string());
        }
    }

    #[test]
    fn every_span_holds_its_value(value in any_json()) {
        let text = to_json(&value);
        let document = parse(&source(&text)).unwrap();
        let mut todo = vec![(String::new(), value)];
        while let Some((pointer, value)) = todo.pop() {
            let span = document.span_of(&pointer).unwrap();
            prop_assert_eq!(&parse(&source(&text[span])).unwrap().value, &value);
            match value {
                Value::Array(values) => {
                    todo.extend(values.into_iter().enumerate().map(|(index, value)| (format!("{pointer}/{index}"), value)));
                }
                Value::Object(members) => todo.extend(members.into_iter().map(|(key, value)| {
                    (format!("{pointer}/{}", key.replace('~', "~0").replace('/', "~1")), value)
                })),
                _ => {}
            }
        }
    }

    #[test]
    fn any_text_is_read_as_serde_json_reads_it_or_refused(text in r#"[\[\]{}",:0-9eE+\-. a\\untrfls"]{0,24}"#) {
        match parse(&source(&text)) {
            Ok(document) => prop_assert!(close(&document.value, &serde_json::from_str::<Value>(&text).unwrap()), "{:?}", text),
            Err(error) => {
                findings(&error);
                let duplicate = error.to_string().contains("given twice");
                let theirs = serde_json::from_str::<Value>(&text);
                prop_assert!(theirs.is_err() || duplicate, "{:?} is refused: {:?}", text, error);
            }
        }
    }

    #[test]
    fn no_text_panics(text in any::<String>()) {
        if let Err(error) = parse(&source(&text)) {
            findings(&error);
        }
    }
}
