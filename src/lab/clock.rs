//! The lab's time: epoch milliseconds, and AWS's waits at the pace that was asked for.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

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

#[derive(Debug, Clone, Copy, Default)]
pub struct Clock {
    pub pace: Pace,
}

impl Clock {
    pub fn new(pace: Pace) -> Self {
        Clock { pace }
    }

    /// Now, in epoch milliseconds.
    pub fn now(&self) -> i64 {
        SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as i64)
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
