//! A container's health check, run again and again by Docker's rules.

use std::sync::Arc;

use tokio::sync::mpsc::UnboundedSender;
use tokio::time::{Instant, sleep};

use super::link::Helper;
use super::spec::HealthCheck;

/// A container's position, and whether it is healthy.
pub type Verdict = (usize, bool);

/// Says what is new of the container at this position, until nobody listens.
pub async fn watch(helper: Arc<Helper>, at: usize, check: HealthCheck, verdicts: UnboundedSender<Verdict>) {
    let mut record = Record { started: Instant::now(), healthy: None, failures: 0 };
    loop {
        let settled = record.healthy == Some(true) && record.failures == 0;
        sleep(if settled { check.settled_interval } else { check.interval }).await;
        let began = Instant::now();
        let passed = helper.exec(at, &check.command, check.timeout).await.is_ok_and(|exit_code| exit_code == 0);
        if let Some(healthy) = record.take(&check, began, passed)
            && verdicts.send((at, healthy)).is_err()
        {
            return;
        }
    }
}

struct Record {
    started: Instant,
    healthy: Option<bool>,
    /// In a row.
    failures: u32,
}

impl Record {
    /// The verdict, if it is another one than before.
    fn take(&mut self, check: &HealthCheck, began: Instant, passed: bool) -> Option<bool> {
        let starting = self.healthy.is_none() && began.duration_since(self.started) < check.start_period;
        let verdict = if passed {
            self.failures = 0;
            true
        } else if starting {
            return None;
        } else {
            self.failures += 1;
            if self.failures < check.retries {
                return None;
            }
            false
        };
        (self.healthy.replace(verdict) != Some(verdict)).then_some(verdict)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn verdicts_come_by_dockers_rules() {
        let second = Duration::from_secs(1);
        // retries, start period in seconds, checks (one each second, `.` passes, `x` fails) -> verdicts
        for (retries, start_period, checks, expected) in [
            (3, 0, ".", vec![(0, true)]),
            (3, 0, "xx.", vec![(2, true)]),
            (3, 0, "xxxx", vec![(2, false)]),
            (3, 0, ".xx.xxx.", vec![(0, true), (6, false), (7, true)]),
            (1, 0, ".x", vec![(0, true), (1, false)]),
            (2, 4, "xxxxx", vec![(4, false)]),
            (2, 9, ".xx", vec![(0, true), (2, false)]),
        ] {
            let check = HealthCheck { retries, start_period: second * start_period, ..HealthCheck::default() };
            let mut record = Record { started: Instant::now(), healthy: None, failures: 0 };
            let mut verdicts = Vec::new();
            for (at, result) in checks.chars().enumerate() {
                let began = record.started + second * (at as u32 + 1);
                verdicts.extend(record.take(&check, began, result == '.').map(|verdict| (at, verdict)));
            }
            assert_eq!(verdicts, expected, "{checks} with {retries} retries and {start_period} s");
        }
    }
}
