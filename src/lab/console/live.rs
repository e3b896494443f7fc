//! A view as server-sent events: once at first, and again whenever the lab's own notification says that something
//! changed and the view is another.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, Bytes};
use futures_util::stream;
use serde_json::Value;
use tokio::sync::watch;
use tokio::time::{Instant, sleep, sleep_until};
use tokio_util::sync::CancellationToken;

use super::views::{Tail, View};
use super::{about, missing};
use crate::lab::lifecycle::Instance;
use crate::lab::server::Front;

/// What happens within this time is shown together.
const SHORTEST_PAUSE: Duration = Duration::from_millis(50);
/// Of the lab's time a page takes at most this part: others wait while a view is made.
const PART: u32 = 10;
const LONGEST_PAUSE: Duration = Duration::from_secs(2);
/// A large view comes less often: a second for each of these many bytes.
const BYTES_A_SECOND: u32 = 1024 * 1024;
/// Silence after which something is sent, so that both sides learn of a connection that is gone.
const SILENCE: Duration = Duration::from_secs(15);
/// Milliseconds until the page comes again after its connection ended.
const RETRY: u32 = 500;

pub fn body(front: &Arc<Front>, view: View) -> Body {
    let instance = front.house.current();
    let changes = instance.lab.changes();
    let begin = format!("retry: {RETRY}\n{}", event("lab", &about(front)));
    let live = Live {
        stop: front.stop.clone(),
        instance,
        changes,
        begin: Some(begin),
        looking: Some(Looking { view, shown: None, tail: Tail::default() }),
        not_before: Instant::now(),
        rest: SHORTEST_PAUSE,
    };
    let frames = stream::unfold(live, |mut live| async move {
        let frame = live.next().await?;
        Some((Ok::<_, Infallible>(Bytes::from(frame)), live))
    });
    Body::from_stream(frames)
}

struct Live {
    /// The lab ends; a reset ends the instance only, and the page comes again.
    stop: CancellationToken,
    instance: Arc<Instance>,
    changes: watch::Receiver<u64>,
    begin: Option<String>,
    /// None while it is looked at.
    looking: Option<Looking>,
    not_before: Instant,
    /// After a look, by how long it took.
    rest: Duration,
}

/// What the page has seen.
struct Looking {
    view: View,
    shown: Option<String>,
    tail: Tail,
}

impl Live {
    /// None when there is nothing more to come.
    async fn next(&mut self) -> Option<String> {
        let begin = self.begin.take();
        if begin.is_some() {
            return begin;
        }
        let (stop, instance) = (self.stop.clone(), self.instance.clone());
        let over = async {
            tokio::select! {
                () = stop.cancelled() => {}
                () = instance.ended() => {}
            }
        };
        tokio::select! {
            biased;
            () = over => None,
            frame = self.frame() => frame,
        }
    }

    async fn frame(&mut self) -> Option<String> {
        sleep_until(self.not_before).await;
        // What was missed meanwhile is seen now.
        let mut seen = self.looking.as_ref()?.shown.is_some();
        loop {
            if seen {
                tokio::select! {
                    changed = self.changes.changed() => changed.ok()?,
                    () = sleep(SILENCE) => return Some(": nothing new\n\n".to_owned()),
                }
                sleep(self.rest).await;
            }
            self.changes.mark_unchanged();
            let frame = self.look().await?;
            if !frame.is_empty() {
                let pause = Duration::from_secs(1) * u32::try_from(frame.len()).unwrap_or(u32::MAX) / BYTES_A_SECOND;
                self.not_before = Instant::now() + pause;
                return Some(frame);
            }
            seen = true;
        }
    }

    /// What is new. Off the network's threads: a view of a large lab takes its time.
    async fn look(&mut self) -> Option<String> {
        let instance = self.instance.clone();
        let Looking { view, shown, mut tail } = self.looking.take()?;
        let began = Instant::now();
        let looked = tokio::task::spawn_blocking(move || {
            let now = event("view", &view.show(&instance.lab).unwrap_or_else(|| missing("resource")));
            let lines = view.lines(&instance.lab, &mut tail).map(|lines| event("lines", &lines));
            let changed = shown.as_ref() != Some(&now);
            let frame = if changed { now.clone() } else { String::new() } + &lines.unwrap_or_default();
            (frame, Looking { view, shown: Some(now), tail })
        });
        let (frame, looking) = looked.await.ok()?;
        self.looking = Some(looking);
        self.rest = (began.elapsed() * PART).clamp(SHORTEST_PAUSE, LONGEST_PAUSE);
        Some(frame)
    }
}

/// JSON has no line breaks of its own.
fn event(name: &str, data: &Value) -> String {
    format!("event: {name}\ndata: {data}\n\n")
}
