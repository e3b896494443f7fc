//! What can go wrong, and what must happen then: the list of `facts/faults.md`, a test or more for each case, named by its
//! number. Each looks at the final state and at the log of the requests. A section of the list is a module: calls of AWS (1 to
//! 7), preflight (8, 9 and 33), unknown (10), push (11 to 18), rollout (19 to 26), the way back (27 to 32), signals and
//! interrupts (34 to 37), input (38 to 45), the lab (layers 46 to 50, lab 51 to 54), secrets (55 to 58).

mod aws;
mod cuts;
mod cutter;
mod diffs;
mod hang;
mod input;
mod interrupts;
mod lab;
mod layers;
mod mounts;
mod preflight;
mod push;
mod rollback;
mod rollout;
mod secrets;
mod signals;
mod unknown;

use std::path::Path;

/// The cases of the list.
const CASES: std::ops::RangeInclusive<u32> = 1..=58;

#[test]
fn the_list_is_complete() {
    let tests = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it");
    // A kill after every request is a module of its own.
    let folders = ["faults", "kill"].into_iter().flat_map(|folder| std::fs::read_dir(tests.join(folder)).unwrap());
    let sources: Vec<String> = folders.map(|entry| std::fs::read_to_string(entry.unwrap().path()).unwrap()).collect();
    for case in CASES {
        let name = format!("fn case_{case:02}_");
        assert!(sources.iter().any(|source| source.contains(&name)), "no test begins with `{name}`");
    }
}
