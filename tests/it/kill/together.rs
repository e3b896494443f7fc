//! Two runs of the same command at once.

use steadystate::aws::reply::id;

use super::world::{Ended, Site, State, World};

/// 0, or a word about the other: superseded, in progress.
const MAY_END: [Option<i32>; 3] = [Some(0), Some(7), Some(8)];

async fn both(site: &Site<'_>, one: &[&str], other: &[&str]) -> [Ended; 2] {
    let (one, other) = tokio::join!(site.run(one, None), site.run(other, None));
    for ended in [&one, &other] {
        assert!(MAY_END.contains(&ended.code), "{}: {:?}: {}", site.name, ended.code, ended.stderr);
    }
    assert!(one.code == Some(0) || other.code == Some(0), "{}: neither got there: {}", site.name, one.stderr);
    [one, other]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_deploys_of_the_same_input_make_one_revision() {
    let world = World::start().await;
    for round in 0..2 {
        let site = world.site(&format!("twins-{round}")).await;
        // a number may be missing: one that was taken back
        let mut revisions = Vec::new();
        for release in 1..4 {
            site.page(release);
            both(&site, &["deploy"], &["deploy"]).await;
            let again = site.deploy().await.well().unwrap();
            let running = id(again.result["taskDefinition"].as_str().unwrap()).to_owned();
            revisions.push(running.clone());
            let wanted = State::running(running, revisions.clone(), again.digest(), &["1", "latest"]);
            site.has(wanted).await.unwrap();
        }
        site.retire().await;
    }
    world.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_first_deploys_of_different_input_make_one_service() {
    let world = World::start().await;
    for round in 0..2 {
        let site = world.site(&format!("rivals-{round}")).await;
        both(&site, &["deploy"], &["deploy", "--desired-count", "2"]).await;
        let again = site.deploy().await.well().unwrap();
        site.has(State::undisturbed(&site.name, 1, 1, again.digest(), &["1", "latest"])).await.unwrap();
        site.retire().await;
    }
    world.end().await;
}
