//! Blobs on their way, as their events tell: how many are where, how fast it goes, how long it will take.

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use super::words;
use crate::deploy::event::BlobState;

/// From so many blobs on, those that are done are counted and not named.
const MANY: usize = 12;

/// What the speed is taken from. Long enough that the estimate holds still.
const WINDOW: Duration = Duration::from_secs(8);
/// Before this there is no speed worth telling.
const SHORTEST: Duration = Duration::from_secs(1);

#[derive(Debug, Clone)]
pub struct Blob {
    pub digest: String,
    /// As it was first told: of a layer that is compressed on its way, before that.
    pub size: u64,
    pub sent: u64,
    pub state: BlobState,
    /// What it took, once it is there.
    stored: u64,
}

impl Blob {
    pub fn is_moving(&self) -> bool {
        matches!(self.state, BlobState::Compressing | BlobState::Uploading)
    }

    fn is_done(&self) -> bool {
        matches!(self.state, BlobState::Exists | BlobState::Mounted | BlobState::Pushed)
    }
}

/// The blobs of one step.
#[derive(Debug, Default)]
pub struct Transfers {
    blobs: Vec<Blob>,
    places: HashMap<String, usize>,
    /// Bytes that went so far, those that went twice too; at which time.
    samples: VecDeque<(Duration, u64)>,
    moved: u64,
    /// When all will be there, as it was told.
    ends: Option<Duration>,
}

impl Transfers {
    /// Takes in an event, `at` a time since some beginning. Whether the blob is done now, and was not before.
    pub fn note(&mut self, digest: &str, size: u64, sent: u64, state: BlobState, at: Duration) -> bool {
        if state == BlobState::Abandoned {
            self.forget(digest);
            return false;
        }
        let place = *self.places.entry(digest.to_owned()).or_insert_with(|| {
            let digest = digest.to_owned();
            self.blobs.push(Blob { digest, size, sent: 0, state: BlobState::Checking, stored: 0 });
            self.blobs.len() - 1
        });
        let blob = &mut self.blobs[place];
        let was_done = blob.is_done();
        blob.state = state;
        if blob.is_moving() {
            blob.size = size;
            // A new attempt starts anew.
            self.moved = self.moved.saturating_add(sent.saturating_sub(blob.sent));
            blob.sent = sent;
            self.sample(at);
        } else if blob.is_done() {
            blob.stored = size;
            return !was_done;
        }
        false
    }

    fn forget(&mut self, digest: &str) {
        let Some(gone) = self.places.remove(digest) else { return };
        self.blobs.remove(gone);
        self.places.values_mut().filter(|place| **place > gone).for_each(|place| *place -= 1);
    }

    fn sample(&mut self, at: Duration) {
        let is_new = self.samples.back().is_none_or(|(last, _)| at.saturating_sub(*last) >= Duration::from_millis(100));
        match self.samples.back_mut() {
            Some(last) if !is_new => last.1 = self.moved,
            _ => self.samples.push_back((at, self.moved)),
        }
        while self.samples.len() > 2 && at.saturating_sub(self.samples[1].0) > WINDOW {
            self.samples.pop_front();
        }
    }

    /// Bytes a second, over the last seconds.
    fn rate(&self, at: Duration) -> Option<u64> {
        let (since, before) = self.samples.front()?;
        let span = at.saturating_sub(*since);
        let rate = (self.moved - before) as f64 / span.as_secs_f64();
        (span >= SHORTEST && rate >= 1.0).then_some(rate as u64)
    }

    /// Those that move, in the order in which they came.
    pub fn moving(&self) -> impl Iterator<Item = &Blob> {
        self.blobs.iter().filter(|blob| blob.is_moving())
    }

    pub fn are_many(&self) -> bool {
        self.blobs.len() > MANY
    }

    /// `3 of 12 blobs, 120.0 MiB of 400.0 MiB, 25.0 MiB/s, 15s left`
    pub fn so_far(&mut self, at: Duration) -> String {
        let done = self.blobs.iter().filter(|blob| blob.is_done()).count();
        let mut text = format!("{done} of {}", blobs(self.blobs.len()));
        // What is there already does not travel.
        let travelling = || self.blobs.iter().filter(|blob| blob.is_moving() || blob.state == BlobState::Checking);
        let pushed = self.blobs.iter().filter(|blob| blob.state == BlobState::Pushed);
        let pushed = sum(pushed.map(|blob| blob.size));
        let sent = sum(travelling().map(|blob| blob.sent.min(blob.size)));
        let all = sum(travelling().map(|blob| blob.size));
        if all > 0 || pushed > 0 {
            let (gone, whole) = (pushed.saturating_add(sent), pushed.saturating_add(all));
            text += &format!(", {} of {}", words::bytes(gone), words::bytes(whole));
        }
        if let Some(rate) = self.rate(at).filter(|_| all > 0) {
            let left = self.left(Duration::from_secs((all - sent) / rate), at);
            text += &format!(", {}/s, {} left", words::bytes(rate), words::about(left.as_secs()));
        }
        text
    }

    /// An estimate that goes down with the time, and is another only when it was wrong by much.
    fn left(&mut self, estimate: Duration, at: Duration) -> Duration {
        let told = self.ends.map(|ends| ends.saturating_sub(at));
        let is_close = |told: &Duration| told.abs_diff(estimate) <= (estimate / 6).max(Duration::from_secs(2));
        told.filter(is_close).unwrap_or_else(|| {
            self.ends = Some(at.saturating_add(estimate));
            estimate
        })
    }

    /// `12 blobs: 9 exist, 1 mounted, 2 pushed (84.2 MiB of 203.1 MiB)`; `None` where there were none.
    pub fn summary(&self, there: &str) -> Option<String> {
        let of = |state: BlobState| self.blobs.iter().filter(move |blob| blob.state == state);
        let (exist, mounted, pushed) =
            (of(BlobState::Exists).count(), of(BlobState::Mounted).count(), of(BlobState::Pushed).count());
        if exist + mounted + pushed == 0 {
            return None;
        }
        let sent = sum(of(BlobState::Pushed).map(|blob| blob.stored));
        let all = sum(self.blobs.iter().map(|blob| blob.stored));
        let exists = if exist == 1 { "exists" } else { "exist" };
        let counts = [(exist, exists), (mounted, "mounted"), (pushed, there)];
        let counts: Vec<String> =
            counts.iter().filter(|(count, _)| *count > 0).map(|(count, word)| format!("{count} {word}")).collect();
        let bytes = match pushed {
            0 => words::bytes(all),
            _ => format!("{} of {}", words::bytes(sent), words::bytes(all)),
        };
        Some(format!("{}: {} ({bytes})", blobs(self.blobs.len()), counts.join(", ")))
    }
}

/// Sizes come from outside.
fn sum(sizes: impl Iterator<Item = u64>) -> u64 {
    sizes.fold(0, u64::saturating_add)
}

/// How far a blob is, of `whole`.
fn part(blob: &Blob, whole: usize) -> usize {
    let sent = u128::from(blob.sent.min(blob.size)) * whole as u128;
    sent.checked_div(u128::from(blob.size)).unwrap_or(0) as usize
}

fn blobs(count: usize) -> String {
    format!("{count} {}", if count == 1 { "blob" } else { "blobs" })
}

/// A blob that moves, as one line of at most `width` columns: the bar gives way first, then what is less needed.
pub fn line(blob: &Blob, state: &str, width: usize, unicode: bool) -> String {
    const LONGEST: usize = 30;
    let name: String = words::digest(&blob.digest).chars().filter(|c| !c.is_control()).collect();
    let percent = part(blob, 100);
    let (percent, size) = (format!("{percent:>3} %"), format!("{:>10}", words::bytes(blob.size)));
    let state = format!("{state:<11}");
    let fixed = |parts: &[&str]| parts.iter().map(|part| part.chars().count() + 1).sum::<usize>();
    let indent = 13;
    let full = [&*name, &*state, &*percent, &*size];
    let room = width.saturating_sub(indent + fixed(&full) + 1);
    if room >= 6 {
        let bar = bar(blob, room.min(LONGEST) - 2, unicode);
        return format!("{:indent$} {name} {state} [{bar}] {percent} {size}", "");
    }
    let fitting: [&[&str]; 4] = [&full, &[&name, &state, &percent], &[&name, &percent], &[&name]];
    let parts = fitting.into_iter().find(|parts| fixed(parts) <= width + 1).unwrap_or(&[]);
    parts.join(" ")
}

fn bar(blob: &Blob, width: usize, unicode: bool) -> String {
    let filled =
        (blob.sent.min(blob.size) as u128 * width as u128).checked_div(blob.size as u128).unwrap_or(0) as usize;
    let (full, head) = if unicode { ('━', '╸') } else { ('=', '>') };
    let cell = |at: usize| match at {
        at if at < filled => full,
        at if at == filled => head,
        _ => ' ',
    };
    (0..width).map(cell).collect()
}
