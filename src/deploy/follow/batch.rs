//! Questions of which one request holds several. Whoever is due first asks for all that wait, as far as there is room:
//! fifty follows of one process cost five requests a look.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use serde_json::Value;
use tokio::sync::oneshot;

use crate::aws::Failure;
use crate::aws::failure::Reach;

/// What was found, by the names that were asked for. What does not exist is not in it.
pub type Found = HashMap<String, Value>;

/// Those that wait for the same kind of answer.
#[derive(Debug)]
pub struct Batch {
    /// So many names in a request.
    most: usize,
    waiting: Mutex<Vec<Wish>>,
    next: AtomicU64,
    /// AWS refused what was asked for together: a role may see one service and not another. Each asks for itself.
    apart: AtomicBool,
}

#[derive(Debug)]
struct Wish {
    id: u64,
    /// A request is about one cluster.
    place: String,
    names: Vec<String>,
    due: Instant,
    answer: oneshot::Sender<Result<Found, Failure>>,
}

impl Batch {
    pub fn of(most: usize) -> Self {
        Batch { most, waiting: Mutex::default(), next: AtomicU64::new(0), apart: AtomicBool::new(false) }
    }

    /// Answers by `due`, or sooner when another's request has room. `call` is made at most once.
    pub async fn ask<C>(
        &self,
        place: &str,
        names: Vec<String>,
        due: Instant,
        call: impl Fn(Vec<String>) -> C,
    ) -> Result<Found, Failure>
    where
        C: Future<Output = Result<Found, Failure>>,
    {
        let mut due = due;
        loop {
            let (id, mut answer) = self.queue(place, &names, due);
            let answered = tokio::select! {
                answered = &mut answer => Some(answered),
                () = tokio::time::sleep_until(due.into()) => None,
            };
            let answered = match answered {
                Some(answered) => answered,
                None => match self.take(id) {
                    Some(taken) => return self.lead(taken, &names, &call).await,
                    // somebody asks for it right now
                    None => answer.await,
                },
            };
            match answered {
                Ok(found) => return found,
                // who asked for it went away
                Err(_) => due = Instant::now(),
            }
        }
    }

    fn queue(&self, place: &str, names: &[String], due: Instant) -> (u64, oneshot::Receiver<Result<Found, Failure>>) {
        let id = self.next.fetch_add(1, Ordering::Relaxed);
        let (answer, receiver) = oneshot::channel();
        self.lock().push(Wish { id, place: place.to_owned(), names: names.to_vec(), due, answer });
        (id, receiver)
    }

    /// This wish, and after it those that are due next, as many as fit. `None` when somebody else has taken it.
    fn take(&self, id: u64) -> Option<Vec<Wish>> {
        let mut waiting = self.lock();
        waiting.retain(|wish| wish.id == id || !wish.answer.is_closed());
        let at = waiting.iter().position(|wish| wish.id == id)?;
        let own = waiting.swap_remove(at);
        let mut room = self.most.saturating_sub(own.names.len());
        if self.apart.load(Ordering::Relaxed) {
            room = 0;
        }
        waiting.sort_by_key(|wish| wish.due);
        let place = own.place.clone();
        let mut taken = vec![own];
        let mut left = Vec::with_capacity(waiting.len());
        for wish in waiting.drain(..) {
            if wish.place == place && wish.names.len() <= room {
                room -= wish.names.len();
                taken.push(wish);
            } else {
                left.push(wish);
            }
        }
        *waiting = left;
        Some(taken)
    }

    async fn lead<C>(
        &self,
        taken: Vec<Wish>,
        own: &[String],
        call: &impl Fn(Vec<String>) -> C,
    ) -> Result<Found, Failure>
    where
        C: Future<Output = Result<Found, Failure>>,
    {
        let mut names: Vec<String> = taken.iter().flat_map(|wish| wish.names.iter().cloned()).collect();
        names.sort();
        names.dedup();
        let several = names.len() > own.len();
        let mut answer = call(names).await;
        let refused =
            |failure: &Failure| failure.reach == Reach::Refused && !failure.is_throttled() && !failure.is_expired();
        if several && answer.as_ref().is_err_and(refused) {
            self.apart.store(true, Ordering::Relaxed);
            // Their answers are dropped with them: each asks again, alone.
            drop(taken);
            answer = call(own.to_vec()).await;
            return answer;
        }
        let part = |names: &[String]| match &answer {
            Ok(found) => {
                Ok(names.iter().filter_map(|name| Some((name.clone(), found.get(name)?.clone()))).collect::<Found>())
            }
            Err(failure) => Err(failure.clone()),
        };
        // Ours comes first, and nobody listens to its channel any more.
        for wish in taken.into_iter().skip(1) {
            let _ = wish.answer.send(part(&wish.names));
        }
        part(own)
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Wish>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
