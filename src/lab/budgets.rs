//! Request budgets: how often an account may ask AWS in a region, and how often it was told to wait.
//!
//! The numbers are AWS's at every pace: clients live in real time.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use serde_json::{Value, json};

use super::faults::REGISTRY;
use super::pattern::matches;

/// One bucket: its service, the operations that share it, how much it holds and what comes in each second.
type Budget = (&'static str, &'static [&'static str], f64, f64);

/// The first that an operation matches is its own; operations without one are not limited.
/// ECS: <https://docs.aws.amazon.com/AmazonECS/latest/APIReference/request-throttling.html>
const BUDGETS: [Budget; 19] = [
    ("ecs", &["RegisterTaskDefinition", "DeregisterTaskDefinition"], 20.0, 1.0),
    ("ecs", &["DescribeTaskDefinition", "ListTaskDefinitions", "ListTaskDefinitionFamilies"], 50.0, 20.0),
    ("ecs", &["DeleteTaskDefinitions"], 5.0, 1.0),
    ("ecs", &["CreateService", "UpdateService", "DeleteService"], 50.0, 5.0),
    ("ecs", &["DescribeServices", "ListServices", "ListServicesByNamespace"], 100.0, 20.0),
    ("ecs", &["*ServiceDeployment", "*ServiceDeployments"], 50.0, 20.0),
    ("ecs", &["DescribeServiceRevisions"], 50.0, 20.0),
    ("ecs", &["DescribeTasks", "ListTasks"], 100.0, 20.0),
    ("ecs", &["RunTask", "StartTask", "StopTask", "ExecuteCommand"], 100.0, 40.0),
    ("ecs", &["DescribeClusters", "ListClusters"], 50.0, 20.0),
    ("ecr", &["PutImage"], 10.0, 10.0),
    ("ecr", &["InitiateLayerUpload"], 100.0, 100.0),
    ("ecr", &["CompleteLayerUpload"], 100.0, 100.0),
    ("ecr", &["UploadLayerPart"], 500.0, 500.0),
    ("ecr", &["BatchCheckLayerAvailability"], 1000.0, 1000.0),
    ("ecr", &["GetAuthorizationToken"], 500.0, 500.0),
    ("elbv2", &["Describe*"], 40.0, 10.0),
    ("elbv2", &["CreateLoadBalancer"], 10.0, 0.2),
    ("elbv2", &["*"], 20.0, 3.0),
];

/// The registry's requests are ECR's, under other names.
fn of_ecr(operation: &str) -> &str {
    match operation {
        "PutManifest" => "PutImage",
        "StartUpload" => "InitiateLayerUpload",
        "PatchUpload" => "UploadLayerPart",
        "PutUpload" => "CompleteLayerUpload",
        "HeadBlob" => "BatchCheckLayerAvailability",
        other => other,
    }
}

#[derive(Debug, Clone, Copy)]
struct Bucket {
    tokens: f64,
    /// Epoch milliseconds.
    filled_at: i64,
}

/// The buckets, and the count of what was answered.
#[derive(Debug, Default)]
pub struct Budgets {
    unlimited: bool,
    used: Mutex<Used>,
}

#[derive(Debug, Default)]
struct Used {
    buckets: BTreeMap<usize, Bucket>,
    answered: u64,
    throttled: BTreeMap<String, u64>,
}

impl Budgets {
    pub fn new(unlimited: bool) -> Budgets {
        Budgets { unlimited, used: Mutex::default() }
    }

    pub fn are_on(&self) -> bool {
        !self.unlimited
    }

    /// Takes from the budget for one request at `now` (epoch milliseconds). False when there is nothing left.
    pub fn take(&self, service: &str, operation: &str, now: i64) -> bool {
        let (service, operation) = if service == REGISTRY { ("ecr", of_ecr(operation)) } else { (service, operation) };
        let is_it = |(of, patterns, ..): &Budget| *of == service && patterns.iter().any(|one| matches(one, operation));
        let Some(at) = BUDGETS.iter().position(is_it).filter(|_| !self.unlimited) else { return true };
        let (_, _, most, refill) = BUDGETS[at];
        let mut used = self.lock();
        let bucket = used.buckets.entry(at).or_insert(Bucket { tokens: most, filled_at: now });
        let passed = now.saturating_sub(bucket.filled_at).max(0) as f64 / 1000.0;
        bucket.tokens = (bucket.tokens + passed * refill).min(most);
        bucket.filled_at = now;
        let enough = bucket.tokens >= 1.0;
        if enough {
            bucket.tokens -= 1.0;
        }
        enough
    }

    pub fn answered(&self) {
        self.lock().answered += 1;
    }

    pub fn throttled(&self, service: &str, operation: &str) {
        *self.lock().throttled.entry(format!("{service}:{operation}")).or_default() += 1;
    }

    /// For `lab status`.
    pub fn report(&self) -> Value {
        let used = self.lock();
        let throttled: Vec<Value> =
            used.throttled.iter().map(|(operation, count)| json!({ "operation": operation, "count": count })).collect();
        json!({
            "requestBudgets": !self.unlimited,
            "requests": used.answered,
            "throttles": used.throttled.values().sum::<u64>(),
            "throttled": throttled,
        })
    }

    fn lock(&self) -> MutexGuard<'_, Used> {
        self.used.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// How many of so many requests at one moment pass.
    fn pass(budgets: &Budgets, service: &str, operation: &str, requests: usize, now: i64) -> usize {
        (0..requests).filter(|_| budgets.take(service, operation, now)).count()
    }

    #[test]
    fn a_budget_is_spent_at_once_and_comes_back_in_time() {
        // Operation, burst, what comes back in a second and in ten minutes.
        let table = [
            ("ecs", "RegisterTaskDefinition", 20, 1, 20),
            ("ecs", "DescribeTaskDefinition", 50, 20, 50),
            ("ecs", "DeleteTaskDefinitions", 5, 1, 5),
            ("ecs", "UpdateService", 50, 5, 50),
            ("ecs", "DescribeServices", 100, 20, 100),
            ("ecs", "StopServiceDeployment", 50, 20, 50),
            ("ecs", "DescribeServiceRevisions", 50, 20, 50),
            ("ecs", "ListTasks", 100, 20, 100),
            ("ecs", "RunTask", 100, 40, 100),
            ("ecr", "PutImage", 10, 10, 10),
            ("registry", "PutManifest", 10, 10, 10),
            ("registry", "PatchUpload", 500, 500, 500),
            ("elbv2", "DescribeTargetHealth", 40, 10, 40),
            ("elbv2", "ModifyListener", 20, 3, 20),
            ("elbv2", "CreateLoadBalancer", 10, 0, 10),
        ];
        for (service, operation, burst, second, full) in table {
            let budgets = Budgets::default();
            let pass = |now| pass(&budgets, service, operation, 2000, now);
            assert_eq!([pass(0), pass(1000), pass(601_000)], [burst, second, full], "{service}:{operation}");
        }
    }

    #[test]
    fn operations_share_what_is_theirs_and_no_more() {
        let budgets = Budgets::default();
        assert_eq!(pass(&budgets, "ecs", "RegisterTaskDefinition", 12, 0), 12);
        assert_eq!(pass(&budgets, "ecs", "DeregisterTaskDefinition", 12, 0), 8);
        assert_eq!(pass(&budgets, "ecs", "UpdateService", 60, 0), 50);
        assert_eq!(pass(&budgets, "registry", "PutManifest", 6, 0), 6);
        assert_eq!(pass(&budgets, "ecr", "PutImage", 6, 0), 4);
        assert_eq!(pass(&budgets, "logs", "PutLogEvents", 5000, 0), 5000, "no budget is known");
        assert_eq!(pass(&Budgets::new(true), "ecs", "RegisterTaskDefinition", 5000, 0), 5000, "switched off");
        assert!(!budgets.take("ecs", "UpdateService", -5000), "a clock that goes back gives nothing");
    }
}
