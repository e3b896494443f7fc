//! What runs of an index: a task may report the index, or the image in it that was for its platform. Both are right.

use std::time::Duration;

use serde_json::{Value, json};
use steadystate::config::RolloutPlan;
use steadystate::deploy::event::{Event, Events};
use steadystate::deploy::follow::steady::verdict;
use steadystate::deploy::rollback::follow_or_roll_back;
use steadystate::error::Kind;
use steadystate::image::manifest::{OCI_INDEX, OCI_MANIFEST};

use super::following::{NEW, deployment, placed, server, service};
use super::observations::{DIGEST, name, ours, with};
use crate::aws::server::Reply;

fn digest(of: char) -> String {
    format!("sha256:{}", of.to_string().repeat(64))
}

fn image(of: char) -> String {
    format!("111122223333.dkr.ecr.us-west-2.amazonaws.com/team/web@{}", digest(of))
}

/// Follows a deployment of `i` whose task says that it runs `runs`; what ECR has under `i` is `found`.
async fn followed(runs: char, found: fn() -> Reply) -> (Result<(), Kind>, Vec<String>, usize) {
    let looks = |look: usize| {
        let state = if look < 3 { "IN_PROGRESS" } else { "COMPLETED" };
        let mut seen = service("", &[deployment(NEW, "PRIMARY", state, 0)]);
        seen.as_object_mut().unwrap().remove("currentServiceDeployment");
        Ok(seen)
    };
    let server = server(looks, move |operation, input| match operation {
        "DescribeTasks" => {
            let container = json!({ "name": "web", "image": image('1'), "imageDigest": digest(runs) });
            Some(Reply::Json(json!({ "tasks": [{
                "taskArn": "task/2", "startedBy": NEW.0, "taskDefinitionArn": "arn:aws:ecs:us-west-2:1:task-definition/web:2",
                "lastStatus": "RUNNING", "desiredStatus": "RUNNING", "containers": [container],
            }] })))
        }
        "BatchGetImage" => {
            assert_eq!((&input["repositoryName"], &input["imageIds"]), (&json!("team/web"), &json!([{ "imageDigest": digest('1') }])));
            Some(found())
        }
        _ => None,
    })
    .await;
    let (events, mut receiver) = Events::channel();
    let rollout = RolloutPlan { timeout: Duration::from_secs(20), ..RolloutPlan::default() };
    let clients = server.clients().await;
    let end = follow_or_roll_back(&rollout, &placed(), Some(&digest('1')), &clients, &events).await;
    let mut warnings = Vec::new();
    while let Ok(event) = receiver.try_recv() {
        if let Event::Warning { message, .. } = event {
            warnings.push(message);
        }
    }
    (end.map(drop).map_err(|error| error.kind()), warnings, server.count("BatchGetImage"))
}

fn manifest(manifest: &Value) -> Reply {
    Reply::Json(json!({ "images": [{ "imageManifest": manifest.to_string() }], "failures": [] }))
}

fn index() -> Reply {
    let entry = |of: char, architecture: &str| json!({ "mediaType": OCI_MANIFEST, "digest": digest(of), "size": 2, "platform": { "os": "linux", "architecture": architecture } });
    manifest(
        &json!({ "schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": [entry('a', "amd64"), entry('b', "arm64")] }),
    )
}

fn single() -> Reply {
    let descriptor =
        json!({ "mediaType": "application/vnd.oci.image.config.v1+json", "digest": digest('c'), "size": 2 });
    manifest(&json!({ "schemaVersion": 2, "mediaType": OCI_MANIFEST, "config": descriptor, "layers": [] }))
}

#[test]
fn what_is_known_of_an_index_decides() {
    let cases = [
        ("sha256:bbbb", Some(Some(vec!["sha256:cccc".to_owned(), "sha256:bbbb".to_owned()])), "steady"),
        ("sha256:dddd", Some(Some(vec!["sha256:bbbb".to_owned()])), "failed"),
        ("sha256:bbbb", Some(Some(Vec::new())), "failed"),
        ("sha256:bbbb", Some(None), "steady, with a note"),
        ("sha256:bbbb", None, "failed"),
        (DIGEST, Some(Some(Vec::new())), "steady"),
    ];
    for (runs, images, expected) in cases {
        let seen = with(|seen| {
            seen.tasks[0].containers[0].digest = Some(runs.to_owned());
            if let Some(images) = images.clone() {
                seen.images.learn(&format!("repo@{DIGEST}"), images);
            }
        });
        assert_eq!(name(&verdict(&seen, &ours())), expected, "{runs} of {images:?}");
    }
}

#[tokio::test]
async fn of_an_index_the_image_for_the_task_is_what_was_deployed() {
    assert_eq!(followed('b', index).await, (Ok(()), Vec::new(), 1), "asked once");
    assert_eq!(followed('1', index).await, (Ok(()), Vec::new(), 0), "the index itself");
}

#[tokio::test]
async fn another_image_than_the_index_names_is_another_image() {
    for found in [index as fn() -> Reply, single] {
        let (end, _, asked) = followed('d', found).await;
        assert!(end.is_err());
        assert_eq!(asked, 1);
    }
}

/// Whoever may not read the repository can tell neither: ECS's own word counts, and that is said.
#[tokio::test]
async fn what_cannot_be_told_is_no_failure() {
    let denied = || Reply::Error(400, "AccessDeniedException", "not authorized to perform: ecr:BatchGetImage");
    let gone = || Reply::Json(json!({ "images": [], "failures": [{ "failureCode": "ImageNotFound" }] }));
    for found in [denied as fn() -> Reply, gone] {
        let (end, warnings, _) = followed('b', found).await;
        assert_eq!((end, warnings), (Ok(()), vec!["the tasks do not say which digest they run".to_owned()]));
    }
}
