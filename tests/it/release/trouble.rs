//! Releases through trouble on demand: what passes is survived, and what does not leaves the service as it was.

use std::time::Duration;

use serde_json::{Value, json};
use steadystate::lab::lifecycle::{self, Options};

use super::{Bench, PATIENCE, get, text};

impl Bench {
    pub(crate) fn options(&self) -> Options {
        Options::new(self.folder.path().join("lab"))
    }

    pub(crate) async fn fault(&self, fault: Value) {
        // one that has just begun is known only once it answers
        self.clients().await.describe_clusters(json!({})).await.unwrap();
        let fault = serde_json::from_value(fault).unwrap();
        lifecycle::add_fault(&self.options(), &fault).await.unwrap();
    }

    /// Ends all faults; how often they struck.
    pub(crate) async fn clear(&self) -> u64 {
        let listed = lifecycle::list_faults(&self.options()).await.unwrap();
        lifecycle::clear_faults(&self.options(), &[]).await.unwrap();
        listed.as_array().unwrap().iter().map(|fault| fault["struck"].as_u64().unwrap()).sum()
    }

    pub(crate) async fn deployments(&self) -> usize {
        let asked =
            self.clients().await.list_service_deployments(json!({ "service": "web", "cluster": "default" })).await;
        asked.unwrap()["serviceDeployments"].as_array().unwrap().len()
    }

    /// Of all containers that run, in order, each once.
    pub(crate) async fn digests(&self) -> Vec<String> {
        let tasks = self.tasks("RUNNING").await;
        let containers = tasks.iter().flat_map(|task| task["containers"].as_array().unwrap());
        let mut digests: Vec<String> = containers.map(|one| text(one, "imageDigest").to_owned()).collect();
        digests.sort();
        digests.dedup();
        digests
    }

    pub(crate) async fn tasks(&self, desired_status: &str) -> Vec<Value> {
        let clients = self.clients().await;
        let asked = json!({ "serviceName": "web", "desiredStatus": desired_status });
        let arns = clients.list_tasks(asked).await.unwrap()["taskArns"].take();
        if arns == json!([]) {
            return Vec::new();
        }
        let tasks = clients.describe_tasks(json!({ "tasks": arns })).await.unwrap()["tasks"].take();
        tasks.as_array().unwrap().clone()
    }

    pub(crate) async fn events(&self) -> Vec<String> {
        let service = self.service().await;
        let events = service["events"].as_array().unwrap().iter();
        events.map(|event| text(event, "message").to_owned()).collect()
    }

    /// Waits for an event with these words.
    pub(crate) async fn until_event(&self, words: &str) {
        let seen = async {
            while !self.events().await.iter().any(|event| event.contains(words)) {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        if tokio::time::timeout(PATIENCE, seen).await.is_err() {
            panic!("never `{words}`: {:#?}", self.events().await);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_does_not_pass_leaves_the_service_as_it_was() {
    let bench = Bench::start().await;
    let url = text(&bench.deploy().await, "url").to_owned();
    let table = [
        (json!({ "on": "registry:PutManifest", "kind": "wrong-digest" }), 4),
        (json!({ "on": "registry:*", "kind": "expire-token" }), 4),
        (json!({ "on": "ecs:RegisterTaskDefinition", "kind": "error", "code": "ClientException" }), 2),
        (json!({ "on": "ecs:UpdateService", "kind": "error", "code": "AccessDeniedException" }), 1),
    ];
    for (at, (fault, code)) in table.into_iter().enumerate() {
        bench.page(&format!("never {at}"));
        let what = fault.to_string();
        bench.fault(fault).await;
        let run = bench.steady(&["deploy"]).await;
        assert_eq!(run.code, code, "{what}: {}", run.stderr);
        assert!(bench.clear().await > 0, "{what} struck nothing");
        assert_eq!((bench.deployments().await, get(&url).await.unwrap()), (1, "one".to_owned()), "{what}");
    }
    bench.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn capacity_is_lost_and_comes_back() {
    let bench = Bench::start().await;
    let url = text(&bench.deploy().await, "url").to_owned();
    let before = bench.tasks("RUNNING").await;
    bench.fault(json!({ "on": "scheduler:PlaceTask", "kind": "lose-capacity" })).await;
    bench
        .until_event("no container instance met all of its requirements. Reason: No Container Instances were found")
        .await;
    let stopped = bench.tasks("STOPPED").await;
    assert_eq!(stopped[0]["taskArn"], before[0]["taskArn"]);
    let reason = text(&stopped[0], "stoppedReason");
    assert!(reason.starts_with("Host EC2 (instance i-") && reason.ends_with(") terminated."), "{reason}");
    assert_eq!(stopped[0]["stopCode"], "TerminationNotice");
    let count = async || {
        let clusters = bench.clients().await.describe_clusters(json!({ "clusters": ["default"] })).await.unwrap();
        clusters["clusters"][0]["registeredContainerInstancesCount"].clone()
    };
    assert_eq!((bench.tasks("RUNNING").await.len(), count().await), (0, json!(0)));
    assert!(get(&url).await.is_err());

    bench.clear().await;
    let run = bench.steady(&["wait"]).await;
    assert_eq!(run.code, 0, "{}", run.stderr);
    let after = bench.tasks("RUNNING").await;
    assert_ne!(after[0]["containerInstanceArn"], before[0]["containerInstanceArn"], "it is another machine");
    assert_eq!((get(&url).await.unwrap(), count().await), ("one".to_owned(), json!(1)));

    // For a time, and then by itself.
    bench.fault(json!({ "on": "scheduler:PlaceTask", "kind": "lose-capacity", "for": "1s" })).await;
    while count().await != json!(1) || bench.tasks("RUNNING").await.iter().all(|task| task["lastStatus"] != "RUNNING") {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    bench.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn placement_fails_and_pulls_are_slow_until_they_are_not() {
    let bench = Bench::start().await;
    bench.fault(json!({ "on": "scheduler:PlaceTask", "kind": "fail-placement", "count": 3 })).await;
    bench.fault(json!({ "on": "scheduler:PullImage", "kind": "slow-pull", "for": "2s", "count": 1 })).await;
    bench.deploy().await;
    let closest = "no container instance met all of its requirements. The closest matching (container-instance ";
    let events = bench.events().await;
    let told = events.iter().filter(|event| event.contains(closest)).count();
    assert_eq!(told, 1, "{events:#?}");
    let task = bench.tasks("RUNNING").await.remove(0);
    let pulled = task["pullStoppedAt"].as_f64().unwrap() - task["pullStartedAt"].as_f64().unwrap();
    assert!(pulled >= 2.0, "{pulled} s");
    assert_eq!(bench.clear().await, 4);
    bench.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn targets_flap() {
    let bench = Bench::start().await;
    bench.deploy().await;
    bench.fault(json!({ "on": "balancer:CheckHealth", "kind": "flapping-health", "for": "60s" })).await;
    bench.until_event("due to (reason Health checks failed with these codes: [503]).").await;
    // its replacement is no better, and there is no room for one more
    bench.until_event("has stopped 1 running tasks: ").await;
    let stopped = bench.tasks("STOPPED").await;
    assert!(text(&stopped[0], "stoppedReason").starts_with("Task failed ELB health checks in (target-group arn:"));
    bench.clear().await;
    let run = bench.steady(&["wait"]).await;
    assert_eq!(run.code, 0, "{}", run.stderr);
    bench.end().await;
}
