//! Indexes into a registry: what they name first, by digest, then the index by its tags.

use steadystate::image::{Built, Image, Tree, digest, index, whole};
use steadystate::registry::{self, Client, PushOptions, Pushed};

use super::super::images::indexes::{attested, image_for, layout_of};
use super::fake::{Fake, refuse};
use super::{Workshop, client};

async fn push(client: &Client, tree: &Tree, tags: &[&str]) -> steadystate::error::Result<Pushed> {
    let tags: Vec<String> = tags.iter().map(|tag| (*tag).to_owned()).collect();
    registry::push_tree(client, "hello", tree, &tags, &PushOptions::default(), &|_| {}).await
}

fn images(workshop: &Workshop) -> [Image; 2] {
    ["linux/amd64", "linux/arm64"].map(|text| image_for(workshop, text))
}

#[tokio::test]
async fn an_index_comes_after_what_it_names() {
    let (workshop, fake) = (Workshop::new(), Fake::start().await);
    let images = images(&workshop);
    let tree = index::of(&images).unwrap();
    let client = client(&fake);
    let pushed = push(&client, &tree, &["v1", "latest"]).await.unwrap();
    assert_eq!((pushed.uploaded, pushed.digest.as_str()), (5, tree.digest()), "the layer that both share goes once");
    assert_eq!(pushed.uploaded_bytes, tree.size());
    let puts: Vec<String> =
        fake.log().iter().filter(|seen| seen.is("PUT", "/manifests/")).map(|seen| seen.path.clone()).collect();
    let (children, named) = puts.split_at(2);
    for image in &images {
        assert!(children.iter().any(|path| path.ends_with(&image.digest)), "{puts:?}");
    }
    assert_eq!(named, ["/v2/hello/manifests/v1", "/v2/hello/manifests/latest"]);
    let last_blob = fake.log().iter().rposition(|seen| seen.is("PUT", "/blobs/")).unwrap();
    let first_manifest = fake.log().iter().position(|seen| seen.is("PUT", "/manifests/")).unwrap();
    assert!(last_blob < first_manifest);
    assert_eq!(fake.tag("latest").as_deref(), Some(tree.digest()));

    // Nothing to do is one question a tag.
    fake.forget();
    let again = push(&client, &tree, &["v1", "latest"]).await.unwrap();
    assert_eq!((again.uploaded, again.existed), (0, 5));
    assert_eq!(fake.counted(), ["1 × HEAD manifests/v 200", "1 × HEAD manifests/latest 200"]);

    // One platform changed: its manifest and its blobs go, the other's are not even asked for.
    fake.forget();
    workshop.file("hello", "a program for linux/arm64, a newer one");
    let mut spec = workshop.spec(vec![
        vec![super::super::images::entry("shared", "/shared")],
        vec![super::super::images::entry("hello", "/hello")],
    ]);
    spec.platform = "linux/arm64".parse().unwrap();
    let newer = steadystate::image::layers::assemble(spec, None).unwrap();
    let tree = index::of(&[images[0].clone(), newer]).unwrap();
    let pushed = push(&client, &tree, &["v2"]).await.unwrap();
    assert_eq!((pushed.uploaded, pushed.existed), (2, 1));
    assert_eq!((fake.count("PUT", "/manifests/"), fake.count("HEAD", "/blobs/")), (2, 3));
}

#[tokio::test]
async fn an_index_of_an_archive_keeps_its_digest_and_what_is_attested() {
    let (workshop, fake) = (Workshop::new(), Fake::start().await);
    let (index, all) = attested(&images(&workshop));
    layout_of(&workshop.path("layout"), &index, &all);
    let Built::Index(tree) = whole::draft(&workshop.path("layout"), &[], &workshop.open(None)).unwrap() else {
        panic!("no index");
    };
    push(&client(&fake), &tree, &["v1"]).await.unwrap();
    assert_eq!(fake.tag("v1"), Some(digest::of(index.as_bytes())));
    let there = fake.inner.lock().unwrap();
    for image in &all {
        assert_eq!(there.manifests[&image.digest].1, image.manifest);
        assert!(image.blobs.iter().all(|blob| there.blobs.contains_key(&blob.descriptor.digest)));
    }
}

/// ECR needs a moment until it finds what it has just taken, blobs and manifests.
#[tokio::test]
async fn a_manifest_that_is_not_found_yet_is_put_again() {
    for code in ["BLOB_UNKNOWN", "MANIFEST_BLOB_UNKNOWN", "MANIFEST_UNKNOWN"] {
        let (workshop, fake) = (Workshop::new(), Fake::start().await);
        let tree = index::of(&images(&workshop)).unwrap();
        let mut refused = 0;
        fake.rule(move |seen| {
            refused += usize::from(seen.is("PUT", "/manifests/v1"));
            (seen.is("PUT", "/manifests/v1") && refused <= 2).then(|| refuse(404, code, "not yet"))
        });
        push(&client(&fake), &tree, &["v1"]).await.unwrap();
        assert_eq!(fake.tag("v1").as_deref(), Some(tree.digest()), "{code}");
        assert_eq!(fake.count("PUT", "/manifests/v1"), 3);
    }
}

#[tokio::test]
async fn manifests_go_slower_when_that_is_asked() {
    let (workshop, fake) = (Workshop::new(), Fake::start().await);
    let platforms = ["amd64", "arm64", "s390x", "ppc64le", "riscv64", "386"];
    let images: Vec<Image> = platforms.iter().map(|name| image_for(&workshop, &format!("linux/{name}"))).collect();
    fake.answer(3, "PUT", "/manifests/sha256", || refuse(429, "TOOMANYREQUESTS", "slow down"));
    let tree = index::of(&images).unwrap();
    push(&client(&fake), &tree, &["v1"]).await.unwrap();
    assert_eq!(fake.count("PUT", "/manifests/sha256"), 9);
    assert_eq!(fake.tag("v1").as_deref(), Some(tree.digest()));
}

#[tokio::test]
async fn an_immutable_tag_is_compared_first() {
    let (workshop, fake) = (Workshop::new(), Fake::start().await);
    fake.inner.lock().unwrap().immutable = true;
    let images = images(&workshop);
    let tree = index::of(&images).unwrap();
    let client = client(&fake);
    push(&client, &tree, &["v1"]).await.unwrap();
    push(&client, &tree, &["v1"]).await.unwrap();
    let other = index::of(&[images[1].clone(), images[0].clone()]).unwrap();
    let error = push(&client, &other, &["v1"]).await.unwrap_err();
    assert!(error.hints().iter().any(|hint| hint.contains("cannot be moved")), "{error:?}");
    assert_eq!(fake.tag("v1").as_deref(), Some(tree.digest()));
}
