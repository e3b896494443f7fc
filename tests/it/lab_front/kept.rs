//! What was answered is kept by a lab that is killed, and what was not is there as a whole or not at all.

use std::fs;

use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::disk::{Disk, Served};
use super::{OCI_MANIFEST, digest, manifest};
use crate::rehearsal::{command, http};

impl Served {
    fn logs(&self, operation: &str, input: Value) -> Value {
        let (status, reply) = self.api(&format!("Logs_20140328.{operation}"), input);
        assert_eq!(status, 200, "{operation}: {reply}");
        reply
    }

    fn push(&self, login: &str, tag: &str, layer: &str) {
        for blob in ["{}", layer] {
            assert_eq!(self.upload(login, blob).0, 201);
        }
        let headers = format!("{login}Content-Type: {OCI_MANIFEST}\r\n");
        let manifest = String::from_utf8(manifest(b"{}", &[layer.as_bytes()])).unwrap();
        let (status, said) = http("PUT", &self.host, &format!("/v2/before/manifests/{tag}"), &headers, &manifest);
        assert_eq!(status, 201, "{said}");
    }

    fn manifest(&self, login: &str, tag: &str) -> u16 {
        http("GET", &self.host, &format!("/v2/before/manifests/{tag}"), login, "").0
    }
}

#[test]
fn log_events_that_were_taken_are_kept_by_a_lab_that_is_killed() {
    let home = tempfile::tempdir().unwrap();
    for round in 0..3 {
        let lab = Served::start(home.path(), Disk::Limit);
        let (group, stream) = (format!("group-{round}"), json!("one"));
        lab.logs("CreateLogGroup", json!({ "logGroupName": group }));
        lab.logs("CreateLogStream", json!({ "logGroupName": group, "logStreamName": stream }));
        let now = std::time::SystemTime::UNIX_EPOCH.elapsed().unwrap().as_millis() as u64;
        let event = json!({ "timestamp": now, "message": "said" });
        lab.logs("PutLogEvents", json!({ "logGroupName": group, "logStreamName": stream, "logEvents": [event] }));
        lab.kill();
        let lab = Served::start(home.path(), Disk::Limit);
        let said = lab.logs("GetLogEvents", json!({ "logGroupName": group, "logStreamName": stream }));
        assert_eq!(said["events"][0]["message"], "said", "{said}");
    }
}

/// A deletion that could not be saved did not happen for the next lab, which then has to have all of the image.
#[test]
fn an_image_whose_deletion_was_not_saved_is_whole_in_the_next_lab() {
    let home = tempfile::tempdir().unwrap();
    let lab = Served::start(home.path(), Disk::Limit);
    lab.create("before");
    let login = lab.login();
    lab.push(&login, "v1", "layer");
    lab.fill(Disk::Limit, true);
    let gone = lab.ecr("BatchDeleteImage", json!({ "repositoryName": "before", "imageIds": [{ "imageTag": "v1" }] }));
    assert_eq!(gone.0, 500, "{}", gone.1);
    lab.kill();
    let lab = Served::start(home.path(), Disk::Limit);
    assert_eq!((lab.manifest(&login, "v1"), lab.blob(&login, "layer")), (200, (200, "layer".to_owned())));

    let gone = lab.ecr("BatchDeleteImage", json!({ "repositoryName": "before", "imageIds": [{ "imageTag": "v1" }] }));
    assert_eq!(gone.0, 200, "{}", gone.1);
    let left = fs::read_dir(lab.data.join("blobs/sha256")).unwrap().count();
    assert_eq!((lab.manifest(&login, "v1"), left), (404, 0), "and its files go with it when that is saved");
}

/// Else a client that asks for a layer is told not to push it, and nobody could ever run the image.
#[test]
fn a_blob_without_its_file_can_be_pushed_again() {
    let home = tempfile::tempdir().unwrap();
    let lab = Served::start(home.path(), Disk::Limit);
    lab.create("before");
    let login = lab.login();
    lab.push(&login, "v1", "layer");
    let blobs = lab.data.join("blobs/sha256");
    let file = |content: &[u8]| blobs.join(digest(content).trim_start_matches("sha256:"));
    lab.kill();
    fs::remove_file(file(b"layer")).unwrap();
    let lab = Served::start(home.path(), Disk::Limit);
    assert_eq!((lab.manifest(&login, "v1"), lab.blob(&login, "layer").0), (200, 404));
    lab.push(&login, "v1", "layer");
    assert_eq!(lab.blob(&login, "layer"), (200, "layer".to_owned()));
    lab.kill();
    fs::remove_file(file(&manifest(b"{}", &[b"layer"]))).unwrap();
    let lab = Served::start(home.path(), Disk::Limit);
    assert_eq!(lab.manifest(&login, "v1"), 404);
    lab.push(&login, "v1", "layer");
    assert_eq!(lab.manifest(&login, "v1"), 200);
}

/// Killed amidst a reset, a lab had a service without its cluster, and log groups of which nothing else was left.
#[test]
fn a_reset_that_was_cut_short_is_gone_on_with() {
    let home = tempfile::tempdir().unwrap();
    let lab = Served::start(home.path(), Disk::Limit);
    lab.create("before");
    lab.logs("CreateLogGroup", json!({ "logGroupName": "before" }));
    let data = lab.data.clone();
    lab.kill();
    let journal = fs::read_to_string(data.join("changes.jsonl")).unwrap();
    assert!(journal.contains("before"), "{journal}");
    // This is what comes first.
    fs::rename(data.join("state.json"), data.join("state.gone.json")).unwrap();
    let lab = Served::start(home.path(), Disk::Limit);
    assert_eq!(lab.repositories(), [""; 0]);
    assert_eq!(lab.logs("DescribeLogGroups", json!({}))["logGroups"], json!([]));
    lab.create("after");
    lab.kill();
    assert!(!data.join("state.gone.json").exists());
    let lab = Served::start(home.path(), Disk::Limit);
    assert_eq!(lab.repositories(), ["after"]);
}

/// A process that ends with its test.
struct Process(Child);

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// By then its pid may be anybody's, and a lab that is just starting holds the lock, so that `lab stop` would end that.
#[test]
fn a_lab_that_starts_does_not_go_by_the_record_of_one_that_was_killed() {
    let home = tempfile::tempdir().unwrap();
    let data = home.path().join("lab");
    fs::create_dir(&data).unwrap();
    // The state does not come: the lab is starting as long as that takes.
    let fifo = rustix::fs::FileType::Fifo;
    rustix::fs::mknodat(rustix::fs::CWD, data.join("state.json"), fifo, rustix::fs::Mode::RWXU, 0).unwrap();
    let stranger = Process(std::process::Command::new("sleep").arg("600").spawn().unwrap());
    let record = json!({
        "pid": stranger.0.id(), "url": "http://127.0.0.1:1", "region": "us-east-1", "accountId": "111122223333",
        "accessKeyId": "steady-lab", "secretAccessKey": "steady-lab", "token": "stale",
    });
    fs::write(data.join("lab.json"), record.to_string()).unwrap();
    let mut serve = command(home.path());
    serve.args(["lab", "serve", "--port", "0", "--runtime", "simulated"]).stdout(Stdio::null()).stderr(Stdio::null());
    let starting = Process(serve.spawn().unwrap());
    let until = Instant::now() + Duration::from_secs(30);
    let status = loop {
        // its lock comes a moment before the record goes
        let is_gone = !data.join("lab.json").exists();
        let output = command(home.path()).args(["lab", "status", "-o", "json"]).output().unwrap();
        let status: Value = serde_json::from_slice(&output.stdout).unwrap();
        if status["status"] != "stopped" && is_gone || Instant::now() > until {
            break status;
        }
    };
    assert_eq!((&status["status"], status["pid"].as_u64()), (&json!("unresponsive"), None), "{status}");
    drop(starting);
}

#[test]
fn no_file_of_the_lab_leads_to_another_one() {
    for name in ["lab.log", "lock"] {
        let home = tempfile::tempdir().unwrap();
        let data = home.path().join("lab");
        fs::create_dir(&data).unwrap();
        let other = home.path().join("other");
        fs::write(&other, "other's").unwrap();
        std::os::unix::fs::symlink(&other, data.join(name)).unwrap();
        let started =
            command(home.path()).args(["lab", "start", "--port", "0", "--runtime", "simulated"]).output().unwrap();
        let said = String::from_utf8_lossy(&started.stderr);
        assert!(!started.status.success() && said.contains(name), "{said}");
        assert_eq!(fs::read_to_string(&other).unwrap(), "other's");
    }
}
