//! `banger vm workspace`: the user's repository in a VM, and what was done there on its way back.

mod diff;
mod export;
mod opened;
mod prepare;
mod status;

pub(super) use prepare::Travel;

use crate::failure::Outcome;
use clap::Subcommand;

/// Your repository in a VM, and what was done there.
///
///     banger vm workspace prepare dev ./repo         bring it in, or up to date there
///     banger vm workspace diff dev                   look at the work in the VM
///     banger vm workspace export dev --branch fix    take it as a branch
///
/// Commands of `banger vm exec` run in it, and `banger vm run ./repo` makes the VM
/// as well. Nothing comes out by itself: files here change when you say so, and
/// what a VM sends is looked at before any of it reaches your repository.
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
