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

pub const FAST_FACTOR: u32 = 100;

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
}
