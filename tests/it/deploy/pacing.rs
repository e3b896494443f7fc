//! How often AWS is asked: fast where things are fast, within a request a second where they take long.

use std::time::{Duration, Instant};

use steadystate::deploy::follow::poller::{Allowance, Nearness, gap};

/// Looks at a rollout that is far from its end for so long, and then near it.
fn looks(far: Duration, near: Duration) -> u32 {
    let (mut at, mut looks) = (Duration::ZERO, 0);
    while at < far + near {
        looks += 1;
        at += gap(at, if at < far { Nearness::Far } else { Nearness::Near });
    }
    looks
}

#[test]
fn near_the_end_a_second_is_the_longest_and_far_from_it_three() {
    for seconds in [0, 1, 5, 60, 3600, 86_400] {
        let since = Duration::from_secs(seconds);
        assert!(gap(since, Nearness::Near) < Duration::from_secs(1));
        assert!(gap(since, Nearness::Far) <= Duration::from_secs(3));
        assert!(gap(since, Nearness::Near) <= gap(since, Nearness::Far));
    }
    // a lab's rollout is not seen later than it takes
    assert!(gap(Duration::ZERO, Nearness::Far) <= Duration::from_millis(100));
    assert!(gap(Duration::from_secs(1), Nearness::Far) <= Duration::from_millis(250));
}

#[test]
fn the_looks_alone_leave_room_within_a_request_a_second() {
    for (far, near) in [(50, 10), (120, 60), (600, 30)] {
        let looks = looks(Duration::from_secs(far), Duration::from_secs(near));
        assert!(u64::from(looks) < far + near, "{looks} looks in {} s", far + near);
    }
}

#[test]
fn what_need_not_be_asked_is_asked_within_the_allowance() {
    let start = Instant::now();
    for (follows, seconds) in [(1, 600), (4, 600), (50, 600)] {
        let mut allowance = Allowance::full(start);
        let mut asked = 0;
        for tenth in 0..seconds * 10 {
            if allowance.has_room(follows, start + Duration::from_millis(100 * tenth)) {
                allowance.spend(1);
                asked += 1;
            }
        }
        let rate = f64::from(asked) / seconds as f64 / follows as f64;
        let most = if follows == 50 { 0.21 } else { 1.06 };
        assert!(rate <= most, "{rate} requests a second for each of {follows}");
        assert!(rate > most / 6.0, "{rate}: nothing is asked any more");
    }
}
