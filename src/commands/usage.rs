//! A command line that cannot be meant: as clap says it on stderr, and on stdout for those who read JSON.

use std::ffi::OsString;
use std::process::ExitCode;

use clap::error::{ContextKind, ContextValue, ErrorKind};
use serde_json::json;

use crate::error::Error;
use crate::report::{self, failure};

/// `--help` and `--version` come this way too, and go to stdout. `own` is the exit code where 2 would be mistaken for a
/// task's.
pub fn refuse(usage: &clap::Error, arguments: &[OsString], own: Option<u8>) -> ExitCode {
    let _ = usage.print();
    let code = match u8::try_from(usage.exit_code()).unwrap_or(2) {
        0 => 0,
        code => own.unwrap_or(code),
    };
    // help in place of a missing verb is on stderr, and a failure
    if code != 0 && wants_json(arguments) {
        let error = error(usage).with_exit_code(code);
        let object = json!({ "status": error.kind().name(), "error": failure::json(&error) });
        report::to_stdout(&format!("{object:#}\n"));
    }
    ExitCode::from(code)
}

fn error(usage: &clap::Error) -> Error {
    if matches!(usage.kind(), ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand | ErrorKind::MissingSubcommand) {
        return Error::input("a command is missing").hint("`steady --help` lists them");
    }
    let rendered = usage.render().to_string();
    let first = rendered.split("\n\n").next().unwrap_or_default();
    let lines: Vec<&str> = first.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    let error = Error::input(lines.join(" ").trim_start_matches("error: ").to_owned());
    let near = [ContextKind::SuggestedSubcommand, ContextKind::SuggestedArg, ContextKind::SuggestedValue];
    let names = near.iter().filter_map(|kind| usage.get(*kind)).filter_map(|value| match value {
        ContextValue::String(name) => Some(name.clone()),
        // clap has the likeliest last
        ContextValue::Strings(names) => names.last().cloned(),
        _ => None,
    });
    match names.into_iter().next() {
        Some(name) => error.hint(format!("did you mean `{name}`?")),
        None => error.hint("`--help` after the command shows what it takes"),
    }
}

/// Whether stdout was to be JSON, as far as a line that is not understood can tell.
fn wants_json(arguments: &[OsString]) -> bool {
    let words: Vec<&str> = arguments.iter().filter_map(|argument| argument.to_str()).collect();
    let joined = ["--output=json", "-o=json", "-ojson"];
    words.iter().any(|word| joined.contains(word))
        || words.windows(2).any(|pair| matches!(pair, ["--output" | "-o", "json"]))
}
