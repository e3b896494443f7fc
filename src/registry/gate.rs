//! How many transfers run at once, small ones twice as many as large ones: fewer after each time the registry says it is too
//! many.

use std::sync::Mutex;
use std::time::{Duration, Instant};

use tokio::sync::{Semaphore, SemaphorePermit};

/// Answers to requests of one burst count as one.
const SETTLE: Duration = Duration::from_millis(500);

/// Of a transfer up to this size most of the time goes into waiting for answers.
const SMALL: u64 = 1 << 20;
/// So many places a large transfer has, and a small one has one.
const LARGE: usize = 2;

pub(super) struct Gate {
    permits: Semaphore,
    state: Mutex<State>,
}

struct State {
    /// In places.
    width: usize,
    /// Permits in use that are not to come back.
    surplus: usize,
    narrowed: Option<Instant>,
}

impl Gate {
    /// Lets so many large transfers pass at once.
    pub(super) fn new(parallel: usize) -> Self {
        let width = places(parallel);
        Gate { permits: Semaphore::new(width), state: Mutex::new(State { width, surplus: 0, narrowed: None }) }
    }

    pub(super) async fn enter(&self, size: u64) -> Pass<'_> {
        let places = if size > SMALL { LARGE } else { 1 };
        // The semaphore is never closed.
        Pass { gate: self, permit: self.permits.acquire_many(places as u32).await.ok() }
    }

    /// Halves what may run at once, down to one large transfer.
    pub(super) fn narrow(&self) {
        let mut state = self.lock();
        if state.narrowed.is_some_and(|at| at.elapsed() < SETTLE) {
            return;
        }
        state.narrowed = Some(Instant::now());
        let fewer = state.width - (state.width / 2).max(LARGE);
        state.width -= fewer;
        state.surplus += fewer - self.permits.forget_permits(fewer);
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}

/// What may run at once where `parallel` large transfers may.
pub(super) fn places(parallel: usize) -> usize {
    parallel.max(1) * LARGE
}

pub(super) struct Pass<'a> {
    gate: &'a Gate,
    permit: Option<SemaphorePermit<'a>>,
}

impl Drop for Pass<'_> {
    fn drop(&mut self) {
        let mut state = self.gate.lock();
        let Some(mut permit) = self.permit.take() else { return };
        let gone = state.surplus.min(permit.num_permits());
        if let Some(gone) = permit.split(gone) {
            state.surplus -= gone.num_permits();
            gone.forget();
        }
    }
}
