//! A project of one service, and the real program in it.

use std::path::PathBuf;
use std::process::{Output, Stdio};

use serde_json::Value;
use steadystate::lab::lifecycle::{ACCESS_KEY_ID, SECRET_ACCESS_KEY};
use tempfile::TempDir;
use tokio::io::AsyncReadExt;
use tokio::process::{Child, Command};

/// A project in a folder of its own, and the real program in it with nothing of our environment.
pub struct Site {
    pub folder: TempDir,
}

const TASK_DEFINITION: &str =
    r#"{ "family": "hello", "containerDefinitions": [{ "name": "hello", "image": "{{image}}", "memory": 64 }] }"#;

impl Site {
    /// `image` is the content of the project's `image:`, a flow map; `endpoint` stands for all of AWS.
    pub fn new(endpoint: &str, image: &str) -> Site {
        let site = Site { folder: tempfile::tempdir().unwrap() };
        std::fs::create_dir(site.path("home")).unwrap();
        let endpoint = if endpoint.is_empty() { String::new() } else { format!("endpoint_url: {endpoint}\n") };
        site.write(
            "steady.yaml",
            format!(
                "region: us-east-1\n{endpoint}services:\n  hello:\n    image: {image}\n    task_definition: td.json.hbs\n"
            ),
        );
        site.write("td.json.hbs", TASK_DEFINITION);
        site
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub fn write(&self, name: &str, content: impl AsRef<[u8]>) {
        std::fs::write(self.path(name), content).unwrap();
    }

    /// A program on the PATH of what [`Site::command`] runs, a shell script.
    pub fn program(&self, name: &str, script: &str) {
        std::fs::create_dir_all(self.path("bin")).unwrap();
        self.write(&format!("bin/{name}"), script);
        crate::images::set_mode(&self.path(&format!("bin/{name}")), 0o755);
    }

    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_steady"));
        let path = format!("{}:/usr/bin:/bin", self.path("bin").display());
        command.args(arguments).current_dir(self.folder.path()).env_clear().envs(crate::replies::counted());
        command.env("HOME", self.path("home")).env("PATH", path).env("TMPDIR", self.folder.path());
        command.env("AWS_ACCESS_KEY_ID", ACCESS_KEY_ID).env("AWS_SECRET_ACCESS_KEY", SECRET_ACCESS_KEY);
        command.env("AWS_EC2_METADATA_DISABLED", "true");
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
        command
    }

    /// A run that has to go well, with more in its environment.
    pub async fn well(&self, arguments: &[&str], environment: &[(&str, &str)]) -> Ended {
        let ended = Ended::of(self.command(arguments).envs(environment.iter().copied()).output().await.unwrap());
        assert_eq!(ended.code, Some(0), "{arguments:?}: {ended:?}");
        ended
    }

    pub async fn run(&self, arguments: &[&str]) -> Ended {
        Ended::of(self.command(arguments).output().await.unwrap())
    }
}

/// What a run came to.
#[derive(Debug)]
pub struct Ended {
    pub code: Option<i32>,
    pub stdout: String,
    pub stderr: String,
}

impl Ended {
    pub fn of(output: Output) -> Ended {
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        Ended { code: output.status.code(), stdout: text(output.stdout), stderr: text(output.stderr) }
    }

    /// Waits for a process that [`Site::command`] started; no code is a signal.
    pub async fn wait(child: &mut Child) -> Ended {
        let (mut stdout, mut stderr) = (Vec::new(), Vec::new());
        let (mut out, mut err) = (child.stdout.take().unwrap(), child.stderr.take().unwrap());
        let (status, _, _) = tokio::join!(child.wait(), out.read_to_end(&mut stdout), err.read_to_end(&mut stderr));
        Ended::of(Output { status: status.unwrap(), stdout, stderr })
    }

    /// The result of a run that went well.
    pub fn result(&self) -> Value {
        assert_eq!(self.code, Some(0), "{self:?}");
        serde_json::from_str(&self.stdout).unwrap()
    }
}

/// Content that does not compress, distinct by `seed`.
pub fn noise(seed: u64, length: usize) -> Vec<u8> {
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
