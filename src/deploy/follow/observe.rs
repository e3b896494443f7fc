//! A look at a service: its deployments, its tasks and its targets, in as few calls as AWS allows. The service is asked
//! each time; all else only when the service has news, when the end may have come, or when there is room for it.

use std::time::{Duration, Instant};

use serde_json::Value;

use super::known_tasks::{KnownTasks, Listing};
use super::poller::{FAR, Nearness, Poller};
use super::running;
use super::stage::Stage;
use super::steady::{Deployment, Observation, Ours, ServiceDeployment, Target, fits};
use super::targets::{groups, health};
use super::waits::Waits;
use crate::aws::reply::{list, millis, number, optional, text};
use crate::aws::{Clients, Failure};

/// Without news all is asked again after this long.
const HEARTBEAT: Duration = Duration::from_secs(15);

/// What to look at, and what was learnt about the endpoint meanwhile.
#[derive(Debug, Clone)]
pub struct Eye {
    pub cluster: String,
    pub service: String,
    pub service_deployment: Option<String>,
    /// The endpoint has no service deployments: it is not asked again.
    pub no_service_deployments: bool,
    /// The service deployment that was current before ours began: never taken for it.
    pub before: Option<String>,
    /// What the rollout waits for by itself.
    pub waits: Waits,
    poller: Poller,
    /// This role may not ask for the targets' health, or for tasks: these are not asked again.
    targets_denied: Option<Failure>,
    tasks_denied: Option<Failure>,
    appeared: bool,
    tasks: KnownTasks,
    known_images: running::Known,
    details: Option<Details>,
    /// The service deployment as it was just told, before anything else was asked.
    told: Option<ServiceDeployment>,
    looked_at: Option<Instant>,
    /// All new tasks run, which they did not before this.
    run_since: Option<Instant>,
    began: Instant,
}

/// What was seen beside the service, and when.
#[derive(Debug, Clone)]
struct Details {
    at: Instant,
    /// As the service was then.
    service: Value,
    failed: i64,
    record: Option<ServiceDeployment>,
    targets: Vec<Target>,
}

impl Eye {
    pub fn new(cluster: &str, service: &str, service_deployment: Option<String>) -> Self {
        Eye {
            cluster: cluster.to_owned(),
            service: service.to_owned(),
            service_deployment,
            no_service_deployments: false,
            before: None,
            waits: Waits::default(),
            poller: Poller::default(),
            targets_denied: None,
            tasks_denied: None,
            appeared: false,
            tasks: KnownTasks::default(),
            known_images: running::Known::default(),
            details: None,
            told: None,
            looked_at: None,
            run_since: None,
            began: Instant::now(),
        }
    }

    /// The same, which looks together with others of this process.
    pub fn sharing(self, poller: &Poller) -> Self {
        Eye { poller: poller.clone(), ..self }
    }

    pub fn poller(&self) -> &Poller {
        &self.poller
    }

    /// All there is to see, now: the observation, and the service as it came.
    pub async fn look(&mut self, deployment_id: &str, clients: &Clients) -> Result<(Observation, Value), Failure> {
        let service = self.poller.service(&self.cluster, &self.service, Instant::now(), clients).await?;
        let ours = Ours { deployment_id, ..Ours::default() };
        self.see(service.unwrap_or_default(), &ours, Some(Listing::All), clients).await
    }

    /// What is new by `due`.
    pub async fn glance(
        &mut self,
        ours: &Ours<'_>,
        due: Instant,
        clients: &Clients,
    ) -> Result<(Observation, Value), Failure> {
        let (service, listing) = match self.watched_record(ours, due, clients).await? {
            Some((None, unchanged)) => (Some(unchanged), None),
            changed => {
                self.told = changed.and_then(|(record, _)| record);
                let service = self.poller.service(&self.cluster, &self.service, due, clients).await?;
                (service, self.told.as_ref().map(|_| Listing::AsCounted))
            }
        };
        let service = service.unwrap_or_default();
        let listing = listing.or_else(|| self.worth(&service, ours));
        self.see(service, ours, listing, clients).await
    }

    /// While a completed deployment bakes, it is the service deployment that changes: it is asked instead of the service,
    /// which stays as it is while that goes on. `None` when it is not, or ECS knows it no longer; a record is one that changed.
    async fn watched_record(
        &self,
        ours: &Ours<'_>,
        due: Instant,
        clients: &Clients,
    ) -> Result<Option<(Option<ServiceDeployment>, Value)>, Failure> {
        let Some(details) = self.details.as_ref().filter(|details| details.at.elapsed() < FAR) else { return Ok(None) };
        let completed = crate::deploy::service::decide::primary(&details.service).is_some_and(|primary| {
            optional(primary, "rolloutState") == Some("COMPLETED") && text(primary, "id") == ours.deployment_id
        });
        let bakes = |record: &&ServiceDeployment| matches!(record.status.as_str(), "PENDING" | "IN_PROGRESS");
        let Some(record) = details.record.as_ref().filter(bakes).filter(|_| completed) else { return Ok(None) };
        tokio::time::sleep_until(due.into()).await;
        let now = self.poller.service_deployment(&record.arn, clients).await?.map(|found| service_deployment(&found));
        Ok(now.map(|now| (Some(now).filter(|now| now.status != record.status), details.service.clone())))
    }

    /// Whether to look at more than the service, and how closely.
    fn worth(&self, service: &Value, ours: &Ours<'_>) -> Option<Listing> {
        let deployments: Vec<Deployment> = list(service, "deployments").iter().map(deployment).collect();
        let own = deployments.iter().find(|one| one.id == ours.deployment_id && one.status == "PRIMARY");
        let Some(details) = &self.details else {
            // the events name the tasks of a deployment that goes on; counts tell whether all of them
            let goes_on = own.is_some_and(|own| own.goes_on() && own.failed == 0);
            return Some(if goes_on { Listing::AsCounted } else { Listing::All });
        };
        let age = details.at.elapsed();
        let news = details.service != *service;
        let room = || self.poller.has_room();
        match own.filter(|own| own.goes_on()) {
            Some(own) if own.failed > details.failed => Some(Listing::AndStopped),
            Some(_) if news && room() => Some(Listing::AsCounted),
            // without a rollout state the counts tell the end
            Some(own) if own.rollout_state.is_none() && own.running == own.desired && (age >= FAR || room()) => {
                Some(Listing::AsCounted)
            }
            Some(_) if shifts_traffic(service) && (age >= self.stages() || news) => Some(Listing::AsCounted),
            Some(_) if age >= HEARTBEAT && room() => Some(Listing::All),
            Some(_) => None,
            // it may have ended
            None if news || age >= FAR || room() => {
                let completed = own.is_some_and(|own| own.rollout_state.as_deref() == Some("COMPLETED"));
                Some(if completed { Listing::AsCounted } else { Listing::AndStopped })
            }
            None => None,
        }
    }

    /// How old the stage of a shift may be: in proportion, as stages are.
    fn stages(&self) -> Duration {
        (self.began.elapsed() / 10).clamp(Duration::from_millis(200), FAR)
    }

    async fn see(
        &mut self,
        service: Value,
        ours: &Ours<'_>,
        listing: Option<Listing>,
        clients: &Clients,
    ) -> Result<(Observation, Value), Failure> {
        let deployments: Vec<Deployment> = list(&service, "deployments").iter().map(deployment).collect();
        self.appeared |= deployments.iter().any(|deployment| deployment.id == ours.deployment_id);
        self.hear(&service, ours);
        if let Some(listing) = listing {
            let own = deployments.iter().find(|one| one.id == ours.deployment_id);
            // while tasks start and stop the service itself tells more
            let of_use = self.service_deployment.is_none()
                || own.is_none_or(|own| own.status != "PRIMARY" || !own.goes_on())
                || shifts_traffic(&service);
            let told = self.told.take();
            let arn = self.record_to_ask(&service, ours).filter(|_| of_use && told.is_none());
            let known = told.or_else(|| self.details.as_ref().and_then(|details| details.record.clone()));
            let asked = arn.is_some();
            let (record, targets, tasks) = tokio::join!(
                record(arn, &self.poller, clients),
                health(&service, own, self.targets_denied.as_ref(), &self.poller, clients),
                async {
                    if self.tasks_denied.is_some() {
                        return Ok(());
                    }
                    let of = (self.cluster.as_str(), self.service.as_str());
                    self.tasks.ask(of, listing, own, |task| fits(task, ours), (&self.poller, clients)).await
                },
            );
            let record = match record {
                Ok(_) if !asked => known,
                Ok(found) => {
                    self.service_deployment =
                        found.as_ref().map(|found| found.arn.clone()).or(self.service_deployment.take());
                    found
                }
                Err(failure) if is_missing(&failure) => {
                    self.no_service_deployments = true;
                    self.service_deployment = None;
                    None
                }
                Err(failure) => return Err(failure),
            };
            let targets = match targets {
                Err(failure) if failure.is_denied() => {
                    self.targets_denied = Some(failure);
                    Vec::new()
                }
                seen => seen?,
            };
            match tasks {
                Err(failure) if failure.is_denied() => self.tasks_denied = Some(failure),
                asked => asked?,
            }
            self.known_images.ask(self.tasks.all(), clients).await;
            let failed = own.map_or(0, |own| own.failed);
            self.details = Some(Details { at: Instant::now(), service: service.clone(), failed, record, targets });
        }
        let details = self.details.as_ref();
        let observation = Observation {
            service_status: text(&service, "status").to_owned(),
            desired: number(&service, "desiredCount"),
            running: number(&service, "runningCount"),
            pending: number(&service, "pendingCount"),
            deployments,
            appeared: self.appeared,
            events: list(&service, "events").iter().map(|event| text(event, "message").to_owned()).collect(),
            service_deployment: details.and_then(|details| details.record.clone()),
            tasks: self.tasks.all().cloned().collect(),
            tasks_denied: self.tasks_denied.clone(),
            targets: details.map_or_else(Vec::new, |details| details.targets.clone()),
            targets_denied: self.targets_denied.clone(),
            groups: groups(&service),
            images: self.known_images.clone(),
        };
        let own = observation.deployments.iter().find(|one| one.id == ours.deployment_id);
        self.run_since = match own {
            Some(own) if own.running >= own.desired => self.run_since.or(self.looked_at).or(Some(Instant::now())),
            _ => None,
        };
        self.looked_at = Some(Instant::now());
        Ok((observation, service))
    }

    /// What the service's events tell: tasks that started.
    fn hear(&mut self, service: &Value, ours: &Ours<'_>) {
        let own = list(service, "deployments").iter().find(|one| text(one, "id") == ours.deployment_id);
        let Some(own) = own else { return };
        self.tasks.hear(service, millis(own, "createdAt"));
    }

    /// Ours, or the service's current service deployment as long as ours is the PRIMARY deployment.
    fn record_to_ask(&self, service: &Value, ours: &Ours<'_>) -> Option<String> {
        if self.no_service_deployments {
            return None;
        }
        let primary = crate::deploy::service::decide::primary(service).map_or("", |primary| text(primary, "id"));
        let current = optional(service, "currentServiceDeployment");
        let current =
            current.filter(|current| primary == ours.deployment_id && self.before.as_deref() != Some(*current));
        self.service_deployment.clone().or(current.map(str::to_owned))
    }

    /// What the next look can expect.
    pub fn nearness(&self, seen: &Observation, ours: &Ours<'_>) -> Nearness {
        let own = seen.deployments.iter().find(|one| one.id == ours.deployment_id && one.status == "PRIMARY");
        let Some(own) = own.filter(|own| own.goes_on() && own.rollout_state.is_some()) else { return Nearness::Near };
        let failing = own.failed > 0 && own.failed + 2 >= i64::from(ours.fail_fast);
        if failing {
            return Nearness::Near;
        }
        if own.running < own.desired || own.pending > 0 {
            return Nearness::Far;
        }
        // Tasks that nobody checks count as healthy only after a while.
        let settled = self.waits.settles.zip(self.run_since).map(|(settles, since)| since + settles);
        let lasts = |until: Instant| Instant::now() + FAR <= until;
        if settled.is_some_and(lasts) {
            return Nearness::Far;
        }
        // How long old targets drain says little: ELB is done at once where no request is under way.
        Nearness::Near
    }
}

/// Traffic shifts by stages, which only the service deployment shows.
fn shifts_traffic(service: &Value) -> bool {
    optional(&service["deploymentConfiguration"], "strategy").is_some_and(|strategy| strategy != "ROLLING")
}

/// Roles that were made before there were service deployments may not read them: the rollout's state tells as well.
fn is_missing(failure: &Failure) -> bool {
    failure.is_unsupported() || failure.is_denied()
}

async fn record(arn: Option<String>, poller: &Poller, clients: &Clients) -> Result<Option<ServiceDeployment>, Failure> {
    let Some(arn) = arn else { return Ok(None) };
    Ok(poller.service_deployment(&arn, clients).await?.map(|found| service_deployment(&found)))
}

fn service_deployment(value: &Value) -> ServiceDeployment {
    ServiceDeployment {
        arn: text(value, "serviceDeploymentArn").to_owned(),
        status: text(value, "status").to_owned(),
        reason: text(value, "statusReason").to_owned(),
        stage: Stage::of(value),
    }
}

fn deployment(value: &Value) -> Deployment {
    Deployment {
        id: text(value, "id").to_owned(),
        status: text(value, "status").to_owned(),
        rollout_state: optional(value, "rolloutState").map(str::to_owned),
        reason: text(value, "rolloutStateReason").to_owned(),
        task_definition: text(value, "taskDefinition").to_owned(),
        desired: number(value, "desiredCount"),
        running: number(value, "runningCount"),
        pending: number(value, "pendingCount"),
        failed: number(value, "failedTasks"),
    }
}
