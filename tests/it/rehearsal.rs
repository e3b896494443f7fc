//! A rehearsal as a person has it: the real binary in a cleared environment, a lab of its own on a free port, and a
//! project in a folder that goes with it.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::{Value, json};

use crate::signing::signer;

pub struct Rehearsal {
    folder: tempfile::TempDir,
    /// Host and port of the lab.
    pub host: String,
}

/// How one run of the binary ended.
#[derive(Debug)]
pub struct Run {
    pub code: i32,
    pub stdout: String,
    pub stderr: String,
}

impl Run {
    pub fn new(output: &Output) -> Run {
        Run {
            code: output.status.code().unwrap_or(-1),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }

    /// The commands that a failure's hints name.
    pub fn next_commands(&self) -> Vec<String> {
        let result: Value = serde_json::from_str(&self.stdout).unwrap_or_default();
        let hints = result["error"]["hints"].as_array().cloned().unwrap_or_default();
        let said = hints.iter().flat_map(|hint| hint.as_str().unwrap_or_default().split('`').skip(1).step_by(2));
        said.filter(|part| part.starts_with("steady ")).map(str::to_owned).collect()
    }

    /// The object on stdout of a run that had to end with `code`.
    #[track_caller]
    pub fn json(&self, code: i32) -> Value {
        assert_eq!(self.code, code, "stdout: {}\nstderr: {}", self.stdout, self.stderr);
        serde_json::from_str(&self.stdout).unwrap_or_else(|error| panic!("{error} in: {}", self.stdout))
    }
}

/// The real binary, knowing nothing of the machine's user.
pub fn command(home: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_steady"));
    command
        .env_clear()
        .envs(crate::replies::counted())
        .env("HOME", home)
        .env("STEADY_LAB_DIR", home.join("lab"))
        .env("LANG", "C.UTF-8")
        .env("PATH", std::env::var_os("PATH").unwrap_or_default())
        .env("AWS_EC2_METADATA_DISABLED", "true")
        .current_dir(home);
    command
}

impl Rehearsal {
    pub fn start() -> Rehearsal {
        let folder = tempfile::tempdir().unwrap();
        let started = command(folder.path()).args(["lab", "start", "--port", "0", "-o", "json"]).output().unwrap();
        let url = Run::new(&started).json(0)["url"].as_str().unwrap().to_owned();
        Rehearsal { folder, host: url.trim_start_matches("http://").to_owned() }
    }

    pub fn path(&self, path: &str) -> PathBuf {
        self.folder.path().join(path)
    }

    /// Writes a file of the project's; folders on the way are made.
    pub fn write(&self, path: &str, text: &str) {
        let path = self.path(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }

    /// One of the repository's own examples or templates, as it is, in the project's folder.
    pub fn copy(&self, from: &str, to: &str) {
        let from = Path::new(env!("CARGO_MANIFEST_DIR")).join(from);
        for entry in walkdir::WalkDir::new(&from).into_iter().map(Result::unwrap) {
            let inner = entry.path().strip_prefix(&from).unwrap();
            let path = if inner.as_os_str().is_empty() { self.path(to) } else { self.path(to).join(inner) };
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            match entry.file_type().is_dir() {
                true => std::fs::create_dir_all(path).unwrap(),
                false => drop(std::fs::copy(entry.path(), path).unwrap()),
            }
        }
    }

    /// Replaces what has to stand in a file of the project's exactly once.
    #[track_caller]
    pub fn replace(&self, path: &str, changes: &[(&str, &str)]) {
        let mut text = std::fs::read_to_string(self.path(path)).unwrap();
        for (from, to) in changes {
            assert_eq!(text.matches(from).count(), 1, "{from:?} in {path}:\n{text}");
            text = text.replace(from, to);
        }
        std::fs::write(self.path(path), text).unwrap();
    }

    /// The binary with a command line; words are split at blanks.
    pub fn steady(&self, line: &str) -> Run {
        Run::new(&command(self.folder.path()).args(line.split_whitespace()).output().unwrap())
    }

    /// The same, with `--lab` and `--output json`. What it says to type next stays in the lab.
    #[track_caller]
    pub fn lab(&self, line: &str) -> Run {
        let run = self.steady(&format!("{line} --lab --output json"));
        for command in run.next_commands() {
            let elsewhere = ["steady lab", "steady init"].iter().any(|verb| command.starts_with(verb));
            assert!(elsewhere || command.ends_with(" --lab"), "{line} says `{command}`");
        }
        run
    }

    /// An operation of a JSON API at the lab, such as `ecs.DescribeServices`, which has to succeed.
    #[track_caller]
    pub fn call(&self, operation: &str, input: Value) -> Value {
        let (service, operation) = operation.split_once('.').unwrap();
        let prefix = match service {
            "ecs" => "AmazonEC2ContainerServiceV20141113",
            "ecr-public" => "SpencerFrontendService",
            "ecr" => "AmazonEC2ContainerRegistry_V20150921",
            "discovery" => "Route53AutoNaming_v20170314",
            "logs" => "Logs_20140328",
            other => panic!("no JSON API {other}"),
        };
        let target = format!("{prefix}.{operation}");
        let headers = [("X-Amz-Target", target.as_str()), ("Content-Type", "application/x-amz-json-1.1")];
        let (status, body) = self.post(&headers, &input.to_string());
        assert_eq!(status, 200, "{operation}: {body}");
        serde_json::from_str(&body).unwrap()
    }

    /// An operation of ELBv2 at the lab: its reply's XML.
    #[track_caller]
    pub fn elb(&self, operation: &str, parameters: &[(&str, &str)]) -> String {
        self.query("2015-12-01", operation, parameters)
    }

    /// An operation of a query API, which its version names: ELBv2's is 2015-12-01, EC2's 2016-11-15.
    #[track_caller]
    pub fn query(&self, version: &str, operation: &str, parameters: &[(&str, &str)]) -> String {
        let mut form = format!("Action={operation}&Version={version}");
        for (name, value) in parameters {
            form += &format!(
                "&{name}={}",
                percent_encoding::utf8_percent_encode(value, percent_encoding::NON_ALPHANUMERIC)
            );
        }
        let (status, body) = self.post(&[("Content-Type", "application/x-www-form-urlencoded")], &form);
        assert_eq!(status, 200, "{operation}: {body}");
        body
    }

    /// As real clients do, again after a while when the lab throttles it.
    fn post(&self, headers: &[(&str, &str)], body: &str) -> (u16, String) {
        loop {
            let (status, answer) = self.post_once(headers, body);
            if status != 400 || !answer.contains("Rate exceeded") {
                return (status, answer);
            }
            std::thread::sleep(std::time::Duration::from_millis(100));
        }
    }

    fn post_once(&self, headers: &[(&str, &str)], body: &str) -> (u16, String) {
        let signed = signer(headers, body.as_bytes()).sign(&self.host, headers, body.as_bytes());
        let given = headers.iter().map(|(name, value)| format!("{name}: {value}\r\n"));
        let all = given.chain(signed.iter().map(|(name, value)| format!("{name}: {value}\r\n")));
        http("POST", &self.host, "/", &all.collect::<String>(), body)
    }

    /// The only service of a cluster by this name.
    #[track_caller]
    pub fn service(&self, name: &str) -> Value {
        self.call("ecs.DescribeServices", json!({ "cluster": "default", "services": [name] }))["services"][0].clone()
    }
}

impl Drop for Rehearsal {
    fn drop(&mut self) {
        let stopped = command(self.folder.path()).args(["lab", "stop"]).output().unwrap();
        if !std::thread::panicking() {
            assert!(stopped.status.success(), "{:?}", Run::new(&stopped));
        }
    }
}

/// Figures of a test, for who runs it with `--nocapture`.
#[expect(clippy::print_stdout, reason = "only tests print it, and only when asked")]
pub fn figures(text: &str) {
    println!("{text}");
}

/// The texts of an XML element, in their order.
pub fn texts(xml: &str, element: &str) -> Vec<String> {
    let (open, close) = (format!("<{element}>"), format!("</{element}>"));
    xml.split(&open).skip(1).map(|rest| rest.split(&close).next().unwrap().to_owned()).collect()
}

/// One request on a connection of its own: status and body.
pub fn http(method: &str, host: &str, path: &str, headers: &str, body: &str) -> (u16, String) {
    let mut stream = TcpStream::connect(host).unwrap_or_else(|error| panic!("{host}: {error}"));
    let length = body.len();
    let request = format!(
        "{method} {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\nContent-Length: {length}\r\n{headers}\r\n{body}"
    );
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or_else(|| panic!("no answer of {host}: {answer:?}"));
    (head.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap(), body.to_owned())
}

/// GET of a URL without TLS.
pub fn get(url: &str) -> (u16, String) {
    let rest = url.strip_prefix("http://").unwrap();
    let (host, path) =
        rest.split_once('/').map_or((rest, String::from("/")), |(host, path)| (host, format!("/{path}")));
    let host = if host.contains(':') { host.to_owned() } else { format!("{host}:80") };
    http("GET", &host, &path, "", "")
}
