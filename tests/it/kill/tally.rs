//! Counting what was tried, and naming all that failed at once.

use std::time::Instant;

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
        assert!(reached * 10 > tried * 8, "only {reached} of {tried} points were reached");
    }
}
