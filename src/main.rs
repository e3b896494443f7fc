//! Parse, run, map the outcome to an exit code.

use std::process::ExitCode;

fn main() -> ExitCode {
    // a container's helper is this executable again, and has to be it before any thread starts
    steadystate::lab::runtime::helper::main_if_helper();
    let environment = std::env::vars_os().filter_map(|(name, value)| {
        let (name, value) = (name.into_string().ok()?, value.into_string().ok()?);
        Some((name, value))
    });
    steadystate::commands::main(std::env::args_os(), environment.collect())
}
