//! From registry to registry: what is lacking, as it is, through memory alone.

use std::collections::HashSet;
use std::sync::{Arc, Mutex};

use axum::response::IntoResponse;
use serde_json::json;
use steadystate::error::{Kind, Result};
use steadystate::image::{Image, Platform, digest, index};
use steadystate::registry::{self, BlobState, Client, Origin, PushOptions, Pushed, Remote};

use super::super::images::indexes::{attested, image_for};
use super::fake::{Fake, refuse, reply};
use super::{Told, Workshop, client, image_of};

/// A registry that has an index with attestations under `v1`, and what is in it.
async fn source(workshop: &Workshop) -> (Fake, String, Vec<Image>) {
    let fake = Fake::start().await;
    let images = ["linux/amd64", "linux/arm64", "linux/s390x"].map(|text| image_for(workshop, text));
    let (index, all) = attested(&images);
    let from = client(&fake);
    for image in &all {
        super::push(&from, image, &[]).await.unwrap();
    }
    let document = (steadystate::image::manifest::OCI_INDEX.to_owned(), bytes::Bytes::from(index.clone()));
    let mut inner = fake.inner.lock().unwrap();
    inner.manifests.insert("v1".into(), document.clone());
    inner.manifests.insert(digest::of(index.as_bytes()), document);
    drop(inner);
    fake.forget();
    (fake, index, all)
}

fn origin(fake: &Fake) -> Origin {
    Origin { client: client(fake), repository: "hello".to_owned() }
}

async fn found(fake: &Fake, platforms: &[&str]) -> Result<Remote> {
    let platforms: Vec<Platform> = platforms.iter().map(|text| text.parse().unwrap()).collect();
    registry::find(&origin(fake), "v1", &platforms).await
}

async fn bring(remote: &Remote, to: &Client, told: &Told) -> Result<Pushed> {
    let there = remote.known_to(to, "hello").await?;
    let tree = remote.tree(&there).await?;
    let options = PushOptions { origin: Some(remote.origin.clone()), ..PushOptions::default() };
    registry::push_tree(to, "hello", &tree, &["v1".to_owned()], &options, &told.listener()).await
}

#[tokio::test]
async fn all_of_an_index_arrives_as_it_is() {
    let workshop = Workshop::new();
    let (from, index, all) = source(&workshop).await;
    let to = Fake::start().await;
    let told = Told::default();
    let remote = found(&from, &[]).await.unwrap();
    assert_eq!(index::listed(&remote.platforms().await.unwrap()), "linux/amd64, linux/arm64, linux/s390x");
    let pushed = bring(&remote, &client(&to), &told).await.unwrap();
    assert_eq!(pushed.digest, digest::of(index.as_bytes()));
    assert_eq!(to.tag("v1"), Some(pushed.digest.clone()));
    let (had, has) = (from.inner.lock().unwrap(), to.inner.lock().unwrap());
    assert_eq!(has.blobs, had.blobs);
    for image in &all {
        assert_eq!(has.manifests[&image.digest], had.manifests[&image.digest]);
    }
    let blob = &all[0].layers()[0].descriptor;
    assert_eq!(*told.of(&blob.digest).last().unwrap(), (BlobState::Pushed, blob.size));
}

#[tokio::test]
async fn what_the_target_has_is_never_pulled() {
    let workshop = Workshop::new();
    let (from, _, all) = source(&workshop).await;
    let to = Fake::start().await;
    super::push(&client(&to), &all[1], &[]).await.unwrap();
    let remote = found(&from, &[]).await.unwrap();
    from.forget();
    let pushed = bring(&remote, &client(&to), &Told::default()).await.unwrap();
    // of two other images and three attestations: a program, statements and configs; the shared layer was there
    assert_eq!((pushed.uploaded, pushed.existed), (10, 1));
    assert_eq!(from.count("GET", "/blobs/"), 10);
    let asked: HashSet<String> = from.log().iter().map(|seen| seen.path.clone()).collect();
    assert!(!asked.iter().any(|path| path.ends_with(&all[1].digest)), "{asked:?}");
}

#[tokio::test]
async fn some_platforms_are_a_new_index_and_one_is_the_image() {
    let workshop = Workshop::new();
    let (from, _, all) = source(&workshop).await;
    let to = Fake::start().await;
    let two = found(&from, &["linux/amd64", "linux/arm64"]).await.unwrap();
    let pushed = bring(&two, &client(&to), &Told::default()).await.unwrap();
    assert_eq!(to.tag("v1"), Some(pushed.digest));
    let has: HashSet<String> = to.inner.lock().unwrap().manifests.keys().cloned().collect();
    for (image, is_there) in all.iter().zip([true, true, false, true, true, false]) {
        assert_eq!(has.contains(&image.digest), is_there);
    }
    let one = found(&from, &["linux/s390x"]).await.unwrap();
    assert_eq!(one.digest(), all[2].digest);
    bring(&one, &client(&to), &Told::default()).await.unwrap();
    assert_eq!(to.tag("v1"), Some(all[2].digest.clone()));
    let error = found(&from, &["linux/riscv64"]).await.unwrap_err();
    assert_eq!(error.kind(), Kind::Input);
    assert_eq!(error.hints(), ["it has linux/amd64, linux/arm64, linux/s390x"]);
}

/// An image by itself says its platform in its config; Docker's manifests stay Docker's.
#[tokio::test]
async fn an_image_of_dockers_kind_stays_what_it_is() {
    let (workshop, from, to) = (Workshop::new(), Fake::start().await, Fake::start().await);
    let image = workshop.image("x");
    super::push(&client(&from), &image, &[]).await.unwrap();
    let docker = steadystate::image::manifest::DOCKER_MANIFEST;
    let mut manifest: serde_json::Value = serde_json::from_slice(&image.manifest).unwrap();
    manifest["mediaType"] = json!(docker);
    let bytes = bytes::Bytes::from(manifest.to_string());
    from.inner.lock().unwrap().manifests.insert("v1".into(), (docker.to_owned(), bytes.clone()));
    let remote = found(&from, &["linux/amd64"]).await.unwrap();
    let pushed = bring(&remote, &client(&to), &Told::default()).await.unwrap();
    assert_eq!((pushed.digest, pushed.uploaded), (digest::of(&bytes), 2));
    assert_eq!(to.inner.lock().unwrap().manifests["v1"], (docker.to_owned(), bytes));
    let error = found(&from, &["linux/arm64"]).await.unwrap_err();
    assert_eq!((error.kind(), error.hints()), (Kind::Input, ["it has linux/amd64".to_owned()].as_slice()));
}

/// Whichever side breaks, the blob begins anew on a new session; nothing that is done is done again.
#[tokio::test]
async fn trouble_on_either_side_is_gone_through() {
    let workshop = Workshop::new();
    let image = image_of(&workshop, 4);
    for trouble in ["cut", "damaged", "short", "refused", "busy", "target"] {
        let (from, to) = (Fake::start().await, Fake::start().await);
        super::push(&client(&from), &image, &["v1"]).await.unwrap();
        from.forget();
        let largest = image.layers()[3].descriptor.clone();
        let path = format!("/v2/hello/blobs/{}", largest.digest);
        let mut left = 2;
        let size = largest.size as usize;
        let rule = move |seen: &super::fake::Seen| {
            let met = if trouble == "target" { seen.is("PUT", "/uploads/") } else { seen.path == path };
            if left == 0 || !met || seen.method == "HEAD" {
                return None;
            }
            left -= 1;
            Some(match trouble {
                "cut" => {
                    let pieces = [Ok(bytes::Bytes::from(vec![1; 1000])), Err(std::io::Error::other("cut"))];
                    axum::body::Body::from_stream(futures_util::stream::iter(pieces)).into_response()
                }
                "damaged" => vec![7; size].into_response(),
                "short" => vec![7; 10].into_response(),
                "refused" => refuse(500, "UNKNOWN", "broken"),
                "busy" => refuse(429, "TOOMANYREQUESTS", "slow down"),
                _ => refuse(500, "UNKNOWN", "broken"),
            })
        };
        if trouble == "target" {
            to.rule(rule)
        } else {
            from.rule(rule)
        }
        let remote = found(&from, &[]).await.unwrap();
        let pushed = bring(&remote, &client(&to), &Told::default()).await.unwrap();
        assert_eq!((to.tag("v1"), pushed.uploaded), (Some(image.digest.clone()), 5), "{trouble}");
        let asked = from.log().iter().filter(|seen| seen.is("GET", "/blobs/")).count();
        assert_eq!(asked, 7, "{trouble}: only what broke was asked for again");
    }
    // What stays damaged is said, and the manifest is not put.
    let (from, to) = (Fake::start().await, Fake::start().await);
    super::push(&client(&from), &image, &["v1"]).await.unwrap();
    let digest = image.layers()[0].descriptor.digest.clone();
    let content = bytes::Bytes::from(vec![7; image.layers()[0].descriptor.size as usize]);
    from.inner.lock().unwrap().blobs.insert(digest.clone(), content);
    let remote = found(&from, &[]).await.unwrap();
    let error = bring(&remote, &client(&to), &Told::default()).await.unwrap_err();
    assert_eq!(error.kind(), Kind::BuildOrPush);
    assert!(error.to_string().contains(&digest) && error.to_string().contains("came damaged"), "{error:?}");
    assert_eq!((to.tag("v1"), to.inner.lock().unwrap().blobs.get(&digest)), (None, None));
}

/// Within one registry blobs are mounted; where that is declined the answer's session takes them.
#[tokio::test]
async fn within_one_registry_blobs_are_mounted() {
    for mounts in [true, false] {
        let workshop = Workshop::new();
        let (from, to) = (Fake::start().await, Fake::start().await);
        let image = image_of(&workshop, 2);
        super::push(&client(&from), &image, &["v1"]).await.unwrap();
        from.forget();
        let asked = Arc::new(Mutex::new(Vec::new()));
        let seen_asked = asked.clone();
        to.rule(move |seen| {
            let is_mount = seen.is("POST", "/uploads/") && seen.query.contains("from=hello");
            seen_asked.lock().unwrap().extend(is_mount.then(|| seen.query.clone()));
            (mounts && is_mount).then(|| reply(201, &[]))
        });
        let remote = found(&from, &[]).await.unwrap();
        let tree = remote.tree(&HashSet::new()).await.unwrap();
        let mount_from = vec!["hello".to_owned()];
        let options = PushOptions { origin: Some(remote.origin.clone()), mount_from, ..PushOptions::default() };
        let tags = ["v1".to_owned()];
        let pushed = registry::push_tree(&client(&to), "hello", &tree, &tags, &options, &|_| {}).await.unwrap();
        assert_eq!((pushed.mounted, pushed.uploaded), if mounts { (3, 0) } else { (0, 3) });
        assert_eq!(asked.lock().unwrap().len(), 3);
        assert_eq!((to.count("POST", "/uploads/"), from.count("GET", "/blobs/")), (3, if mounts { 0 } else { 3 }));
    }
}
