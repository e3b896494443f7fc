//! Waiting out what passes by itself, with one message: a throttled account until the deadline, what ECS does not see yet
//! for two minutes of it.

use std::time::{Duration, Instant};

use crate::aws::Failure;
use crate::deploy::event::{Event, Events};
use crate::error::{Kind, Result};

const FIRST: Duration = Duration::from_millis(200);
const MOST: Duration = Duration::from_secs(10);

/// The pauses of one call that may not be left to the SDK's retries.
pub struct Throttled {
    until: Instant,
    times: u32,
}

impl Throttled {
    pub fn new(until: Instant) -> Self {
        Throttled { until, times: 0 }
    }

    /// Sleeps, longer each time and never in step with others; `failure` itself once the time is up.
    pub async fn wait(&mut self, failure: Failure, events: &Events) -> Result<()> {
        let left = self.until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(failure.error(Kind::Other));
        }
        if self.times == 0 {
            events.warn(format!("{failure}; retrying"), None);
        }
        tokio::time::sleep(pause(self.times).min(left)).await;
        self.times += 1;
        Ok(())
    }
}

const SOON: Duration = Duration::from_secs(120);

/// The pauses until ECS sees what was made for it a moment ago.
pub struct NotYet {
    until: Instant,
    times: u32,
}

impl NotYet {
    pub fn new(deadline: Instant) -> Self {
        NotYet { until: deadline, times: 0 }
    }

    /// Sleeps if `failure` is one that passes, and gives it back otherwise. Once the time is up it is an error.
    pub async fn wait(&mut self, failure: Failure, events: &Events) -> Result<Option<Failure>> {
        let Some(what) = failure.not_yet() else { return Ok(Some(failure)) };
        if self.times == 0 {
            self.until = self.until.min(Instant::now() + SOON);
        }
        let left = self.until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            let hint = format!("ECS does not see {what}: if it was made a moment ago, run the same command again");
            return Err(failure.error(Kind::Other).hint(hint));
        }
        if self.times == 0 {
            let message =
                format!("ECS does not see {what} yet ({failure}); waiting for it, up to {} s", left.as_secs());
            events.emit(Event::Notice { message });
        }
        tokio::time::sleep(pause(self.times).min(left)).await;
        self.times += 1;
        Ok(None)
    }
}

fn pause(times: u32) -> Duration {
    let full = (FIRST * 2u32.pow(times.min(6))).min(MOST);
    // Two runs that collided must not collide again.
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    let jitter = now.map_or(0, |now| now.subsec_nanos() % 1000);
    full / 2 + full * jitter / 2000
}
