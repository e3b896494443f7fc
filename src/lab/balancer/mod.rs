//! The load balancers' data plane: listens where listeners say, checks targets' health, and carries connections (TCP)
//! or requests (HTTP) to them.

mod connections;
mod drain;
mod health;
mod http;
mod idle;
mod route;
mod simulated;
mod sockets;
mod sticky;
mod tcp;

use std::collections::HashMap;
use std::future::pending;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

use super::elbv2::{LoadBalancerType, TargetStatus};
use super::{Lab, ecs};
use connections::{NoTarget, OpenConnection, Pick, Prefer, TargetKey};

pub use sockets::Sockets;

/// Connects to a target, given its id (an instance's, or an IP address) and port.
pub type Dial = Arc<dyn Fn(String, u16) -> BoxFuture<'static, io::Result<TcpStream>> + Send + Sync>;

/// How long one attempt to reach a target may take. Not scaled: what it waits for is a real machine.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);

/// How long a connection waits for targets that are still in their first health checks, as right after `lab start`.
const STARTING_PATIENCE: Duration = Duration::from_secs(2);

/// How often draining targets and ports that were busy are looked at again.
const DRAIN_LOOK: Duration = Duration::from_millis(50);
const BUSY_PORT_LOOK: Duration = Duration::from_secs(1);

struct Balancer {
    lab: Arc<Lab>,
    dial: Dial,
    shutdown: CancellationToken,
}

/// Runs until `shutdown`, reaching targets through the container runtime.
pub async fn run(lab: Arc<Lab>, shutdown: CancellationToken) {
    let tasks = Arc::clone(&lab);
    let dial: Dial = Arc::new(move |target, port| {
        let lab = Arc::clone(&tasks);
        Box::pin(async move {
            let located = lab.read(|state| ecs::locate(state, &target, port));
            let (task, port) = located.ok_or(io::ErrorKind::NotFound)?;
            lab.runtime.connect(&task, port).await
        })
    });
    run_with(lab, dial, shutdown).await;
}

/// As [`run`], reaching targets through `dial`.
pub async fn run_with(lab: Arc<Lab>, dial: Dial, shutdown: CancellationToken) {
    let balancer = Arc::new(Balancer { lab: Arc::clone(&lab), dial, shutdown: shutdown.clone() });
    let mut checks = HashMap::new();
    let mut changes = lab.changes();
    balancer.forget_health();
    loop {
        changes.borrow_and_update();
        let verdicts = if simulated::is(&lab) {
            balancer.judge_simulated()
        } else {
            balancer.watch_targets(&mut checks);
            None
        };
        let look_again = [balancer.serve_listeners(), balancer.finish_drains(), verdicts];
        let timer = async {
            match look_again.into_iter().flatten().min() {
                Some(pause) => tokio::time::sleep(pause).await,
                None => pending().await,
            }
        };
        tokio::select! {
            () = shutdown.cancelled() => break,
            _ = changes.changed() => {}
            () = timer => {}
        }
    }
    lab.sockets.close_all();
}

impl Balancer {
    /// What was healthy when the lab stopped has to show it again.
    fn forget_health(&self) {
        let known = |status: &TargetStatus| matches!(status, TargetStatus::Healthy | TargetStatus::Unhealthy { .. });
        let any = self.lab.read(|state| {
            state.elbv2.target_groups.iter().flat_map(|group| &group.targets).any(|target| known(&target.status))
        });
        if any {
            self.lab.write(|state| {
                let targets = state.elbv2.target_groups.iter_mut().flat_map(|group| &mut group.targets);
                for target in targets.filter(|target| known(&target.status)) {
                    target.status = TargetStatus::Initial { checking: false };
                }
            });
        }
    }

    /// Starts and stops listening as the state says; some wait when a port was busy.
    fn serve_listeners(self: &Arc<Self>) -> Option<Duration> {
        // Under the state's lock, so that no listener is created while its address is being let go.
        let change = self.lab.read(|state| {
            let addresses = state.elbv2.listeners.iter().filter_map(|listener| {
                let load_balancer = state.elbv2.load_balancer(&listener.load_balancer_arn)?;
                Some(SocketAddr::new(load_balancer.address, listener.port))
            });
            self.lab.sockets.reconcile(addresses.collect())
        });
        for (address, listener, closing) in change.start {
            tokio::spawn(Arc::clone(self).accept(address, listener, closing));
        }
        change.busy.then_some(BUSY_PORT_LOOK)
    }

    async fn accept(self: Arc<Self>, address: SocketAddr, listener: std::net::TcpListener, closing: CancellationToken) {
        let listener = listener.set_nonblocking(true).and_then(|()| TcpListener::from_std(listener));
        let listener = match listener {
            Ok(listener) => listener,
            Err(error) => return tracing::error!(%address, %error, "cannot listen"),
        };
        loop {
            let accepted = tokio::select! {
                accepted = listener.accept() => accepted,
                () = closing.cancelled() => return,
                () = self.shutdown.cancelled() => return,
            };
            match accepted {
                Ok((client, peer)) => {
                    tokio::spawn(Arc::clone(&self).serve(client, address, peer, closing.clone()));
                }
                // Such as no free file descriptor: waiting is all that helps.
                Err(error) => {
                    tracing::warn!(%address, %error, "cannot accept a connection");
                    tokio::time::sleep(DRAIN_LOOK).await;
                }
            }
        }
    }

    async fn serve(
        self: Arc<Self>,
        client: TcpStream,
        address: SocketAddr,
        peer: SocketAddr,
        closing: CancellationToken,
    ) {
        let found = self.lab.read(|state| {
            state.elbv2.listeners.iter().find_map(|listener| {
                let load_balancer = state.elbv2.load_balancer(&listener.load_balancer_arn)?;
                let is_it = SocketAddr::new(load_balancer.address, listener.port) == address;
                is_it.then(|| (listener.clone(), load_balancer.kind))
            })
        });
        let Some((listener, kind)) = found else { return };
        let _ = client.set_nodelay(true);
        let shutdown = self.shutdown.clone();
        let served = async move {
            match kind {
                LoadBalancerType::Network => tcp::serve(&self, client, &listener).await,
                LoadBalancerType::Application => http::serve(self, client, listener.arn, peer, closing).await,
            }
        };
        tokio::select! {
            () = served => {}
            () = shutdown.cancelled() => {}
        }
    }

    /// Connects to a target of a group. One that refuses, as a task does that is just stopping, costs nothing but the
    /// attempt: nothing was sent yet, and the next one is asked. `tried` are targets not to ask again.
    async fn connect(
        &self,
        group: &str,
        tried: &mut Vec<TargetKey>,
        prefer: Prefer<'_>,
    ) -> Result<(TcpStream, OpenConnection), NoTarget> {
        if simulated::is(&self.lab) {
            return Err(NoTarget::Simulated);
        }
        let until = tokio::time::Instant::now() + STARTING_PATIENCE;
        loop {
            match connections::pick(&self.lab, group, tried, prefer) {
                Pick::Target(connection) => {
                    let dialled = (self.dial)(connection.key.target.clone(), connection.key.port);
                    if let Ok(Ok(stream)) = tokio::time::timeout(CONNECT_TIMEOUT, dialled).await {
                        let _ = stream.set_nodelay(true);
                        return Ok((stream, connection));
                    }
                    tried.push(connection.key.clone());
                }
                Pick::Starting if tokio::time::Instant::now() < until => {
                    tried.clear();
                    tokio::time::sleep(DRAIN_LOOK).await;
                }
                Pick::Starting | Pick::AllTried => return Err(NoTarget::AllRefused),
                Pick::NoTargets => return Err(NoTarget::NoneRegistered),
            }
        }
    }

    /// One health checker for each target that could get connections.
    fn watch_targets(self: &Arc<Self>, checks: &mut HashMap<TargetKey, AbortOnDropHandle<()>>) {
        let wanted: Vec<TargetKey> = self.lab.read(|state| {
            let elb = &state.elbv2;
            let attached = elb.target_groups.iter().filter(|group| !elb.load_balancers_of(&group.arn).is_empty());
            attached
                .flat_map(|group| {
                    let targets = group.targets.iter().filter(|target| !target.status.is_draining());
                    targets.map(|target| TargetKey::new(&group.arn, &target.id, target.port))
                })
                .collect()
        });
        // one that is done was of a target that was gone for a moment
        checks.retain(|key, check| wanted.contains(key) && !check.is_finished());
        for key in wanted {
            let (lab, dial) = (Arc::clone(&self.lab), Arc::clone(&self.dial));
            checks
                .entry(key.clone())
                .or_insert_with(|| AbortOnDropHandle::new(tokio::spawn(health::keep_watching(lab, dial, key))));
        }
    }
}
