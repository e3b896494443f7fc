//! The rehearsal of AWS: its APIs, its scheduler, its load balancer and a container runtime in one process.
//!
//! Shares no code with the client side but `error` and `aws_model`.

pub mod api;
pub mod balancer;
pub mod budgets;
pub mod changes;
pub mod clock;
pub mod cloudwatch;
pub mod conformance;
pub mod console;
pub mod discovery;
pub mod disk;
pub mod ec2;
pub mod ecr;
pub mod ecs;
pub mod elbv2;
pub mod faults;
pub mod iam;
pub mod input;
pub mod lifecycle;
pub mod logs;
pub mod paging;
pub mod pattern;
pub mod registry;
pub mod runtime;
pub mod scheduler;
pub mod sealed;
pub mod secretsmanager;
pub mod server;
pub mod ssm;
pub mod state;
pub mod sts;
pub mod validation;
pub mod wire;

use std::cell::Cell;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::atomic::AtomicBool;

use parking_lot::Mutex;
use tokio::sync::watch;

use clock::Clock;
use runtime::Runtime;
use state::State;

/// What stays the same for the life of one lab.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Where state, blobs and container roots live.
    pub data: PathBuf,
    /// Where the AWS APIs and the registry answer; always loopback.
    pub address: SocketAddr,
    pub region: String,
    pub account_id: String,
}

impl Settings {
    /// Whose key the lab's is.
    pub fn caller(&self) -> String {
        format!("arn:aws:iam::{}:user/steady-lab", self.account_id)
    }

    /// What a service says of a resource of another account.
    fn not_authorized(&self, action: &str, resource: &str) -> api::ApiError {
        let who = self.caller();
        api::ApiError::new(
            "AccessDeniedException",
            format!(
                "User: {who} is not authorized to perform: {action} on resource: {resource} because no resource-based \
                 policy allows the {action} action"
            ),
        )
    }
}

thread_local! {
    static WRITES: Cell<u64> = const { Cell::new(0) };
}

/// How often this thread wrote to labs. A handler runs on one thread, so that this tells whether it wrote.
pub fn writes_here() -> u64 {
    WRITES.get()
}

/// One running lab. Handlers are synchronous functions over [`State`]; what takes time (containers,
/// sockets) is done by the scheduler's and the balancer's loops, which wait on [`Lab::changes`].
pub struct Lab {
    pub settings: Settings,
    pub clock: Clock,
    pub runtime: Runtime,
    /// What a restart may forget of the registry: blobs on their way in.
    pub uploads: ecr::Uploads,
    pub sockets: balancer::Sockets,
    pub budgets: budgets::Budgets,
    pub faults: faults::Faults,
    /// Whether DNS queries are answered.
    pub resolves: AtomicBool,
    /// Fair, so that a request does not wait until thousands of tasks were started; and a handler that panicked does not
    /// take the lab with it.
    state: Mutex<State>,
    changes: watch::Sender<u64>,
}

impl Lab {
    pub fn new(settings: Settings, clock: Clock, runtime: Runtime, mut state: State) -> Self {
        let uploads = ecr::Uploads::new(&settings.data);
        let faults = faults::Faults::default();
        state.faults = faults.clone();
        Lab {
            settings,
            clock,
            runtime,
            uploads,
            sockets: balancer::Sockets::default(),
            budgets: budgets::Budgets::default(),
            faults,
            resolves: AtomicBool::new(false),
            state: Mutex::new(state),
            changes: watch::Sender::new(0),
        }
    }

    pub fn read<T>(&self, read: impl FnOnce(&State) -> T) -> T {
        read(&self.state.lock())
    }

    /// Changes the state and wakes everyone who waits on [`Lab::changes`].
    pub fn write<T>(&self, write: impl FnOnce(&mut State) -> T) -> T {
        let written = write(&mut self.state.lock());
        self.wrote();
        written
    }

    /// As [`Lab::write`], but wakes nobody when `write` says that it changed nothing.
    pub fn update<T>(&self, write: impl FnOnce(&mut State) -> (T, bool)) -> T {
        let (written, changed) = write(&mut self.state.lock());
        if changed {
            self.wrote();
        }
        written
    }

    fn wrote(&self) {
        WRITES.set(WRITES.get() + 1);
        self.changes.send_modify(|generation| *generation += 1);
    }

    /// A counter that grows with every write.
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }
}
