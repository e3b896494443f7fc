//! The lab's time: epoch milliseconds, and AWS's waits at the pace that was asked for.

use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio::sync::Notify;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Pace {
    /// AWS's waits divided by [`FAST_FACTOR`]; every state and event is kept.
    #[default]
    Fast,
    Aws,
}

impl std::fmt::Display for Pace {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Pace::Fast => "fast",
            Pace::Aws => "aws",
        })
    }
}

pub const FAST_FACTOR: u32 = 100;

/// What the fast pace shortens no further, as programs and requests take their time at any pace.
pub mod floor {
    use std::time::Duration;

    /// Requests on a target that is deregistered.
    pub const DRAIN: Duration = Duration::from_secs(10);
    /// A container, after its stop signal.
    pub const STOP: Duration = Duration::from_secs(10);
    /// `healthCheckGracePeriodSeconds`.
    pub const GRACE: Duration = Duration::from_secs(60);
    /// A lifecycle hook's `timeoutInMinutes`: those who are asked answer no faster.
    pub const HOOK: Duration = Duration::from_secs(60);
    /// A new target that does not answer yet.
    pub const STARTUP: Duration = Duration::from_secs(15);
    /// A healthy target that begins to fail its checks.
    pub const FAILING: Duration = Duration::from_secs(3);
}

/// Turns the clocks that were made with it. What lies in between has not happened: it is for AWS's long waits, such as
/// the twelve hours of a token.
#[derive(Debug, Clone, Copy)]
pub struct Hand(&'static Turned);

#[derive(Debug)]
struct Turned {
    /// Milliseconds.
    ahead: AtomicI64,
    turned: Notify,
}

impl Hand {
    /// A clock is there as long as its process.
    #[allow(clippy::new_without_default)]
    pub fn new() -> Hand {
        Hand(Box::leak(Box::new(Turned { ahead: AtomicI64::new(0), turned: Notify::new() })))
    }

    pub fn advance(&self, by: Duration) {
        self.0.ahead.fetch_add(by.as_millis() as i64, Ordering::SeqCst);
        self.0.turned.notify_waiters();
    }
}

#[derive(Debug, Clone, Copy, Default)]
pub struct Clock {
    pub pace: Pace,
    hand: Option<Hand>,
}

impl Clock {
    pub fn new(pace: Pace) -> Self {
        Clock { pace, hand: None }
    }

    /// A clock that goes by itself, and that `hand` puts forward.
    pub fn turned_by(hand: Option<Hand>, pace: Pace) -> Self {
        Clock { pace, hand }
    }

    /// Now, in epoch milliseconds.
    pub fn now(&self) -> i64 {
        let real = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as i64);
        real + self.hand.map_or(0, |hand| hand.0.ahead.load(Ordering::SeqCst))
    }

    /// Waits until it is `at` (epoch milliseconds) by this clock.
    pub async fn until(&self, at: i64) {
        loop {
            let turned = self.hand.map(|hand| hand.0.turned.notified());
            let left = at.saturating_sub(self.now());
            if left <= 0 {
                return;
            }
            let sleep = tokio::time::sleep(Duration::from_millis(left as u64));
            match turned {
                None => return sleep.await,
                Some(turned) => tokio::select! {
                    () = sleep => {}
                    () = turned => {}
                },
            }
        }
    }

    /// How long a wait of AWS's takes here.
    pub fn wait(&self, at_aws: Duration) -> Duration {
        match self.pace {
            Pace::Fast => at_aws / FAST_FACTOR,
            Pace::Aws => at_aws,
        }
    }
    /// As [`Clock::wait`], but what lasts up to `floor` at AWS lasts as long here.
    pub fn wait_at_least(&self, at_aws: Duration, floor: Duration) -> Duration {
        self.wait(at_aws).max(at_aws.min(floor))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_clock_is_put_forward_by_its_hand_and_wakes_who_waits() {
        let hand = Hand::new();
        let clock = Clock::turned_by(Some(hand), Pace::Aws);
        let before = clock.now();
        let waiting = tokio::spawn(async move { clock.until(before + 6 * 3_600_000).await });
        tokio::task::yield_now().await;
        hand.advance(Duration::from_secs(5 * 3600));
        tokio::task::yield_now().await;
        assert!(!waiting.is_finished());
        hand.advance(Duration::from_secs(3600));
        waiting.await.unwrap();
        assert!(clock.now() >= before + 6 * 3_600_000);
        assert!(Clock::new(Pace::Aws).now() < before + 3_600_000, "other clocks go as they did");
    }
}
