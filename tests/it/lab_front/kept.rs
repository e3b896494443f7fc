//! What was answered is kept by a lab that is killed, and what was not is there as a whole or not at all.

use std::fs;

use serde_json::{Value, json};

use super::disk::{Disk, Served};
use super::{OCI_MANIFEST, digest, manifest};
use crate::rehearsal::http;

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
