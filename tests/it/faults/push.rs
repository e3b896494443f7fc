//! Push: 11 to 18.

use std::sync::atomic::Ordering;

use steadystate::error::Kind;
use steadystate::image::{BlobSource, layout};
use steadystate::registry::Client;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::cutter::Cutter;
use crate::images::Workshop;
use crate::images::layouts::multi_platform;
use crate::lab_front::TestLab;
use crate::registry::auth::{basic, denied, token_rules, with_source};
use crate::registry::fake::{Fake, Seen, reply};
use crate::registry::{client, image_of, patience, push};
use crate::release::Bench;
use crate::site::{Ended, Site};
use crate::transport::{Authority, TlsFront};

/// A line to the registry that breaks once, after so many bytes of one connection.
async fn breaking_line(fake: &Fake, after: usize) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (url, target) = (format!("http://{}", listener.local_addr().unwrap()), fake.address);
    tokio::spawn(async move {
        let broken = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
        while let Ok((mut near, _)) = listener.accept().await {
            let broken = broken.clone();
            tokio::spawn(async move {
                let mut far = TcpStream::connect(target).await.unwrap();
                let (mut near_read, mut near_write) = near.split();
                let (mut far_read, mut far_write) = far.split();
                let up = async {
                    let (mut total, mut buffer) = (0, vec![0; 16 << 10]);
                    loop {
                        let read = near_read.read(&mut buffer).await.unwrap_or(0);
                        total += read;
                        let breaks = total > after && !broken.swap(true, std::sync::atomic::Ordering::SeqCst);
                        if read == 0 || breaks || far_write.write_all(&buffer[..read]).await.is_err() {
                            return;
                        }
                    }
                };
                tokio::select! {
                    () = up => {}
                    _ = tokio::io::copy(&mut far_read, &mut near_write) => {}
                }
            });
        }
    });
    url
}

#[tokio::test]
async fn case_11_a_connection_cut_in_a_blob_begins_a_new_upload_session() {
    let (workshop, fake) = (Workshop::new(), Fake::start().await);
    let image = image_of(&workshop, 8);
    let url = breaking_line(&fake, 300_000).await;
    let client = Client::with_patience(&url, None, patience()).unwrap();
    let pushed = push(&client, &image, &["v1"]).await.unwrap();
    assert_eq!(pushed.uploaded, 9);
    assert_eq!(fake.tag("v1"), Some(image.digest));
    let log = fake.log();
    let mut sessions: Vec<&str> =
        log.iter().filter(|seen| seen.is("PUT", "/uploads/")).map(|seen| seen.path.as_str()).collect();
    let puts = sessions.len();
    sessions.sort_unstable();
    sessions.dedup();
    assert_eq!(sessions.len(), puts, "no session is used twice");
    assert_eq!(fake.count("POST", "/uploads/"), puts);
    assert_eq!(puts, 10, "one upload was begun again");
}

/// Expired tokens are 403 on ECR and 401 elsewhere; here they expire while eight uploads run.
#[tokio::test]
async fn case_12_an_expired_token_is_renewed_once_for_all_on_401_and_403() {
    for (status, challenge) in
        [(403, ""), (401, "Basic realm=\"https://ecr/\",service=\"ecr.amazonaws.com\""), (401, "")]
    {
        let (workshop, fake) = (Workshop::new(), Fake::start().await);
        let image = image_of(&workshop, 12);
        let mut expired = false;
        let mut puts = 0;
        fake.rule(move |seen: &Seen| {
            puts += usize::from(seen.is("PUT", "/uploads/"));
            expired |= puts == 3;
            let valid = basic(if expired { "2" } else { "1" });
            (seen.authorization.as_ref() != Some(&valid)).then(|| denied(status, challenge))
        });
        let (client, asked) = with_source(&fake);
        push(&client, &image, &["v1"]).await.unwrap();
        assert_eq!(asked.load(Ordering::SeqCst), 2, "{status} {challenge}");
        assert_eq!(fake.tag("v1"), Some(image.digest));
    }
}

#[tokio::test]
async fn case_14_a_blob_that_changes_on_disk_is_not_pushed() {
    let (workshop, fake) = (Workshop::new(), Fake::start().await);
    let image = image_of(&workshop, 1);
    layout::write(&image, &workshop.path("out"), None).unwrap();
    let opened = layout::open(&workshop.path("out"), &workshop.open(None)).unwrap();
    let BlobSource::File { path, .. } = &opened.blobs[0].source else { panic!("layouts are files") };
    let sound = std::fs::read(path).unwrap();
    let mut damaged = sound.clone();
    *damaged.last_mut().unwrap() ^= 1;
    for content in [&damaged[..], &sound[..1000]] {
        std::fs::write(path, content).unwrap();
        let error = push(&client(&fake), &opened, &["v1"]).await.unwrap_err();
        assert_eq!(error.kind(), Kind::BuildOrPush);
        assert!(error.to_string().contains("changed on disk"), "{error:?}");
        assert_eq!(fake.count("PUT", "/manifests/"), 0);
        assert!(!fake.inner.lock().unwrap().blobs.contains_key(&opened.blobs[0].descriptor.digest));
    }
    std::fs::remove_file(path).unwrap();
    assert!(push(&client(&fake), &opened, &["v1"]).await.unwrap_err().to_string().contains("changed on disk"));

    // One of the cache's own is removed, so that the next run makes it anew.
    let BlobSource::Cached(cached) = &image.blobs[0].source else { panic!("layers are cached") };
    std::fs::write(cached, &damaged).unwrap();
    push(&client(&fake), &image, &["v1"]).await.unwrap_err();
    assert!(!cached.exists());
    let again = image_of(&workshop, 1);
    push(&client(&fake), &again, &["v1"]).await.unwrap();
    assert_eq!(again.digest, image.digest);
}

#[tokio::test]
async fn case_15_the_same_digest_under_an_immutable_tag_is_success_and_another_is_not() {
    let (workshop, fake) = (Workshop::new(), Fake::start().await);
    let (one, two) = (workshop.image("one"), workshop.image("two"));
    fake.inner.lock().unwrap().immutable = true;
    let client = client(&fake);
    push(&client, &one, &["v1"]).await.unwrap();
    // The same again is success, without trying.
    push(&client, &one, &["v1"]).await.unwrap();
    assert_eq!(fake.count("PUT", "/manifests/"), 1);
    // Another is an error that names both.
    let error = push(&client, &two, &["v1"]).await.unwrap_err();
    assert_eq!(error.kind(), Kind::BuildOrPush);
    assert!(error.hints().iter().any(|hint| hint.contains(&one.digest) && hint.contains(&two.digest)), "{error:?}");
    assert_eq!(fake.tag("v1"), Some(one.digest.clone()));

    // Someone else, or our own lost answer, put the same digest meanwhile.
    fake.answer(1, "HEAD", "/manifests/v1", || reply(404, &[]));
    push(&client, &one, &["v1"]).await.unwrap();
}

#[tokio::test]
async fn case_16_a_realm_elsewhere_gets_no_credential() {
    let fake = Fake::start().await;
    for realm in ["http://localhost:1/token", "https://auth.example.com/token", "http://registry.example.com/token"] {
        let (workshop, fake) = (Workshop::new(), Fake::start().await);
        token_rules(&fake, realm.to_owned(), 1000);
        let (client, _) = with_source(&fake);
        let error = push(&client, &workshop.image("x"), &["v1"]).await.unwrap_err();
        assert_eq!(error.kind(), Kind::BuildOrPush);
        assert!(error.to_string().contains("wants its credential sent to"), "{error:?}");
    }
    drop(fake);
}

/// Uploads that the registry sends to a storage of its own.
#[tokio::test]
async fn case_16_an_upload_elsewhere_carries_no_credential() {
    let (workshop, fake, storage) = (Workshop::new(), Fake::start().await, Fake::start().await);
    let place = format!("{}/v2/hello/blobs/uploads/9?state=a%2Fb", storage.url());
    fake.rule(move |seen| seen.is("POST", "/uploads/").then(|| reply(202, &[("location", &place)])));
    let image = workshop.image("x");
    let (client, _) = with_source(&fake);
    push(&client, &image, &["v1"]).await.unwrap();
    assert_eq!(storage.count("PUT", "/uploads/"), 2);
    assert!(storage.log().iter().all(|seen| seen.authorization.is_none()));
    assert!(fake.log().iter().all(|seen| seen.authorization == Some(basic("1"))));
}

#[tokio::test]
async fn case_16_a_manifest_is_not_sent_elsewhere() {
    let (workshop, fake, elsewhere) = (Workshop::new(), Fake::start().await, Fake::start().await);
    let place = format!("{}/v2/hello/manifests/v1", elsewhere.url());
    fake.rule(move |seen| seen.is("PUT", "/manifests/").then(|| reply(307, &[("location", &place)])));
    let (client, _) = with_source(&fake);
    let error = push(&client, &workshop.image("x"), &["v1"]).await.unwrap_err();
    assert!(error.to_string().contains("(307)"), "{error:?}");
    assert!(elsewhere.log().is_empty());
}

/// A registry that answers another digest than ours, for a blob or for the manifest.
#[tokio::test]
async fn case_13_another_digest_than_ours_ends_the_push() {
    const OTHER: &str = "sha256:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";
    for (what, manifests) in [("/uploads/", 0), ("/manifests/", 1)] {
        let (workshop, fake) = (Workshop::new(), Fake::start().await);
        fake.answer(9, "PUT", what, || reply(201, &[("docker-content-digest", OTHER)]));
        let error = push(&client(&fake), &workshop.image("x"), &["v1"]).await.unwrap_err();
        assert_eq!((error.kind(), error.kind().exit_code()), (Kind::BuildOrPush, 4));
        assert!(error.to_string().contains("stored another content than was sent"), "{error:?}");
        assert_eq!(fake.count("PUT", "/manifests/"), manifests, "{what}");
        assert_eq!(fake.tag("v1"), None);
    }
}

/// A registry may send an upload on, to a path or to a whole address, and keeps the credential as long as it is itself.
#[tokio::test]
async fn case_16_a_location_may_be_relative_and_the_credential_stays_at_home() {
    for whole in [false, true] {
        let (workshop, fake) = (Workshop::new(), Fake::start().await);
        let place = if whole { fake.url() } else { String::new() };
        let place = format!("{place}/v2/hello/blobs/uploads/9?state=a%2Fb");
        fake.rule(move |seen| seen.is("POST", "/uploads/").then(|| reply(202, &[("location", &place)])));
        let (client, asked) = with_source(&fake);
        push(&client, &workshop.image("x"), &["v1"]).await.unwrap();
        assert!(fake.log().iter().all(|seen| seen.authorization == Some(basic("1"))), "whole: {whole}");
        assert_eq!(asked.load(Ordering::SeqCst), 1);
    }
}

/// Nothing goes unencrypted that would not have gone so to the registry itself: not to its own host either.
#[tokio::test]
async fn case_16_an_encrypted_registry_leads_nowhere_unencrypted() {
    let (authority, fake, storage) = (Authority::new(), Fake::start().await, Fake::start().await);
    let registry = TlsFront::start(authority.certify(&["0.0.0.0"], 2100), fake.address).await;
    let site = Site::new(
        "",
        &format!(
            "{{ repository: 0.0.0.0:{}/hello, tags: [v1], build: {{ layers: [{{ from: td.json.hbs, to: /a }}] }} }}",
            registry.address.port()
        ),
    );
    site.write("ca.pem", &authority.pem);
    for place in [format!("http://0.0.0.0:{}/x?a=b", storage.address.port()), format!("{}/x?a=b", storage.url())] {
        fake.inner.lock().unwrap().rules.clear();
        fake.forget();
        fake.rule(move |seen| seen.is("POST", "/uploads/").then(|| reply(202, &[("location", &place)])));
        let refused = site.command(&["push"]).env("SSL_CERT_FILE", site.path("ca.pem")).output().await.unwrap();
        let refused = Ended::of(refused);
        assert_eq!(refused.code, Some(4), "{refused:?}");
        assert!(refused.stderr.contains("which is not encrypted"), "{refused:?}");
        assert_eq!(fake.count("PUT", ""), 0);
        assert!(fake.tag("v1").is_none() && storage.log().is_empty());
    }
}

/// What is pulled may lie elsewhere: there nobody learns who asks.
#[tokio::test]
async fn case_16_a_redirected_pull_carries_no_credential() {
    let (workshop, fake, storage) = (Workshop::new(), Fake::start().await, Fake::start().await);
    let image = workshop.image("x");
    let (client, _) = with_source(&fake);
    push(&client, &image, &["v1"]).await.unwrap();
    storage.inner.lock().unwrap().blobs = fake.inner.lock().unwrap().blobs.clone();
    let place = storage.url();
    fake.forget();
    fake.rule(move |seen| {
        let place = format!("{place}{}", seen.path);
        seen.is("GET", "/blobs/").then(|| reply(307, &[("location", &place)]))
    });
    let elsewhere = Workshop::new();
    let pulled =
        steadystate::registry::pull_image(&client, "hello", "v1", &image.platform, &elsewhere.cache, &|_| {}).await;
    assert_eq!(pulled.unwrap().digest, image.digest);
    assert_eq!(storage.count("GET", "/blobs/"), 2);
    assert!(storage.log().iter().all(|seen| seen.authorization.is_none()));
    assert!(fake.log().iter().all(|seen| seen.authorization.is_some()));
}

/// The manifests that buildx adds for attestations are no images, and are not pushed as one.
#[tokio::test]
async fn case_17_attestations_are_not_images() {
    let (workshop, fake) = (Workshop::new(), Fake::start().await);
    let (folder, amd, arm) = multi_platform(&workshop);
    for (platform, image) in [("linux/amd64", &amd), ("linux/arm64", &arm)] {
        fake.forget();
        let opened = steadystate::image::open(&folder, &workshop.open(Some(platform))).unwrap();
        push(&client(&fake), &opened, &[platform.rsplit('/').next().unwrap()]).await.unwrap();
        assert_eq!(opened.digest, image.digest);
        assert_eq!(fake.count("PUT", "/manifests/"), 1);
        assert_eq!(fake.count("PUT", "/blobs/"), 2, "a layer and a config");
    }
    assert_eq!((fake.tag("amd64"), fake.tag("arm64")), (Some(amd.digest), Some(arm.digest)));
}

#[tokio::test]
async fn case_18_an_image_for_another_machine_is_not_deployed() {
    let lab = TestLab::start().await;
    let line = Cutter::start(&lab.host, 1, 0, Vec::new()).await;
    let layers = "{ platform: linux/amd64, layers: [{ from: td.json.hbs, to: /a }], entrypoint: [/a] }";
    let site = Site::new(
        &format!("http://{}", line.address),
        &format!("{{ repository: hello, create: true, tags: [v1], build: {layers} }}"),
    );
    site.write(
        "td.json.hbs",
        r#"{ "family": "hello", "runtimePlatform": { "cpuArchitecture": "ARM64", "operatingSystemFamily": "LINUX" },
             "containerDefinitions": [{ "name": "hello", "image": "{{image}}", "memory": 64 }] }"#,
    );
    for arguments in [&["push"][..], &["deploy"]] {
        let refused = site.run(arguments).await;
        assert_eq!(refused.code, Some(3), "{refused:?}");
        assert!(refused.stderr.contains("the image is for linux/amd64"), "{refused:?}");
        assert!(refused.stderr.contains("runtimePlatform"), "{refused:?}");
    }
    assert_eq!(line.record().log, Vec::<String>::new(), "the registry was not asked for anything");
    lab.end().await;
}

/// Where the task definition names no machine, nobody can know before: the task's own words tell.
#[tokio::test(flavor = "multi_thread")]
async fn case_18_what_slips_through_goes_back_and_says_exec_format_error() {
    let bench = Bench::start().await;
    let first = bench.deploy().await;
    let program = bench.folder.path().join("project/web");
    let mut foreign = std::fs::read(&program).unwrap();
    // the machine in the ELF header: x86-64 or AArch64
    foreign[18] = if foreign[18] == 62 { 183 } else { 62 };
    std::fs::write(&program, foreign).unwrap();
    bench.steady(&["deploy"]).await.assert(5, &["exec format error", "web:1 is back and steady"]);
    let service = bench.service().await;
    let primary = &service["deployments"][0];
    assert!(primary["taskDefinition"].as_str().unwrap().ends_with("web:1"), "{primary}");
    assert_eq!((&primary["rolloutState"], &service["runningCount"]), (&"COMPLETED".into(), &1.into()));
    assert!(first["url"].as_str().is_some());
    bench.end().await;
}
