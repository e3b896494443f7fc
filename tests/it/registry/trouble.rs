//! What goes wrong in a push, and what must happen then.

use std::time::{Duration, Instant};

use steadystate::error::Kind;
use steadystate::registry::Client;
use tokio::net::TcpListener;

use super::fake::{Fake, refuse, reply};
use super::{Workshop, client, patience, push};

const OTHER: &str = "sha256:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";

#[tokio::test]
async fn troubles_that_pass() {
    type Trouble = fn(&Fake);
    let table: [(&str, Trouble); 8] = [
        ("manifest before its blobs", |fake| {
            fake.answer(2, "PUT", "/manifests/", || refuse(404, "MANIFEST_BLOB_UNKNOWN", "not yet"));
        }),
        ("ECR's words for it", |fake| fake.answer(2, "PUT", "/manifests/", || refuse(400, "BLOB_UNKNOWN", "not yet"))),
        ("503 on an upload", |fake| fake.answer(2, "PUT", "/uploads/", || reply(503, &[]))),
        ("500 on a question", |fake| fake.answer(2, "HEAD", "/manifests/", || reply(500, &[]))),
        ("429 with a time", |fake| fake.answer(1, "POST", "/uploads/", || reply(429, &[("retry-after", "0")]))),
        ("a lost session", |fake| fake.answer(1, "PUT", "/uploads/", || refuse(404, "BLOB_UPLOAD_UNKNOWN", "gone"))),
        ("out of step", |fake| {
            fake.answer(1, "PUT", "/uploads/", || refuse(416, "", "First byte of the layer part is 0 instead of 9"));
        }),
        ("damaged on the way", |fake| fake.answer(1, "PUT", "/uploads/", || refuse(400, "DIGEST_INVALID", "other"))),
    ];
    for (name, trouble) in table {
        let (workshop, fake) = (Workshop::new(), Fake::start().await);
        let image = workshop.image("x");
        trouble(&fake);
        let pushed = push(&client(&fake), &image, &["v1"]).await;
        assert!(pushed.is_ok(), "{name}: {pushed:?}");
        assert_eq!(fake.tag("v1"), Some(image.digest), "{name}");
        assert!(fake.log().iter().any(|seen| seen.status.is_some_and(|status| status >= 400 && status != 404)
            || seen.path.contains("/manifests/v1")));
        assert_eq!(
            fake.count("POST", "/uploads/"),
            fake.count("PUT", "/uploads/") + usize::from(name.contains("429")),
            "{name}"
        );
    }
}

#[tokio::test]
async fn troubles_that_do_not_pass() {
    type Trouble = fn(&Fake);
    let table: [(&str, Trouble, &str, &str, usize); 6] = [
        (
            "another digest for a blob",
            |fake| fake.answer(9, "PUT", "/uploads/", || reply(201, &[("docker-content-digest", OTHER)])),
            "stored another content than was sent",
            "nothing was deployed",
            0,
        ),
        (
            "another digest for the manifest",
            |fake| fake.answer(9, "PUT", "/manifests/", || reply(201, &[("docker-content-digest", OTHER)])),
            "stored another content than was sent",
            "nothing was deployed",
            1,
        ),
        (
            "no repository",
            |fake| fake.answer(9, "POST", "/uploads/", || refuse(404, "NAME_UNKNOWN", "no such repository")),
            "NAME_UNKNOWN no such repository",
            "--create-repository",
            0,
        ),
        ("broken for good", |fake| fake.answer(99, "POST", "/uploads/", || reply(502, &[])), "(502)", "", 0),
        (
            "refused",
            |fake| fake.answer(9, "PUT", "/manifests/", || refuse(400, "MANIFEST_INVALID", "no")),
            "MANIFEST_INVALID",
            "",
            1,
        ),
        ("taken, and lost", |fake| fake.answer(9, "PUT", "/manifests/", || reply(201, &[])), "does not find it", "", 1),
    ];
    for (name, trouble, message, hint, manifests) in table {
        let (workshop, fake) = (Workshop::new(), Fake::start().await);
        trouble(&fake);
        let error = push(&client(&fake), &workshop.image("x"), &["v1"]).await.unwrap_err();
        assert_eq!(error.kind(), Kind::BuildOrPush, "{name}");
        assert!(error.to_string().contains(message), "{name}: {error:?}");
        assert!(hint.is_empty() || error.hints().iter().any(|found| found.contains(hint)), "{name}: {error:?}");
        assert_eq!(fake.count("PUT", "/manifests/"), manifests, "{name}");
    }
}

#[tokio::test]
async fn a_registry_that_hangs_is_given_up() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let hang = tokio::spawn(async move {
        let mut held = Vec::new();
        while let Ok((stream, _)) = listener.accept().await {
            held.push(stream);
        }
    });
    let mut patience = patience();
    (patience.stall, patience.attempts) = (Duration::from_millis(100), 2);
    let client = Client::with_patience(&url, None, patience).unwrap();
    let workshop = Workshop::new();
    let started = Instant::now();
    let error = push(&client, &workshop.image("x"), &["v1"]).await.unwrap_err();
    assert_eq!(error.kind(), Kind::BuildOrPush);
    assert!(started.elapsed() < Duration::from_secs(10));
    hang.abort();
}

#[tokio::test]
async fn an_upload_that_stalls_is_begun_again() {
    let (workshop, fake) = (Workshop::new(), Fake::start().await);
    // Takes uploads, and reads nothing of the first one.
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let place = format!("http://{}/swallow?state=1", listener.local_addr().unwrap());
    let swallow = tokio::spawn(async move {
        let mut held = Vec::new();
        while let Ok((stream, _)) = listener.accept().await {
            held.push(stream);
        }
    });
    let mut first = true;
    fake.rule(move |seen| {
        (seen.is("POST", "/uploads/") && std::mem::take(&mut first)).then(|| reply(202, &[("location", &place)]))
    });
    let mut patience = patience();
    patience.stall = Duration::from_millis(150);
    let client = Client::with_patience(&fake.url(), None, patience).unwrap();
    // Larger than the sockets' buffers.
    let content: Vec<u8> = (0..24_000_000u64).map(|i| (i.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 56) as u8).collect();
    workshop.file("big", content);
    let spec = workshop.spec(vec![vec![super::super::images::entry("big", "/big")]]);
    let image = steadystate::image::layers::assemble(spec, None).unwrap();
    let started = Instant::now();
    push(&client, &image, &["v1"]).await.unwrap();
    // The kernel would give up too, after 30 s.
    assert!(started.elapsed() < Duration::from_secs(15));
    assert_eq!(fake.count("POST", "/uploads/"), 3);
    swallow.abort();
}

#[tokio::test]
async fn a_tag_is_checked_before_anything_is_asked() {
    let (workshop, fake) = (Workshop::new(), Fake::start().await);
    let error = push(&client(&fake), &workshop.image("x"), &["v1", "../../other/manifests/x"]).await.unwrap_err();
    assert_eq!(error.kind(), Kind::Input);
    assert!(fake.log().is_empty());
}

#[tokio::test]
async fn no_registry_at_all() {
    let url = format!("http://127.0.0.1:{}", crate::ports::free_port());
    let client = Client::with_patience(&url, None, patience()).unwrap();
    let error = client.ping().await.unwrap_err();
    assert_eq!(error.kind(), Kind::BuildOrPush);
    assert!(error.to_string().starts_with("cannot reach the registry 127.0.0.1:"), "{error:?}");
    Client::new("https://123456789012.dkr.ecr.us-west-2.amazonaws.com", None).map(drop).unwrap();
    for url in ["http://registry.example.com", "ftp://localhost", "localhost:5000", "http://127.0.0.1.example.com"] {
        assert_eq!(Client::new(url, None).err().unwrap().kind(), Kind::Input, "{url}");
    }
}
