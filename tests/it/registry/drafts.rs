//! Layers that are compressed on their way.

use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::time::Duration;

use steadystate::error::{Error, Kind};
use steadystate::image::draft::{Draft, LayerContent};
use steadystate::image::{Blob, BlobSource, Built, Compression, Open, archive};
use steadystate::registry::{self, BlobState, Client, Patience, PushOptions, Settled, recall, settle};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use super::super::images::archives::{layer, saved_archive, small_archive};
use super::super::images::{Workshop, unpacked};
use super::fake::{Fake, refuse, reply};
use super::{Told, client, patience};
use crate::site::noise;

fn draft(workshop: &Workshop, path: &Path, compression: Compression) -> Draft {
    let open = Open { compression, ..workshop.open(None) };
    match archive::draft(path, &open).unwrap() {
        Built::Draft(draft) => draft,
        other => panic!("{other:?}"),
    }
}

/// The draft of an archive, one byte of which changed after that.
fn damaged(workshop: &Workshop, content: &str) -> (Draft, PathBuf) {
    small_archive(workshop, "saved.tar", content);
    let path = workshop.path("saved.tar");
    let draft = draft(workshop, &path, Compression::Gzip);
    let mut bytes = std::fs::read(&path).unwrap();
    let at = bytes.windows(7).position(|window| window == b"content").unwrap();
    bytes[at] = b'C';
    std::fs::write(&path, bytes).unwrap();
    (draft, path)
}

/// Settles and pushes as `v1`.
async fn pushed(fake: &Fake, draft: &Draft, earlier: &[&str], told: &Told) -> Result<Settled, Error> {
    let client = client(fake);
    let earlier: Vec<String> = earlier.iter().map(|name| (*name).to_owned()).collect();
    let known = recall(&client, "hello", draft, &earlier).await?;
    let options = PushOptions::default();
    let settled = settle(&client, "hello", draft, &known, &options, &told.listener()).await?;
    let options = PushOptions { present: settled.present.clone(), ..options };
    registry::push(&client, "hello", &settled.image, &["v1".to_owned()], &options, &|_| {}).await?;
    Ok(settled)
}

fn stored(fake: &Fake, blob: &Blob) -> Blob {
    let bytes = fake.inner.lock().unwrap().blobs[&blob.descriptor.digest].clone();
    Blob { source: BlobSource::Memory(bytes), ..blob.clone() }
}

#[tokio::test]
async fn a_layer_is_read_once_and_sent_as_it_is_compressed() {
    let (workshop, fake) = (Workshop::new(), Fake::start().await);
    let path = saved_archive(&workshop, "saved.tar");
    for compression in [Compression::Gzip, Compression::Zstd] {
        fake.forget();
        let told = Told::default();
        let draft = draft(&workshop, &path, compression);
        let settled = pushed(&fake, &draft, &[], &told).await.unwrap();
        assert_eq!(settled.uploaded, 2, "the third layer is the first once more, and the fourth is compressed");
        assert_eq!(fake.count("PATCH", "/blobs/uploads/"), 1, "a small one goes in one request");
        assert_eq!(fake.count("HEAD", "/blobs/"), 2, "the fourth and the config; what is new is not asked for");
        let image = &settled.image;
        let whole = Built::Draft(draft.clone()).settled().unwrap();
        assert_eq!(whole.digest, image.digest, "the same as when it is compressed first");
        assert_eq!(fake.tag("v1"), Some(image.digest.clone()));
        for (at, content) in [(0, "a".to_owned()), (1, "b".repeat(1 << 21)), (2, "a".to_owned())] {
            let blob = stored(&fake, &image.layers()[at]);
            assert_eq!(blob.descriptor.media_type, compression.media_type());
            assert_eq!(unpacked(&blob), layer(&content));
        }
        let LayerContent::Plain(large) = &draft.layers[1].content else { panic!("it is plain") };
        let states = told.of(&draft.layers[1].diff_id);
        // One name from first to last; in the end it has the size that it was compressed to.
        assert_eq!(states.first(), Some(&(BlobState::Checking, 0)));
        assert_eq!(states.last(), Some(&(BlobState::Pushed, image.layers()[1].descriptor.size)));
        let between = &states[1..states.len() - 1];
        assert!(
            between.iter().all(|(state, sent)| match state {
                BlobState::Compressing => *sent < large.size(),
                state => (*state, *sent) == (BlobState::Uploading, large.size()),
            }),
            "{states:?}"
        );
        for blob in image.layers() {
            assert_eq!(told.of(&blob.descriptor.digest), [], "what it is compressed to is no other blob");
        }
    }
    // Again: known by this machine.
    fake.forget();
    let again = draft(&workshop, &path, Compression::Zstd);
    let settled = pushed(&fake, &again, &[], &Told::default()).await.unwrap();
    assert_eq!((settled.uploaded, fake.count("POST", "")), (0, 0));
}

#[tokio::test]
async fn another_machine_finds_the_layers_in_the_image_before() {
    let (workshop, fake, told) = (Workshop::new(), Fake::start().await, Told::default());
    let first = draft(&workshop, &saved_archive(&workshop, "saved.tar"), Compression::Gzip);
    let first = pushed(&fake, &first, &[], &told).await.unwrap();
    let other = Workshop::new();
    let path = saved_archive(&other, "saved.tar");
    // Nothing of it is read that is not sent: only the index of the archive has to be sound.
    let again = draft(&other, &path, Compression::Gzip);
    fake.forget();
    let settled = pushed(&fake, &again, &["nothing", "v1"], &told).await.unwrap();
    assert_eq!((settled.uploaded, settled.image.digest), (0, first.image.digest));
    assert_eq!(fake.count("POST", "") + fake.count("PUT", ""), 0);
    // Layers of another compression do not count: who asked for gzip gets gzip.
    fake.forget();
    let third = Workshop::new();
    let zstd = draft(&third, &path, Compression::Zstd);
    assert_eq!(pushed(&fake, &zstd, &["v1"], &told).await.unwrap().uploaded, 2);
}

#[tokio::test]
async fn what_a_registry_lost_is_compressed_again() {
    let (workshop, fake, told) = (Workshop::new(), Fake::start().await, Told::default());
    let draft = draft(&workshop, &saved_archive(&workshop, "saved.tar"), Compression::Gzip);
    let first = pushed(&fake, &draft, &[], &told).await.unwrap();
    fake.inner.lock().unwrap().blobs.remove(&first.image.layers()[1].descriptor.digest);
    fake.inner.lock().unwrap().manifests.clear();
    let settled = pushed(&fake, &draft, &[], &told).await.unwrap();
    assert_eq!((settled.uploaded, settled.image.digest), (1, first.image.digest));
}

#[tokio::test]
async fn a_broken_upload_begins_anew_and_nothing_else_is_sent_again() {
    let (workshop, fake, told) = (Workshop::new(), Fake::start().await, Told::default());
    let draft = draft(&workshop, &saved_archive(&workshop, "saved.tar"), Compression::Gzip);
    fake.answer(1, "PATCH", "/blobs/uploads/", || refuse(500, "UNKNOWN", "not now"));
    fake.answer(1, "PATCH", "/blobs/uploads/", || refuse(416, "BLOB_UPLOAD_INVALID", "out of step"));
    fake.answer(1, "PATCH", "/blobs/uploads/", || refuse(429, "TOOMANYREQUESTS", "slower"));
    // ECR says 201 where the specification has 202.
    let mut sessions = HashSet::new();
    fake.rule(move |seen| {
        let again = seen.is("PATCH", "/uploads/") && !sessions.insert(seen.path.clone());
        again.then(|| refuse(400, "BLOB_UPLOAD_INVALID", "a session that broke is not continued"))
    });
    let settled = pushed(&fake, &draft, &[], &told).await.unwrap();
    assert_eq!((settled.uploaded, fake.count("PATCH", "")), (2, 4));
    assert_eq!(fake.tag("v1"), Some(settled.image.digest));
}

#[tokio::test]
async fn a_layer_that_is_not_what_its_config_says_never_gets_there() {
    let (workshop, fake, told) = (Workshop::new(), Fake::start().await, Told::default());
    let (draft, path) = damaged(&workshop, "content");
    let error = pushed(&fake, &draft, &[], &told).await.unwrap_err();
    assert_eq!(error.kind(), Kind::BuildOrPush);
    assert!(error.to_string().contains("is damaged"), "{error}");
    assert!(fake.inner.lock().unwrap().blobs.is_empty());
    assert_eq!(fake.count("POST", ""), 0);
    // Nor one whose archive ends early.
    let file = std::fs::OpenOptions::new().write(true).open(&path).unwrap();
    file.set_len(600).unwrap();
    assert!(pushed(&fake, &draft, &[], &told).await.unwrap_err().to_string().contains("is damaged"));
}

#[tokio::test]
async fn a_large_layer_that_is_damaged_never_gets_its_end() {
    let (workshop, fake, told) = (Workshop::new(), Fake::start().await, Told::default());
    let (draft, _) = damaged(&workshop, &"content ".repeat(1 << 18));
    let error = pushed(&fake, &draft, &[], &told).await.unwrap_err();
    assert!(error.to_string().contains("is damaged"), "{error}");
    assert!(fake.inner.lock().unwrap().blobs.is_empty());
    assert_eq!(fake.count("PATCH", ""), 1, "it is not tried again");
}

#[tokio::test]
async fn a_registry_that_stored_something_else_is_not_believed() {
    let (workshop, fake, told) = (Workshop::new(), Fake::start().await, Told::default());
    small_archive(&workshop, "saved.tar", "content");
    let draft = draft(&workshop, &workshop.path("saved.tar"), Compression::Gzip);
    let other = format!("sha256:{}", "0".repeat(64));
    fake.rule(move |seen| seen.is("PUT", "/blobs/").then(|| reply(201, &[("docker-content-digest", &other)])));
    let error = pushed(&fake, &draft, &[], &told).await.unwrap_err();
    assert!(error.to_string().contains("stored another content"), "{error}");
    assert_eq!(fake.count("PUT", "/manifests/"), 0);
}

/// Says yes before it has the layer, and reads no more of it.
#[tokio::test]
async fn an_early_yes_is_not_waited_for_without_end() {
    let (workshop, fake, told) = (Workshop::new(), Fake::start().await, Told::default());
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let place = format!("http://{}/upload?state=1", listener.local_addr().unwrap());
    let yes = format!("HTTP/1.1 202 Accepted\r\nlocation: {place}\r\ncontent-length: 0\r\n\r\n");
    let deaf = tokio::spawn(async move {
        let mut held = Vec::new();
        while let Ok((mut stream, _)) = listener.accept().await {
            stream.read_buf(&mut Vec::with_capacity(100)).await.unwrap();
            stream.write_all(yes.as_bytes()).await.unwrap();
            held.push(stream);
        }
    });
    let mut first = true;
    fake.rule(move |seen| {
        (seen.is("POST", "/uploads/") && std::mem::take(&mut first)).then(|| reply(202, &[("location", &place)]))
    });
    // Larger than the sockets' buffers.
    let letters: String = noise(7, 24_000_000).iter().map(|byte| char::from(b'a' + byte % 26)).collect();
    small_archive(&workshop, "saved.tar", &letters);
    let draft = draft(&workshop, &workshop.path("saved.tar"), Compression::Gzip);
    let stall = Duration::from_millis(500);
    let client = Client::with_patience(&fake.url(), None, Patience { stall, ..patience() }).unwrap();
    let (options, known, listener) = (PushOptions::default(), HashMap::new(), told.listener());
    let settling = settle(&client, "hello", &draft, &known, &options, &listener);
    let settled = tokio::time::timeout(Duration::from_secs(20), settling).await.unwrap().unwrap();
    assert_eq!((settled.uploaded, fake.count("POST", "/uploads/")), (1, 2));
    deaf.abort();
}

/// What another repository has is not compressed again; a session that comes in place of a mount is the layer's.
#[tokio::test]
async fn a_layer_is_mounted_before_it_is_compressed() {
    for mounts in [true, false] {
        let (workshop, fake, told) = (Workshop::new(), Fake::start().await, Told::default());
        let draft = draft(&workshop, &saved_archive(&workshop, "saved.tar"), Compression::Gzip);
        let first = pushed(&fake, &draft, &[], &told).await.unwrap();
        let client = client(&fake);
        let known = recall(&client, "hello", &draft, &[]).await.unwrap();
        fake.inner.lock().unwrap().blobs.clear();
        fake.forget();
        fake.rule(move |seen| (mounts && seen.query.contains("from=other")).then(|| reply(201, &[])));
        let found_in = first.present.iter().map(|digest| (digest.clone(), "other".to_owned())).collect();
        let options = PushOptions { known: Some(HashSet::new()), found_in, ..PushOptions::default() };
        let settled = settle(&client, "hello", &draft, &known, &options, &told.listener()).await.unwrap();
        assert_eq!(settled.image.digest, first.image.digest);
        assert_eq!(settled.uploaded, if mounts { 0 } else { 2 });
        assert_eq!(fake.count("POST", ""), 2, "one for each layer, whatever came of it");
        assert_eq!(fake.count("PATCH", "") + fake.count("PUT", ""), if mounts { 0 } else { 3 });
        let large = &settled.image.layers()[1].descriptor;
        let state = if mounts { BlobState::Mounted } else { BlobState::Pushed };
        assert_eq!(told.of(&draft.layers[1].diff_id).last(), Some(&(state, large.size)));
    }
}

/// What a repository has by its own account is not asked for.
#[tokio::test]
async fn who_asked_already_is_believed() {
    let (workshop, fake, told) = (Workshop::new(), Fake::start().await, Told::default());
    let draft = draft(&workshop, &saved_archive(&workshop, "saved.tar"), Compression::Gzip);
    let first = pushed(&fake, &draft, &[], &told).await.unwrap();
    let client = client(&fake);
    let known = recall(&client, "hello", &draft, &[]).await.unwrap();
    assert_eq!(known.keys().collect::<HashSet<_>>().len(), 2);
    fake.forget();
    let options = PushOptions { known: Some(first.present), ..PushOptions::default() };
    settle(&client, "hello", &draft, &known, &options, &|_| {}).await.unwrap();
    assert_eq!(fake.log().len(), 0);
    let nothing = PushOptions { known: Some(HashSet::new()), ..PushOptions::default() };
    let sent = settle(&client, "hello", &draft, &HashMap::new(), &nothing, &|_| {}).await.unwrap();
    assert_eq!((sent.uploaded, fake.count("HEAD", "")), (2, 0));
}
