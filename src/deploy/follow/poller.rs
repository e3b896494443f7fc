//! How often AWS is asked while a rollout is followed, and for whom at once. Follows of one process share one [`Poller`]:
//! what several want to know is one request.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::batch::{Batch, Found};
use crate::aws::reply::{id, list, text};
use crate::aws::{Clients, Failure};

/// DescribeServices, DescribeTasks and DescribeServiceDeployments take at most so many names.
const SERVICES: usize = 10;
pub const TASKS: usize = 100;
const SERVICE_DEPLOYMENTS: usize = 20;

/// Follows that share a poller wait this long for each other where nothing is urgent.
const TOGETHER: Duration = Duration::from_millis(100);

/// Cheap to clone; clones share.
#[derive(Debug, Clone)]
pub struct Poller(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    services: Batch,
    tasks: Batch,
    service_deployments: Batch,
    allowance: Mutex<Allowance>,
    follows: AtomicUsize,
}

impl Default for Poller {
    fn default() -> Self {
        Poller(Arc::new(Shared {
            services: Batch::of(SERVICES),
            tasks: Batch::of(TASKS),
            service_deployments: Batch::of(SERVICE_DEPLOYMENTS),
            allowance: Mutex::new(Allowance::full(Instant::now())),
            follows: AtomicUsize::new(0),
        }))
    }
}

/// As long as it is there, a service is followed.
#[derive(Debug)]
pub struct Following(Poller);

impl Drop for Following {
    fn drop(&mut self) {
        self.0.0.follows.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Poller {
    pub fn following(&self) -> Following {
        self.0.follows.fetch_add(1, Ordering::Relaxed);
        Following(self.clone())
    }

    /// The service by `due`, `None` when there is none of this name.
    pub async fn service(
        &self,
        cluster: &str,
        service: &str,
        due: Instant,
        clients: &Clients,
    ) -> Result<Option<Value>, Failure> {
        let call = |names: Vec<String>| async move {
            self.spend(1);
            let reply = match clients.describe_services(json!({ "cluster": cluster, "services": names })).await {
                Ok(reply) => reply,
                Err(failure) if failure.is("ServiceNotFoundException") => return Ok(Found::new()),
                Err(failure) => return Err(failure),
            };
            Ok(named(list(&reply, "services"), &names, |service| text(service, "serviceName")))
        };
        let found = self.0.services.ask(cluster, vec![service.to_owned()], due, call).await?;
        Ok(found.into_values().next())
    }

    /// Those of these tasks, by id, that ECS still knows.
    pub async fn tasks(&self, cluster: &str, ids: Vec<String>, clients: &Clients) -> Result<Found, Failure> {
        let call = |names: Vec<String>| async move {
            self.spend(1);
            let reply = clients.describe_tasks(json!({ "cluster": cluster, "tasks": names })).await?;
            Ok(named(list(&reply, "tasks"), &names, |task| id(text(task, "taskArn"))))
        };
        let due = self.soon();
        let asked = ids.chunks(TASKS).map(|ids| self.0.tasks.ask(cluster, ids.to_vec(), due, call));
        Ok(futures_util::future::try_join_all(asked).await?.into_iter().flatten().collect())
    }

    pub async fn service_deployment(&self, arn: &str, clients: &Clients) -> Result<Option<Value>, Failure> {
        let call = |names: Vec<String>| async move {
            self.spend(1);
            let reply = clients.describe_service_deployments(json!({ "serviceDeploymentArns": names })).await?;
            Ok(named(list(&reply, "serviceDeployments"), &names, |found| text(found, "serviceDeploymentArn")))
        };
        let found = self.0.service_deployments.ask("", vec![arn.to_owned()], self.soon(), call).await?;
        Ok(found.into_values().next())
    }

    /// So many requests were sent.
    pub fn spend(&self, requests: usize) {
        self.allowance().spend(requests);
    }

    /// Whether there is room for what need not be asked.
    pub fn has_room(&self) -> bool {
        let follows = self.0.follows.load(Ordering::Relaxed);
        self.allowance().has_room(follows, Instant::now())
    }

    /// Now, or a little later where others may want to know, too.
    fn soon(&self) -> Instant {
        let alone = self.0.follows.load(Ordering::Relaxed) <= 1;
        Instant::now() + if alone { Duration::ZERO } else { TOGETHER }
    }

    fn allowance(&self) -> MutexGuard<'_, Allowance> {
        self.0.allowance.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A reply's entries by the names that were asked for. Of a single one the name is known.
fn named<'a>(entries: &'a [Value], asked: &[String], name: impl Fn(&'a Value) -> &'a str) -> Found {
    if let ([name], [entry]) = (asked, entries) {
        return Found::from([(name.clone(), entry.clone())]);
    }
    entries.iter().map(|entry| (name(entry).to_owned(), entry.clone())).collect()
}

/// What a follow may ask of AWS: a request a second, or a fifth of one each where many are followed, which is a hundredth
/// of what an account may ask of ECS for one kind of thing. The first looks may be closer.
#[derive(Debug, Clone, Copy)]
pub struct Allowance {
    requests: f64,
    at: Instant,
}

const BURST: f64 = 6.0;
/// What had to be asked is not held against the follow for longer than this many seconds.
const DEBT: f64 = 20.0;

impl Allowance {
    pub fn full(at: Instant) -> Self {
        Allowance { requests: BURST, at }
    }

    pub fn spend(&mut self, requests: usize) {
        self.requests = (self.requests - requests as f64).max(-DEBT);
    }

    pub fn has_room(&mut self, follows: usize, now: Instant) -> bool {
        let passed = now.saturating_duration_since(self.at).as_secs_f64();
        let rate = (follows as f64 / 5.0).max(1.0);
        self.requests = (self.requests + passed * rate).min(BURST.max(BURST / 5.0 * follows as f64));
        self.at = now;
        self.requests >= 1.0
    }
}

/// What can be expected of the next look.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Nearness {
    /// The end cannot come at once: tasks have yet to start.
    Far,
    /// Anything may end it.
    Near,
}

const FIRST: Duration = Duration::from_millis(100);
pub const FAR: Duration = Duration::from_secs(3);
const NEAR: Duration = Duration::from_millis(950);

/// From one look at the service to the next. A rollout that is over in a second is seen as soon as one that takes an
/// hour, in proportion; but near the end never later than a second after it happened.
pub fn gap(since_start: Duration, nearness: Nearness) -> Duration {
    let longest = match nearness {
        Nearness::Far => FAR,
        Nearness::Near => NEAR,
    };
    (since_start / 4).clamp(FIRST, longest)
}
