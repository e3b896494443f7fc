//! Memory is bounded whatever the image's size: a layer of 300 MB passes within what a small one takes, and some.

use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::Body;
use axum::extract::Request;
use axum::http::Response;
use http_body_util::BodyExt;
use serde_json::json;
use steadystate::image::digest::{self, Hasher};
use tokio::net::TcpListener;

use crate::images::archives::{layer_of, saved_of};
use crate::site::{Ended, Site};

const LARGE: u64 = 300 << 20;

/// What a push may take beyond one of next to nothing, in KiB.
const ALLOWED: u64 = 64 << 10;

/// What the sink has seen of one push.
#[derive(Default)]
struct Seen {
    /// The process that pushes.
    pid: u32,
    /// In bytes.
    received: u64,
    /// The most memory that the process had by the manifest, in KiB.
    peak: u64,
}

/// Forgets what it is sent as it comes.
async fn sink() -> (String, Arc<Mutex<Seen>>) {
    let seen = Arc::new(Mutex::new(Seen::default()));
    let total = seen.clone();
    let router = Router::new().fallback(move |request: Request| {
        let total = total.clone();
        async move {
            let (head, mut body) = request.into_parts();
            let mut hasher = Hasher::new();
            while let Some(Ok(frame)) = body.frame().await {
                let Ok(data) = frame.into_data() else { continue };
                hasher.update(&data);
                total.lock().unwrap().received += data.len() as u64;
            }
            let reply = match (head.method.as_str(), head.uri.path()) {
                ("POST", _) => Response::builder().status(202).header("location", "/v2/hello/blobs/uploads/1?a=b"),
                ("PATCH", _) => Response::builder().status(202).header("location", "/v2/hello/blobs/uploads/1?a=b"),
                ("PUT", path) if path.contains("/manifests/") => {
                    let mut seen = total.lock().unwrap();
                    seen.peak = most_memory(seen.pid);
                    Response::builder().status(201).header("docker-content-digest", hasher.finish())
                }
                ("PUT", _) => Response::builder().status(201),
                ("HEAD", path) if path.contains("/manifests/sha256:") => {
                    Response::builder().status(200).header("docker-content-digest", path.rsplit('/').next().unwrap())
                }
                _ => Response::builder().status(404),
            };
            reply.body(Body::empty()).unwrap()
        }
    });
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let host = listener.local_addr().unwrap().to_string();
    tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
    (host, seen)
}

fn most_memory(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.split_whitespace().next().unwrap().parse().unwrap()
}

/// Pushes; the most memory that it took, and what came of it.
async fn push(site: &Site, seen: &Mutex<Seen>) -> (u64, u64) {
    let mut child = site.command(&["push"]).spawn().unwrap();
    *seen.lock().unwrap() = Seen { pid: child.id().unwrap(), ..Seen::default() };
    let ended = Ended::wait(&mut child).await;
    assert_eq!(ended.code, Some(0), "{ended:?}");
    let seen = seen.lock().unwrap();
    (seen.peak, seen.received)
}

fn zeros() -> String {
    let (mut hasher, block) = (Hasher::new(), vec![0; 1 << 20]);
    for _ in 0..LARGE >> 20 {
        hasher.update(&block);
    }
    hasher.finish()
}

/// An OCI layout of one layer, whose bytes are a file with a hole.
fn layout(site: &Site) {
    let folder = site.path("layout/blobs/sha256");
    std::fs::create_dir_all(&folder).unwrap();
    let put = |content: String| {
        let name = digest::of(content.as_bytes());
        std::fs::write(folder.join(&name[7..]), &content).unwrap();
        (name, content.len())
    };
    let layer = zeros();
    std::fs::File::create(folder.join(&layer[7..])).unwrap().set_len(LARGE).unwrap();
    let config = json!({ "architecture": "amd64", "os": "linux", "rootfs": { "type": "layers", "diff_ids": [layer] } });
    let (config, size) = put(config.to_string());
    let oci = |kind: &str| format!("application/vnd.oci.image.{kind}");
    let manifest = json!({
        "schemaVersion": 2, "mediaType": oci("manifest.v1+json"),
        "config": { "mediaType": oci("config.v1+json"), "digest": config, "size": size },
        "layers": [{ "mediaType": oci("layer.v1.tar+gzip"), "digest": layer, "size": LARGE }],
    });
    let (manifest, size) = put(manifest.to_string());
    let entry = json!({ "mediaType": oci("manifest.v1+json"), "digest": manifest, "size": size });
    site.write("layout/oci-layout", r#"{"imageLayoutVersion":"1.0.0"}"#);
    site.write("layout/index.json", json!({ "schemaVersion": 2, "manifests": [entry] }).to_string());
}

/// What docker saves of one layer with a large file of nothing in it.
fn archive(site: &Site, size: u64) {
    let path = site.path("saved.tar");
    if size == 0 {
        return saved_of(&path, &[layer_of(b"small")]);
    }
    let mut header = tar::Header::new_gnu();
    header.set_mode(0o644);
    header.set_size(size - 1536);
    header.set_path("zeros").unwrap();
    header.set_cksum();
    let (mut hasher, block) = (Hasher::new(), vec![0; 1 << 20]);
    hasher.update(header.as_bytes());
    hasher.update(&block[..(1 << 20) - 512]);
    for _ in 1..size >> 20 {
        hasher.update(&block);
    }
    let config = json!({
        "architecture": "amd64", "os": "linux", "rootfs": { "type": "layers", "diff_ids": [hasher.finish()] },
    });
    let manifest = json!([{ "Config": "c.json", "RepoTags": null, "Layers": ["layer.tar"] }]);
    let mut tar = tar::Builder::new(std::fs::File::create(&path).unwrap());
    for (name, content) in [("c.json", config.to_string()), ("manifest.json", manifest.to_string())] {
        let mut header = tar::Header::new_gnu();
        header.set_size(content.len() as u64);
        header.set_mode(0o644);
        tar.append_data(&mut header, name, content.as_bytes()).unwrap();
    }
    let mut member = tar::Header::new_gnu();
    member.set_mode(0o644);
    member.set_size(size);
    member.set_path("layer.tar").unwrap();
    member.set_cksum();
    use std::io::{Seek, SeekFrom, Write};
    let file = tar.get_mut();
    file.write_all(member.as_bytes()).unwrap();
    file.write_all(header.as_bytes()).unwrap();
    // the hole, and the end of the archive
    file.seek(SeekFrom::Current(size as i64 - 512)).unwrap();
    tar.into_inner().unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_large_layer_takes_no_more_memory_than_a_small_one_and_a_bound() {
    let (host, seen) = sink().await;
    let image = |build: &str, more: &str| format!("{{ repository: {host}/hello, tags: [v1], {more} build: {build} }}");
    let small = Site::new("", &image("{ image: saved.tar }", ""));
    archive(&small, 0);
    let (baseline, _) = push(&small, &seen).await;
    assert!(baseline > 0);
    for (build, more) in [
        ("{ image: layout }", ""),
        ("{ image: saved.tar }", "compression: gzip,"),
        ("{ image: saved.tar }", "compression: zstd,"),
    ] {
        let site = Site::new("", &image(build, more));
        match build.contains("layout") {
            true => layout(&site),
            false => archive(&site, LARGE),
        }
        let (peak, sent) = push(&site, &seen).await;
        assert!(sent > 10_000 && (more.len() > 1 || sent > LARGE), "{build} {more}: {sent} bytes came");
        assert!(peak < baseline + ALLOWED, "{build} {more}: {peak} KiB, and {baseline} for next to nothing");
    }
}
