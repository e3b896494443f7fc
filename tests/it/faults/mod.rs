//! What can go wrong, and what must happen then: the list of `facts/faults.md`, a test or more for each case, named by its
//! number. Each looks at the final state and at the log of the requests. A section of the list is a module: unknown (10), push
//! (11 to 18), rollout (19 to 26), signals and interrupts (34 to 37), secrets (55 to 58); the other calls of AWS (1 to 9), going
//! back (27 to 33), input (38 to 45) and the lab (46 to 54) have their tests elsewhere until they come here.

mod cuts;
mod cutter;
mod interrupts;
mod mounts;
mod push;
mod rollout;
mod secrets;
mod signals;
mod unknown;

use std::path::Path;

/// The cases of the list that have to be here by now.
const CASES: [u32; 23] = [10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 26, 34, 36, 55, 56, 57, 58];

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
