use std::collections::HashSet;
use std::sync::atomic::Ordering;
use std::time::Duration;

use steadystate::image::{BlobSource, archive, digest, layout};
use steadystate::registry::{self, BlobState, PushOptions};

use super::super::images::{bytes_of, check_sound, entry};
use super::fake::{Fake, refuse, reply};
use super::{Told, Workshop, client, image_of, push};

#[tokio::test]
async fn a_first_push_sends_everything_once() {
    let (workshop, fake) = (Workshop::new(), Fake::start().await);
    let image = image_of(&workshop, 3);
    let told = Told::default();
    let tags = ["v1".to_owned(), "latest".to_owned()];
    let client = client(&fake);
    let pushed =
        registry::push(&client, "hello", &image, &tags, &PushOptions::default(), &told.listener()).await.unwrap();
    assert_eq!((pushed.digest.as_str(), pushed.size, pushed.uploaded), (image.digest.as_str(), image.size(), 4));
    assert_eq!(pushed.uploaded_bytes, image.size());
    insta::assert_snapshot!(fake.counted().join("\n"), @"
    1 × HEAD manifests/v 404
    1 × HEAD manifests/latest 404
    4 × HEAD blobs/ 404
    4 × POST blobs/uploads/ 202
    4 × PUT blobs/uploads/ 201
    1 × PUT manifests/v 201
    1 × PUT manifests/latest 201
    1 × HEAD manifests/ 200
    ");
    assert_eq!((fake.tag("v1"), fake.tag("latest")), (Some(image.digest.clone()), Some(image.digest.clone())));
    for blob in &image.blobs {
        assert_eq!(fake.inner.lock().unwrap().blobs[&blob.descriptor.digest], bytes_of(blob));
        let states = told.of(&blob.descriptor.digest);
        assert_eq!(states.first().unwrap().0, BlobState::Checking);
        assert_eq!(*states.last().unwrap(), (BlobState::Pushed, blob.descriptor.size));
    }
    let first = fake.log().into_iter().find(|seen| seen.is("HEAD", "/blobs/")).unwrap();
    assert!(first.path.ends_with(&image.layers()[2].descriptor.digest), "the largest goes first");

    // Again: one question a tag, and nothing is sent.
    fake.forget();
    let again = push(&client, &image, &["v1", "latest"]).await.unwrap();
    assert_eq!((again.uploaded, again.digest), (0, image.digest.clone()));
    assert_eq!(fake.counted(), ["1 × HEAD manifests/v 200", "1 × HEAD manifests/latest 200"]);

    // A new name for it sends a manifest alone.
    fake.forget();
    push(&client, &image, &["v1", "v2"]).await.unwrap();
    assert_eq!(fake.count("PUT", "/blobs/") + fake.count("HEAD", "/blobs/"), 0);
    assert_eq!(fake.count("PUT", "/manifests/v2"), 1);
}

#[tokio::test]
async fn only_what_changed_is_sent() {
    let (workshop, fake) = (Workshop::new(), Fake::start().await);
    let client = client(&fake);
    push(&client, &image_of(&workshop, 3), &["v1"]).await.unwrap();
    fake.forget();
    let image = image_of(&workshop, 4);
    let pushed = push(&client, &image, &["v2"]).await.unwrap();
    assert_eq!(pushed.uploaded, 2, "a layer and the config");
    assert_eq!(fake.count("PUT", "/blobs/"), 2);
}

#[tokio::test]
async fn without_tags_the_digest_is_the_name() {
    let (workshop, fake) = (Workshop::new(), Fake::start().await);
    let image = workshop.image("x");
    push(&client(&fake), &image, &[]).await.unwrap();
    assert!(fake.tag(&image.digest).is_some());
    assert_eq!(fake.count("PUT", "/manifests/"), 1);
}

#[tokio::test]
async fn a_caller_who_knows_saves_the_questions() {
    let (workshop, fake) = (Workshop::new(), Fake::start().await);
    let image = image_of(&workshop, 2);
    let there = &image.layers()[0];
    fake.inner.lock().unwrap().blobs.insert(there.descriptor.digest.clone(), bytes_of(there).into());
    let known = Some(HashSet::from([there.descriptor.digest.clone()]));
    let options = PushOptions { known, ..PushOptions::default() };
    let pushed = registry::push(&client(&fake), "hello", &image, &["v1".into()], &options, &|_| {}).await.unwrap();
    assert_eq!(pushed.uploaded, 2);
    assert_eq!((fake.count("HEAD", "/blobs/"), fake.count("PUT", "/blobs/")), (0, 2));
}

#[tokio::test]
async fn the_same_layer_twice_is_sent_once() {
    let (workshop, fake) = (Workshop::new(), Fake::start().await);
    workshop.file("a", "same");
    let layer = vec![entry("a", "/a")];
    let image = steadystate::image::layers::assemble(workshop.spec(vec![layer.clone(), layer]), None).unwrap();
    let pushed = push(&client(&fake), &image, &["v1"]).await.unwrap();
    assert_eq!(pushed.uploaded, 2);
}

#[tokio::test]
async fn mounts_are_taken_and_declined() {
    for mounts in [true, false] {
        let (workshop, fake) = (Workshop::new(), Fake::start().await);
        let image = workshop.image("x");
        fake.rule(move |seen| {
            let mounted = mounts && seen.is("POST", "/uploads/") && seen.query.contains("from=library%2Fbase");
            mounted.then(|| reply(201, &[]))
        });
        let told = Told::default();
        let options = PushOptions { mount_from: vec!["library/base".into()], ..PushOptions::default() };
        registry::push(&client(&fake), "hello", &image, &["v1".into()], &options, &told.listener()).await.unwrap();
        let expected = if mounts { BlobState::Mounted } else { BlobState::Pushed };
        assert_eq!(told.of(&image.blobs[0].descriptor.digest).last().unwrap().0, expected);
        // A declined mount's session is the upload's.
        assert_eq!(fake.count("POST", "/uploads/"), 2);
        assert_eq!(fake.count("PUT", "/blobs/"), if mounts { 0 } else { 2 });
    }
}

#[tokio::test]
async fn eight_large_or_sixteen_small_go_at_once_and_fewer_after_a_429() {
    for (most, size) in [(16, 1000), (8, 1_100_000)] {
        let (workshop, fake) = (Workshop::new(), Fake::start().await);
        let layers = (0..3 * most).map(|at| {
            let name = format!("file{at}");
            workshop.file(&name, crate::site::noise(at as u64 + 1, size));
            vec![entry(&name, "/file")]
        });
        let spec = workshop.spec(layers.collect());
        let image = steadystate::image::layers::assemble(spec, None).unwrap();
        *fake.delay.lock().unwrap() = Duration::from_millis(30);
        let running = fake.running.clone();
        let widths = std::sync::Arc::new(std::sync::Mutex::new((0, 0)));
        let (seen_widths, mut heads) = (widths.clone(), 0);
        fake.rule(move |seen| {
            let now = running.load(Ordering::SeqCst);
            let mut widths = seen_widths.lock().unwrap();
            heads += usize::from(seen.is("HEAD", "/blobs/"));
            if heads <= most {
                widths.0 = now.max(widths.0)
            } else if heads > 2 * most + 4 {
                widths.1 = now.max(widths.1)
            }
            (heads == most && seen.is("HEAD", "/blobs/")).then(|| refuse(429, "TOOMANYREQUESTS", "slow down"))
        });
        push(&client(&fake), &image, &["v1"]).await.unwrap();
        let (before, after) = *widths.lock().unwrap();
        assert!((most / 2 + 1..=most).contains(&before), "{before} of {size} bytes at once");
        assert!((1..=most / 2).contains(&after), "{after} of {size} bytes at once after the 429");
        assert_eq!(fake.tag("v1"), Some(image.digest));
    }
}

/// Layouts and archives are pushed from where they lie.
#[tokio::test]
async fn every_source_can_be_pushed() {
    let (workshop, fake) = (Workshop::new(), Fake::start().await);
    let image = image_of(&workshop, 2);
    layout::write(&image, &workshop.path("layout"), None).unwrap();
    let mut tar = tar::Builder::new(std::fs::File::create(workshop.path("oci.tar")).unwrap());
    tar.append_dir_all(".", workshop.path("layout")).unwrap();
    tar.into_inner().unwrap();
    let opened = archive::open(&workshop.path("oci.tar"), &workshop.open(None)).unwrap();
    assert!(matches!(opened.layers()[0].source, BlobSource::File { offset, .. } if offset > 0));
    check_sound(&opened);
    let client = client(&fake);
    push(&client, &opened, &["archive"]).await.unwrap();
    assert_eq!(fake.tag("archive"), Some(image.digest.clone()));
    let bytes = fake.inner.lock().unwrap().blobs[&image.layers()[1].descriptor.digest].clone();
    assert_eq!(digest::of(&bytes), image.layers()[1].descriptor.digest);
}
