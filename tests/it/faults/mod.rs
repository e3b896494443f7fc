//! What can go wrong, and what must happen then: the list of `facts/faults.md`, a test or more for each case, named by its
//! number. Each looks at the final state and at the log of the requests. A section of the list is a module: calls of AWS (1 to
//! 7), preflight (8, 9 and 33), unknown (10), push (11 to 18), rollout (19 to 26), the way back (27 to 32), signals and
//! interrupts (34 to 37), secrets (55 to 58); input (38 to 45) and the lab (46 to 54) have their tests elsewhere until they
//! come here.

mod aws;
mod cuts;
mod cutter;
mod diffs;
mod hang;
mod interrupts;
mod mounts;
mod preflight;
mod push;
mod rollback;
mod rollout;
mod secrets;
mod signals;
mod unknown;

use std::path::Path;

/// The cases of the list that have to be here by now.
const CASES: [u32; 41] = [
    1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 29, 30, 31, 32,
    33, 34, 35, 36, 37, 55, 56, 57, 58,
];

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
