use clap::CommandFactory;
use clap_complete::Shell;
use serde_json::Value;

use super::Cli;
use crate::error::Result;
use crate::report;

/// Print a shell's completions for steady
#[derive(Debug, clap::Args)]
pub struct Args {
    shell: Shell,
}

impl Args {
    pub fn run(self) -> Result<Option<Value>> {
        let mut script = Vec::new();
        clap_complete::generate(self.shell, &mut Cli::command(), "steady", &mut script);
        report::to_stdout(&String::from_utf8_lossy(&script));
        Ok(None)
    }
}
