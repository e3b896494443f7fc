//! What goes well: the first release, nothing new, the next, and back again.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use super::{Bench, get, text};

#[tokio::test(flavor = "multi_thread")]
async fn first_again_next_and_back() {
    let mut bench = Bench::start().await;
    let first = bench.deploy().await;
    assert_eq!((text(&first, "status"), text(&first, "action")), ("steady", "created"));
    let url = text(&first, "url").to_owned();
    assert_eq!(get(&url).await.unwrap(), "one");

    // Nothing new: no revision, no blob, no deployment.
    let blobs = bench.blobs();
    let run = bench.steady(&["deploy", "--output", "json", "--progress", "json"]).await;
    assert_eq!(run.code, 0, "{}", run.stderr);
    let again: serde_json::Value = serde_json::from_str(&run.stdout).unwrap();
    assert_eq!((text(&again, "action"), &again["revisionReused"]), ("unchanged", &true.into()));
    assert_eq!(again["deploymentId"], first["deploymentId"]);
    assert_eq!((bench.revisions().await, bench.blobs()), (1, blobs.clone()));
    assert!(run.stderr.contains(r#""state":"exists""#), "{}", run.stderr);
    assert!(!run.stderr.contains(r#""state":"pushed""#), "{}", run.stderr);

    // The next release, under requests.
    bench.page("two");
    let stop = Arc::new(AtomicBool::new(false));
    let loops: Vec<_> = (0..3).map(|_| tokio::spawn(requests(url.clone(), stop.clone()))).collect();
    let next = bench.deploy().await;
    assert_eq!((text(&next, "action"), bench.revisions().await), ("updated", 2));
    assert_eq!(next["previousTaskDefinition"], first["taskDefinition"]);
    assert_ne!(next["digest"], first["digest"]);
    assert_eq!(get(&url).await.unwrap(), "two");
    // The new page and the manifest, which names them; the program was there.
    assert_eq!(bench.blobs().len(), blobs.len() + 3);

    let back = bench.good(&["rollback"]).await;
    assert_eq!((&back["digest"], &back["taskDefinition"]), (&first["digest"], &first["taskDefinition"]));
    assert_eq!(get(&url).await.unwrap(), "one");
    let to = bench.good(&["rollback", "--to", "2"]).await;
    assert_eq!((&to["digest"], &to["taskDefinition"]), (&next["digest"], &next["taskDefinition"]));
    assert_eq!(get(&url).await.unwrap(), "two");
    stop.store(true, Ordering::Relaxed);
    for served in loops {
        let (count, failures) = served.await.unwrap();
        assert_eq!(failures, Vec::<String>::new(), "{count} requests");
        assert!(count > 10, "only {count} requests");
    }
    assert_eq!(bench.revisions().await, 2, "going back registers nothing");

    // Another life of the lab.
    let before = bench.good(&["status"]).await;
    bench.restart().await;
    let after = bench.good(&["wait"]).await;
    assert_eq!(after["url"], before["url"]);
    assert_eq!(get(&url).await.unwrap(), "two");
    let after = bench.good(&["status"]).await;
    for member in ["status", "url", "digest", "deploymentId", "taskDefinition", "runningCount", "desiredCount"] {
        assert_eq!(after[member], before[member], "{member}");
    }
    bench.end().await;
}

/// Requests without a pause until told to stop: how many, and those that failed.
async fn requests(url: String, stop: Arc<AtomicBool>) -> (usize, Vec<String>) {
    let (mut count, mut failures) = (0, Vec::new());
    while !stop.load(Ordering::Relaxed) {
        count += 1;
        match get(&url).await {
            Ok(page) if page == "one" || page == "two" => {}
            Ok(page) => failures.push(format!("another page: {page}")),
            Err(error) => failures.push(error),
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    (count, failures)
}
