//! What a deploy would change: nothing right after one, and each thing that is changed. Task definitions as people have
//! them are in `tests/fixtures/task-definitions`, the members of their services beside them in `services`.

mod account;
mod command;
mod examples;
mod members;
mod shapes;
mod shown;

pub use shown::lines;

use std::path::PathBuf;

use serde_json::Value;
use steadystate::document::{TaskDefinitionOptions, task_definition};
use steadystate::error::SourceText;

fn folder(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(name)
}

/// The names of all fixtures.
fn shapes() -> Vec<String> {
    let entries = std::fs::read_dir(folder("task-definitions")).unwrap();
    let mut names: Vec<String> =
        entries.map(|entry| entry.unwrap().path().file_stem().unwrap().to_str().unwrap().to_owned()).collect();
    names.sort();
    assert!(names.len() > 20, "{names:?}");
    names
}

/// What would be registered of a fixture.
fn input(name: &str) -> Value {
    let text = std::fs::read_to_string(folder("task-definitions").join(format!("{name}.json"))).unwrap();
    let options = TaskDefinitionOptions { allow_unknown_fields: false, default_family: name, image: None };
    let checked = task_definition(&SourceText::new(name, text), options);
    checked.unwrap_or_else(|error| panic!("{name}: {error:?}")).value
}
