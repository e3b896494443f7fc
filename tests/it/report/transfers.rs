//! How far the blobs are: one by one at any width, and all together.

use std::time::Duration;

use steadystate::report::transfers::{Transfers, line};

use super::*;

const MIB: u64 = 1 << 20;

fn digest(number: usize) -> String {
    format!("sha256:{number:064x}")
}

fn seconds(seconds: f64) -> Duration {
    Duration::from_secs_f64(seconds)
}

#[test]
fn a_blob_is_one_line_at_any_width() {
    let mut transfers = Transfers::default();
    let name = format!("sha256:{}", "a".repeat(64));
    transfers.note(&name, 200 * MIB, 110 * MIB, BlobState::Uploading, Duration::ZERO);
    let blob = transfers.moving().next().unwrap();
    for (width, unicode, expected) in [
        (120, true, "              aaaaaaaaaaaa compressing [━━━━━━━━━━━━━━━╸            ]  55 %  200.0 MiB"),
        (80, true, "              aaaaaaaaaaaa compressing [━━━━━━━━━━━━╸         ]  55 %  200.0 MiB"),
        (80, false, "              aaaaaaaaaaaa compressing [============>         ]  55 %  200.0 MiB"),
        (60, true, "aaaaaaaaaaaa compressing  55 %  200.0 MiB"),
        (40, true, "aaaaaaaaaaaa compressing  55 %"),
        (20, true, "aaaaaaaaaaaa  55 %"),
        (12, true, "aaaaaaaaaaaa"),
        (5, true, ""),
    ] {
        assert_eq!(line(blob, "compressing", width, unicode), expected, "{width}");
    }
    for width in 0..200 {
        for state in ["uploading", "downloading"] {
            let line = line(blob, state, width, true);
            assert!(line.chars().count() <= width, "{width}: {line}");
        }
    }
}

#[test]
fn sizes_that_make_no_sense_do_no_harm() {
    let mut transfers = Transfers::default();
    for (size, sent) in [(0, 0), (0, 7), (3, 900), (u64::MAX, u64::MAX / 3)] {
        transfers.note("sha256:\u{1b}]0;", size, sent, BlobState::Uploading, seconds(2.0));
        let blob = transfers.moving().next().unwrap();
        assert!(!line(blob, "uploading", 80, true).contains('\u{1b}'));
        transfers.note(&digest(1), u64::MAX, u64::MAX, BlobState::Pushed, seconds(2.0));
        transfers.so_far(seconds(5.0));
        transfers.summary("pushed");
    }
}

#[test]
fn what_is_abandoned_is_not_counted() {
    let mut transfers = Transfers::default();
    for (number, state) in [(1, BlobState::Pushed), (2, BlobState::Compressing), (3, BlobState::Exists)] {
        transfers.note(&digest(number), MIB, MIB, state, Duration::ZERO);
    }
    transfers.note(&digest(2), 0, 0, BlobState::Abandoned, Duration::ZERO);
    transfers.note(&digest(9), 0, 0, BlobState::Abandoned, Duration::ZERO);
    assert_eq!(transfers.moving().count(), 0);
    // Those that came after it are still known by their places.
    transfers.note(&digest(3), MIB, 0, BlobState::Mounted, Duration::ZERO);
    assert_eq!(transfers.summary("pushed").unwrap(), "2 blobs: 1 mounted, 1 pushed (1.0 MiB of 2.0 MiB)");
}

#[test]
fn the_estimate_holds_still() {
    let mut transfers = Transfers::default();
    for number in 0..4 {
        transfers.note(&digest(number), 100 * MIB, 0, BlobState::Checking, Duration::ZERO);
    }
    assert_eq!(transfers.so_far(Duration::ZERO), "0 of 4 blobs, 0 B of 400.0 MiB");
    // Two at once, in bursts: nothing in one tenth of a second, two in the next.
    let mut lefts = Vec::new();
    for tick in 0..=200_u64 {
        let at = seconds(tick as f64 / 10.0);
        for number in 0..2 {
            transfers.note(&digest(number), 100 * MIB, tick / 2 * MIB, BlobState::Uploading, at);
        }
        let text = transfers.so_far(at);
        if tick >= 20
            && let Some((_, left)) = text.rsplit_once("MiB/s, ")
        {
            lefts.push(left.to_owned());
        }
    }
    let text = transfers.so_far(seconds(20.0));
    assert!(text.starts_with("0 of 4 blobs, 200.0 MiB of 400.0 MiB, 10."), "{text}");
    lefts.dedup();
    assert_eq!(lefts, ["40s left", "35s left", "30s left", "25s left", "20s left"]);
    // Nothing moves any more: slower from second to second, and never a wrong number.
    assert!(transfers.so_far(seconds(24.0)).ends_with("MiB/s, 30s left"), "{}", transfers.so_far(seconds(24.0)));
    // What is there already needs no time, and what begins anew is not counted twice.
    for number in [2, 3] {
        transfers.note(&digest(number), 100 * MIB, 0, BlobState::Exists, seconds(25.0));
    }
    transfers.note(&digest(0), 100 * MIB, 0, BlobState::Uploading, seconds(25.0));
    assert!(transfers.so_far(seconds(25.0)).starts_with("2 of 4 blobs, 100.0 MiB of 200.0 MiB, "));
}

#[test]
fn what_was_sent_is_said_at_the_end() {
    type Blobs<'a> = &'a [(u64, BlobState)];
    let table: [(Blobs<'_>, Option<&str>); 6] = [
        (&[], None),
        (&[(9, BlobState::Checking)], None),
        (&[(9, BlobState::Pushed)], Some("1 blob: 1 pushed (9 B of 9 B)")),
        (&[(9, BlobState::Exists), (3, BlobState::Exists)], Some("2 blobs: 2 exist (12 B)")),
        (&[(9, BlobState::Exists), (3, BlobState::Pushed)], Some("2 blobs: 1 exists, 1 pushed (3 B of 12 B)")),
        (&[(9, BlobState::Mounted)], Some("1 blob: 1 mounted (9 B)")),
    ];
    for (blobs, expected) in table {
        let mut transfers = Transfers::default();
        for (number, (size, state)) in blobs.iter().enumerate() {
            transfers.note(&digest(number), *size, *size, *state, Duration::ZERO);
        }
        assert_eq!(transfers.summary("pushed").as_deref(), expected);
    }
    // A layer that was compressed on its way has taken what it was compressed to.
    let mut transfers = Transfers::default();
    transfers.note(&digest(1), 300, 300, BlobState::Compressing, Duration::ZERO);
    assert!(transfers.note(&digest(1), 100, 100, BlobState::Pushed, Duration::ZERO));
    assert!(!transfers.note(&digest(1), 100, 100, BlobState::Exists, Duration::ZERO), "it was done before");
    assert_eq!(transfers.summary("pushed").as_deref(), Some("1 blob: 1 exists (100 B)"));
}

#[test]
fn many_layers_are_few_lines() {
    let event = |number: usize, size, sent, state| Event::Blob { digest: digest(number), size, sent, state };
    let large = 100 * MIB;
    let mut events = vec![started(Step::Push)];
    events.extend((0..40).map(|number| event(number, MIB, 0, BlobState::Checking)));
    events.extend((0..38).map(|number| event(number, MIB, MIB, BlobState::Exists)));
    events.push(event(38, MIB, MIB, BlobState::Pushed));
    events.extend((0..=100).map(|sent| event(39, large, sent * MIB, BlobState::Compressing)));
    events.push(event(39, large, large, BlobState::Uploading));
    events.push(event(39, 80 * MIB, 80 * MIB, BlobState::Pushed));
    events.push(finished(Step::Push, "", 9));
    insta::assert_snapshot!(shown(&events, PLAIN), @"
    push          started
    push          000000000000 compressing, 0 % of 100.0 MiB
    push          000000000000 compressing, 25 % of 100.0 MiB
    push          000000000000 compressing, 50 % of 100.0 MiB
    push          000000000000 compressing, 75 % of 100.0 MiB
    push          000000000000 pushed, 80.0 MiB
    push          40 blobs: 38 exist, 2 pushed (81.0 MiB of 119.0 MiB)
    push          done in 9ms
    ");
}

#[test]
fn the_time_that_is_left_is_as_exact_as_it_can_be() {
    for (seconds, expected) in [
        (0, "1s"),
        (9, "9s"),
        (11, "15s"),
        (58, "1m00s"),
        (61, "1m15s"),
        (599, "10m00s"),
        (601, "11m"),
        (35_999, "600m"),
        (36_001, "11h"),
    ] {
        assert_eq!(words::about(seconds), expected, "{seconds}");
    }
}
