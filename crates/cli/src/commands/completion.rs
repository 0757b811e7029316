use crate::complete;
use crate::failure::{Failure, Outcome};
use crate::printer;
use clap_complete::Shell;

/// Generate a shell completion script
///
/// Completes commands and flags, and the names of VMs, images, and kernels.
///
///     banger completion bash > ~/.local/share/bash-completion/completions/banger
///     banger completion zsh > ~/.zfunc/_banger       with ~/.zfunc in $fpath
///     banger completion fish > ~/.config/fish/completions/banger.fish
///
/// Then open a new shell, type `banger vm ssh ` and press Tab.
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment)]
pub(crate) struct Args {
    /// Shell to generate the script for
    shell: Shell,
}

impl Args {
    pub(crate) fn run(self) -> Outcome {
        let script = complete::script(self.shell).map_err(|error| Failure::of(&error))?;
        printer::data(&String::from_utf8_lossy(&script))?;
        Ok(0)
    }
}
