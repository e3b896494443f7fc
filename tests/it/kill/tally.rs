//! Counting what was tried, and naming all that failed at once.

use std::time::Instant;

use tokio::sync::Mutex;

use super::proxy::Strike;
use super::world::Site;

/// What came of every strike.
#[derive(Default)]
pub struct Tally {
    tried: usize,
    reached: usize,
    failed: Vec<String>,
}

impl Tally {
    pub fn add(&mut self, strike: &Strike, site: &Site<'_>, outcome: Result<bool, String>) {
        self.tried += 1;
        match outcome {
            Ok(reached) => self.reached += usize::from(reached),
            Err(why) => self.failed.push(format!("{}, {} {:?}: {why}", site.name, strike.at, strike.when)),
        }
    }

    pub fn report(self, what: &str, began: Instant) {
        let Tally { tried, reached, failed } = self;
        // cargo shows it with --nocapture
        #[allow(clippy::print_stdout)]
        {
            println!("{what}: struck at {reached} of {tried} points, {:.1} s", began.elapsed().as_secs_f32());
        }
        assert!(failed.is_empty(), "{} of {tried} failed:\n{}", failed.len(), failed.join("\n"));
        // How often a run looks depends on how busy the machine is; a write that is not reached has failed already.
        assert!(reached * 3 > tried * 2, "only {reached} of {tried} points were reached");
    }
}

/// Strikes that several sites share, and what came of them.
#[derive(Default)]
pub struct Round {
    queue: Mutex<Option<Vec<Strike>>>,
    tally: Mutex<Tally>,
}

impl Round {
    /// Which there are: who comes first says it.
    pub async fn has(&self, strikes: impl FnOnce() -> Vec<Strike>) {
        self.queue.lock().await.get_or_insert_with(strikes);
    }

    /// One that nobody has tried.
    pub async fn next(&self) -> Option<Strike> {
        self.queue.lock().await.as_mut().and_then(Vec::pop)
    }

    pub async fn tried(&self, strike: &Strike, site: &Site<'_>, work: impl Future<Output = Result<bool, String>>) {
        let outcome = work.await;
        self.tally.lock().await.add(strike, site, outcome);
    }

    pub fn report(self, what: &str, began: Instant) {
        self.tally.into_inner().report(what, began);
    }
}
