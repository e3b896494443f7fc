//! Commands as data, and the one runner that runs them all.

use std::ffi::OsString;
use std::fmt;
use std::io::PipeReader;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use secrecy::{ExposeSecret, SecretString};
use tokio::io::{AsyncRead, AsyncReadExt};

use crate::error::{Error, Result};
use crate::image::group::Group;

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
    /// What its environment has not, though ours does.
    pub without: Vec<String>,
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

/// A line for the shell, such as a build's `run`.
pub fn shell(line: &str, folder: &Path) -> Command {
    Command {
        program: "/bin/sh".into(),
        arguments: vec!["-c".into(), line.into()],
        environment: Vec::new(),
        without: Vec::new(),
        folder: folder.to_owned(),
    }
}

/// Whether `command` ends well within `timeout`.
///
/// # Errors
/// `Preflight` with the reason when it does not.
pub async fn answers(command: &Command, timeout: Duration) -> Result<()> {
    let program = command.program.to_string_lossy();
    let hint = format!("start {program}, or assemble the image without it: `layers:` in steady.yaml needs no engine");
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
    run_into(command, Stdio::piped(), on_line).await
}

/// What an engine may write ahead of us; what Linux allows everyone.
#[cfg(target_os = "linux")]
const PIPE: usize = 1 << 20;

/// How the reader of a command's output came out.
pub enum Reading<T> {
    /// It needs no more: the command is not waited for.
    Enough(T),
    /// It read to the end. When the command failed, that is the reason why there was no more.
    ToTheEnd(Result<T>),
}

/// Runs a command whose standard output `read` reads, on a thread of its own. The rest is as in [`run`].
///
/// # Errors
/// As [`run`], and those of `read`.
pub async fn read<T: Send + 'static>(
    command: &Command,
    read: impl FnOnce(PipeReader) -> Result<Reading<T>> + Send + 'static,
) -> Result<T> {
    let (output, input) = std::io::pipe().map_err(|error| Error::build_or_push("cannot make a pipe").cause(error))?;
    // The engine need not wait for each small piece to be taken; a smaller pipe does, too.
    #[cfg(target_os = "linux")]
    let _ = rustix::pipe::fcntl_setpipe_size(&output, PIPE);
    let mut reading = tokio::task::spawn_blocking(move || read(output));
    let mut quiet = |_: &str| {};
    let mut running = std::pin::pin!(run_into(command, input.into(), &mut quiet));
    let mut ended = None;
    let came = loop {
        tokio::select! {
            came = &mut reading => break came,
            how = &mut running, if ended.is_none() => ended = Some(how),
        }
    };
    let came =
        came.map_err(|error| Error::build_or_push("reading what the engine gave was broken off").cause(error))?;
    match came? {
        Reading::Enough(value) => Ok(value),
        Reading::ToTheEnd(value) => {
            match ended {
                Some(how) => how,
                None => running.await,
            }?;
            value
        }
    }
}

async fn run_into(command: &Command, stdout: Stdio, on_line: &mut (dyn FnMut(&str) + Send)) -> Result<()> {
    let name = display_name(command);
    let mut process = tokio::process::Command::new(&command.program);
    process.args(&command.arguments).current_dir(&command.folder);
    for name in &command.without {
        process.env_remove(name);
    }
    process.envs(command.environment.iter().map(|(name, value)| (name, value.expose_secret())));
    process.stdin(Stdio::null()).stdout(stdout).stderr(Stdio::piped()).kill_on_drop(true);
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
    // it holds our end of a pipe that is its output
    drop(process);
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
