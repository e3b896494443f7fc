//! What can go wrong, and what must happen then: the list of `facts/faults.md`, a test or more for each case, named by its
//! number. Each looks at the final state and at the log of the requests. A section of the list is a module: push (11 to 18),
//! signals (34 to 37), input (38 to 45), the lab (layers 46 to 50, lab 51 to 54), secrets (55 to 58); calls of AWS (1 to 10)
//! and rollout (19 to 33) have their tests elsewhere until they come here.

mod cuts;
mod cutter;
mod input;
mod lab;
mod layers;
mod mounts;
mod push;
mod secrets;
mod signals;

use std::path::Path;

/// The cases of the list that have to be here by now.
const CASES: [u32; 30] = [
    11, 12, 13, 14, 15, 16, 17, 18, 34, 38, 39, 40, 41, 42, 43, 44, 45, 46, 47, 48, 49, 50, 51, 52, 53, 54, 55, 56, 57,
    58,
];

#[test]
fn the_list_is_complete() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/faults");
    let sources: Vec<String> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| std::fs::read_to_string(entry.unwrap().path()).unwrap())
        .collect();
    for case in CASES {
        let name = format!("fn case_{case}_");
        assert!(sources.iter().any(|source| source.contains(&name)), "no test begins with `{name}`");
    }
}
