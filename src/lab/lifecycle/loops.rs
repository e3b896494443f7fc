//! The loops of one life of a lab. One that a defect ends is begun again, so that the lab is never half dead.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

/// Until a loop is begun again: doubled each time, and the first again after one that lasted.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const MOST_PAUSE: Duration = Duration::from_secs(60);

#[derive(Default)]
pub struct Loops {
    all: Mutex<Vec<(&'static str, JoinHandle<()>)>>,
    /// Those that are to begin again.
    down: Arc<Mutex<BTreeSet<&'static str>>>,
    /// Those that had to be aborted, or ended by a defect, at the end.
    lost: Mutex<Vec<&'static str>>,
}

impl Loops {
    /// A loop that cannot be begun twice.
    pub fn once(&self, name: &'static str, one: impl Future<Output = ()> + Send + 'static) {
        self.push(name, tokio::spawn(one));
    }

    /// A loop that is begun again after a defect, until `stop`.
    pub fn keep<F>(&self, name: &'static str, stop: &CancellationToken, begin: impl Fn() -> F + Send + 'static)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        self.push(name, tokio::spawn(keep_up(name, stop.clone(), self.down.clone(), FIRST_PAUSE, begin)));
    }

    fn push(&self, name: &'static str, one: JoinHandle<()>) {
        self.all.lock().unwrap_or_else(PoisonError::into_inner).push((name, one));
    }

    /// Those that do not run.
    pub fn failed(&self, stop: &CancellationToken) -> Vec<&'static str> {
        let mut failed = self.lost.lock().unwrap_or_else(PoisonError::into_inner).clone();
        failed.extend(self.down.lock().unwrap_or_else(PoisonError::into_inner).iter());
        if !stop.is_cancelled() {
            let all = self.all.lock().unwrap_or_else(PoisonError::into_inner);
            failed.extend(all.iter().filter(|(_, one)| one.is_finished()).map(|(name, _)| *name));
        }
        failed
    }

    /// Waits for their end, which they have been told; what takes longer is aborted.
    pub async fn end(&self, within: Duration) {
        let all = std::mem::take(&mut *self.all.lock().unwrap_or_else(PoisonError::into_inner));
        let until = Instant::now() + within;
        for (name, mut one) in all {
            match tokio::time::timeout_at(until, &mut one).await {
                Ok(Ok(())) => {}
                Ok(Err(_)) => self.lost.lock().unwrap_or_else(PoisonError::into_inner).push(name),
                Err(_) => one.abort(),
            }
        }
    }
}

async fn keep_up<F>(
    name: &'static str,
    stop: CancellationToken,
    down: Arc<Mutex<BTreeSet<&'static str>>>,
    first_pause: Duration,
    begin: impl Fn() -> F,
) where
    F: Future<Output = ()> + Send + 'static,
{
    let mut pause = first_pause;
    loop {
        let began = Instant::now();
        match AbortOnDropHandle::new(tokio::spawn(begin())).await {
            Err(error) if error.is_panic() && !stop.is_cancelled() => {
                tracing::error!(name, %error, "a defect ended a loop of the lab: it begins again");
            }
            _ => return,
        }
        if began.elapsed() > MOST_PAUSE {
            pause = first_pause;
        }
        down.lock().unwrap_or_else(PoisonError::into_inner).insert(name);
        if stop.run_until_cancelled(sleep(pause)).await.is_none() {
            return;
        }
        down.lock().unwrap_or_else(PoisonError::into_inner).remove(name);
        pause = (pause * 2).min(MOST_PAUSE);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;

    #[tokio::test]
    async fn a_loop_that_a_defect_ends_begins_again_after_longer_and_longer_pauses() {
        const FIRST: Duration = Duration::from_millis(100);
        let (loops, stop) = (Loops::default(), CancellationToken::new());
        let (begun, runs) = (Arc::new(AtomicU32::new(0)), stop.clone());
        let started = Instant::now();
        let counted = begun.clone();
        let begin = move || {
            let (times, stop) = (counted.fetch_add(1, Ordering::SeqCst) + 1, runs.clone());
            async move {
                assert!(times > 3, "the {times}. time");
                stop.cancelled().await;
            }
        };
        loops.push("balancer", tokio::spawn(keep_up("balancer", stop.clone(), loops.down.clone(), FIRST, begin)));
        while loops.failed(&stop).is_empty() {
            tokio::task::yield_now().await;
        }
        assert_eq!(loops.failed(&stop), ["balancer"]);
        while begun.load(Ordering::SeqCst) < 4 || !loops.failed(&stop).is_empty() {
            tokio::task::yield_now().await;
        }
        assert!(started.elapsed() >= FIRST * (1 + 2 + 4));
        stop.cancel();
        loops.end(Duration::from_secs(10)).await;
        assert_eq!((loops.failed(&stop).len(), begun.load(Ordering::SeqCst)), (0, 4));
    }

    #[tokio::test]
    async fn one_that_cannot_begin_again_is_told() {
        let (loops, stop) = (Loops::default(), CancellationToken::new());
        loops.once("scheduler", async { panic!("a defect") });
        while loops.failed(&stop).is_empty() {
            tokio::task::yield_now().await;
        }
        assert_eq!(loops.failed(&stop), ["scheduler"]);
        stop.cancel();
        loops.end(Duration::from_secs(1)).await;
        assert_eq!(loops.failed(&stop), ["scheduler"]);
    }
}
