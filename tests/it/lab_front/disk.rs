//! A disk without room, a lab that is killed, and what may be on the disk: the real binary, serving in the foreground.

use std::fs;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Resource, Rlimit, prlimit};
use serde_json::{Value, json};

use super::{OCI_MANIFEST, digest};
use crate::lab_runtime::image;
use crate::rehearsal::{command, http};
use crate::signing::signer;

/// How a lab is left without room.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Disk {
    /// No file of its process can grow: as any user.
    Limit,
    /// Its folder is a file system of its own that is full: needs mounts.
    Full,
}

/// A lab in the foreground, ended when this is dropped.
pub(super) struct Served {
    process: Child,
    pub(super) data: PathBuf,
    pub(super) host: String,
    token: String,
}

impl Drop for Served {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

impl Served {
    pub(super) fn start(home: &Path, disk: Disk) -> Served {
        let data = home.join("lab");
        fs::create_dir_all(&data).unwrap();
        // A full disk sends no signal, a limit does.
        let serve = "trap '' XFSZ; exec \"$0\" lab serve --port 0";
        let mut shell = match disk {
            Disk::Limit => Command::new("sh"),
            Disk::Full => Command::new("unshare"),
        };
        match disk {
            Disk::Limit => shell.args(["-c", serve]),
            Disk::Full => {
                let mount = "mount -t tmpfs -o size=8m,mode=700 tmpfs \"$STEADY_LAB_DIR\"";
                shell.args(["-m", "sh", "-c", &format!("{mount} && {serve}")])
            }
        };
        shell.arg(env!("CARGO_BIN_EXE_steady")).env_clear().stdin(Stdio::null());
        shell.env("HOME", home).env("STEADY_LAB_DIR", &data).env("PATH", std::env::var_os("PATH").unwrap_or_default());
        shell.stdout(fs::File::create(home.join("out")).unwrap()).stderr(fs::File::create(home.join("log")).unwrap());
        let mut process = shell.spawn().unwrap();
        let data = match disk {
            Disk::Limit => data,
            Disk::Full => {
                Path::new("/proc").join(process.id().to_string()).join("root").join(data.strip_prefix("/").unwrap())
            }
        };
        let began = Instant::now();
        let record = loop {
            let record = fs::read(data.join("lab.json")).unwrap_or_default();
            match serde_json::from_slice::<Value>(&record) {
                Ok(record) if record["pid"] == process.id() => break record,
                _ => {}
            }
            let ended = process.try_wait().unwrap();
            let log = fs::read_to_string(home.join("log")).unwrap_or_default();
            assert!(ended.is_none() && began.elapsed() < Duration::from_secs(30), "{ended:?}: {log}");
            std::thread::sleep(Duration::from_millis(5));
        };
        let text = |member: &str| record[member].as_str().unwrap().to_owned();
        let host = text("url").trim_start_matches("http://").to_owned();
        Served { process, data, host, token: text("token") }
    }

    /// Takes all room, or gives it back.
    pub(super) fn fill(&self, disk: Disk, full: bool) {
        let filler = self.data.join("filler");
        match disk {
            Disk::Limit => {
                let pid = Pid::from_raw(self.process.id() as i32);
                let limit = Rlimit { current: full.then_some(0), maximum: None };
                prlimit(pid, Resource::Fsize, limit).unwrap();
            }
            Disk::Full if full => {
                let mut file = fs::File::create(filler).unwrap();
                let block = vec![0; 4096];
                while file.write_all(&block).is_ok() {}
            }
            Disk::Full => fs::remove_file(filler).unwrap(),
        }
    }

    pub(super) fn ecr(&self, operation: &str, input: Value) -> (u16, Value) {
        self.api(&format!("AmazonEC2ContainerRegistry_V20150921.{operation}"), input)
    }

    /// An operation of ECS that succeeds.
    fn ecs(&self, operation: &str, input: Value) -> Value {
        let (status, reply) = self.api(&format!("AmazonEC2ContainerServiceV20141113.{operation}"), input);
        assert_eq!(status, 200, "{operation}: {reply}");
        reply
    }

    pub(super) fn api(&self, target: &str, input: Value) -> (u16, Value) {
        let headers = [("X-Amz-Target", target), ("Content-Type", "application/x-amz-json-1.1")];
        let body = input.to_string();
        let signed = signer(&headers, body.as_bytes()).sign(&self.host, &headers, body.as_bytes());
        let given = headers.iter().map(|(name, value)| format!("{name}: {value}\r\n"));
        let all: String = given.chain(signed.iter().map(|(name, value)| format!("{name}: {value}\r\n"))).collect();
        let (status, body) = http("POST", &self.host, "/", &all, &body);
        (status, serde_json::from_str(&body).unwrap_or_else(|_| panic!("{target}: {body}")))
    }

    pub(super) fn create(&self, name: &str) -> (u16, Value) {
        self.ecr("CreateRepository", json!({ "repositoryName": name }))
    }

    pub(super) fn repositories(&self) -> Vec<String> {
        let (status, all) = self.ecr("DescribeRepositories", json!({}));
        assert_eq!(status, 200, "{all}");
        let names = all["repositories"].as_array().unwrap().iter();
        names.map(|one| one["repositoryName"].as_str().unwrap().to_owned()).collect()
    }

    pub(super) fn login(&self) -> String {
        let (_, reply) = self.ecr("GetAuthorizationToken", json!({}));
        let token = reply["authorizationData"][0]["authorizationToken"].as_str().unwrap();
        format!("Authorization: Basic {token}\r\n")
    }

    pub(super) fn upload(&self, login: &str, content: &str) -> (u16, String) {
        let path = format!("/v2/before/blobs/uploads/?digest={}", digest(content.as_bytes()));
        http("POST", &self.host, &path, login, content)
    }

    /// Pushes the test program as an image, and registers a task definition of it.
    pub(super) fn image(&self, login: &str) {
        let tool = fs::read(image::tool_path()).unwrap();
        let layer = image::Layer::default().file("tool", 0o755, &tool).finish();
        let config = json!({
            "architecture": "amd64", "os": "linux", "config": { "Entrypoint": ["/tool"] },
            "rootfs": { "type": "layers", "diff_ids": [digest(&layer)] },
        });
        let config = config.to_string().into_bytes();
        let host = self.host.parse().unwrap();
        for blob in [&layer, &config] {
            let mut stream = TcpStream::connect::<SocketAddr>(host).unwrap();
            let path = format!("/v2/before/blobs/uploads/?digest={}", digest(blob));
            let (to, length) = (&self.host, blob.len());
            let head =
                format!("POST {path} HTTP/1.1\r\nHost: {to}\r\nConnection: close\r\nContent-Length: {length}\r\n");
            stream.write_all(format!("{head}{login}\r\n").as_bytes()).unwrap();
            stream.write_all(blob).unwrap();
            let mut answer = String::new();
            stream.read_to_string(&mut answer).unwrap();
            assert!(answer.starts_with("HTTP/1.1 201"), "{answer}");
        }
        let descriptor =
            |kind: &str, blob: &[u8]| json!({ "mediaType": kind, "digest": digest(blob), "size": blob.len() });
        let manifest = json!({
            "schemaVersion": 2, "mediaType": OCI_MANIFEST,
            "config": descriptor("application/vnd.oci.image.config.v1+json", &config),
            "layers": [descriptor(image::PLAIN, &layer)],
        });
        let headers = format!("{login}Content-Type: {OCI_MANIFEST}\r\n");
        let put = http("PUT", &self.host, "/v2/before/manifests/v1", &headers, &manifest.to_string());
        assert_eq!(put.0, 201, "{}", put.1);
        let image = format!("{}/before:v1", self.host);
        let container = json!({ "name": "app", "image": image, "memory": 64, "command": ["sleep"] });
        self.ecs("RegisterTaskDefinition", json!({ "family": "app", "containerDefinitions": [container] }));
    }

    /// Runs a task until it runs or has stopped.
    fn run(&self) -> Value {
        let arn = self.ecs("RunTask", json!({ "taskDefinition": "app" }))["tasks"][0]["taskArn"].take();
        let began = Instant::now();
        loop {
            let task = self.ecs("DescribeTasks", json!({ "tasks": [arn] }))["tasks"][0].take();
            if task["lastStatus"] == "RUNNING" || task["lastStatus"] == "STOPPED" {
                return task;
            }
            assert!(began.elapsed() < Duration::from_secs(30), "{task:#}");
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    pub(super) fn blob(&self, login: &str, content: &str) -> (u16, String) {
        http("GET", &self.host, &format!("/v2/before/blobs/{}", digest(content.as_bytes())), login, "")
    }

    fn status(&self) -> Value {
        let (status, body) =
            http("GET", &self.host, "/_lab/status", &format!("x-steady-lab-token: {}\r\n", self.token), "");
        assert_eq!(status, 200, "{body}");
        serde_json::from_str(&body).unwrap()
    }

    /// Without any chance to save.
    pub(super) fn kill(mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }
}

fn on_disk(data: &Path) -> String {
    let read = |name: &str| fs::read_to_string(data.join(name)).unwrap_or_default();
    read("state.json") + &read("changes.jsonl")
}

fn outlives(disk: Disk) {
    let home = tempfile::tempdir().unwrap();
    let lab = Served::start(home.path(), disk);
    let login = lab.login();
    assert_eq!((lab.create("before").0, lab.upload(&login, "layer").0), (200, 201));

    lab.fill(disk, true);
    // A file's last block may have room left.
    let squeezed = (0..100).position(|at| lab.create(&format!("squeezed-{at}")).0 != 200);
    assert!(squeezed.is_some(), "it is never full");
    for round in 0..3 {
        let (status, error) = lab.create(&format!("during-{round}"));
        assert_eq!((status, &error["__type"]), (500, &json!("ServerException")), "{error}");
        assert!(error["message"].as_str().unwrap().starts_with("the lab cannot save its state: "), "{error}");
        let (status, body) = lab.upload(&login, &"much more ".repeat(10_000));
        let error: Value = serde_json::from_str(&body).unwrap_or_else(|_| panic!("no JSON: {body}"));
        assert_eq!((status, &error["errors"][0]["code"]), (500, &json!("UNKNOWN")), "{error}");
        // Reading needs no room.
        assert_eq!(lab.blob(&login, "layer"), (200, "layer".to_owned()));
        assert!(lab.repositories().contains(&"before".to_owned()));
    }
    assert_eq!(lab.status()["failed"], json!([]), "all of it goes on");

    lab.fill(disk, false);
    // By itself, and before anybody asks for anything: what was refused only because it could not be saved.
    let began = Instant::now();
    while !on_disk(&lab.data).contains("during-2") {
        assert!(began.elapsed() < Duration::from_secs(20), "it is never saved");
        std::thread::sleep(Duration::from_millis(10));
    }
    assert_eq!(lab.create("after").0, 200);
    let more = "much more ".repeat(10_000);
    assert_eq!((lab.upload(&login, &more).0, lab.blob(&login, &more).0), (201, 200));
    let known = lab.repositories();
    assert!(known.contains(&"before".to_owned()) && known.contains(&"after".to_owned()), "{known:?}");
    if disk == Disk::Full {
        // Its file system goes with it.
        return;
    }

    // Full again, and killed: what was committed is there, whatever was not.
    lab.fill(disk, true);
    assert_eq!(lab.create("late").0, 500);
    let data = lab.data.clone();
    lab.kill();
    assert!(data.join("lab.json").exists(), "what a killed lab leaves");
    let lab = Served::start(home.path(), disk);
    let found = lab.repositories();
    assert!(known.iter().all(|name| found.contains(name)), "{known:?} {found:?}");
    assert_eq!((lab.blob(&login, "layer").0, lab.blob(&login, &more)), (200, (200, more)));
    assert_eq!(lab.create("again").0, 200, "and it takes the folder over");
}

/// An image that there is no room for is a task that does not start, and leaves nothing behind.
#[test]
fn a_task_without_room_for_its_image_says_so() {
    let home = tempfile::tempdir().unwrap();
    let lab = Served::start(home.path(), Disk::Limit);
    let login = lab.login();
    lab.create("before");
    lab.image(&login);
    // The lab can keep what it is asked for; its image folder cannot grow beyond this.
    let pid = Pid::from_raw(lab.process.id() as i32);
    prlimit(pid, Resource::Fsize, Rlimit { current: Some(100_000), maximum: None }).unwrap();
    let task = lab.run();
    let reason = task["containers"][0]["reason"].as_str().unwrap_or_default();
    assert!(reason.starts_with("CannotPullContainerError: ") && reason.contains("File too large"), "{task:#}");
    assert_eq!((&task["lastStatus"], &task["stopCode"]), (&json!("STOPPED"), &json!("TaskFailedToStart")));
    let left = fs::read_dir(lab.data.join("runtime/images")).unwrap().count();
    assert_eq!(left, 0, "what was unpacked so far is gone");
    lab.fill(Disk::Limit, false);
    let task = lab.run();
    assert_eq!(task["lastStatus"], "RUNNING", "{task:#}");
    assert_eq!(lab.status()["failed"], json!([]));
}

#[test]
fn a_lab_whose_files_cannot_grow_refuses_and_recovers() {
    outlives(Disk::Limit);
}

#[test]
fn a_lab_whose_disk_is_full_refuses_and_recovers() {
    let mounts = Command::new("unshare").args(["-m", "mount", "-t", "tmpfs", "tmpfs", "/tmp"]).output();
    // Where this user may not mount, the limit above stands for it.
    if mounts.is_ok_and(|output| output.status.success()) {
        outlives(Disk::Full);
    }
}

/// Two at once on one folder are one lab, and a killed one's folder is taken over.
#[test]
fn a_folder_has_one_lab_at_a_time() {
    let home = tempfile::tempdir().unwrap();
    let lab = Served::start(home.path(), Disk::Limit);
    assert_eq!(lab.create("kept").0, 200);
    let second = command(home.path()).args(["lab", "serve", "--port", "0"]).output().unwrap();
    let said = String::from_utf8_lossy(&second.stderr);
    assert!(!second.status.success() && said.contains("already runs"), "{said}");
    lab.kill();
    let lab = Served::start(home.path(), Disk::Limit);
    assert_eq!(lab.repositories(), ["kept"]);
}

/// The token is in one file, which is its user's only.
#[test]
fn the_control_token_is_nowhere_else() {
    let home = tempfile::tempdir().unwrap();
    let run = |line: &str| command(home.path()).args(line.split(' ')).output().unwrap();
    let told = ["lab start --port 0 -o json", "lab status", "lab env", "lab fault add stall --on ecs:ListClusters"];
    let said: Vec<String> = told.iter().map(|line| format!("{:?}", run(line))).collect();
    let data = home.path().join("lab");
    let record: Value = serde_json::from_slice(&fs::read(data.join("lab.json")).unwrap()).unwrap();
    let token = record["token"].as_str().unwrap().to_owned();
    let processes = processes_that_show(&token);
    let (mut holders, mut open) = (Vec::new(), Vec::new());
    for entry in walkdir::WalkDir::new(home.path()).into_iter().map(Result::unwrap) {
        let mode = std::os::unix::fs::PermissionsExt::mode(&entry.metadata().unwrap().permissions());
        // what is below the lab's folder has its mode for a wall
        let shared = mode & 0o077 != 0 && (entry.path() == data || entry.path().parent() == Some(&data));
        let shared = shared && entry.path() != data.join("runtime");
        open.extend(shared.then(|| entry.path().to_owned()));
        let content = fs::read(entry.path()).unwrap_or_default();
        if content.windows(token.len()).any(|window| window == token.as_bytes()) {
            holders.push(entry.path().to_owned());
        }
    }
    assert!(run("lab stop").status.success());
    assert_eq!(token.len(), 64);
    assert!(said.iter().all(|text| !text.contains(&token)), "{said:?}");
    assert_eq!(holders, [data.join("lab.json")]);
    assert!(open.is_empty(), "{open:?}");
    assert_eq!(processes, [""; 0]);
    assert!(!data.join("lab.json").exists(), "it ends with its lab");
}

/// Processes whose arguments or environment hold a text.
fn processes_that_show(text: &str) -> Vec<String> {
    let shows = |folder: &Path, file: &str| -> io::Result<bool> {
        Ok(String::from_utf8_lossy(&fs::read(folder.join(file))?).contains(text))
    };
    let all = fs::read_dir("/proc").unwrap().flatten().map(|entry| entry.path());
    let show = all.filter(|folder| ["cmdline", "environ"].iter().any(|file| shows(folder, file).unwrap_or(false)));
    show.map(|folder| folder.display().to_string()).collect()
}
