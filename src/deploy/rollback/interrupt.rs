//! A signal while a rollout is followed: it goes on at AWS, or the release before is brought back, as the plan says.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use tokio::sync::watch;

use super::restore::{Restored, restore};
use super::{conclude, follow_or_roll_back, good_before, patience, watch};
use crate::aws::Clients;
use crate::aws::reply::id;
use crate::config::{OnInterrupt, RolloutPlan};
use crate::deploy::event::{Event, Events, Step};
use crate::deploy::follow::poller::Poller;
use crate::deploy::follow::{Steady, Teller};
use crate::deploy::service::Placed;
use crate::error::{Error, Kind, Result, signal_name};

/// Where signals are told of. Clones are one and the same.
#[derive(Debug, Clone, Default)]
pub struct Interrupt(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    awaited: AtomicBool,
    leaves_after: AtomicBool,
    signal: watch::Sender<Option<u8>>,
}

impl Interrupt {
    /// Whether somebody deals with it. Otherwise the command ends at once.
    pub fn tell(&self, signal: u8) -> bool {
        self.0.signal.send_replace(Some(signal));
        self.0.awaited.load(Ordering::SeqCst)
    }

    /// Something is to run after the release, and has not begun to.
    pub fn leave_after(&self, leaves: bool) {
        self.0.leaves_after.store(leaves, Ordering::SeqCst);
    }

    /// Whether a run that ends now leaves undone what comes after its release.
    pub fn leaves_after(&self) -> bool {
        self.0.leaves_after.load(Ordering::SeqCst)
    }

    /// From the first poll on, and until it is dropped, signals are dealt with here.
    async fn came(&self) -> u8 {
        struct Awaited<'a>(&'a AtomicBool);
        impl Drop for Awaited<'_> {
            fn drop(&mut self) {
                self.0.store(false, Ordering::SeqCst);
            }
        }
        self.0.awaited.store(true, Ordering::SeqCst);
        let _awaited = Awaited(&self.0.awaited);
        let mut signal = self.0.signal.subscribe();
        // the sender lives as long as this does
        let told = signal.wait_for(Option::is_some).await.ok().and_then(|told| *told);
        match told {
            Some(signal) => signal,
            None => std::future::pending().await,
        }
    }
}

/// Follows the deployment as [`follow_or_roll_back`] does.
pub async fn follow(
    rollout: &RolloutPlan,
    placed: &Placed,
    digest: Option<&str>,
    (clients, events): (&Clients, &Events),
    interrupt: &Interrupt,
) -> Result<Steady> {
    if rollout.on_interrupt == OnInterrupt::Detach {
        return follow_or_roll_back(rollout, placed, digest, clients, events).await;
    }
    let poller = Poller::default();
    let watched = tokio::select! {
        watched = watch(rollout, placed, digest, &poller, clients, events) => watched,
        signal = interrupt.came() => return go_back(rollout, placed, signal, clients, events).await,
    };
    let concluding = conclude(rollout, placed, watched, clients, events);
    tokio::pin!(concluding);
    tokio::select! {
        concluded = &mut concluding => concluded,
        // A second rollback beside the one that goes on would end it.
        signal = interrupt.came() => {
            let message = format!("{}: this deployment is over already; once more to leave what is done about it to AWS", signal_name(signal));
            events.emit(Event::Notice { message });
            concluding.await
        }
    }
}

async fn go_back(
    rollout: &RolloutPlan,
    placed: &Placed,
    signal: u8,
    clients: &Clients,
    events: &Events,
) -> Result<Steady> {
    let name = signal_name(signal);
    let stopped = || Error::interrupted(signal);
    if !placed.rolls {
        return Err(stopped());
    }
    let revision = id(&placed.task_definition);
    let Some(previous) = good_before(placed, clients).await else {
        return Err(stopped()
            .hint(format!("there is no good release before {revision} to go back to"))
            .hint("the rollout goes on at AWS; `steady wait` follows it"));
    };
    let message =
        format!("{name}: going back to {}; once more to leave that to AWS", id(&previous.release.task_definition));
    events.emit(Event::Notice { message });
    let ours = placed.ours(&RolloutPlan { fail_fast: 0, ..rollout.clone() }, None);
    let mut teller = Teller::new(events, placed.seen_events.clone());
    let (eye, timeout) = patience(rollout, placed, &Poller::default(), clients).await;
    let until = Instant::now() + timeout;
    let work = restore(placed, &ours, &previous, eye, false, until, &mut teller, clients);
    match crate::deploy::step(events, Step::Rollback, work, Restored::detail).await {
        // Whoever wanted it to end does not want what comes after it.
        Ok(Restored::NotNeeded(_)) => Err(stopped()
            .hint(format!("{revision} was steady already, and stays"))
            .hint("`steady rollback` goes back to the release before")),
        Ok(Restored::Previous(back)) => {
            let message = format!(
                "stopped by {name} while {revision} rolled out; the previous release {} is back and steady",
                id(&back)
            );
            Err(Error::new(Kind::RolledBack, message).hint("the same command again deploys it"))
        }
        Err(error) if error.kind() == Kind::Superseded => Err(error),
        Err(error) if error.kind() == Kind::DeadlinePassed => {
            let message =
                format!("stopped by {name} while {revision} rolled out; its rollback goes on at AWS: {error}");
            Err(Error::new(Kind::DeadlinePassed, message).hint("follow it: `steady wait`"))
        }
        Err(error) => {
            let message = format!("stopped by {name} while {revision} rolled out, and going back failed: {error}");
            Err(Error::new(Kind::RolloutFailed, message).cause(error).hint("look closer: `steady status`"))
        }
    }
}
