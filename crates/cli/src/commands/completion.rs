use super::Cli;
use crate::failure::{Failure, Outcome};
use crate::printer;
use clap::CommandFactory;
use clap_complete::Shell;

/// Print a completion script for a shell.
///
/// For bash: `banger completion bash > ~/.local/share/bash-completion/completions/banger`, then open a new
/// shell.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Which shell.
    shell: Shell,
}

impl Args {
    pub(crate) fn run(self) -> Outcome {
        let mut script = Vec::new();
        clap_complete::generate(self.shell, &mut Cli::command(), "banger", &mut script);
        let script = String::from_utf8(script).map_err(|error| Failure::of(&error))?;
        printer::data(&script)?;
        Ok(0)
    }
}
