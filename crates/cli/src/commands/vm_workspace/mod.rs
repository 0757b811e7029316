//! `banger vm workspace`: the user's repository in a VM, and what was done there on its way back.

mod diff;
mod export;
mod opened;
mod prepare;
mod status;

pub(super) use prepare::Travel;

use crate::failure::Outcome;
use clap::Subcommand;

/// Copy a git repository into a VM, and get the changes back
///
///     banger vm workspace prepare dev ./repo         copy the repository in, or update the copy
///     banger vm workspace diff dev                   show what changed in the VM
///     banger vm workspace export dev --branch fix    get the changes as a branch
///
/// `banger vm exec` runs commands in the workspace, and `banger vm run ./repo` creates
/// a VM with one. Your working tree changes only when you apply an export, and everything
/// a VM sends is verified before it reaches your repository.
#[derive(Debug, Subcommand)]
#[command(arg_required_else_help = true, verbatim_doc_comment)]
pub(super) enum Workspace {
    Prepare(prepare::Args),
    Status(status::Args),
    Diff(diff::Args),
    Export(export::Args),
}

impl Workspace {
    pub(super) fn run(self) -> Outcome {
        match self {
            Self::Prepare(args) => args.run(),
            Self::Status(args) => args.run(),
            Self::Diff(args) => args.run(),
            Self::Export(args) => args.run(),
        }
    }
}
