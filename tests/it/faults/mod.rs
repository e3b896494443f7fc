//! What can go wrong, and what must happen then: the list of `facts/faults.md`, a test or more for each case, named by its
//! number. Each looks at the final state and at the log of the requests. A section of the list is a module: preflight (8, 9
//! and 33), push (11 to 18), signals (34 to 37), secrets (55 to 58); calls of AWS (1 to 10), rollout (19 to 33), input (38 to
//! 45) and the lab (46 to 54) have their tests elsewhere until they come here.

mod cuts;
mod cutter;
mod mounts;
mod preflight;
mod push;
mod secrets;
mod signals;

use std::path::Path;

/// The cases of the list that have to be here by now.
const CASES: [u32; 16] = [8, 9, 11, 12, 13, 14, 15, 16, 17, 18, 33, 34, 55, 56, 57, 58];

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
