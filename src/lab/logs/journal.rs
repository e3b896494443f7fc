//! Log events on disk: groups and streams in `logs.json`, events appended to `logs.jsonl`, so that a container that
//! writes much does not have all that it ever wrote written again.

use std::collections::HashSet;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Write};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::{LogEvent, LogsState};
use crate::lab::disk;

/// The file is written anew when it is this much (bytes) beyond twice what it had to hold.
const SLACK: u64 = 1 << 20;
/// So much (bytes of messages) is kept of all streams together; the streams that were silent longest lose theirs.
const MOST_BYTES: usize = 64 << 20;

/// So many streams are kept, unless their tasks are.
const MOST_STREAMS: usize = 2000;

/// One line: stream id, sequence number, timestamp, time of ingestion, message.
#[derive(Serialize, Deserialize)]
struct Line<'a>(u64, u64, i64, i64, std::borrow::Cow<'a, str>);

#[derive(Debug)]
pub struct Journal {
    path: PathBuf,
    length: u64,
    /// What it had to hold when that was last known.
    needed: u64,
    /// What is there cannot be appended to, or is not needed.
    stale: bool,
}

/// What is to be written, taken from the state at one moment.
#[derive(Default)]
pub struct Lines {
    text: Vec<u8>,
    anew: bool,
    upto: Vec<(u64, u64)>,
}

impl Journal {
    /// Reads the events of the streams that `logs` knows.
    pub fn open(folder: &Path, logs: &mut LogsState) -> io::Result<Journal> {
        let path = folder.join("logs.jsonl");
        let mut journal = Journal { path, length: 0, needed: 0, stale: false };
        let file = match File::open(&journal.path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(journal),
            Err(error) => return Err(error),
        };
        journal.length = file.metadata()?.len();
        let mut streams = logs.streams_by_id();
        let mut reader = BufReader::new(file);
        let mut line = Vec::new();
        while reader.read_until(b'\n', &mut line)? > 0 {
            // the last line is torn where the lab was killed
            match serde_json::from_slice::<Line>(&line).ok().filter(|_| line.ends_with(b"\n")) {
                Some(Line(id, sequence, timestamp, ingested_at, message)) => {
                    if let Some(stream) = streams.get_mut(&id) {
                        if stream.events.is_empty() {
                            stream.first = sequence;
                        }
                        stream.push(LogEvent { timestamp, ingested_at, message: message.into_owned() });
                        stream.saved = stream.end();
                        journal.needed += line.len() as u64;
                    }
                }
                None => journal.stale = true,
            }
            line.clear();
        }
        Ok(journal)
    }

    /// What [`Journal::write`] has to write.
    pub fn collect(&self, logs: &LogsState) -> Lines {
        let anew = self.stale || self.length > SLACK + 2 * self.needed;
        let mut lines = Lines { anew, ..Lines::default() };
        for stream in logs.streams().filter(|stream| anew || stream.saved < stream.end()) {
            let numbered = (stream.first..).zip(&stream.events);
            for (at, event) in numbered.filter(|(at, _)| anew || *at >= stream.saved) {
                let line = Line(stream.id, at, event.timestamp, event.ingested_at, event.message.as_str().into());
                // texts and numbers always become JSON
                if serde_json::to_writer(&mut lines.text, &line).is_ok() {
                    lines.text.push(b'\n');
                }
            }
            lines.upto.push((stream.id, stream.end()));
        }
        lines
    }

    pub fn write(&mut self, lines: &Lines) -> io::Result<()> {
        if lines.anew {
            self.stale = true;
            disk::replace(&self.path, &lines.text)?;
            (self.length, self.stale) = (lines.text.len() as u64, false);
            self.needed = self.length;
        } else if !lines.text.is_empty() {
            let written = disk::append_private(&self.path).and_then(|mut file| file.write_all(&lines.text));
            // part of it may be there
            self.stale = written.is_err();
            written?;
            self.length += lines.text.len() as u64;
        }
        Ok(())
    }
}

impl Lines {
    pub fn is_empty(&self) -> bool {
        self.text.is_empty() && !self.anew
    }

    /// Notes in the state what is on disk now.
    pub fn written(self, logs: &mut LogsState) {
        let mut streams = logs.streams_by_id();
        for (id, end) in self.upto {
            if let Some(stream) = streams.get_mut(&id) {
                stream.saved = end;
            }
        }
    }
}

/// Forgets events beyond [`MOST_BYTES`], and the oldest streams beyond [`MOST_STREAMS`] of tasks that are forgotten.
pub fn trim(logs: &mut LogsState, is_task: impl Fn(&str) -> bool) {
    forget_streams(logs, MOST_STREAMS, is_task);
    trim_to(logs, MOST_BYTES);
}

fn forget_streams(logs: &mut LogsState, most: usize, is_task: impl Fn(&str) -> bool) {
    let excess = logs.streams().count().saturating_sub(most);
    if excess == 0 {
        return;
    }
    let of_no_task = |name: &str| {
        let id = name.rsplit('/').next().unwrap_or_default();
        id.len() == 32 && id.chars().all(|of| of.is_ascii_hexdigit()) && !is_task(id)
    };
    let streams = logs.groups.values().flat_map(|group| &group.streams);
    let mut old: Vec<u64> = streams.filter(|(name, _)| of_no_task(name)).map(|(_, stream)| stream.id).collect();
    old.sort_unstable();
    let gone: HashSet<u64> = old.into_iter().take(excess).collect();
    for group in logs.groups.values_mut() {
        group.streams.retain(|_, stream| !gone.contains(&stream.id));
    }
}

fn trim_to(logs: &mut LogsState, most: usize) {
    let mut excess = logs.streams().map(|stream| stream.bytes()).sum::<usize>().saturating_sub(most);
    if excess == 0 {
        return;
    }
    let mut streams: Vec<_> = logs.groups.values_mut().flat_map(|group| group.streams.values_mut()).collect();
    streams.sort_by_key(|stream| stream.events.back().map(|event| event.ingested_at));
    for stream in streams {
        while excess > 0
            && let Some(event) = stream.events.pop_front()
        {
            excess = excess.saturating_sub(event.bytes());
            stream.first += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::lab::logs::append;
    use crate::lab::state::State;

    fn said(state: &State, stream: &str) -> Vec<String> {
        state.logs.groups["g"].streams[stream].events.iter().map(|event| event.message.clone()).collect()
    }

    fn save(journal: &mut Journal, state: &mut State) -> usize {
        let lines = journal.collect(&state.logs);
        journal.write(&lines).unwrap();
        let length = lines.text.len();
        lines.written(&mut state.logs);
        length
    }

    fn reopened(folder: &Path, state: &State) -> (Journal, State) {
        let groups = serde_json::to_value(&state.logs).unwrap();
        let mut state = State { logs: serde_json::from_value(groups).unwrap(), ..State::default() };
        let journal = Journal::open(folder, &mut state.logs).unwrap();
        (journal, state)
    }

    #[test]
    fn what_is_new_is_appended_and_all_of_it_is_read_again() {
        let folder = tempfile::tempdir().unwrap();
        let mut state = State::default();
        let mut journal = Journal::open(folder.path(), &mut state.logs).unwrap();
        append(&mut state, "g", "s", vec![(1, "one".to_owned()), (2, "zwei \u{1b}\n".to_owned())]);
        let first = save(&mut journal, &mut state);
        assert_eq!(save(&mut journal, &mut state), 0, "once");
        append(&mut state, "g", "s", vec![(3, "three".to_owned())]);
        append(&mut state, "g", "gone", vec![(3, "gone".to_owned())]);
        assert!((1..first * 2).contains(&save(&mut journal, &mut state)));
        state.logs.groups.get_mut("g").unwrap().streams.remove("gone");
        append(&mut state, "g", "gone", vec![]);

        let (mut journal, mut state) = reopened(folder.path(), &state);
        assert_eq!(said(&state, "s"), ["one", "zwei \u{1b}\n", "three"]);
        assert_eq!(said(&state, "gone"), [""; 0], "it is another stream of the same name");
        assert_eq!(save(&mut journal, &mut state), 0);

        // killed while it wrote
        let path = folder.path().join("logs.jsonl");
        let text = fs::read(&path).unwrap();
        fs::write(&path, [text.as_slice(), &text[..10]].concat()).unwrap();
        let (mut journal, mut state) = reopened(folder.path(), &state);
        append(&mut state, "g", "s", vec![(4, "four".to_owned())]);
        save(&mut journal, &mut state);
        let (journal, state) = reopened(folder.path(), &state);
        assert_eq!(said(&state, "s").len(), 4);
        assert!(!journal.stale, "the torn line is gone");
    }

    #[test]
    fn streams_of_forgotten_tasks_go_oldest_first() {
        let mut state = State::default();
        let task = |at: usize| format!("ecs/app/{at:032}");
        append(&mut state, "g", "mine", vec![(1, "kept".to_owned())]);
        for at in 0..5 {
            append(&mut state, "g", &task(at), vec![(1, at.to_string())]);
        }
        forget_streams(&mut state.logs, 3, |id| task(0).ends_with(id));
        let left: Vec<&str> = state.logs.groups["g"].streams.keys().map(String::as_str).collect();
        assert_eq!(left, [&task(0), &task(4), "mine"], "a task that is known and what is no task's stay");
        assert_eq!(state.logs.streams, 6, "no id is given twice");
    }

    #[test]
    fn the_file_and_the_memory_have_their_bounds() {
        let folder = tempfile::tempdir().unwrap();
        let mut state = State::default();
        let mut journal = Journal::open(folder.path(), &mut state.logs).unwrap();
        for round in 0..40 {
            let many = (0..1000).map(|at| (at, format!("{round} {at} {}", "x".repeat(100)))).collect();
            append(&mut state, "g", "chatty", many);
            save(&mut journal, &mut state);
        }
        let stream = &state.logs.groups["g"].streams["chatty"];
        assert_eq!((stream.first, stream.events.len()), (30_000, 10_000));
        let length = fs::metadata(folder.path().join("logs.jsonl")).unwrap().len();
        assert_eq!(length, journal.length);
        assert!(length < 2 * journal.needed + 2 * SLACK && journal.needed < 2 * stream.bytes() as u64, "{length}");
        let (_, again) = reopened(folder.path(), &state);
        assert_eq!(again.logs.groups["g"].streams["chatty"].first, 30_000);

        append(&mut state, "g", "later", vec![(9, "y".repeat(1000))]);
        let later = state.logs.groups.get_mut("g").unwrap().streams.get_mut("later").unwrap();
        later.events[0].ingested_at += 1000;
        trim_to(&mut state.logs, 2000);
        assert_eq!(said(&state, "later").len(), 1, "what is newer stays");
        assert!(said(&state, "chatty").len() < 10);
    }
}
