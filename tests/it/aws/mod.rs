//! The AWS clients: what goes over the wire, what comes back, and what an error tells a person.

pub mod server;

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use server::{Reply, Server};
use steadystate::aws::failure::Reach;
use steadystate::aws::{Failure, Settings, Timeouts, connect, connect_with, query};
use steadystate::error::{Error, Kind};

#[tokio::test]
async fn body_and_reply_are_kept_to_the_last_member() {
    let server = Server::start(|_, _| {
        Reply::Json(json!({
            "taskDefinition": { "taskDefinitionArn": "arn:x:1", "futureMember": { "z": [1, 2.5, null] }, "status": "SLEEPING" },
            "newTopLevel": "kept",
        }))
    })
    .await;
    let clients = server.clients().await;
    let body = json!({
        "family": "x", "futureField": { "Nested": [] }, "containerDefinitions": [{ "name": "a", "cpu": 0, "links": [] }],
    });
    let reply = clients.register_task_definition(body.clone()).await.expect("registered");
    let request = &server.requests()[0];
    assert_eq!(request.text, body.to_string(), "the body is ours to the byte, members in their order");
    assert_eq!(request.header("content-length"), body.to_string().len().to_string());
    assert!(request.header("authorization").contains("Credential=AKIATEST/"), "signed with the static credentials");
    assert!(request.header("authorization").contains("/us-west-2/ecs/"));
    assert_eq!(reply["newTopLevel"], "kept");
    assert_eq!(reply["taskDefinition"]["futureMember"]["z"][1], 2.5);
    assert_eq!(reply["taskDefinition"]["status"], "SLEEPING", "an unknown enum value is no error");
}

#[tokio::test]
async fn a_reply_that_the_sdk_cannot_type_is_still_a_reply() {
    let reply = json!({ "services": [{ "serviceName": 7, "events": "not a list" }] });
    let sent = reply.clone();
    let server = Server::start(move |_, _| Reply::Json(sent.clone())).await;
    assert_eq!(server.clients().await.describe_services(json!({})).await.expect("raw"), reply);
}

#[tokio::test]
async fn what_has_no_client_token_is_sent_once() {
    let server = Server::start(|_, _| Reply::Drop).await;
    let clients = server.clients().await;
    for operation in ["RegisterTaskDefinition", "UpdateService"] {
        let failure = match operation {
            "UpdateService" => clients.update_service(json!({ "service": "s" })).await,
            _ => clients.register_task_definition(json!({ "family": "f" })).await,
        }
        .expect_err("dropped");
        assert_eq!(failure.reach, Reach::Unknown, "{failure}");
        assert_eq!(server.count(operation), 1, "{operation} must not be sent again");
    }
}

#[tokio::test]
async fn reads_are_retried_after_a_dropped_connection_and_after_throttling() {
    let server = Server::start(|_, before| match before {
        0 => Reply::Drop,
        1 => Reply::Error(400, "ThrottlingException", "Rate exceeded"),
        _ => Reply::Json(json!({ "services": [] })),
    })
    .await;
    server.clients().await.describe_services(json!({ "services": ["s"] })).await.expect("retried");
    assert_eq!(server.count("DescribeServices"), 3);
}

#[tokio::test]
async fn a_socket_that_hangs_ends_with_the_attempt() {
    let listener = tokio::net::TcpListener::bind(("127.0.0.1", 0)).await.expect("a free port");
    let settings = Settings {
        region: Some("us-west-2".into()),
        endpoint_url: Some(format!("http://{}", listener.local_addr().expect("bound"))),
        static_credentials: Some(("a".into(), "b".to_owned().into())),
        ..Settings::default()
    };
    let timeouts = Timeouts { connect: Duration::from_millis(300), attempt: Duration::from_millis(300) };
    let clients = connect_with(&settings, timeouts).await.expect("connected");
    let started = Instant::now();
    let failure = clients.update_service(json!({ "service": "s" })).await.expect_err("hangs");
    assert!(started.elapsed() < Duration::from_secs(5), "{:?}", started.elapsed());
    assert_eq!((failure.reach, failure.message.as_str()), (Reach::Unknown, "no answer in time"));
}

#[tokio::test]
async fn nothing_listens_means_nothing_was_sent() {
    let settings = Settings {
        region: Some("us-west-2".into()),
        endpoint_url: Some("http://127.0.0.1:9".into()),
        static_credentials: Some(("a".into(), "b".to_owned().into())),
        ..Settings::default()
    };
    let clients = connect(&settings).await.expect("connected");
    let failure = clients.register_task_definition(json!({})).await.expect_err("refused");
    assert_eq!(failure.reach, Reach::NotSent, "{failure}");
}

#[tokio::test]
async fn without_a_region_it_says_where_to_set_one() {
    let settings = Settings { static_credentials: Some(("a".into(), "b".to_owned().into())), ..Settings::default() };
    let error = connect(&settings).await.expect_err("no region");
    assert_eq!(error.kind(), Kind::Preflight);
    assert!(error.hints()[0].contains("--region"), "{error:?}");
}

#[test]
fn debug_of_settings_and_clients_shows_no_secret() {
    let settings =
        Settings { static_credentials: Some(("a".into(), "topsecret".to_owned().into())), ..Default::default() };
    assert!(!format!("{settings:?}").contains("topsecret"));
}

#[test]
fn errors_name_the_call_and_the_next_step() {
    let failure = |code: &str, message: &str, status: u16| Failure {
        service: "ECS",
        operation: "UpdateService",
        code: Some(code.to_owned()).filter(|code| !code.is_empty()),
        message: message.to_owned(),
        status: Some(status).filter(|status| *status > 0),
        reach: if status == 0 { Reach::NotSent } else { Reach::Refused },
    };
    let denied = "User: arn:aws:sts::1:assumed-role/ci/x is not authorized to perform: iam:PassRole on resource: y";
    for (failure, hint) in [
        (failure("AccessDeniedException", denied, 400), "`iam:PassRole`"),
        (failure("AccessDeniedException", "no", 400), "`ecs:UpdateService`"),
        (failure("ExpiredTokenException", "The security token has expired", 400), "aws sso login"),
        (failure("ThrottlingException", "Rate exceeded", 400), "throttles"),
        (failure("NoCredentials", "no credentials provider", 0), "--lab"),
        (failure("", "other: the credential provider was not enabled", 0), "AWS_PROFILE"),
        (failure("", "connection refused", 0), "AWS_ENDPOINT_URL"),
    ] {
        let error: Error = failure.clone().error(Kind::Preflight);
        assert!(error.hints().iter().any(|one| one.contains(hint)), "{failure}: {:?}", error.hints());
        assert!(error.to_string().starts_with("ECS.UpdateService: "), "{error}");
    }
    assert_eq!(
        failure("ClientException", "TaskDefinition is inactive", 400).to_string(),
        "ECS.UpdateService: ClientException: TaskDefinition is inactive"
    );
}

#[tokio::test]
async fn identity_is_asked_once() {
    let server = Server::start(|_, _| {
        Reply::Xml(
            200,
            "<GetCallerIdentityResponse xmlns=\"https://sts.amazonaws.com/doc/2011-06-15/\"><GetCallerIdentityResult>\
             <Arn>arn:aws:iam::123456789012:user/x</Arn><UserId>A</UserId><Account>123456789012</Account>\
             </GetCallerIdentityResult></GetCallerIdentityResponse>"
                .to_owned(),
        )
    })
    .await;
    let clients = server.clients().await;
    let (one, other) = tokio::join!(clients.identity(), clients.clone().identity_of_clone());
    assert_eq!(one.expect("answered").account_id, "123456789012");
    assert_eq!(other, "arn:aws:iam::123456789012:user/x");
    assert_eq!(server.count("GetCallerIdentity"), 1);
}

trait OfClone {
    async fn identity_of_clone(self) -> String;
}

impl OfClone for steadystate::aws::Clients {
    async fn identity_of_clone(self) -> String {
        self.identity().await.map(|identity| identity.arn).unwrap_or_default()
    }
}

#[tokio::test]
async fn ec2_speaks_the_query_protocol_signed_and_reads_all_pages() {
    let page = |ids: [&str; 2], token: &str| {
        let items: String = ids.iter().map(|id| format!("<item><subnetId>{id}</subnetId><tagSet/></item>")).collect();
        format!(
            "<DescribeSubnetsResponse><requestId>r</requestId><subnetSet>{items}</subnetSet>{token}</DescribeSubnetsResponse>"
        )
    };
    let server = Server::start(move |request, before| {
        assert!(request.header("authorization").contains("/us-west-2/ec2/"));
        match before {
            0 => Reply::Xml(503, "<Response><Errors><Error><Code>RequestLimitExceeded</Code><Message>slow</Message></Error></Errors></Response>".into()),
            1 => Reply::Xml(200, page(["subnet-1", "subnet-2"], "<nextToken>more &amp; more</nextToken>")),
            _ => Reply::Xml(200, page(["subnet-3", "subnet-4"], "")),
        }
    })
    .await;
    let clients = server.clients().await;
    let filters = [("vpc-id", vec!["vpc-1"]), ("tag:team", vec!["a b"])];
    let found = clients.ec2.describe_subnets(&filters, &["subnet-9".into()]).await.expect("answered");
    let ids: Vec<&str> = found.iter().filter_map(|one| one["subnetId"].as_str()).collect();
    assert_eq!(ids, ["subnet-1", "subnet-2", "subnet-3", "subnet-4"]);
    let requests = server.requests();
    assert!(requests[0].text.contains("Filter.1.Name=vpc-id&Filter.1.Value.1=vpc-1&Filter.2.Name=tag%3Ateam"));
    assert!(requests[0].text.contains("Filter.2.Value.1=a+b&SubnetId.1=subnet-9"), "{}", requests[0].text);
    assert!(requests[2].text.ends_with("NextToken=more+%26+more"), "{}", requests[2].text);
}

#[tokio::test]
async fn ec2_errors_are_like_all_others() {
    let server = Server::start(|_, _| {
        Reply::Xml(403, "<Response><Errors><Error><Code>UnauthorizedOperation</Code><Message>You are not authorized to perform this operation.</Message></Error></Errors></Response>".into())
    })
    .await;
    let failure = server.clients().await.ec2.describe_vpcs(&[]).await.expect_err("denied");
    assert_eq!(
        failure.to_string(),
        "EC2.DescribeVpcs: UnauthorizedOperation: You are not authorized to perform this operation."
    );
    assert!(failure.error(Kind::Preflight).hints()[0].contains("`ec2:DescribeVpcs`"));
    assert_eq!(server.count("DescribeVpcs"), 1, "a refusal is not retried");
}

#[test]
fn xml_becomes_members_and_lists() {
    for (xml, value) in [
        ("<R/>", json!("")),
        ("<R><a>1</a><b><c>x &lt;y&gt; &#65;</c></b></R>", json!({ "a": "1", "b": { "c": "x <y> A" } })),
        ("<R><s><item>1</item></s><e/></R>", json!({ "s": ["1"], "e": "" })),
        (
            "<?xml version=\"1.0\"?>\n<R xmlns=\"u\">\n <s>\n <member><k>v</k></member>\n <member/>\n</s></R>",
            json!({ "s": [{ "k": "v" }, ""] }),
        ),
    ] {
        assert_eq!(query::parse_xml(xml).expect("well-formed"), value, "{xml}");
    }
    assert!(query::parse_xml("<R><a></R>").is_err());
    let _: Value = Value::Null;
}
