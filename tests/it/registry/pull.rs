use serde_json::json;
use steadystate::error::{Error, Kind};
use steadystate::image::layers::assemble;
use steadystate::image::{BlobCache, Image, Platform, digest};
use steadystate::registry::{self, Client};

use super::super::images::{bytes_of, check_sound, entry};
use super::fake::{Fake, reply};
use super::{Workshop, client, image_of, push};

async fn pull(client: &Client, workshop: &Workshop, name: &str, platform: &str) -> Result<Image, Error> {
    let cache = BlobCache::open(workshop.path("pulled")).unwrap();
    let platform: Platform = platform.parse().unwrap();
    registry::pull_image(client, "hello", name, &platform, &cache, &|_| {}).await
}

#[tokio::test]
async fn what_was_pushed_comes_back_and_can_be_built_upon() {
    let (workshop, fake) = (Workshop::new(), Fake::start().await);
    let image = image_of(&workshop, 3);
    let client = client(&fake);
    push(&client, &image, &["v1"]).await.unwrap();
    for name in ["v1", &image.digest] {
        let pulled = pull(&client, &workshop, name, "linux/amd64").await.unwrap();
        assert_eq!((&pulled.digest, &pulled.manifest), (&image.digest, &image.manifest));
        check_sound(&pulled);
    }
    assert_eq!(fake.count("GET", "/blobs/"), 4, "the second time all of it was in the cache");
    let base = pull(&client, &workshop, "v1", "linux/amd64").await.unwrap();
    workshop.file("app", "app");
    let built = assemble(workshop.spec(vec![vec![entry("app", "/app")]]), Some(base)).unwrap();
    check_sound(&built);
    let pushed = push(&client, &built, &["v2"]).await.unwrap();
    assert_eq!(pushed.uploaded, 2);
}

#[tokio::test]
async fn heads_and_absences() {
    let (workshop, fake) = (Workshop::new(), Fake::start().await);
    let image = workshop.image("x");
    let client = client(&fake);
    assert_eq!(registry::head_manifest(&client, "hello", "v1").await.unwrap(), None);
    push(&client, &image, &["v1"]).await.unwrap();
    let head = registry::head_manifest(&client, "hello", "v1").await.unwrap().unwrap();
    assert_eq!((head.digest, head.media_type), (image.digest.clone(), Some(image.media_type.clone())));
    // A registry that says no digest in its head.
    fake.answer(1, "HEAD", "/manifests/", || reply(200, &[]));
    assert_eq!(registry::head_manifest(&client, "hello", "v1").await.unwrap().unwrap().digest, image.digest);
    let error = pull(&client, &workshop, "nothing", "linux/amd64").await.unwrap_err();
    assert_eq!(error.kind(), Kind::BuildOrPush);
    assert!(error.to_string().contains("MANIFEST_UNKNOWN"), "{error:?}");
    assert_eq!(pull(&client, &workshop, "v1", "linux/arm64").await.unwrap_err().kind(), Kind::Input);
}

#[tokio::test]
async fn an_index_gives_the_platform_and_no_attestation() {
    let (workshop, fake) = (Workshop::new(), Fake::start().await);
    let image = workshop.image("x");
    let client = client(&fake);
    push(&client, &image, &[]).await.unwrap();
    let descriptor = |digest: &str, os: &str, architecture: &str| {
        json!({ "mediaType": image.media_type, "digest": digest, "size": image.manifest.len(),
                "platform": { "os": os, "architecture": architecture } })
    };
    let other = digest::of(b"other");
    let index = json!({ "schemaVersion": 2, "manifests": [
        descriptor(&other, "unknown", "unknown"), descriptor(&other, "linux", "arm64"), descriptor(&image.digest, "linux", "amd64"),
    ] });
    let list = "application/vnd.docker.distribution.manifest.list.v2+json".to_owned();
    fake.inner.lock().unwrap().manifests.insert("multi".into(), (list, index.to_string().into()));
    let pulled = pull(&client, &workshop, "multi", "linux/amd64").await.unwrap();
    assert_eq!(pulled.digest, image.digest);
    let error = pull(&client, &workshop, "multi", "linux/s390x").await.unwrap_err();
    assert_eq!(error.kind(), Kind::Input);
    assert_eq!(error.hints(), ["it has linux/amd64, linux/arm64"]);
}

/// Blobs live on another host, as on ECR: it gets no credential. And damage on the way is pulled again, then said.
#[tokio::test]
async fn redirects_and_damage() {
    let (workshop, fake, storage) = (Workshop::new(), Fake::start().await, Fake::start().await);
    let image = workshop.image("x");
    push(&client(&fake), &image, &["v1"]).await.unwrap();
    for blob in &image.blobs {
        storage.inner.lock().unwrap().blobs.insert(blob.descriptor.digest.clone(), bytes_of(blob).into());
    }
    let place = storage.url();
    fake.rule(move |seen| {
        seen.is("GET", "/blobs/").then(|| reply(307, &[("location", &format!("{place}{}", seen.path))]))
    });
    let credentials: registry::CredentialSource = std::sync::Arc::new(|| {
        Box::pin(async { Ok(registry::Credential { username: "AWS".into(), password: "p".to_owned().into() }) })
    });
    fake.forget();
    let client = Client::with_patience(&fake.url(), Some(credentials), super::patience()).unwrap();
    storage.answer(1, "GET", "/blobs/", || reply(200, &[]));
    check_sound(&pull(&client, &workshop, "v1", "linux/amd64").await.unwrap());
    assert_eq!(storage.count("GET", "/blobs/"), 3, "a damaged one was pulled again");
    assert!(storage.log().iter().all(|seen| seen.authorization.is_none()));
    assert!(fake.log().iter().all(|seen| seen.authorization.is_some()));

    let fresh = Workshop::new();
    storage.answer(99, "GET", "/blobs/", || axum::response::IntoResponse::into_response("x".repeat(1000)));
    let error = pull(&client, &fresh, "v1", "linux/amd64").await.unwrap_err();
    assert_eq!(error.kind(), Kind::BuildOrPush);
    // A manifest that is not what its digest says.
    fake.inner.lock().unwrap().manifests.get_mut(&image.digest).unwrap().1 = "{}".into();
    let error = pull(&client, &fresh, &image.digest, "linux/amd64").await.unwrap_err();
    assert!(error.to_string().contains("in place of"), "{error:?}");
}
