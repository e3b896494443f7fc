//! How many transfers run at once: fewer after each time the registry says it is too many.

use std::sync::Mutex;
use std::time::{Duration, Instant};

use tokio::sync::{Semaphore, SemaphorePermit};

/// Answers to requests of one burst count as one.
const SETTLE: Duration = Duration::from_millis(500);

pub(super) struct Gate {
    permits: Semaphore,
    state: Mutex<State>,
}

struct State {
    width: usize,
    /// Permits in use that are not to come back.
    surplus: usize,
    narrowed: Option<Instant>,
}

impl Gate {
    pub(super) fn new(width: usize) -> Self {
        let width = width.max(1);
        Gate { permits: Semaphore::new(width), state: Mutex::new(State { width, surplus: 0, narrowed: None }) }
    }

    pub(super) async fn enter(&self) -> Pass<'_> {
        // The semaphore is never closed.
        Pass { gate: self, permit: self.permits.acquire().await.ok() }
    }

    /// Halves what may run at once, down to one.
    pub(super) fn narrow(&self) {
        let mut state = self.lock();
        if state.narrowed.is_some_and(|at| at.elapsed() < SETTLE) {
            return;
        }
        state.narrowed = Some(Instant::now());
        let fewer = state.width - (state.width / 2).max(1);
        state.width -= fewer;
        state.surplus += fewer - self.permits.forget_permits(fewer);
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}

pub(super) struct Pass<'a> {
    gate: &'a Gate,
    permit: Option<SemaphorePermit<'a>>,
}

impl Drop for Pass<'_> {
    fn drop(&mut self) {
        let mut state = self.gate.lock();
        if state.surplus > 0
            && let Some(permit) = self.permit.take()
        {
            state.surplus -= 1;
            permit.forget();
        }
    }
}
