use std::collections::BTreeMap;

use proptest::prelude::*;
use serde_json::{Map, Value, json};
use steadystate::lab::api::ApiError;
use steadystate::lab::wire::{query, without_nulls, xml};

#[test]
fn a_query_becomes_nested_values() {
    let table = [
        ("Action=A&Version=V", json!({})),
        ("Action=A&Version=V&Name=x&Size=1", json!({ "Name": "x", "Size": "1" })),
        (
            "Action=A&Version=V&L.member.1.Port=80&L.member.2.Port=81",
            json!({ "L": [{ "Port": "80" }, { "Port": "81" }] }),
        ),
        ("Action=A&Version=V&L.member.2=b&L.member.10=c&L.member.1=a", json!({ "L": ["a", "b", "c"] })),
        (
            "Action=A&Version=V&Filter.1.Name=vpc-id&Filter.1.Value.1=x",
            json!({ "Filter": [{ "Name": "vpc-id", "Value": ["x"] }] }),
        ),
        ("Action=A&Version=V&A.B.C=1&A.B.D=2", json!({ "A": { "B": { "C": "1", "D": "2" } } })),
        ("Action=A&Version=V&A.member=x", json!({ "A": { "member": "x" } })),
        ("Action=A&Version=V&A.01=x", json!({ "A": { "01": "x" } })),
        ("Action=A&Version=V&A=a+b%26%3D%C3%A9", json!({ "A": "a b&=é" })),
        ("Action=A&Version=V&Empty=", json!({ "Empty": "" })),
        ("Action=A&Version=V&L.member.1.M.member.1=x", json!({ "L": [{ "M": ["x"] }] })),
    ];
    for (form, input) in table {
        let request = query::parse(form.as_bytes()).unwrap();
        assert_eq!((request.operation.as_str(), request.version.as_str()), ("A", "V"), "{form}");
        assert_eq!(request.input, input, "{form}");
    }
}

#[test]
fn a_query_that_cannot_be_meant_is_refused() {
    let deep = format!("Action=A&{}x=1", "a.".repeat(40));
    let many: String = (0..10_001).map(|n| format!("a{n}=1&")).collect();
    let table = [
        ("Version=V", "MissingAction"),
        ("", "MissingAction"),
        ("Action=A&a=1&a=2", "MalformedQueryString"),
        ("Action=A&a=1&a.b=2", "MalformedQueryString"),
        ("Action=A&a.b=2&a=1", "MalformedQueryString"),
        ("Action=A&a..b=1", "MalformedQueryString"),
        (&deep, "MalformedQueryString"),
        (&many, "MalformedQueryString"),
    ];
    for (form, code) in table {
        assert_eq!(query::parse(form.as_bytes()).unwrap_err().code, code, "{}", &form[..form.len().min(60)]);
    }
}

/// Writes a value as botocore's serialisers do.
fn flatten(prefix: &str, value: &Value, member: bool, pairs: &mut Vec<(String, String)>) {
    let under = |segment: &str| if prefix.is_empty() { segment.to_owned() } else { format!("{prefix}.{segment}") };
    match value {
        Value::Object(members) => members.iter().for_each(|(key, value)| flatten(&under(key), value, member, pairs)),
        Value::Array(items) => {
            let list = if member { under("member") } else { prefix.to_owned() };
            for (at, item) in items.iter().enumerate() {
                flatten(&format!("{list}.{}", at + 1), item, member, pairs);
            }
        }
        Value::String(text) => pairs.push((prefix.to_owned(), text.clone())),
        other => panic!("{other}"),
    }
}

fn values() -> impl Strategy<Value = Value> {
    let leaf = any::<String>().prop_map(Value::String);
    leaf.prop_recursive(4, 24, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 1..12).prop_map(Value::Array),
            members(inner).prop_map(Value::Object),
        ]
    })
}

fn members(value: impl Strategy<Value = Value>) -> impl Strategy<Value = Map<String, Value>> {
    prop::collection::btree_map("[A-Z][A-Za-z]{0,6}", value, 1..4)
        .prop_map(|members: BTreeMap<String, Value>| members.into_iter().collect())
}

proptest! {
    #[test]
    fn what_botocore_writes_is_read_back(input in members(values()), member in any::<bool>()) {
        prop_assume!(!input.contains_key("Action") && !input.contains_key("Version"));
        let input = Value::Object(input);
        let mut pairs = vec![("Action".to_owned(), "A".to_owned())];
        flatten("", &input, member, &mut pairs);
        let form = url::form_urlencoded::Serializer::new(String::new()).extend_pairs(pairs).finish();
        prop_assert_eq!(query::parse(form.as_bytes()).unwrap().input, input);
    }

    #[test]
    fn any_form_is_answered(form in any::<Vec<u8>>()) {
        let _ = query::parse(&form);
    }

    #[test]
    fn any_text_survives_xml(text in any::<String>()) {
        let reply = xml::reply(xml::Dialect::Elbv2, "Do", &json!({ "Name": text }), "id");
        let mut reader = quick_xml::Reader::from_str(&reply);
        let mut read = String::new();
        let mut inside = false;
        loop {
            use quick_xml::events::Event;
            match reader.read_event().unwrap() {
                Event::Start(tag) => inside = AsRef::<str>::as_ref(&tag.name()) == "Name",
                Event::End(_) => inside = false,
                Event::Text(part) if inside => read.push_str(&part),
                Event::GeneralRef(name) if inside => {
                    let name: &str = &name;
                    read.push_str(&quick_xml::escape::unescape(&format!("&{name};")).unwrap());
                }
                Event::Eof => break,
                _ => {}
            }
        }
        let writable = |c: char| !matches!(c, '\0'..='\x08' | '\x0b' | '\x0c' | '\x0e'..='\x1f' | '\u{fffe}' | '\u{ffff}');
        let expected: String = text.chars().map(|c| if writable(c) { c } else { '\u{fffd}' }).collect();
        prop_assert_eq!(read, expected);
    }
}

#[test]
fn replies_are_each_services_xml() {
    let reply = json!({ "Items": [{ "Port": 80, "On": true, "Not": null }, { "Name": "<&>" }], "None": [] });
    insta::assert_snapshot!(xml::reply(xml::Dialect::Elbv2, "Do", &reply, "id"), @r#"<DoResponse xmlns="http://elasticloadbalancing.amazonaws.com/doc/2015-12-01/"><DoResult><Items><member><Port>80</Port><On>true</On></member><member><Name>&lt;&amp;&gt;</Name></member></Items><None></None></DoResult><ResponseMetadata><RequestId>id</RequestId></ResponseMetadata></DoResponse>"#);
    insta::assert_snapshot!(xml::reply(xml::Dialect::Ec2, "Do", &reply, "id"), @r#"
    <?xml version="1.0" encoding="UTF-8"?>
    <DoResponse xmlns="http://ec2.amazonaws.com/doc/2016-11-15/"><requestId>id</requestId><Items><item><Port>80</Port><On>true</On></item><item><Name>&lt;&amp;&gt;</Name></item></Items><None></None></DoResponse>
    "#);
    let error = ApiError::new("Bad", "not <so>");
    insta::assert_snapshot!(xml::error(xml::Dialect::Sts, &error, "id"), @r#"<ErrorResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><Error><Type>Sender</Type><Code>Bad</Code><Message>not &lt;so&gt;</Message></Error><RequestId>id</RequestId></ErrorResponse>"#);
    insta::assert_snapshot!(xml::error(xml::Dialect::Ec2, &error, "id"), @r#"
    <?xml version="1.0" encoding="UTF-8"?>
    <Response><Errors><Error><Code>Bad</Code><Message>not &lt;so&gt;</Message></Error></Errors><RequestID>id</RequestID></Response>
    "#);
}

#[test]
fn nulls_go_and_empty_things_stay() {
    let mut value = json!({ "a": null, "b": { "c": null, "d": [] }, "e": [{ "f": null }], "g": "" });
    without_nulls(&mut value);
    assert_eq!(value, json!({ "b": { "d": [] }, "e": [{}], "g": "" }));
}
