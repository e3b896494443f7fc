//! Images that are in a registry already.

use serde_json::json;
use steadystate::deploy::preflight::images::doubt;

use super::World;
use crate::aws::server::{Reply, Server};

#[tokio::test]
async fn an_image_that_is_not_built_has_to_be_there_and_for_the_machine() {
    let world = World::start().await;
    let image = world.image().await;
    let host = image.split('/').next().unwrap();
    let on = |architecture: &str| json!({ "runtimePlatform": { "cpuArchitecture": architecture, "operatingSystemFamily": "LINUX" } });
    let named = |tag: &str| json!({ "image": format!("{host}/web:{tag}") });
    world.task_definition(on("X86_64"), named("v1"));
    assert_eq!(world.verify(0).await.fine("images"), image);
    world.task_definition(on("ARM64"), named("v1"));
    world.verify(3).await.found(
        "images",
        "is for linux/amd64, and the task definition asks for linux/arm64",
        "runtimePlatform",
    );
    world.task_definition(on("X86_64"), named("v2"));
    world.verify(3).await.found("images", "web:v2, which `app` is to run", "does it have this tag?");
    world.task_definition(json!({}), json!({ "image": format!("{host}/none:v1") }));
    world.verify(3).await.found("images", "none:v1, which `app` is to run", "does it have this tag?");
    // What is elsewhere is not this account's.
    world.task_definition(json!({}), json!({ "image": "nginx:1" }));
    world.verify(0).await.fine("images");
    world.end().await;
}

/// The server's region is us-west-2.
async fn doubted(image: &str, fargate: bool, reply: fn() -> Reply) -> (Option<String>, Vec<String>) {
    let server = Server::start(move |_, _| reply()).await;
    let doubt = doubt(&image.parse().unwrap(), fargate, &server.clients().await).await;
    let scope = |request: &crate::aws::server::Request| {
        let scope = request.header("authorization").split('/').nth(2).unwrap_or_default().to_owned();
        format!("{} {scope} {}", request.operation, request.json()["registryId"].as_str().unwrap_or_default())
    };
    let asked = server.requests().iter().map(scope).collect();
    (doubt, asked)
}

#[tokio::test]
async fn a_pull_through_cache_may_have_what_is_not_there() {
    let rules = || {
        let rule = |prefix: &str| json!({ "ecrRepositoryPrefix": prefix });
        Reply::Json(json!({ "pullThroughCacheRules": [rule("quay"), rule("hub")] }))
    };
    let west = "012345678901.dkr.ecr.us-west-2.amazonaws.com";
    let (doubt, asked) = doubted(&format!("{west}/hub/library/nginx:1"), true, rules).await;
    assert_eq!(doubt.unwrap(), "the pull through cache rule `hub` fetches it when a task pulls it, if it is there");
    assert_eq!(asked, ["DescribePullThroughCacheRules us-west-2 012345678901"]);
    // A prefix ends at a slash.
    assert_eq!(doubted(&format!("{west}/hubs/nginx:1"), true, rules).await.0, None);
    assert_eq!(doubted(&format!("{west}/hub:1"), true, rules).await.0, None);
    // Rules are of the image's region.
    let (doubt, asked) = doubted("012345678901.dkr.ecr.eu-west-1.amazonaws.com/hub/nginx:1", true, rules).await;
    assert!(doubt.is_some());
    assert_eq!(asked, ["DescribePullThroughCacheRules eu-west-1 012345678901"]);
    let all = || Reply::Json(json!({ "pullThroughCacheRules": [{ "ecrRepositoryPrefix": "ROOT" }] }));
    assert!(doubted(&format!("{west}/nginx:1"), true, all).await.0.unwrap().contains("`ROOT`"));
    let denied = || Reply::Error(400, "AccessDeniedException", "not authorized");
    let doubt = doubted(&format!("{west}/nginx:1"), true, denied).await.0.unwrap();
    assert!(doubt.starts_with("whether a pull through cache has it is not known: "), "{doubt}");
    let unknown = || Reply::Error(400, "UnknownOperationException", "no such operation");
    assert_eq!(doubted(&format!("{west}/nginx:1"), true, unknown).await.0, None);
}

#[tokio::test]
async fn a_registry_may_hide_from_strangers_what_container_instances_may_pull() {
    let never = || Reply::Error(400, "UnknownOperationException", "no such operation");
    for (image, fargate, tells) in [
        ("registry.example.com/web:1", false, true),
        ("registry.example.com/web:1", true, false),
        ("nginx:1", false, false),
        ("127.0.0.1:5000/web:1", false, false),
    ] {
        let (doubt, asked) = doubted(image, fargate, never).await;
        assert_eq!(doubt.is_some(), tells, "{image}, Fargate: {fargate}");
        assert!(asked.is_empty());
    }
}
