//! The ports that listeners hold. An API handler takes one, the balancer serves it.

use std::collections::{HashMap, HashSet};
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::{Mutex, MutexGuard};
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::connections::Connections;

/// What the balancer holds of the machine. Its lock is only ever taken inside the state's or alone, and never while
/// waiting.
#[derive(Default)]
pub struct Sockets {
    bound: Mutex<HashMap<SocketAddr, Bound>>,
    pub(super) connections: Connections,
}

enum Bound {
    /// Listening, and the balancer does not know it yet: the kernel keeps its connections until it does.
    Waiting(TcpListener),
    Serving(CancellationToken),
    /// Another program has the port; said once in the log, tried again later.
    Busy,
}

pub(super) struct Change {
    pub(super) start: Vec<(SocketAddr, TcpListener, CancellationToken)>,
    pub(super) busy: bool,
}

impl Sockets {
    /// Listens on `address`, or says why that cannot be.
    pub fn take(&self, address: SocketAddr) -> io::Result<()> {
        let mut bound = self.lock();
        if let Some(Bound::Waiting(_) | Bound::Serving(_)) = bound.get(&address) {
            return Ok(());
        }
        bound.insert(address, Bound::Waiting(bind(address)?));
        Ok(())
    }

    /// Lets go of the addresses that are not wanted, and takes those that are.
    pub(super) fn reconcile(&self, wanted: HashSet<SocketAddr>) -> Change {
        let mut bound = self.lock();
        bound.retain(|address, held| {
            let keep = wanted.contains(address);
            if let (false, Bound::Serving(closing)) = (keep, held) {
                closing.cancel();
            }
            keep
        });
        let mut change = Change { start: Vec::new(), busy: false };
        for address in wanted {
            let listener = match bound.remove(&address) {
                Some(Bound::Serving(closing)) => {
                    bound.insert(address, Bound::Serving(closing));
                    continue;
                }
                Some(Bound::Waiting(listener)) => Ok(listener),
                Some(Bound::Busy) => TcpListener::bind(address),
                None => TcpListener::bind(address).inspect_err(|error| {
                    tracing::warn!(%address, %error, "cannot listen for a load balancer; trying again every second");
                }),
            };
            match listener {
                Ok(listener) => {
                    let closing = CancellationToken::new();
                    bound.insert(address, Bound::Serving(closing.clone()));
                    change.start.push((address, listener, closing));
                }
                Err(_) => {
                    bound.insert(address, Bound::Busy);
                    change.busy = true;
                }
            }
        }
        change
    }

    pub(super) fn close_all(&self) {
        for (_, held) in self.lock().drain() {
            if let Bound::Serving(closing) = held {
                closing.cancel();
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<SocketAddr, Bound>> {
        self.bound.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}

fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    // A listener that was deleted a moment ago may still be closing.
    for _ in 0..5 {
        match TcpListener::bind(address) {
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => std::thread::sleep(Duration::from_millis(5)),
            bound => return bound,
        }
    }
    TcpListener::bind(address)
}
