use std::time::Duration;

use serde_json::json;

use super::TestLab;
use crate::signing::{Signer, signer};

const FORM: (&str, &str) = ("content-type", "application/x-www-form-urlencoded; charset=utf-8");

#[tokio::test]
async fn the_target_names_service_and_operation() {
    let lab = TestLab::start().await;
    let table = [
        ("AmazonEC2ContainerServiceV20141113.Nonsense", "{}", "UnknownOperationException"),
        ("AmazonEC2ContainerRegistry_V20150921.Nonsense", "{}", "UnknownOperationException"),
        ("Route53AutoNaming_v20170314.Nonsense", "{}", "UnknownOperationException"),
        ("Logs_20140328.Nonsense", "{}", "UnknownOperationException"),
        // what is wrong with the request is not even looked at
        ("AmazonEC2ContainerServiceV20141113.SubmitTaskStateChange", "{\"cluster\":5}", "UnknownOperationException"),
        ("AmazonEC2ContainerRegistry_V20150921.PutReplicationConfiguration", "{}", "UnknownOperationException"),
        ("Route53AutoNaming_v20170314.MakeCoffee", "{}", "UnknownOperationException"),
        ("Logs_20140328.StartQuery", "{\"limit\":\"many\"}", "UnknownOperationException"),
        ("AmazonSSM.SendCommand", "{}", "UnknownOperationException"),
        ("secretsmanager.RotateSecret", "{}", "UnknownOperationException"),
        ("DynamoDB_20120810.ListTables", "{}", "UnknownOperationException"),
        ("nonsense", "{}", "UnknownOperationException"),
        ("AmazonEC2ContainerRegistry_V20150921.DescribeRepositories", "{", "SerializationException"),
        ("AmazonEC2ContainerRegistry_V20150921.DescribeRepositories", "[]", "SerializationException"),
    ];
    for (target, body, code) in table {
        let answer = lab.send("POST", "/", &[("x-amz-target", target)], body).await;
        assert_eq!(answer.status, 400, "{target}");
        assert_eq!(answer.json()["__type"], code, "{target} {body}");
        assert!(answer.json()["message"].is_string());
        assert_eq!(answer.header("content-type"), "application/x-amz-json-1.1");
        assert_eq!(answer.header("x-amzn-requestid").len(), 36);
    }
    let reply = lab
        .send("POST", "/", &[("x-amz-target", "AmazonEC2ContainerRegistry_V20150921.DescribeRepositories")], "")
        .await;
    assert_eq!(
        (reply.status.as_u16(), reply.json()),
        (200, json!({ "repositories": [] })),
        "an empty body is an empty input"
    );
    lab.end().await;
}

#[tokio::test]
async fn the_scope_or_the_version_names_the_service_of_a_form() {
    let lab = TestLab::start().await;
    let (elb, sts, ec2) = ("<ErrorResponse xmlns=\"http://elastic", "<GetCallerIdentityResponse", "<Response><Errors>");
    let table = [
        ("Action=GetCallerIdentity&Version=2011-06-15", "", 200, sts),
        ("Action=GetCallerIdentity&Version=", "sts", 200, sts),
        ("Action=Nonsense&Version=2015-12-01", "", 400, elb),
        ("Action=CreateTrustStore&Version=2015-12-01", "", 400, "UnknownOperationException"),
        ("Action=CreateUser&Version=2010-05-08", "", 400, "InvalidAction"),
        ("Action=AssumeRole&Version=2011-06-15", "", 400, "UnknownOperationException"),
        ("Action=Nonsense&Version=2016-11-15", "", 400, ec2),
        ("Action=Nonsense&Version=2011-06-15", "ec2", 400, ec2),
        ("Action=Nonsense&Version=1999-01-01", "", 400, "UnknownOperationException"),
        ("Version=2016-11-15", "ec2", 400, "MissingAction"),
        ("Action=A&x=1&x=2&Version=2011-06-15", "sts", 400, "MalformedQueryString"),
    ];
    for (form, service, status, text) in table {
        let signer = signer(&[FORM], form.as_bytes());
        let signer = if service.is_empty() { signer } else { Signer { service, ..signer } };
        let answer = lab.signed_by(signer, &[FORM], form).await;
        assert_eq!(answer.status, status, "{form} {service}: {}", answer.text());
        assert!(answer.text().contains(text), "{form} {service}: {}", answer.text());
        assert_eq!(answer.header("content-type"), "text/xml");
    }
    let identity = lab.send("POST", "/", &[FORM], "Action=GetCallerIdentity&Version=2011-06-15").await.text();
    assert!(identity.contains("<Arn>arn:aws:iam::111122223333:user/steady-lab</Arn>"), "{identity}");
    lab.end().await;
}

#[tokio::test]
async fn everything_else_is_an_error_and_never_a_page() {
    let lab = TestLab::start().await;
    for (method, path, status) in [
        ("GET", "/", 405),
        ("PUT", "/", 405),
        ("POST", "/x", 404),
        ("GET", "/?Action=GetCallerIdentity&Version=2011-06-15", 405),
    ] {
        let answer = lab.send(method, path, &[], "").await;
        assert_eq!(answer.status, status, "{method} {path}");
        assert_eq!(answer.json()["__type"], "UnknownOperationException", "{method} {path}");
    }
    let plain = lab.send("POST", "/", &[], "hello").await;
    assert_eq!((plain.status.as_u16(), &plain.json()["__type"]), (400, &json!("UnknownOperationException")));
    let large = vec![b' '; 33 * 1024 * 1024];
    let target = ("x-amz-target", "AmazonEC2ContainerRegistry_V20150921.DescribeRepositories");
    let answer = lab.send("POST", "/", &[target, ("expect", "100-continue")], large).await;
    assert_eq!(answer.status, 413);
    lab.end().await;
}

#[tokio::test]
async fn a_request_is_answered_to_who_signed_it_with_the_labs_key() {
    let lab = TestLab::start().await;
    let target = ("x-amz-target", "AmazonEC2ContainerRegistry_V20150921.DescribeRepositories");
    let identity = "Action=GetCallerIdentity&Version=2011-06-15";
    let describe = "Action=DescribeVpcs&Version=2016-11-15";
    let own = signer(&[target], b"");
    let minutes = |count: u64| Duration::from_secs(60 * count);
    let early = Signer { time: own.time - minutes(16), ..own };
    let late = Signer { time: own.time + minutes(16), ..own };
    let nobody = Signer { key: ("nobody", "steady-lab"), ..own };
    let guess = Signer { key: (own.key.0, "guess"), ..own };
    // Signer, and the codes of JSON, of STS and of EC2.
    let table = [
        (own, None),
        (Signer { time: own.time - minutes(14), ..own }, None),
        (nobody, Some(["UnrecognizedClientException", "InvalidClientTokenId", "AuthFailure"])),
        (guess, Some(["InvalidSignatureException", "SignatureDoesNotMatch", "AuthFailure"])),
        (early, Some(["InvalidSignatureException", "SignatureDoesNotMatch", "RequestExpired"])),
        (late, Some(["InvalidSignatureException", "SignatureDoesNotMatch", "RequestExpired"])),
    ];
    for (signer, codes) in table {
        let [json, sts, ec2] = [
            lab.signed_by(signer, &[target], "{}").await,
            lab.signed_by(Signer { service: "sts", ..signer }, &[FORM], identity).await,
            lab.signed_by(Signer { service: "ec2", ..signer }, &[FORM], describe).await,
        ];
        let found = [json.status, sts.status, ec2.status].map(|status| status.as_u16());
        let Some(codes) = codes else {
            assert_eq!(found, [200, 200, 200], "{signer:?}");
            continue;
        };
        assert_eq!(found, [400, 403, 401], "{signer:?}");
        assert_eq!(json.json()["__type"], codes[0], "{signer:?}");
        for (answer, code) in [(sts, codes[1]), (ec2, codes[2])] {
            assert!(answer.text().contains(&format!("<Code>{code}</Code>")), "{signer:?}: {}", answer.text());
        }
    }
    // What was signed is not what came.
    let signed = own.sign(&lab.host, &[target], b"{}");
    let value = |name: &str| signed.iter().find(|(of, _)| of == name).unwrap().1.clone();
    let (date, authorization) = (value("x-amz-date"), value("authorization"));
    let all = [target, ("x-amz-date", &date), ("authorization", &authorization)];
    assert_eq!(lab.send("POST", "/", &all, "{}").await.status, 200);
    let other = ("x-amz-target", "AmazonEC2ContainerRegistry_V20150921.DescribeRegistry");
    for (headers, body) in [(&all, "{ }"), (&[other, all[1], all[2]], "{}")] {
        let error = lab.send("POST", "/", headers, body).await.json();
        assert_eq!(error["__type"], "InvalidSignatureException", "{headers:?}");
    }
    for (authorization, code) in [
        ("", "IncompleteSignatureException"),
        ("Basic QVdTOng=", "IncompleteSignatureException"),
        ("AWS4-HMAC-SHA256 Credential=a/b, SignedHeaders=host, Signature=00", "IncompleteSignatureException"),
    ] {
        let headers = [target, ("x-amz-date", date.as_str()), ("authorization", authorization)];
        assert_eq!(lab.send("POST", "/", &headers, "{}").await.json()["__type"], code, "{authorization}");
    }
    let unsigned = lab.send("POST", "/", &[target, ("host", lab.host.as_str())], "{}").await;
    assert_eq!(unsigned.json()["__type"], "MissingAuthenticationTokenException");
    lab.end().await;
}
