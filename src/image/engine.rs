//! Programs that build: docker, and a build's own `run` command. Command lines are data; one runner runs them all.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::fmt;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use secrecy::{ExposeSecret, SecretString};
use tokio::io::{AsyncRead, AsyncReadExt};

use super::group::Group;
use super::{Built, Draft, Open, Platform, archive, digest};
use crate::error::{Error, Result};

/// How long docker may take to say whether it is there.
const PROBE_TIMEOUT: Duration = Duration::from_secs(5);

/// A longer line of output is cut in pieces of this many bytes.
const MAX_LINE: usize = 16 << 10;

/// How long the output of a command is read after its end.
const REST: Duration = Duration::from_millis(200);

/// Lines of output that an error carries.
const LAST_LINES: usize = 20;

/// A program to run, its arguments, and what its environment has beyond ours.
#[derive(Clone)]
pub struct Command {
    pub program: OsString,
    pub arguments: Vec<OsString>,
    /// Values never reach a command line, `Debug` or an error.
    pub environment: Vec<(String, SecretString)>,
    pub folder: PathBuf,
}

impl fmt::Debug for Command {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<&str> = self.environment.iter().map(|(name, _)| name.as_str()).collect();
        f.debug_struct("Command")
            .field("program", &self.program)
            .field("arguments", &self.arguments)
            .field("environment", &names)
            .field("folder", &self.folder)
            .finish()
    }
}

/// `docker build`.
#[derive(Debug, Clone)]
pub struct DockerBuild {
    /// `docker`, or the path of a program with its command line.
    pub program: OsString,
    pub context: PathBuf,
    /// `None` is the context's `Dockerfile`.
    pub file: Option<PathBuf>,
    pub target: Option<String>,
    /// Only the names go on the command line: docker takes the values from its environment.
    pub build_args: BTreeMap<String, SecretString>,
    pub labels: BTreeMap<String, String>,
    pub platform: Option<Platform>,
}

impl DockerBuild {
    /// The command that builds, run in `folder`; it writes the image's id into `id_file`. The image gets no name:
    /// another build at the same time could take it over before the image is saved.
    pub fn command(&self, id_file: &Path, folder: &Path) -> Command {
        let mut arguments: Vec<OsString> = vec!["build".into(), "--iidfile".into(), id_file.into()];
        let mut option = |name: &str, value: OsString| arguments.extend([name.into(), value]);
        if let Some(file) = &self.file {
            option("--file", file.into());
        }
        if let Some(target) = &self.target {
            option("--target", target.into());
        }
        if let Some(platform) = &self.platform {
            option("--platform", platform.to_string().into());
        }
        for name in self.build_args.keys() {
            option("--build-arg", name.into());
        }
        for (name, value) in &self.labels {
            option("--label", format!("{name}={value}").into());
        }
        // A context that begins with `-` would be an option.
        arguments.extend(["--".into(), self.context.clone().into_os_string()]);
        let environment = self.build_args.iter().map(|(name, value)| (name.clone(), value.clone())).collect();
        Command { program: self.program.clone(), arguments, environment, folder: folder.to_owned() }
    }

    /// The command that saves the image with this id into a file.
    pub fn save(&self, id: &str, archive: &Path, folder: &Path) -> Command {
        let arguments = vec!["save".into(), "--output".into(), archive.into(), "--".into(), id.into()];
        Command { program: self.program.clone(), arguments, environment: Vec::new(), folder: folder.to_owned() }
    }
}

/// A line for the shell, such as a build's `run`.
pub fn shell(line: &str, folder: &Path) -> Command {
    Command {
        program: "/bin/sh".into(),
        arguments: vec!["-c".into(), line.into()],
        environment: Vec::new(),
        folder: folder.to_owned(),
    }
}

/// Builds with docker and opens what it built, for `open.platform`. Output goes to `on_line`, line by line.
///
/// # Errors
/// `Preflight` when docker does not answer; `BuildOrPush` when the build fails, with its last lines.
pub async fn docker_image(
    build: &DockerBuild,
    folder: &Path,
    open: &Open,
    on_line: &mut (dyn FnMut(&str) + Send),
) -> Result<Built> {
    docker_answers(&build.program).await?;
    let scratch = tempfile::Builder::new()
        .prefix(".writing-")
        .tempdir_in(open.cache.folder())
        .map_err(|error| Error::build_or_push("cannot make a folder for docker's image").cause(error))?;
    let id_file = scratch.path().join("id");
    run(&build.command(&id_file, folder), on_line).await?;
    let said = std::fs::read_to_string(&id_file).unwrap_or_default();
    let id = said.trim();
    if !digest::is_valid(id) {
        return Err(Error::build_or_push(format!("docker did not say which image it built: its id is {id:?}"))
            .hint("`docker build --iidfile FILE …` must write an id such as sha256:…; docker does since 17.06"));
    }
    let path = scratch.path().join("image.tar");
    run(&build.save(id, &path, folder), on_line).await?;
    let open = open.clone();
    let opened = tokio::task::spawn_blocking(move || {
        Ok(match archive::draft(&path, &open)? {
            Built::Draft(draft) => Built::Draft(Draft { scratch: Some(Arc::new(scratch)), ..draft }),
            // Blobs that still point into the archive must outlive it.
            Built::Image(image) => Built::Image(open.cache.take_in(image)?),
        })
    });
    opened.await.map_err(|error| Error::build_or_push("reading docker's image failed").cause(error))?
}

/// Whether docker's daemon answers.
///
/// # Errors
/// `Preflight` with the reason when it does not.
pub async fn docker_answers(program: &OsStr) -> Result<()> {
    let arguments = ["version", "--format", "{{.Server.Version}}"].map(OsString::from).to_vec();
    let command = Command { program: program.to_owned(), arguments, environment: Vec::new(), folder: ".".into() };
    answers(&command, PROBE_TIMEOUT).await
}

/// Whether `command` ends well within `timeout`.
///
/// # Errors
/// `Preflight` with the reason when it does not.
pub async fn answers(command: &Command, timeout: Duration) -> Result<()> {
    let program = command.program.to_string_lossy();
    let hint = "start docker, or assemble the image without it: `layers:` in steady.yaml needs no engine";
    match tokio::time::timeout(timeout, run(command, &mut |_| {})).await {
        Ok(Ok(())) => Ok(()),
        Ok(Err(error)) => Err(Error::preflight(format!("{program} does not answer")).cause(error).hint(hint)),
        Err(_) => Err(Error::preflight(format!("{program} does not answer within {} s", timeout.as_secs())).hint(hint)),
    }
}

/// Runs a command to its end, its output going to `on_line` without line ends. The command and everything in its
/// process group are killed when the future is dropped, and when this process is killed.
///
/// # Errors
/// `BuildOrPush` when it cannot be started or fails, with the last lines of its output as the cause.
pub async fn run(command: &Command, on_line: &mut (dyn FnMut(&str) + Send)) -> Result<()> {
    let name = display_name(command);
    let mut process = tokio::process::Command::new(&command.program);
    process.args(&command.arguments).current_dir(&command.folder);
    process.envs(command.environment.iter().map(|(name, value)| (name, value.expose_secret())));
    process.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
    let mut group = Group::spawn(&mut process).map_err(|error| {
        let missing = error.kind() == std::io::ErrorKind::NotFound;
        let failure = Error::build_or_push(format!("cannot run `{name}`")).cause(error);
        match missing {
            true if !command.folder.is_dir() => {
                failure.hint(format!("there is no folder `{}`", command.folder.display()))
            }
            true => failure.hint(format!("is `{}` installed and on PATH?", command.program.to_string_lossy())),
            false => failure,
        }
    })?;
    let mut out = Lines::new(group.child.stdout.take());
    let mut err = Lines::new(group.child.stderr.take());
    let mut last = std::collections::VecDeque::new();
    let mut show = |line: &str| {
        on_line(line);
        if last.len() == LAST_LINES {
            last.pop_front();
        }
        last.push_back(line.to_owned());
    };
    // A daemon that it left behind may hold the pipes open: they are read until it has ended, and what is left then.
    let status = loop {
        tokio::select! {
            biased;
            line = out.next(), if !out.ended => line.iter().for_each(|line| show(line)),
            line = err.next(), if !err.ended => line.iter().for_each(|line| show(line)),
            status = group.child.wait() => break status,
        }
    };
    group.ended = true;
    // What is in the pipes now; whoever else holds them open is not waited for, nor listened to for long.
    let rest = async {
        loop {
            tokio::select! {
                line = out.next(), if !out.ended => line.iter().for_each(|line| show(line)),
                line = err.next(), if !err.ended => line.iter().for_each(|line| show(line)),
                else => break,
            }
        }
    };
    let _ = tokio::time::timeout(REST, rest).await;
    let status = status.map_err(|error| Error::build_or_push(format!("cannot wait for `{name}`")).cause(error))?;
    if status.success() {
        return Ok(());
    }
    let failure = Error::build_or_push(format!("`{name}` failed with {status}"));
    let said = Vec::from(last).join("\n").trim().to_owned();
    Err(if said.is_empty() { failure } else { failure.cause(said) })
}

/// The command as an error shows it: what it is, not everything it was given.
fn display_name(command: &Command) -> String {
    let program = Path::new(&command.program).file_name().unwrap_or(&command.program).to_string_lossy().into_owned();
    let shown = match &command.arguments[..] {
        [flag, line] if flag == "-c" => return line.to_string_lossy().into_owned(),
        [verb, ..] => verb.to_string_lossy().into_owned(),
        [] => return program,
    };
    format!("{program} {shown}")
}

/// Lines of a pipe; a carriage return ends one too, for progress bars use it.
struct Lines<R> {
    pipe: Option<R>,
    buffer: Vec<u8>,
    after_return: bool,
    ended: bool,
}

impl<R: AsyncRead + Unpin> Lines<R> {
    fn new(pipe: Option<R>) -> Self {
        Lines { ended: pipe.is_none(), pipe, buffer: Vec::new(), after_return: false }
    }

    /// The next line, `None` at the end. May be cancelled without losing anything.
    async fn next(&mut self) -> Option<String> {
        loop {
            if self.after_return && !self.buffer.is_empty() {
                self.after_return = false;
                if self.buffer[0] == b'\n' {
                    self.buffer.remove(0);
                }
            }
            let end = self.buffer.iter().position(|byte| matches!(byte, b'\n' | b'\r'));
            if let Some(end) = end {
                self.after_return = self.buffer[end] == b'\r';
                let line: Vec<u8> = self.buffer.drain(..=end).take(end).collect();
                return Some(String::from_utf8_lossy(&line).into_owned());
            }
            if self.buffer.len() >= MAX_LINE || (self.ended && !self.buffer.is_empty()) {
                return Some(String::from_utf8_lossy(&std::mem::take(&mut self.buffer)).into_owned());
            }
            let pipe = self.pipe.as_mut().filter(|_| !self.ended)?;
            match pipe.read_buf(&mut self.buffer).await {
                Ok(0) | Err(_) => self.ended = true,
                Ok(_) => {}
            }
        }
    }
}
