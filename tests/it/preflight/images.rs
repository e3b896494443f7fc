//! Images that are in a registry already.

use serde_json::json;

use super::World;

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
