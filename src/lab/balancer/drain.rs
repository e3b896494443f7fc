//! The end of a deregistered target: at once when no connection is left, else when its delay is over.

use std::time::Duration;

use super::connections::TargetKey;
use super::{Balancer, DRAIN_LOOK};
use crate::lab::clock::{Clock, floor};
use crate::lab::elbv2::{TargetGroup, TargetStatus};

/// When a target's delay is over (epoch milliseconds).
#[derive(Clone, Copy)]
struct Delay {
    /// At the lab's pace.
    paced: i64,
    /// For a request that was under way by then.
    longest: i64,
}

impl Delay {
    fn new(clock: &Clock, group: &TargetGroup, since: i64) -> Delay {
        let at_aws = Duration::from_secs(group.deregistration_delay());
        let paced = since + clock.wait(at_aws).as_millis() as i64;
        Delay { paced, longest: since + clock.wait_at_least(at_aws, floor::DRAIN).as_millis() as i64 }
    }
}

impl Balancer {
    /// Completes deregistrations. Some wait until the next look.
    pub(super) fn finish_drains(&self) -> Option<Duration> {
        let mut due = false;
        let mut look_again: Option<Duration> = None;
        self.lab.read(|state| {
            let now = self.lab.clock.now();
            for group in &state.elbv2.target_groups {
                let unused = state.elbv2.load_balancers_of(&group.arn).is_empty();
                for target in &group.targets {
                    let TargetStatus::Draining { since, drained } = target.status else { continue };
                    let delay = Delay::new(&self.lab.clock, group, since);
                    let key = TargetKey::new(&group.arn, &target.id, target.port);
                    due |= unused || self.is_over(&key, delay, now) || (!drained && self.is_drained(&key));
                    let left =
                        Some(delay.paced - now).filter(|left| *left > 0).map(|of| Duration::from_millis(of as u64));
                    let look = left.filter(|left| drained || *left < DRAIN_LOOK).unwrap_or(DRAIN_LOOK);
                    look_again = Some(look_again.map_or(look, |other| other.min(look)));
                }
            }
        });
        if due {
            self.lab.write(|state| {
                let now = self.lab.clock.now();
                let arns = state.elbv2.target_groups.iter().map(|group| group.arn.as_str());
                let unused: Vec<bool> = arns.map(|arn| state.elbv2.load_balancers_of(arn).is_empty()).collect();
                for (group, unused) in state.elbv2.target_groups.iter_mut().zip(unused) {
                    let mut targets = std::mem::take(&mut group.targets);
                    targets.retain_mut(|target| {
                        let TargetStatus::Draining { since, drained } = &mut target.status else { return true };
                        let key = TargetKey::new(&group.arn, &target.id, target.port);
                        let over = self.is_over(&key, Delay::new(&self.lab.clock, group, *since), now);
                        *drained |= self.is_drained(&key);
                        if over && group.terminates_connections() {
                            self.lab.sockets.connections.cut(&key);
                        }
                        !over && !unused
                    });
                    group.targets = targets;
                }
            });
        }
        look_again
    }

    fn is_drained(&self, key: &TargetKey) -> bool {
        self.lab.sockets.connections.count(key) == 0
    }

    fn is_over(&self, key: &TargetKey, delay: Delay, now: i64) -> bool {
        now >= delay.longest || now >= delay.paced && !self.lab.sockets.connections.is_busy(key, delay.paced, now)
    }
}
