//! SIGKILL right before a request, in the middle of it, and right after AWS has done it; then the same command again.

use std::time::{Duration, Instant};

use futures_util::stream::{self, StreamExt};
use serde_json::{Value, json};
use steadystate::aws::Clients;
use steadystate::aws::reply::list;
use steadystate::lab::ecs::instances::INSTANCE_MEMORY;
use tokio::sync::Mutex;

use super::proxy::{Point, Strike, When, counted};
use super::tally::Tally;
use super::world::{Ended, Site, State, World};
use super::{KILL, strikes};

/// Sites that are struck at side by side: most of the time they wait for rollouts.
const SIDE_BY_SIDE: usize = 4;

/// Kills a run at one point and runs it again. Says whether the point was reached.
async fn kill_and_repeat(site: &Site<'_>, arguments: &[&str], strike: &Strike) -> Result<(Ended, bool), String> {
    let killed = site.run(arguments, Some(strike.clone())).await;
    match killed.struck {
        true if killed.code.is_some() => return Err(format!("it was to be killed: {}", killed.stderr)),
        // how often it looks depends on how fast the rollout is
        false if killed.code != Some(0) || strike.at.writes() => {
            return Err(format!("not reached: {:?}: {}", counted(&killed.seen), killed.stderr));
        }
        _ => {}
    }
    let again = site.run(arguments, None).await;
    Ok((again.well()?, killed.struck))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_first_deploy() {
    let began = Instant::now();
    let world = World::start().await;
    let site = world.site("calm").await;
    let calm = site.deploy().await.well().unwrap();
    let wanted = |name: &str| State::undisturbed(name, 1, 1, calm.digest(), &["1", "latest"]);
    site.has(wanted("calm")).await.unwrap();
    let tally = Mutex::new(Tally::default());
    stream::iter(strikes(&calm.seen, KILL, 20).into_iter().enumerate())
        .for_each_concurrent(SIDE_BY_SIDE, async |(at, strike)| {
            let site = world.site(&format!("first-{at}")).await;
            let work = async {
                let (_, reached) = kill_and_repeat(&site, &["deploy"], &strike).await?;
                site.has(wanted(&site.name)).await.map(|()| reached)
            };
            let outcome = work.await;
            tally.lock().await.add(&strike, &site, outcome);
            site.retire().await;
        })
        .await;
    world.end().await;
    tally.into_inner().report("SIGKILL in a first deploy", began);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_update() {
    let began = Instant::now();
    let world = World::start().await;
    let site = world.site("calm").await;
    site.deploy().await.well().unwrap();
    site.page(2);
    let calm = site.deploy().await.well().unwrap();
    site.has(State::undisturbed("calm", 2, 2, calm.digest(), &["1", "latest"])).await.unwrap();
    let queue = Mutex::new(strikes(&calm.seen, KILL, 16));
    let tally = Mutex::new(Tally::default());
    stream::iter(0..SIDE_BY_SIDE)
        .for_each_concurrent(None, async |at| {
            let site = world.site(&format!("update-{at}")).await;
            site.deploy().await.well().unwrap();
            let mut revision = 1;
            while let Some(strike) = { queue.lock().await.pop() } {
                revision += 1;
                site.page(revision);
                let work = async {
                    let (again, reached) = kill_and_repeat(&site, &["deploy"], &strike).await?;
                    let digest = again.digest();
                    let wanted = State::undisturbed(&site.name, revision, revision, digest, &["1", "latest"]);
                    site.has(wanted).await.map(|()| reached)
                };
                let outcome = work.await;
                tally.lock().await.add(&strike, &site, outcome);
            }
            site.retire().await;
        })
        .await;
    world.end().await;
    tally.into_inner().report("SIGKILL in an update", began);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rollback() {
    let began = Instant::now();
    let world = World::start().await;
    let queue: Mutex<Option<Vec<Strike>>> = Mutex::default();
    let tally = Mutex::new(Tally::default());
    stream::iter(0..SIDE_BY_SIDE)
        .for_each_concurrent(None, async |at| {
            let site = world.site(&format!("back-{at}")).await;
            let mut digests = Vec::new();
            for release in [1, 2] {
                site.page(release);
                digests.push(site.deploy().await.well().unwrap().digest().to_owned());
            }
            let calm = site.run(&["rollback", "--to", "1"], None).await.well().unwrap();
            let wanted = |to: usize| State::undisturbed(&site.name, to, 2, &digests[to - 1], &["1", "latest"]);
            site.has(wanted(1)).await.unwrap();
            queue.lock().await.get_or_insert_with(|| strikes(&calm.seen, KILL, 12));
            let mut to = 1;
            while let Some(strike) = { queue.lock().await.as_mut().and_then(Vec::pop) } {
                to = 3 - to;
                let work = async {
                    let arguments = ["rollback", "--to", &to.to_string()];
                    let (_, reached) = kill_and_repeat(&site, &arguments, &strike).await?;
                    site.has(wanted(to)).await.map(|()| reached)
                };
                let outcome = work.await;
                tally.lock().await.add(&strike, &site, outcome);
            }
            site.retire().await;
        })
        .await;
    world.end().await;
    tally.into_inner().report("SIGKILL in a rollback", began);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rollback_to_the_release_before_goes_back_once() {
    let world = World::start().await;
    let site = world.site("once").await;
    let mut digests = Vec::new();
    let mut last = Value::Null;
    for release in 1..4 {
        site.page(release);
        last = site.deploy().await.well().unwrap().result;
        digests.push(last["digest"].as_str().unwrap().to_owned());
    }
    let at = Point { kind: "UpdateService".into(), nth: 1, large: false };
    let strike = Strike { at, when: When::Done, deed: KILL };
    // The rollback cannot place its task until the second run has been seen to follow it.
    let image = last["image"].as_str().unwrap();
    fill_instance(image, &world.clients).await;
    let killed = site.run(&["rollback"], Some(strike)).await;
    assert!(killed.struck && killed.code.is_none(), "{killed:?}");
    let followed = async {
        while site.proxy.seen().0.iter().filter(|point| point.kind == "DescribeServices").count() < 6 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        world.clients.delete_service(json!({ "service": FILLER, "force": true })).await.unwrap();
    };
    let (again, ()) = tokio::join!(site.run(&["rollback"], None), followed);
    again.well().unwrap();
    site.has(State::undisturbed("once", 2, 3, &digests[1], &["1", "latest"])).await.unwrap();
    world.end().await;
}

const FILLER: &str = "filler";

/// With the one task of a site beside it, the instance has no memory for another.
async fn fill_instance(image: &str, clients: &Clients) {
    let command = ["serve", "0.0.0.0:80", "ok"];
    let container = json!({ "name": FILLER, "image": image, "memory": INSTANCE_MEMORY - 16, "command": command });
    let input = json!({ "family": FILLER, "containerDefinitions": [container] });
    clients.register_task_definition(input).await.unwrap();
    let input = json!({ "serviceName": FILLER, "taskDefinition": FILLER, "desiredCount": 1, "launchType": "EC2" });
    clients.create_service(input).await.unwrap();
    let placed = || clients.list_tasks(json!({ "serviceName": FILLER }));
    while list(&placed().await.unwrap(), "taskArns").is_empty() {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}
