//! Health checks. AWS's intervals are scaled by the lab's pace; what waits for the target itself is not.

use std::io;
use std::panic::AssertUnwindSafe;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::{Either, select};
use http_body_util::Empty;
use hyper::body::Bytes;
use hyper::{Request, header};
use hyper_util::rt::TokioIo;
use tokio::time::{Instant, sleep, timeout};

use super::Dial;
use super::connections::TargetKey;
use crate::lab::Lab;
use crate::lab::clock::{Clock, Pace, floor};
use crate::lab::elbv2::{HealthCheck, LoadBalancerType, Protocol, TargetStatus};

/// No target is checked more often than this.
const SHORTEST_PAUSE: Duration = Duration::from_millis(50);

/// At the fast pace, a target that is healthy and stays so is not asked more often: an idle lab is to be idle.
const SETTLED_PAUSE: Duration = Duration::from_millis(500);

/// Once a new program answers, it needs its time to answer well, at any pace.
const WARMUP: Duration = Duration::from_millis(500);
/// A task that does not run yet, as after `lab start`, is the scheduler's to wait for.
const TASK_START: Duration = Duration::from_secs(60);

/// Until a target is checked again after a defect.
const AFTER_DEFECT: Duration = Duration::from_secs(1);

/// How long flapping health stays what it is, at AWS's pace and at least.
const FLAP: Duration = Duration::from_secs(120);
const SHORTEST_FLAP: Duration = Duration::from_secs(10);

/// What one health check found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Finding {
    Passed,
    Code(u16),
    TimedOut,
    Refused,
    NotRunning,
}

/// As [`watch`], also after a defect.
pub(super) async fn keep_watching(lab: Arc<Lab>, dial: Dial, key: TargetKey) {
    let watch = || AssertUnwindSafe(watch(lab.clone(), dial.clone(), key.clone())).catch_unwind();
    while watch().await.is_err() {
        tracing::error!(target = %key.target, port = key.port, "a defect ended a health check: it begins again");
        sleep(AFTER_DEFECT).await;
    }
}

/// Checks one target until it is aborted or the target is gone.
async fn watch(lab: Arc<Lab>, dial: Dial, key: TargetKey) {
    let mut streak = Streak::new();
    // A group that is attached again begins anew.
    if !matches!(status(&lab, &key), Some(TargetStatus::Initial { .. })) {
        set_status(&lab, &key, &TargetStatus::Initial { checking: false });
    }
    while let Some((check, group, host)) = settings(&lab, &key) {
        let port = check.port.unwrap_or(key.port);
        let probe = probe(&dial, &check, &key, port, &host);
        let found = timeout(Duration::from_secs(check.timeout), probe).await.unwrap_or(Finding::TimedOut);
        let finding = match lab.faults.health_check_fails(lab.clock.wait_at_least(FLAP, SHORTEST_FLAP)) {
            true if check.protocol == Protocol::Http => Finding::Code(503),
            true => Finding::Refused,
            false => found,
        };
        let Some(status) = status(&lab, &key) else { return };
        let next = streak.judge(&status, &check, group, finding, &lab.clock);
        let initial = matches!(next.as_ref().unwrap_or(&status), TargetStatus::Initial { .. });
        let initial_before = matches!(status, TargetStatus::Initial { .. });
        if let Some(next) = next {
            tracing::debug!(target = %key.target, port = key.port, status = ?next, "target health");
            match next {
                TargetStatus::Healthy if initial_before => {
                    if others_are_healthy(&lab, &key) {
                        lab.sockets.connections.warms_up(&key, lab.clock.now());
                    }
                }
                _ => lab.sockets.connections.is_warm(&key),
            }
            set_status(&lab, &key, &next);
        }
        let settled = status == TargetStatus::Healthy && finding == Finding::Passed;
        sleep(pause(&lab.clock, &check, initial, settled)).await;
    }
}

/// The check's settings, the kind of load balancer, and the target's address for the Host header.
fn settings(lab: &Lab, key: &TargetKey) -> Option<(HealthCheck, LoadBalancerType, String)> {
    lab.read(|state| {
        let group = state.elbv2.target_group(&key.group)?;
        let kind = match group.protocol {
            Protocol::Tcp => LoadBalancerType::Network,
            Protocol::Http => LoadBalancerType::Application,
        };
        let instance = state.ec2.instances.iter().find(|instance| instance.id == key.target);
        let host = instance.map_or_else(|| key.target.clone(), |instance| instance.private_ip.to_string());
        Some((group.health_check.clone(), kind, host))
    })
}

fn status(lab: &Lab, key: &TargetKey) -> Option<TargetStatus> {
    lab.read(|state| {
        let mut targets = state.elbv2.target_group(&key.group)?.targets.iter();
        let target = targets.find(|target| target.id == key.target && target.port == key.port)?;
        Some(target.status.clone())
    })
}

/// Only beside targets that are warm a new one begins slowly.
fn others_are_healthy(lab: &Lab, key: &TargetKey) -> bool {
    lab.read(|state| {
        let targets = state.elbv2.target_group(&key.group).into_iter().flat_map(|group| &group.targets);
        let mut others = targets.filter(|target| target.id != key.target || target.port != key.port);
        others.any(|target| target.status == TargetStatus::Healthy)
    })
}

fn set_status(lab: &Lab, key: &TargetKey, status: &TargetStatus) {
    lab.write(|state| {
        let targets = state.elbv2.target_group_mut(&key.group).into_iter().flat_map(|group| &mut group.targets);
        for target in targets.filter(|target| target.id == key.target && target.port == key.port) {
            if !target.status.is_draining() {
                target.status = status.clone();
            }
        }
    });
}

/// How long until the next check. At the fast pace a new target is asked eagerly, so that a rollout waits for the
/// program and not for the clock.
fn pause(clock: &Clock, check: &HealthCheck, initial: bool, settled: bool) -> Duration {
    let at_aws = Duration::from_secs(check.interval);
    match clock.pace {
        Pace::Fast if initial => SHORTEST_PAUSE,
        Pace::Fast if settled => at_aws.min(SETTLED_PAUSE),
        _ => clock.wait(at_aws).max(SHORTEST_PAUSE),
    }
}

async fn probe(dial: &Dial, check: &HealthCheck, key: &TargetKey, port: u16, host: &str) -> Finding {
    let stream = match dial(key.target.clone(), port).await {
        Ok(stream) => stream,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Finding::NotRunning,
        Err(_) => return Finding::Refused,
    };
    if check.protocol == Protocol::Tcp {
        return Finding::Passed;
    }
    let request = Request::get(check.path.as_deref().unwrap_or("/"))
        .header(header::HOST, format!("{host}:{port}"))
        .header(header::USER_AGENT, "ELB-HealthChecker/2.0")
        .header(header::CONNECTION, "close")
        .body(Empty::<Bytes>::new());
    let (Ok(request), Ok((mut sender, connection))) =
        (request, hyper::client::conn::http1::handshake(TokioIo::new(stream)).await)
    else {
        return Finding::Refused;
    };
    // The connection moves only while it is polled, and ends with this check.
    let answered = match select(pin!(sender.send_request(request)), pin!(connection)).await {
        Either::Left((answered, _)) => answered,
        Either::Right((_, answer)) => answer.await,
    };
    match answered {
        Ok(response) if check.matches(response.status().as_u16()) => Finding::Passed,
        Ok(response) => Finding::Code(response.status().as_u16()),
        Err(_) => Finding::Refused,
    }
}

/// Consecutive findings, and when the first of the failed ones was.
struct Streak {
    passed: u32,
    failed: u32,
    began: Instant,
    last: Option<Finding>,
}

impl Streak {
    fn new() -> Self {
        Streak { passed: 0, failed: 0, began: Instant::now(), last: None }
    }

    /// The target's new status, if this finding changes it.
    fn judge(
        &mut self,
        status: &TargetStatus,
        check: &HealthCheck,
        kind: LoadBalancerType,
        finding: Finding,
        clock: &Clock,
    ) -> Option<TargetStatus> {
        if finding == Finding::Passed {
            self.last = Some(finding);
            self.failed = 0;
            self.passed += 1;
            let enough = match status {
                TargetStatus::Initial { .. } => true,
                TargetStatus::Unhealthy { .. } => self.passed >= check.healthy_threshold,
                _ => false,
            };
            return enough.then_some(TargetStatus::Healthy);
        }
        self.passed = 0;
        self.failed += 1;
        let ran_before = self.last.replace(finding) != Some(Finding::NotRunning);
        if *status == (TargetStatus::Initial { checking: false }) || (finding != Finding::NotRunning && !ran_before) {
            self.failed = 1;
        }
        if self.failed == 1 {
            self.began = Instant::now();
        }
        let (reason, description) = explain(finding, kind);
        let unhealthy = TargetStatus::Unhealthy { reason: reason.to_owned(), description };
        let enough = self.failed >= check.unhealthy_threshold;
        let at_aws = Duration::from_secs(check.interval) * check.unhealthy_threshold;
        match status {
            TargetStatus::Initial { checking } => {
                let patience = match finding {
                    Finding::Code(_) => clock.wait(at_aws).max(WARMUP),
                    Finding::NotRunning => clock.wait(at_aws).max(TASK_START),
                    _ => clock.wait_at_least(at_aws, floor::STARTUP),
                };
                let over = self.began.elapsed() >= patience;
                match (enough && over, checking) {
                    (true, _) => Some(unhealthy),
                    (false, false) => Some(TargetStatus::Initial { checking: true }),
                    (false, true) => None,
                }
            }
            TargetStatus::Healthy => {
                let over = clock.pace == Pace::Aws || self.began.elapsed() >= floor::FAILING;
                (enough && over).then_some(unhealthy)
            }
            TargetStatus::Unhealthy { .. } => (unhealthy != *status).then_some(unhealthy),
            TargetStatus::Draining { .. } => None,
        }
    }
}

/// AWS's reason code and description. A network load balancer has one code for all; the description still says what
/// was found.
fn explain(finding: Finding, kind: LoadBalancerType) -> (&'static str, String) {
    let (code, description) = match finding {
        Finding::Code(code) => {
            ("Target.ResponseCodeMismatch", format!("Health checks failed with these codes: [{code}]"))
        }
        Finding::TimedOut => ("Target.Timeout", "Request timed out".to_owned()),
        Finding::Refused | Finding::NotRunning | Finding::Passed => {
            ("Target.FailedHealthChecks", "Health checks failed".to_owned())
        }
    };
    match kind {
        LoadBalancerType::Application => (code, description),
        LoadBalancerType::Network => ("Target.FailedHealthChecks", description),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const INITIAL: TargetStatus = TargetStatus::Initial { checking: false };
    const CHECKING: TargetStatus = TargetStatus::Initial { checking: true };

    fn check() -> HealthCheck {
        HealthCheck {
            enabled: true,
            protocol: Protocol::Http,
            port: None,
            path: Some("/".to_owned()),
            interval: 30,
            timeout: 5,
            healthy_threshold: 3,
            unhealthy_threshold: 2,
            matcher: Some("200".to_owned()),
        }
    }

    /// The word for the status that a row of findings leads to; each comes this long after the one before.
    fn after(status: &TargetStatus, findings: &[Finding], apart: Duration) -> &'static str {
        let mut streak = Streak::new();
        let mut status = status.clone();
        for finding in findings {
            streak.began = streak.began.checked_sub(apart).expect("the machine runs long enough");
            let next =
                streak.judge(&status, &check(), LoadBalancerType::Application, *finding, &Clock::new(Pace::Fast));
            status = next.unwrap_or(status);
        }
        match status {
            TargetStatus::Initial { .. } => "initial",
            TargetStatus::Healthy => "healthy",
            TargetStatus::Unhealthy { .. } => "unhealthy",
            TargetStatus::Draining { .. } => "draining",
        }
    }

    #[test]
    fn findings_lead_to_a_status() {
        use Finding::{Code, NotRunning, Passed, Refused, TimedOut};
        let unhealthy = TargetStatus::Unhealthy { reason: "r".to_owned(), description: "d".to_owned() };
        let draining = TargetStatus::Draining { since: 0, drained: false };
        let (soon, late, later) = (Duration::from_millis(10), Duration::from_secs(4), Duration::from_secs(16));
        let table: &[(&TargetStatus, &[Finding], Duration, &str)] = &[
            (&INITIAL, &[Passed], soon, "healthy"),
            (&INITIAL, &[Refused, Refused, Refused], soon, "initial"),
            (&INITIAL, &[Refused, Refused, TimedOut], late, "initial"),
            (&INITIAL, &[Refused, Refused], later, "unhealthy"),
            (&INITIAL, &[Refused, Passed], late, "healthy"),
            (&CHECKING, &[Code(503), Code(503)], soon, "initial"),
            (&CHECKING, &[Code(503), Code(503)], late, "unhealthy"),
            (&INITIAL, &[NotRunning, NotRunning, NotRunning], late, "initial"),
            (&INITIAL, &[NotRunning, NotRunning, Refused], late, "initial"),
            (&INITIAL, &[NotRunning, NotRunning, Refused, Refused], later, "unhealthy"),
            (&TargetStatus::Healthy, &[Refused], late, "healthy"),
            (&TargetStatus::Healthy, &[Refused, Passed, Refused], late, "healthy"),
            (&TargetStatus::Healthy, &[TimedOut, Code(500), Refused], soon, "healthy"),
            (&TargetStatus::Healthy, &[TimedOut, Code(500)], late, "unhealthy"),
            (&TargetStatus::Healthy, &[NotRunning, NotRunning], late, "unhealthy"),
            (&unhealthy, &[Passed, Passed], soon, "unhealthy"),
            (&unhealthy, &[Passed, Refused, Passed, Passed], soon, "unhealthy"),
            (&unhealthy, &[Passed, Passed, Passed], soon, "healthy"),
            (&draining, &[Refused, Refused], late, "draining"),
            (&draining, &[Passed], late, "draining"),
        ];
        for (status, findings, apart, expected) in table {
            assert_eq!(after(status, findings, *apart), *expected, "{status:?} {findings:?} {apart:?} apart");
        }
    }

    #[test]
    fn a_target_is_never_asked_more_often_than_every_50_ms() {
        let fast = Clock::new(Pace::Fast);
        assert_eq!(pause(&fast, &check(), true, false), Duration::from_millis(50));
        assert_eq!(pause(&fast, &check(), false, false), Duration::from_millis(300));
        assert_eq!(pause(&fast, &HealthCheck { interval: 5, ..check() }, false, false), Duration::from_millis(50));
        assert_eq!(pause(&fast, &check(), false, true), SETTLED_PAUSE);
        assert_eq!(pause(&Clock::new(Pace::Aws), &check(), true, true), Duration::from_secs(30));
    }
}
