//! Repositories: how they are named, and policies that others wrote into too.

use serde_json::{Value, json};
use steadystate::aws::Clients;
use steadystate::config::{CreateRepository, ImagePlan};
use steadystate::deploy::event::Events;
use steadystate::deploy::login::prepare;
use steadystate::deploy::repository::{Repository, ensure, find, merge_policy, names_registry};

use super::render::plan;
use crate::aws::server::{Reply, Server};

/// AWS itself, as far as these tests ask it: the caller is 012345678901 in us-west-2, and has no repository but `web`.
async fn aws() -> (Server, Clients) {
    let server = Server::start(|request, _| match request.operation.as_str() {
        "GetCallerIdentity" => Reply::Xml(
            200,
            "<GetCallerIdentityResponse><GetCallerIdentityResult><Arn>arn:aws:iam::012345678901:user/me</Arn>\
             <Account>012345678901</Account></GetCallerIdentityResult></GetCallerIdentityResponse>"
                .into(),
        ),
        "DescribeRepositories" if request.json()["repositoryNames"] == json!(["web"]) => {
            let uri = "012345678901.dkr.ecr.us-west-2.amazonaws.com/web";
            Reply::Json(json!({ "repositories": [{ "repositoryName": "web", "repositoryUri": uri }] }))
        }
        "DescribeRepositories" => Reply::Error(400, "RepositoryNotFoundException", "no such repository"),
        "CreateRepository" => Reply::Json(json!({ "repository": { "repositoryUri": "told/by-ecr" } })),
        "GetAuthorizationToken" if request.header("x-amz-target").starts_with("Spencer") => {
            let token = json!({ "authorizationToken": "QVdTOnB1YmxpYw==", "expiresAt": 4e9 });
            Reply::Json(json!({ "authorizationData": token }))
        }
        "GetAuthorizationToken" => Reply::Json(json!({ "authorizationData": [{
            "authorizationToken": "QVdTOnNlY3JldA==", "proxyEndpoint": "https://registry", "expiresAt": 4e9,
        }] })),
        _ => Reply::Error(400, "UnknownOperationException", "no such operation"),
    })
    .await;
    let mut clients = server.clients().await;
    // Not another endpoint that stands for all of AWS.
    clients.endpoint_url = None;
    (server, clients)
}

fn image(repository: &str, create: bool) -> ImagePlan {
    let create = create.then(CreateRepository::default);
    ImagePlan { repository: repository.into(), create, ..plan().image.expect("an image") }
}

#[tokio::test]
async fn a_full_name_in_the_caller_s_account_and_region_is_its_short_name() {
    let (_server, clients) = aws().await;
    let host = "012345678901.dkr.ecr.us-west-2.amazonaws.com";
    let fips = "012345678901.dkr.ecr-fips.us-west-2.amazonaws.com";
    for (repository, create, exists) in [
        (format!("{host}/web"), false, true),
        (format!("{host}/web"), true, true),
        (format!("{fips}/web"), false, true),
        (format!("{host}/new"), true, false),
    ] {
        let found = find(Some(&image(&repository, create)), &clients).await.expect("found").expect("an image");
        assert!(matches!(&found, Repository::Ecr { exists: there, .. } if *there == exists), "{found:?}");
        assert_eq!(found.uri(), repository);
        assert!(found.ecr_name().is_some(), "its digests are asked for: {repository}");
        let (events, create) = (Events::channel().0, image(&repository, create).create);
        let ensured = ensure(found, create.as_ref(), None, "c/web", &clients, &events).await.expect("there");
        assert_eq!((ensured.uri(), matches!(ensured, Repository::Ecr { exists: true, .. })), (repository, true));
    }
    let missing = find(Some(&image(&format!("{host}/new"), false)), &clients).await.expect_err("missing");
    assert_eq!(missing.kind().exit_code(), 3, "{missing}");
}

#[tokio::test]
async fn a_repository_elsewhere_is_used_but_not_created() {
    let (server, clients) = aws().await;
    for repository in
        ["012345678901.dkr.ecr.eu-west-1.amazonaws.com/web", "999999999999.dkr.ecr.us-west-2.amazonaws.com/web"]
    {
        let found = find(Some(&image(repository, false)), &clients).await.expect("taken as it is").expect("an image");
        assert_eq!((found.uri(), found.ecr_name()), (repository.to_owned(), None));
        let refused = find(Some(&image(repository, true)), &clients).await.expect_err("cannot be created");
        assert_eq!(refused.kind().exit_code(), 3);
        assert!(refused.hints()[0].contains("012345678901 in us-west-2"), "{:?}", refused.hints());
    }
    assert_eq!(server.count("DescribeRepositories"), 0);
}

#[tokio::test]
async fn a_token_is_asked_in_the_region_of_the_registry() {
    let (server, clients) = aws().await;
    for region in ["eu-west-1", "us-west-2"] {
        let reference = format!("012345678901.dkr.ecr.{region}.amazonaws.com/web").parse().expect("a reference");
        prepare(&Repository::of(&reference), &clients).await.expect("a token");
        let asked = server.requests().pop().expect("asked");
        assert_eq!(asked.operation, "GetAuthorizationToken");
        assert!(asked.header("authorization").contains(&format!("/{region}/ecr/")), "{region}");
    }
}

/// Its address is everybody's, and so is the region.
#[tokio::test]
async fn a_token_for_public_ecr_is_asked_in_its_one_region() {
    let (server, mut clients) = aws().await;
    let reference = "public.ecr.aws/docker/library/nginx".parse().expect("a reference");
    let prepared = prepare(&Repository::of(&reference), &clients).await.expect("a login");
    assert_eq!(prepared.registry(), "public.ecr.aws");
    let asked = server.requests().pop().expect("asked");
    assert!(asked.header("authorization").contains("/us-east-1/ecr-public/"), "the clients are for us-west-2");
    // What stands for all of AWS, such as the lab, has nothing that the real one would take.
    clients.endpoint_url = Some("http://127.0.0.1:1".to_owned());
    prepare(&Repository::of(&reference), &clients).await.expect("nothing, or what docker has");
    assert_eq!(server.count("GetAuthorizationToken"), 1);
}

#[test]
fn policies_are_merged_by_sid_and_left_alone_when_equal() {
    let policy = |statements: Value| json!({ "Version": "2012-10-17", "Statement": statements });
    let pull = |who: &str| json!({ "Sid": "pull", "Effect": "Allow", "Principal": { "AWS": who }, "Action": ["ecr:BatchGetImage", "ecr:GetDownloadUrlForLayer"] });
    let theirs = json!({ "Sid": "theirs", "Effect": "Deny", "Principal": "*", "Action": "ecr:DeleteRepository" });
    let nameless = json!({ "Effect": "Allow", "Principal": "*", "Action": "ecr:ListImages" });
    let mut reordered = pull("a");
    reordered["Action"] = json!(["ecr:GetDownloadUrlForLayer", "ecr:BatchGetImage"]);
    reordered["Principal"] = json!({ "AWS": ["a"] });
    let rows = [
        ("none yet", None, policy(json!([pull("a")])), Some(policy(json!([pull("a")])))),
        ("equal", Some(policy(json!([pull("a")]))), policy(json!([pull("a")])), None),
        ("equal as IAM reads it", Some(policy(json!([reordered]))), policy(json!([pull("a")])), None),
        ("one statement without a list", Some(policy(pull("a"))), policy(json!([pull("a")])), None),
        (
            "theirs stays",
            Some(policy(json!([theirs]))),
            policy(json!([pull("a")])),
            Some(policy(json!([theirs, pull("a")]))),
        ),
        ("ours is there beside theirs", Some(policy(json!([theirs, pull("a")]))), policy(json!([pull("a")])), None),
        (
            "ours changed",
            Some(policy(json!([pull("a"), theirs]))),
            policy(json!([pull("b")])),
            Some(policy(json!([pull("b"), theirs]))),
        ),
        ("without Sid, there", Some(policy(json!([nameless]))), policy(json!([nameless])), None),
        (
            "without Sid, new",
            Some(policy(json!([theirs]))),
            policy(json!([nameless])),
            Some(policy(json!([theirs, nameless]))),
        ),
    ];
    for (row, live, wanted, expected) in rows {
        assert_eq!(merge_policy(live.as_ref(), &wanted), expected, "{row}");
    }
}

#[test]
fn which_repositories_are_named_in_full() {
    for (name, expected) in [
        ("hello", false),
        ("team/hello", false),
        ("123456789012.dkr.ecr.us-west-2.amazonaws.com/hello", true),
        ("localhost/hello", true),
        ("127.0.0.1:5000/hello", true),
        ("registry.example.com/a/b", true),
        ("https://registry.example.com/a", true),
    ] {
        assert_eq!(names_registry(name), expected, "{name}");
    }
}
