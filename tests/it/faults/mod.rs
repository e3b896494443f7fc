//! What can go wrong, and what must happen then: the list of `facts/faults.md`, a test or more for each case, named by its
//! number. Each looks at the final state and at the log of the requests.

mod cuts;
mod cutter;
mod push;
mod secrets;
mod signals;

use std::path::{Path, PathBuf};
use std::process::Stdio;

use serde_json::Value;
use tempfile::TempDir;
use tokio::process::Command;

/// The cases of the list that have to be here by now.
const CASES: [u32; 13] = [11, 12, 13, 14, 15, 16, 17, 18, 34, 55, 56, 57, 58];

#[test]
fn the_list_is_complete() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/faults");
    let sources: Vec<String> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| std::fs::read_to_string(entry.unwrap().path()).unwrap())
        .collect();
    for case in CASES {
        let name = format!("fn case_{case}_");
        assert!(sources.iter().any(|source| source.contains(&name)), "no test begins with `{name}`");
    }
}

/// A project in a folder of its own, and the real program in it with nothing of our environment.
struct Site {
    folder: TempDir,
}

const TASK_DEFINITION: &str =
    r#"{ "family": "hello", "containerDefinitions": [{ "name": "hello", "image": "{{image}}", "memory": 64 }] }"#;

impl Site {
    /// `image` is the content of the project's `image:`, a flow map; `endpoint` stands for all of AWS.
    fn new(endpoint: &str, image: &str) -> Site {
        let site = Site { folder: tempfile::tempdir().unwrap() };
        std::fs::create_dir(site.path("home")).unwrap();
        let endpoint = if endpoint.is_empty() { String::new() } else { format!("endpoint_url: {endpoint}\n") };
        site.write(
            "steady.yaml",
            &format!(
                "region: us-east-1\n{endpoint}services:\n  hello:\n    image: {image}\n    task_definition: td.json.hbs\n"
            ),
        );
        site.write("td.json.hbs", TASK_DEFINITION);
        site
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn write(&self, name: &str, content: impl AsRef<[u8]>) {
        std::fs::write(self.path(name), content).unwrap();
    }

    /// A program on the PATH of what [`Site::command`] runs, a shell script.
    fn program(&self, name: &str, script: &str) {
        std::fs::create_dir_all(self.path("bin")).unwrap();
        self.write(&format!("bin/{name}"), script);
        crate::images::set_mode(&self.path(&format!("bin/{name}")), 0o755);
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_steady"));
        let path = format!("{}:/usr/bin:/bin", self.path("bin").display());
        command.args(arguments).current_dir(self.folder.path()).env_clear().envs(crate::replies::counted());
        command.env("HOME", self.path("home")).env("PATH", path).env("TMPDIR", self.folder.path());
        command.env("AWS_ACCESS_KEY_ID", "test").env("AWS_SECRET_ACCESS_KEY", "test");
        command.env("AWS_EC2_METADATA_DISABLED", "true");
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
        command
    }

    async fn run(&self, arguments: &[&str]) -> Ended {
        Ended::of(self.command(arguments).output().await.unwrap())
    }
}

/// What a run came to.
#[derive(Debug)]
struct Ended {
    code: Option<i32>,
    stdout: String,
    stderr: String,
}

impl Ended {
    fn of(output: std::process::Output) -> Ended {
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        Ended { code: output.status.code(), stdout: text(output.stdout), stderr: text(output.stderr) }
    }

    /// The result of a run that went well.
    fn result(&self) -> Value {
        assert_eq!(self.code, Some(0), "{self:?}");
        serde_json::from_str(&self.stdout).unwrap()
    }
}

/// Content that does not compress, distinct by `seed`.
fn noise(seed: u64, length: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let mut bytes = Vec::with_capacity(length + 8);
    while bytes.len() < length {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend_from_slice(&state.to_le_bytes());
    }
    bytes.truncate(length);
    bytes
}
