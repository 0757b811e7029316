//! `banger vm workspace`: the user's repository in a VM.

mod prepare;

pub(super) use prepare::Travel;

use crate::failure::Outcome;
use clap::Subcommand;

/// Your repository in a VM.
///
///     banger vm workspace prepare dev ./repo     bring it in, or up to date there
///
/// Commands of `banger vm exec` then run in it. `banger vm run ./repo` makes the VM
/// as well.
#[derive(Debug, Subcommand)]
#[command(arg_required_else_help = true, verbatim_doc_comment)]
pub(super) enum Workspace {
    Prepare(prepare::Args),
}

impl Workspace {
    pub(super) fn run(self) -> Outcome {
        match self {
            Self::Prepare(args) => args.run(),
        }
    }
}
