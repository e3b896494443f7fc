//! Load balancers of a lab whose containers are simulated: nobody can be asked.

use std::time::Duration;

use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout};

use super::Balancer;
use crate::lab::elbv2::{Protocol, TargetStatus};
use crate::lab::{Lab, ecs};

/// What clients are told.
pub(super) const EXPLANATION: &str = "This lab simulates its containers (--runtime simulated): no program runs that \
                                      could answer. A lab with another runtime runs them.\n";

/// How long a client of a network load balancer may take for its first words.
const FIRST_WORDS: Duration = Duration::from_secs(2);
const METHODS: [&[u8]; 8] = [b"GET ", b"HEAD ", b"POST ", b"PUT ", b"DELETE ", b"PATCH ", b"OPTIONS ", b"CONNECT "];

impl Balancer {
    /// Gives targets the health that their tasks have by definition, once the time of a health check has passed.
    /// When to look again.
    pub(super) fn judge_simulated(&self) -> Option<Duration> {
        let now = self.lab.clock.now();
        let (verdicts, next) = self.lab.read(|state| {
            let mut verdicts = Vec::new();
            let mut next: Option<i64> = None;
            for (at, group) in state.elbv2.target_groups.iter().enumerate() {
                let interval = self.lab.clock.wait(Duration::from_secs(group.health_check.interval));
                for (of, target) in group.targets.iter().enumerate() {
                    if !matches!(target.status, TargetStatus::Initial { .. }) {
                        continue;
                    }
                    let located = ecs::locate(state, &target.id, target.port);
                    let Some((task, _)) = located else { continue };
                    let up_since = state.ecs.tasks.get(&task).and_then(|task| task.up_since);
                    let (Some(up_since), Some(passes)) = (up_since, self.lab.runtime.answers(&task)) else { continue };
                    // An unhealthy target is one that failed so many times.
                    let checks = if passes { 1 } else { group.health_check.unhealthy_threshold };
                    let due = up_since + (interval * checks).as_millis() as i64;
                    if due > now {
                        next = Some(next.map_or(due, |other| other.min(due)));
                        continue;
                    }
                    let status = match (passes, group.protocol) {
                        (true, _) => TargetStatus::Healthy,
                        (false, Protocol::Http) => TargetStatus::Unhealthy {
                            reason: "Target.ResponseCodeMismatch".into(),
                            description: "Health checks failed with these codes: [500]".into(),
                        },
                        (false, Protocol::Tcp) => TargetStatus::Unhealthy {
                            reason: "Target.FailedHealthChecks".into(),
                            description: "Health checks failed".into(),
                        },
                    };
                    verdicts.push((at, of, target.id.clone(), target.port, status));
                }
            }
            (verdicts, next)
        });
        if !verdicts.is_empty() {
            self.lab.write(|state| {
                for (at, of, id, port, status) in verdicts {
                    let group = state.elbv2.target_groups.get_mut(at);
                    let target = group.and_then(|group| group.targets.get_mut(of));
                    // It may have gone meanwhile: the next look finds it at its new place.
                    if let Some(target) = target.filter(|target| target.id == id && target.port == port)
                        && !target.status.is_draining()
                    {
                        target.status = status;
                    }
                }
            });
        }
        next.map(|at| Duration::from_millis((at - now).max(1) as u64))
    }
}

pub(super) fn is(lab: &Lab) -> bool {
    lab.runtime.is_simulated()
}

/// What a network load balancer carries is nobody's to read, but a person with a browser is to learn why nothing comes.
/// Whoever does not speak HTTP gets the reset of a load balancer without targets.
pub(super) async fn explain(client: &mut TcpStream) {
    if speaks_http(client).await {
        let body = EXPLANATION;
        let answer = format!(
            "HTTP/1.1 503 Service Unavailable\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Length: {}\r\n\
             Connection: close\r\n\r\n{body}",
            body.len()
        );
        let _ = client.write_all(answer.as_bytes()).await;
        let _ = client.shutdown().await;
        // What it still sends would turn the end of the connection into a reset.
        let mut rest = [0; 4096];
        let until = Instant::now() + FIRST_WORDS;
        while let Ok(Ok(1..)) = tokio::time::timeout_at(until, tokio::io::AsyncReadExt::read(client, &mut rest)).await {
        }
        return;
    }
    let _ = client.set_zero_linger();
}

async fn speaks_http(client: &TcpStream) -> bool {
    let mut words = [0; 8];
    match timeout(FIRST_WORDS, client.peek(&mut words)).await {
        Ok(Ok(length)) => {
            METHODS.iter().any(|method| method.starts_with(&words[..length.min(method.len())]) && length > 0)
        }
        _ => false,
    }
}
