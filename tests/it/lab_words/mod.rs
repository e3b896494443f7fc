//! Each text that `facts/lab.md` has of AWS, caused for real: real containers, a real load balancer, real requests.
//!
//! [`facts`] is the list. Each cause names the texts that have to come of it; nothing on the list may be left over, and
//! nothing may be said that is on no list.

mod capacity;
pub(crate) mod facts;
mod services;
pub(crate) mod stage;
mod tasks;

use std::collections::BTreeSet;

use facts::{OTHERS, Where, matches};
use stage::Stage;

use crate::rehearsal::figures;

#[tokio::test(flavor = "multi_thread")]
async fn every_text_of_the_facts_is_caused() {
    let stage = Stage::start().await;
    // At once, as most of each is waiting.
    tokio::join!(
        services::a_service_rolls_scales_and_goes_back_on_request(&stage),
        services::an_image_that_is_not_there_trips_the_circuit_breaker(&stage),
        services::without_a_release_before_there_is_nothing_to_go_back_to(&stage),
        services::container_health_checks_fail(&stage),
        services::targets_answer_503_or_nothing(&stage),
        services::there_is_no_room(&stage),
        services::an_alarm_goes_off(&stage),
        capacity::spot_tasks_are_interrupted(&stage),
        tasks::tasks_stop(&stage),
        tasks::requests_are_refused(&stage),
    );
    services::what_passes_soon_is_said_too(&stage);
    services::there_are_no_instances(&stage);
    // The other causes need what it takes away.
    capacity::instances_are_lost(&stage).await;
    let (seen, mut caused) = stage.end().await;

    // Where cgroups cannot be written no limit can be held, and the lab says so.
    let oom = (Where::Container, "137: OutOfMemoryError: Container killed due to memory usage".to_owned());
    if !tasks::memory_is_limited() {
        caused.insert(oom);
    }
    let facts: BTreeSet<(Where, String)> = facts::facts().into_iter().collect();
    let left: Vec<_> = facts.difference(&caused).collect();
    assert!(left.is_empty(), "not caused: {left:#?}");
    let unknown: Vec<_> = seen
        .iter()
        .filter(|(place, text)| {
            let known = facts.iter().map(|(of, pattern)| (*of, pattern.as_str())).chain(OTHERS.iter().copied());
            { known }.all(|(of, pattern)| of != *place || !matches(pattern, text))
        })
        .collect();
    assert!(unknown.is_empty(), "nothing of this is known: {unknown:#?}");
    figures(&format!("{} texts of AWS's caused; {} different ones were seen", facts.len(), seen.len()));
}
