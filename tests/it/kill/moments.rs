//! SIGKILL right before a request, in the middle of it, and right after AWS has done it; then the same command again.

use std::time::{Duration, Instant};

use futures_util::stream::{self, StreamExt};
use serde_json::{Value, json};
use steadystate::aws::Clients;
use steadystate::aws::reply::{list, text, texts};
use steadystate::lab::ecs::instances::INSTANCE_MEMORY;

use super::proxy::{Point, Strike, When, counted};
use super::tally::Round;
use super::world::{Ended, Site, State, World};
use super::{KILL, everywhere};

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
async fn case_37_a_first_deploy() {
    let began = Instant::now();
    let world = World::start().await;
    let site = world.site("calm").await;
    let calm = site.deploy().await.well().unwrap();
    let wanted = |name: &str| State::undisturbed(name, 1, 1, calm.digest(), &["1", "latest"]);
    site.has(wanted("calm")).await.unwrap();
    let round = Round::default();
    stream::iter(everywhere(&calm.seen, KILL).into_iter().enumerate())
        .for_each_concurrent(SIDE_BY_SIDE, async |(at, strike)| {
            let site = world.site(&format!("first-{at}")).await;
            let work = async {
                let (_, reached) = kill_and_repeat(&site, &["deploy"], &strike).await?;
                site.has(wanted(&site.name)).await.map(|()| reached)
            };
            round.tried(&strike, &site, work).await;
            site.retire().await;
        })
        .await;
    world.end().await;
    round.report("SIGKILL in a first deploy", began);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn case_37_an_update() {
    let began = Instant::now();
    let world = World::start().await;
    let site = world.site("calm").await;
    site.deploy().await.well().unwrap();
    site.page(2);
    let calm = site.deploy().await.well().unwrap();
    site.has(State::undisturbed("calm", 2, 2, calm.digest(), &["1", "latest"])).await.unwrap();
    let round = Round::default();
    round.has(|| everywhere(&calm.seen, KILL)).await;
    stream::iter(0..SIDE_BY_SIDE)
        .for_each_concurrent(None, async |at| {
            let site = world.site(&format!("update-{at}")).await;
            site.deploy().await.well().unwrap();
            let mut revision = 1;
            while let Some(strike) = round.next().await {
                revision += 1;
                site.page(revision);
                let work = async {
                    let (again, reached) = kill_and_repeat(&site, &["deploy"], &strike).await?;
                    let digest = again.digest();
                    let wanted = State::undisturbed(&site.name, revision, revision, digest, &["1", "latest"]);
                    site.has(wanted).await.map(|()| reached)
                };
                round.tried(&strike, &site, work).await;
            }
            site.retire().await;
        })
        .await;
    world.end().await;
    round.report("SIGKILL in an update", began);
}

const AROUND: &str = "rollout: { timeout: 5m }
    before: [{ name: migrate, task: { environment: { EXIT: \"0\" } } }]
    after: [{ name: smoke, task: { environment: { EXIT: \"0\" } } }]";

/// What runs before a release has run by its end, and what runs after it by the end of the second run.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn case_37_an_update_with_tasks_around_it() {
    let began = Instant::now();
    let world = World::start().await;
    let around = async |name: &str| {
        let site = world.site(name).await;
        let project = std::fs::read_to_string(site.folder.join("steady.yaml")).unwrap();
        site.write("steady.yaml", &project.replace("rollout: { timeout: 5m }", AROUND));
        site.deploy().await.well().unwrap();
        site
    };
    let site = around("calm").await;
    site.page(2);
    let calm = site.deploy().await.well().unwrap();
    assert_eq!(calm.seen.iter().filter(|point| point.kind == "RunTask").count(), 2);
    let new = ["RunTask", "ListTasks", "DescribeTasks", "GetLogEvents", "UpdateService"];
    let strikes = everywhere(&calm.seen, KILL).into_iter().filter(|strike| new.contains(&strike.at.kind.as_str()));
    let strikes: Vec<Strike> = strikes.collect();
    let round = Round::default();
    round.has(|| strikes).await;
    stream::iter(0..SIDE_BY_SIDE)
        .for_each_concurrent(None, async |at| {
            let site = around(&format!("around-{at}")).await;
            let mut revision = 1;
            while let Some(strike) = round.next().await {
                revision += 1;
                site.page(revision);
                let work = async {
                    let (again, reached) = kill_and_repeat(&site, &["deploy"], &strike).await?;
                    if again.result["after"][0]["name"] != "smoke" {
                        return Err(format!("nothing proves the release: {}", again.result));
                    }
                    let ran = jobs(&format!("{}:{revision}", site.name), &world.clients).await;
                    for word in ["before", "after"] {
                        let count = ran.iter().filter(|job| job.starts_with(&format!("steady/{word}/"))).count();
                        if !(1..=2).contains(&count) {
                            return Err(format!("{word} ran {count} times"));
                        }
                    }
                    let wanted = State::undisturbed(&site.name, revision, revision, again.digest(), &["1", "latest"]);
                    site.has(wanted).await.map(|()| reached)
                };
                round.tried(&strike, &site, work).await;
            }
            site.retire().await;
        })
        .await;
    world.end().await;
    round.report("SIGKILL in an update with tasks around it", began);
}

/// By what started them, the tasks of a revision that have ended and were of no service.
async fn jobs(revision: &str, clients: &Clients) -> Vec<String> {
    let stopped = clients.list_tasks(json!({ "desiredStatus": "STOPPED" })).await.unwrap();
    let mut jobs = Vec::new();
    for some in texts(&stopped, "taskArns").chunks(100) {
        let tasks = clients.describe_tasks(json!({ "tasks": some })).await.unwrap();
        let own = list(&tasks, "tasks").iter().filter(|task| text(task, "taskDefinitionArn").ends_with(revision));
        jobs.extend(own.map(|task| text(task, "startedBy").to_owned()).filter(|by| by.starts_with("steady/")));
    }
    jobs
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn case_37_a_rollback_to_a_revision() {
    let began = Instant::now();
    let world = World::start().await;
    let round = Round::default();
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
            round.has(|| everywhere(&calm.seen, KILL)).await;
            let mut to = 1;
            while let Some(strike) = round.next().await {
                to = 3 - to;
                let work = async {
                    let arguments = ["rollback", "--to", &to.to_string()];
                    let (_, reached) = kill_and_repeat(&site, &arguments, &strike).await?;
                    site.has(wanted(to)).await.map(|()| reached)
                };
                round.tried(&strike, &site, work).await;
            }
            site.retire().await;
        })
        .await;
    world.end().await;
    round.report("SIGKILL in a rollback", began);
}

/// What was registered and not deployed is taken by the next run.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn case_35_between_register_and_update_a_spare_revision_is_left_and_adopted() {
    let world = World::start().await;
    let site = world.site("spare").await;
    let first = site.deploy().await.well().unwrap();
    site.page(2);
    for (when, kind) in [(When::Done, "RegisterTaskDefinition"), (When::Before, "UpdateService")] {
        let at = Point { kind: kind.into(), nth: 1, large: false };
        let killed = site.run(&["deploy"], Some(Strike { at, when, deed: KILL })).await;
        assert!(killed.struck && killed.code.is_none(), "{killed:?}");
        site.has(State::undisturbed("spare", 1, 2, first.digest(), &["1", "latest"])).await.unwrap();
    }
    let again = site.deploy().await.well().unwrap();
    assert_eq!(again.result["revisionReused"], true);
    site.has(State::undisturbed("spare", 2, 2, again.digest(), &["1", "latest"])).await.unwrap();
    world.end().await;
}

/// Each time a new release goes before it; the way back is always to the first.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn case_37_a_rollback_to_the_release_before() {
    let began = Instant::now();
    let world = World::start().await;
    let round = Round::default();
    stream::iter(0..SIDE_BY_SIDE)
        .for_each_concurrent(None, async |at| {
            let site = world.site(&format!("before-{at}")).await;
            let first = site.deploy().await.well().unwrap();
            let mut release = 1;
            let mut next = async || {
                release += 1;
                site.page(release);
                site.deploy().await.well().unwrap();
                State::undisturbed(&site.name, 1, release, first.digest(), &["1", "latest"])
            };
            let wanted = next().await;
            let calm = site.run(&["rollback"], None).await.well().unwrap();
            site.has(wanted).await.unwrap();
            round.has(|| everywhere(&calm.seen, KILL)).await;
            while let Some(strike) = round.next().await {
                let wanted = next().await;
                let work = async {
                    let (_, reached) = kill_and_repeat(&site, &["rollback"], &strike).await?;
                    site.has(wanted).await.map(|()| reached)
                };
                round.tried(&strike, &site, work).await;
            }
            site.retire().await;
        })
        .await;
    world.end().await;
    round.report("SIGKILL in a rollback to the release before", began);
}

/// A deploy was killed once it had updated the service, and its tasks find no place: ECS takes it back.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn case_37_a_rollback_of_what_is_in_progress() {
    let began = Instant::now();
    let world = World::start().await;
    let round = Round::default();
    let mut sites = Vec::new();
    for at in 0..SIDE_BY_SIDE {
        let site = world.site(&format!("stuck-{at}")).await;
        let first = site.deploy().await.well().unwrap();
        sites.push((site, first.digest().to_owned()));
    }
    world.fault(json!({ "on": "scheduler:PlaceTask", "kind": "fail-placement" })).await;
    stream::iter(&sites)
        .for_each_concurrent(None, async |(site, digest)| {
            let mut release = 1;
            let mut stuck = async || {
                release += 1;
                site.page(release);
                let at = Point { kind: "UpdateService".into(), nth: 1, large: false };
                let killed = site.run(&["deploy"], Some(Strike { at, when: When::Done, deed: KILL })).await;
                assert!(killed.struck, "{killed:?}");
                State::undisturbed(&site.name, 1, release, digest, &["1", "latest"])
            };
            let wanted = stuck().await;
            let calm = site.run(&["rollback"], None).await.well().unwrap();
            assert_eq!(calm.result["action"], "stopped");
            site.has(wanted).await.unwrap();
            round.has(|| everywhere(&calm.seen, KILL)).await;
            while let Some(strike) = round.next().await {
                let wanted = stuck().await;
                let work = async {
                    let (_, reached) = kill_and_repeat(site, &["rollback"], &strike).await?;
                    site.has(wanted).await.map(|()| reached)
                };
                round.tried(&strike, site, work).await;
            }
        })
        .await;
    world.end().await;
    round.report("SIGKILL in a rollback of what is in progress", began);
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
