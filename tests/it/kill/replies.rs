//! A connection that ends before AWS gets a request, or before `steady` gets the reply: the same run goes on, and
//! nothing is made twice.

use std::time::Instant;

use futures_util::stream::{self, StreamExt};
use tokio::sync::Mutex;

use super::proxy::{Deed, Point, Strike, When, counted};
use super::tally::Tally;
use super::world::{Ended, Site, State, World};
use super::{evenly, strikes};

const SIDE_BY_SIDE: usize = 4;

async fn lose(site: &Site<'_>, arguments: &[&str], strike: &Strike) -> Result<Ended, String> {
    let ended = site.run(arguments, Some(strike.clone())).await.well()?;
    match ended.struck {
        true => Ok(ended),
        false => Err(format!("not reached: {:?}", counted(&ended.seen))),
    }
}

/// Every write without its reply, and `enough` that did not reach AWS.
fn losses(seen: &[Point], enough: usize) -> Vec<Strike> {
    let writes: Vec<Point> = seen.iter().filter(|point| point.writes()).cloned().collect();
    let (lost, unsent): (Vec<Strike>, Vec<Strike>) = strikes(&writes, Deed::Lose, usize::MAX)
        .into_iter()
        .filter(|strike| strike.when != When::Halfway)
        .partition(|strike| strike.when == When::Done);
    lost.into_iter().chain(evenly(unsent, enough)).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_a_first_deploy() {
    let began = Instant::now();
    let world = World::start().await;
    let site = world.site("calm").await;
    let calm = site.deploy().await.well().unwrap();
    let tally = Mutex::new(Tally::default());
    stream::iter(losses(&calm.seen, 4).into_iter().enumerate())
        .for_each_concurrent(SIDE_BY_SIDE, async |(at, strike)| {
            let site = world.site(&format!("lost-{at}")).await;
            let work = async {
                lose(&site, &["deploy"], &strike).await?;
                let wanted = State::undisturbed(&site.name, 1, 1, calm.digest(), &["1", "latest"]);
                site.has(wanted).await.map(|()| true)
            };
            let outcome = work.await;
            tally.lock().await.add(&strike, &site, outcome);
            site.retire().await;
        })
        .await;
    world.end().await;
    tally.into_inner().report("replies lost in a first deploy", began);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_an_update_and_a_rollback() {
    let began = Instant::now();
    let world = World::start().await;
    let site = world.site("later").await;
    site.deploy().await.well().unwrap();
    site.page(2);
    let second = site.deploy().await.well().unwrap();
    let mut tally = Tally::default();
    let mut revision = 2;
    for strike in losses(&second.seen, 2) {
        revision += 1;
        site.page(revision);
        let work = async {
            let ended = lose(&site, &["deploy"], &strike).await?;
            let wanted = State::undisturbed("later", revision, revision, ended.digest(), &["1", "latest"]);
            site.has(wanted).await.map(|()| true)
        };
        tally.add(&strike, &site, work.await);
    }
    let calm = site.run(&["rollback", "--to", "2"], None).await.well().unwrap();
    for strike in losses(&calm.seen, 2) {
        site.run(&["rollback", "--to", "1"], None).await.well().unwrap();
        let work = async {
            lose(&site, &["rollback", "--to", "2"], &strike).await?;
            site.has(State::undisturbed("later", 2, revision, second.digest(), &["1", "latest"])).await.map(|()| true)
        };
        tally.add(&strike, &site, work.await);
    }
    world.end().await;
    tally.report("replies lost in updates and rollbacks", began);
}
