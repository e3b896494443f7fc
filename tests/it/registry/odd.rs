//! Registries that are not as others are.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use steadystate::error::Kind;
use steadystate::registry::{self, Client, PushOptions};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::fake::{Fake, refuse, reply};
use super::{Workshop, client, image_of, patience, push};

/// In front of a registry, one connection a request, whose answers are passed through `change`.
async fn front(behind: SocketAddr, change: fn(Vec<u8>) -> Vec<u8>) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move {
        while let Ok((near, _)) = listener.accept().await {
            tokio::spawn(async move {
                let mut far = TcpStream::connect(behind).await.unwrap();
                let (mut near_read, mut near_write) = near.into_split();
                let (mut far_read, mut far_write) = far.split();
                let up = async {
                    let mut head = Vec::new();
                    while !head.windows(4).any(|part| part == b"\r\n\r\n")
                        && near_read.read_buf(&mut head).await.unwrap_or(0) > 0
                    {}
                    let end = head.windows(2).position(|part| part == b"\r\n").unwrap_or(0);
                    head.splice(end..end, *b"\r\nConnection: close");
                    let _ = far_write.write_all(&head).await;
                    let _ = tokio::io::copy(&mut near_read, &mut far_write).await;
                };
                let down = async {
                    let mut answer = Vec::new();
                    let _ = far_read.read_to_end(&mut answer).await;
                    let _ = near_write.write_all(&change(answer)).await;
                    let _ = near_write.shutdown().await;
                };
                tokio::select! {
                    ((), ()) = async { tokio::join!(up, std::future::pending::<()>()) } => {}
                    () = down => {}
                }
            });
        }
    });
    url
}

fn replaced(answer: Vec<u8>, from: &str, to: &str) -> Vec<u8> {
    match answer.windows(from.len()).position(|part| part.eq_ignore_ascii_case(from.as_bytes())) {
        Some(at) => [&answer[..at], to.as_bytes(), &answer[at + from.len()..]].concat(),
        None => answer,
    }
}

#[tokio::test]
async fn a_connection_for_each_request_http_1_0_and_no_digests_are_no_trouble() {
    type Change = fn(Vec<u8>) -> Vec<u8>;
    let changes: [(&str, Change); 3] = [
        ("connection: close", |answer| answer),
        ("HTTP/1.0", |answer| replaced(answer, "HTTP/1.1", "HTTP/1.0")),
        ("no digests", |answer| replaced(answer, "docker-content-digest", "x-nothing")),
    ];
    for (name, change) in changes {
        let (workshop, fake) = (Workshop::new(), Fake::start().await);
        let image = image_of(&workshop, 4);
        let url = front(fake.address, change).await;
        let client = Client::with_patience(&url, None, patience()).unwrap();
        let pushed = push(&client, &image, &["v1"]).await.unwrap_or_else(|error| panic!("{name}: {error:?}"));
        assert_eq!((pushed.uploaded, fake.tag("v1")), (5, Some(image.digest.clone())), "{name}");
        assert_eq!(push(&client, &image, &["v1"]).await.unwrap().uploaded, 0, "{name}");
        assert_eq!(fake.count("PUT", "/uploads/"), 5, "{name}");
    }
}

/// HEAD is not everywhere what GET is.
#[tokio::test]
async fn a_registry_without_head_is_asked_otherwise() {
    for status in [404, 405, 501] {
        let (workshop, fake) = (Workshop::new(), Fake::start().await);
        let image = workshop.image("x");
        fake.rule(move |seen| (seen.method == "HEAD").then(|| reply(status, &[])));
        let pushed = push(&client(&fake), &image, &["v1"]).await;
        assert_eq!(pushed.unwrap_or_else(|error| panic!("{status}: {error:?}")).uploaded, 2);
        assert_eq!(fake.tag("v1"), Some(image.digest.clone()));
        if status != 404 {
            assert_eq!(push(&client(&fake), &image, &["v1"]).await.unwrap().uploaded, 0, "{status}");
        }
    }
}

/// Says no before it has the blob, and hears no more of it.
#[tokio::test]
async fn an_answer_before_the_blob_is_there_is_heard() {
    let (workshop, fake) = (Workshop::new(), Fake::start().await);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let place = format!("http://{}/upload?state=1", listener.local_addr().unwrap());
    let refusing = tokio::spawn(async move {
        let mut held = Vec::new();
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut head = Vec::new();
            while !head.windows(4).any(|part| part == b"\r\n\r\n") && stream.read_buf(&mut head).await.unwrap_or(0) > 0
            {
            }
            let body = r#"{"errors":[{"code":"SIZE_LIMIT","message":"layers have to be smaller here"}]}"#;
            let answer =
                format!("HTTP/1.1 413 Too Large\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}", body.len());
            stream.write_all(answer.as_bytes()).await.unwrap();
            held.push(stream);
        }
    });
    fake.rule(move |seen| seen.is("POST", "/uploads/").then(|| reply(202, &[("location", &place)])));
    // Larger than the sockets' buffers, so that it is not all sent by then.
    workshop.file("big", crate::site::noise(7, 24_000_000));
    let spec = workshop.spec(vec![vec![crate::images::entry("big", "/big")]]);
    let image = steadystate::image::layers::assemble(spec, None).unwrap();
    let started = Instant::now();
    let error = push(&client(&fake), &image, &["v1"]).await.unwrap_err();
    assert_eq!(error.kind(), Kind::BuildOrPush);
    assert!(error.to_string().contains("layers have to be smaller here"), "{error:?}");
    assert!(started.elapsed() < Duration::from_secs(15));
    assert_eq!(fake.count("POST", "/uploads/"), 2, "what is refused for good is not tried again");
    refusing.abort();
}

/// Who may not read the other repository, or whose registry does not know of mounts, uploads: nothing else is renewed or lost.
#[tokio::test]
async fn a_refused_mount_is_an_upload() {
    for status in [400, 401, 403, 404, 405] {
        let (workshop, fake) = (Workshop::new(), Fake::start().await);
        let image = workshop.image("x");
        fake.rule(move |seen| seen.query.contains("mount=").then(|| refuse(status, "DENIED", "not from there")));
        let everything = image.blobs.iter().map(|blob| (blob.descriptor.digest.clone(), "other".to_owned()));
        let options = PushOptions { found_in: everything.collect(), ..PushOptions::default() };
        let (client, asked) = super::auth::with_source(&fake);
        let pushed = registry::push(&client, "hello", &image, &["v1".into()], &options, &|_| {}).await.unwrap();
        assert_eq!((pushed.uploaded, fake.tag("v1")), (2, Some(image.digest)), "{status}");
        assert_eq!(fake.count("POST", "/uploads/"), 4, "each was asked for once");
        assert_eq!(asked.load(std::sync::atomic::Ordering::SeqCst), 1, "{status}");
    }
}
