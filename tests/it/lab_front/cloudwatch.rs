//! CloudWatch's alarms, in each protocol that its clients speak.

use serde_json::{Value, json};
use steadystate::aws_model::Service;
use steadystate::lab::wire::cbor;

use super::{Answer, TestLab};
use crate::signing::{Signer, signer};

const TARGET: &str = "GraniteServiceVersion20100801";

fn alarm(name: &str) -> Value {
    json!({
        "AlarmName": name, "MetricName": "5XX", "Namespace": "Web", "Statistic": "Sum", "Period": 60, "Threshold": 1.5,
        "EvaluationPeriods": 2, "ComparisonOperator": "GreaterThanThreshold", "Dimensions": [{"Name": "a", "Value": "b"}],
    })
}

async fn json(lab: &TestLab, operation: &str, input: Value) -> Answer {
    lab.json(&format!("{TARGET}.{operation}"), &input).await
}

async fn rpc(lab: &TestLab, operation: &str, body: Vec<u8>) -> Answer {
    let path = format!("/service/{TARGET}/operation/{operation}");
    let signer = Signer { service: "monitoring", ..signer(&[], &body) };
    let signed = signer.sign_path(&lab.host, &path, &[], &body);
    let mut headers = vec![("smithy-protocol", "rpc-v2-cbor"), ("content-type", "application/cbor")];
    headers.extend(signed.iter().map(|(name, value)| (name.as_str(), value.as_str())));
    lab.send("POST", &path, &headers, body).await
}

async fn cbor(lab: &TestLab, operation: &str, input: Value) -> Answer {
    rpc(lab, operation, cbor::encode(Service::CloudWatch, None, &input)).await
}

async fn form(lab: &TestLab, operation: &str, parameters: &[(&str, &str)]) -> Answer {
    let mut form = url::form_urlencoded::Serializer::new(String::new());
    form.append_pair("Action", operation).append_pair("Version", "2010-08-01").extend_pairs(parameters);
    lab.send("POST", "/", &[("content-type", "application/x-www-form-urlencoded")], form.finish()).await
}

#[tokio::test]
async fn an_alarm_is_the_same_in_cbor_json_and_xml() {
    let lab = TestLab::start().await;
    let made = cbor(&lab, "PutMetricAlarm", alarm("a")).await;
    assert_eq!((made.status.as_u16(), made.header("smithy-protocol")), (200, "rpc-v2-cbor"));
    assert_eq!(made.header("content-type"), "application/cbor");
    assert_eq!(json(&lab, "PutMetricAlarm", alarm("b")).await.status, 200);
    let parameters = [
        ("AlarmName", "c"),
        ("MetricName", "5XX"),
        ("Namespace", "Web"),
        ("Statistic", "Sum"),
        ("Period", "60"),
        ("Threshold", "1.5"),
        ("EvaluationPeriods", "2"),
        ("ComparisonOperator", "GreaterThanThreshold"),
        ("Dimensions.member.1.Name", "a"),
        ("Dimensions.member.1.Value", "b"),
    ];
    assert_eq!(form(&lab, "PutMetricAlarm", &parameters).await.status, 200);
    assert_eq!(
        cbor(&lab, "SetAlarmState", json!({"AlarmName": "c", "StateValue": "ALARM", "StateReason": "by hand"}))
            .await
            .status,
        200
    );

    let in_json = json(&lab, "DescribeAlarms", json!({})).await.json();
    let in_cbor = cbor::decode(&cbor(&lab, "DescribeAlarms", json!({})).await.body).unwrap();
    assert_eq!(in_cbor, in_json);
    let alarms = in_json["MetricAlarms"].as_array().unwrap();
    for (found, (name, value)) in
        alarms.iter().zip([("a", "INSUFFICIENT_DATA"), ("b", "INSUFFICIENT_DATA"), ("c", "ALARM")])
    {
        assert_eq!((found["AlarmName"].as_str(), found["StateValue"].as_str()), (Some(name), Some(value)));
        for (member, value) in alarm(name).as_object().unwrap() {
            assert_eq!(found[member], *value, "{name} {member}");
        }
    }
    let xml = form(&lab, "DescribeAlarms", &[("StateValue", "ALARM")]).await.text();
    for part in [
        "<AlarmName>c</AlarmName>",
        "<Threshold>1.5</Threshold>",
        "<StateReason>by hand</StateReason>",
        "Z</StateUpdatedTimestamp>",
    ] {
        assert_eq!(xml.matches(part).count(), 1, "{part} in {xml}");
    }
    // It is kept.
    let lab = TestLab::start_in(lab.end().await).await;
    let names = json(&lab, "DescribeAlarms", json!({"StateValue": "ALARM"})).await.json();
    assert_eq!(names["MetricAlarms"][0]["AlarmName"], "c");
    lab.end().await;
}

#[tokio::test]
async fn refusals_have_their_code_in_each_protocol() {
    let lab = TestLab::start().await;
    let unknown = json!({"AlarmName": "none", "StateValue": "OK", "StateReason": ""});
    let answer = cbor(&lab, "SetAlarmState", unknown.clone()).await;
    assert_eq!((answer.status.as_u16(), answer.header("x-amzn-query-error")), (404, "ResourceNotFound;Sender"));
    assert_eq!(cbor::decode(&answer.body).unwrap()["__type"], "ResourceNotFound");
    assert_eq!(json(&lab, "SetAlarmState", unknown).await.json()["__type"], "ResourceNotFound");
    let answer = form(&lab, "SetAlarmState", &[("AlarmName", "none"), ("StateValue", "OK"), ("StateReason", "")]).await;
    assert!(answer.status == 404 && answer.text().contains("<Code>ResourceNotFound</Code>"), "{}", answer.text());

    cbor(&lab, "PutMetricAlarm", alarm("a")).await;
    let bad = json!({"AlarmName": "a", "StateValue": "OK", "StateReason": "", "StateReasonData": "{"});
    let answer = cbor(&lab, "SetAlarmState", bad).await;
    assert_eq!(answer.header("x-amzn-query-error"), "InvalidFormat;Sender", "the code of old …");
    assert_eq!(cbor::decode(&answer.body).unwrap()["__type"], "InvalidFormatFault", "… and the shape's name");

    let without = |member: &str| {
        let mut input = alarm("x");
        input.as_object_mut().unwrap().remove(member);
        input
    };
    let with = |member: &str, value: Value| {
        let mut input = alarm("x");
        input[member] = value;
        input
    };
    for input in [
        without("AlarmName"),
        without("MetricName"),
        without("Threshold"),
        without("EvaluationPeriods"),
        without("ComparisonOperator"),
        with("Metrics", json!([{"Id": "m", "Expression": "1"}])),
        with("Period", json!(45)),
        with("DatapointsToAlarm", json!(3)),
        with("ExtendedStatistic", json!("p99")),
        with("ComparisonOperator", json!("Greater")),
        json!({"AlarmName": "x", "EvaluationCriteria": {}}),
    ] {
        let answer = json(&lab, "PutMetricAlarm", input.clone()).await;
        assert_eq!(
            (answer.status.as_u16(), answer.json()["__type"].as_str()),
            (400, Some("ValidationError")),
            "{input}"
        );
    }
    for (operation, body) in
        [("PutMetricAlarm", vec![0xa1]), ("PutMetricAlarm", vec![0x80]), ("MakeCoffee", vec![0xa0])]
    {
        assert_eq!(rpc(&lab, operation, body).await.status, 400, "{operation}");
    }
    let path = format!("/service/{TARGET}/operation/DescribeAlarms");
    let unsigned = lab.send("POST", &path, &[("smithy-protocol", "rpc-v2-cbor")], vec![0xa0]).await;
    assert_eq!(unsigned.header("x-amzn-query-error"), "MissingAuthenticationTokenException;Sender");
    assert_eq!(lab.send("POST", &path, &[], vec![0xa0]).await.status, 404, "of another protocol nothing is there");
    let other = "/service/AmazonEC2ContainerServiceV20141113/operation/ListClusters";
    assert_eq!(lab.send("POST", other, &[("smithy-protocol", "rpc-v2-cbor")], vec![0xa0]).await.status, 404);
    lab.end().await;
}

#[tokio::test]
async fn alarms_are_listed_changed_tagged_and_deleted() {
    let lab = TestLab::start().await;
    for name in ["web-1", "web-2", "db-1"] {
        let mut input = alarm(name);
        input["Tags"] = json!([{"Key": "of", "Value": name}]);
        input["AlarmActions"] = json!([format!("arn:aws:sns:us-east-1:1:{name}")]);
        json(&lab, "PutMetricAlarm", input).await;
    }
    let described = async |input: Value| {
        let reply = json(&lab, "DescribeAlarms", input).await.json();
        let names =
            reply["MetricAlarms"].as_array().unwrap().iter().map(|of| of["AlarmName"].as_str().unwrap().to_owned());
        (names.collect::<Vec<_>>(), reply["NextToken"].as_str().map(str::to_owned))
    };
    json(&lab, "SetAlarmState", json!({"AlarmName": "web-2", "StateValue": "OK", "StateReason": "fine"})).await;
    let table = [
        (json!({}), vec!["db-1", "web-1", "web-2"]),
        (json!({"AlarmNamePrefix": "web"}), vec!["web-1", "web-2"]),
        (json!({"AlarmNames": ["web-2", "none"]}), vec!["web-2"]),
        (json!({"StateValue": "OK"}), vec!["web-2"]),
        (json!({"ActionPrefix": "arn:aws:sns:us-east-1:1:db"}), vec!["db-1"]),
        (json!({"AlarmTypes": ["CompositeAlarm"]}), vec![]),
    ];
    for (input, names) in table {
        assert_eq!(described(input.clone()).await.0, names, "{input}");
    }
    let (page, next) = described(json!({"MaxRecords": 2})).await;
    assert_eq!(page, ["db-1", "web-1"]);
    assert_eq!(described(json!({"MaxRecords": 2, "NextToken": next})).await, (vec!["web-2".to_owned()], None));
    assert_eq!(json(&lab, "DescribeAlarms", json!({"NextToken": "x"})).await.json()["__type"], "InvalidNextToken");

    // A new configuration leaves the state and the tags.
    let mut input = alarm("web-2");
    input["Threshold"] = json!(7);
    json(&lab, "PutMetricAlarm", input).await;
    json(&lab, "DisableAlarmActions", json!({"AlarmNames": ["web-2"]})).await;
    let reply = json(&lab, "DescribeAlarms", json!({"AlarmNames": ["web-2"]})).await.json();
    let found = &reply["MetricAlarms"][0];
    assert_eq!(
        (&found["StateValue"], &found["Threshold"], &found["ActionsEnabled"]),
        (&json!("OK"), &json!(7), &json!(false))
    );
    assert_eq!(found["AlarmActions"], json!([]), "the configuration is replaced as a whole");
    json(&lab, "EnableAlarmActions", json!({"AlarmNames": ["web-2"]})).await;

    let arn = found["AlarmArn"].clone();
    let tags = async || json(&lab, "ListTagsForResource", json!({"ResourceARN": arn})).await.json()["Tags"].clone();
    json(&lab, "TagResource", json!({"ResourceARN": arn, "Tags": [{"Key": "x", "Value": "y"}]})).await;
    assert_eq!(tags().await, json!([{"Key": "of", "Value": "web-2"}, {"Key": "x", "Value": "y"}]));
    json(&lab, "UntagResource", json!({"ResourceARN": arn, "TagKeys": ["of"]})).await;
    assert_eq!(tags().await, json!([{"Key": "x", "Value": "y"}]));
    let none =
        json(&lab, "ListTagsForResource", json!({"ResourceARN": "arn:aws:cloudwatch:us-east-1:1:alarm:none"})).await;
    assert_eq!(none.json()["__type"], "ResourceNotFoundException");

    let refused = json(&lab, "DeleteAlarms", json!({"AlarmNames": ["web-1", "none"]})).await;
    assert_eq!((refused.status.as_u16(), described(json!({})).await.0.len()), (404, 3), "all or none");
    json(&lab, "DeleteAlarms", json!({"AlarmNames": ["web-1", "db-1"]})).await;
    assert_eq!(described(json!({})).await.0, ["web-2"]);
    lab.end().await;
}
