//! `steady` that dies at any moment, loses a reply, or runs twice at once: what is left, and what the same command
//! makes of it when it is run again.

mod ended;
mod moments;
pub mod proxy;
mod replies;
mod tally;
mod together;
mod world;

use std::collections::BTreeSet;

use rustix::process::Signal;

use proxy::{Deed, Point, Strike, When};

/// With this set, every point is tried and none left out.
const ALL: &str = "STEADY_TEST_ALL_POINTS";

/// A kind that is asked over and over while a rollout is followed is struck at in its first so many requests.
const POLLED: usize = 3;

const KILL: Deed = Deed::Signal(Signal::KILL);

/// Where to strike at a run that passed through these points, so that no request is left out: right after each, in the
/// middle of large ones, and before the first. What is asked over and over counts in its first so many requests.
fn everywhere(seen: &[Point], deed: Deed) -> Vec<Strike> {
    let all = std::env::var_os(ALL).is_some();
    let points: BTreeSet<&Point> = seen.iter().filter(|point| all || point.nth <= POLLED || point.writes()).collect();
    let first = seen.first().map(|first| Strike { at: first.clone(), when: When::Before, deed });
    let large = points.iter().filter(|point| point.large);
    let halfway = large.map(|point| Strike { at: (*point).clone(), when: When::Halfway, deed });
    let done = points.iter().map(|point| Strike { at: (*point).clone(), when: When::Done, deed });
    first.into_iter().chain(halfway).chain(done).collect()
}

/// Where to strike at a run that passed through these points: all writes, and reads evenly until there are `enough`.
fn strikes(seen: &[Point], deed: Deed, enough: usize) -> Vec<Strike> {
    let at = |when: When, at: &Point| Strike { at: at.clone(), when, deed };
    let points: BTreeSet<&Point> = seen.iter().filter(|point| point.writes() || point.nth <= POLLED).collect();
    let (writes, reads): (Vec<&Point>, Vec<&Point>) = points.into_iter().partition(|point| point.writes());
    let mut strikes: Vec<Strike> = Vec::new();
    for point in writes {
        strikes.extend([at(When::Before, point), at(When::Done, point)]);
        if point.large {
            strikes.push(at(When::Halfway, point));
        }
    }
    let reads: Vec<Strike> = reads.iter().flat_map(|point| [at(When::Before, point), at(When::Done, point)]).collect();
    let room = match std::env::var_os(ALL) {
        Some(_) => reads.len(),
        None => enough.saturating_sub(strikes.len()),
    };
    strikes.extend(evenly(reads, room));
    if std::env::var_os(ALL).is_none() {
        strikes = evenly(strikes, enough);
    }
    strikes
}

fn evenly<T>(all: Vec<T>, most: usize) -> Vec<T> {
    let count = all.len();
    let taken = |at: &usize| count <= most || (at * most) / count != ((at + 1) * most) / count;
    all.into_iter().enumerate().filter(|(at, _)| taken(at)).map(|(_, one)| one).collect()
}
