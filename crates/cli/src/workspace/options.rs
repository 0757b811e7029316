//! What a user wants of a workspace, and what was wanted before and goes on being followed.

use super::{PrepareError, Source};
use banger_protocol::daemon_api::workspace::{Chosen, Mode, Turn, Workspace};
use std::borrow::Cow;

/// What a user wants of it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Options {
    pub mode: Mode,
    pub include_untracked: bool,
    /// A branch made in the guest.
    pub branch: Option<String>,
    /// The commit that it starts from, instead of the working tree.
    pub from: Option<String>,
    pub readonly: bool,
    pub force: bool,
    pub guest_path: Option<String>,
    /// Install the tools that the repository names.
    pub bootstrap: bool,
}

impl Options {
    /// What of it holds for every time after.
    pub(super) fn chosen(&self) -> Chosen {
        let Self { include_untracked, branch, from, .. } = self.clone();
        Chosen { include_untracked, branch, from }
    }
}

/// What is on record of this very folder in this very place.
pub(super) fn known_here(turn: &Turn, source: &Source, options: &Options) -> Option<Workspace> {
    let known = turn.workspace.clone()?;
    let same_place = options.guest_path.as_ref().is_none_or(|place| *place == known.guest_path);
    (same_place && known.host_path == source.host_path()).then_some(known)
}

/// What is wanted, and what was wanted of it before, which goes on being followed; and the folder looked at in that way.
pub(super) fn as_before<'s>(
    source: &'s Source,
    options: &Options,
    known: Option<&Workspace>,
) -> Result<(Options, Cow<'s, Source>), PrepareError> {
    let mut wanted = options.clone();
    if let Some(known) = known {
        if known.mode == Mode::FullCopy && source.repository.is_some() {
            wanted.mode = Mode::FullCopy;
        }
        wanted.include_untracked |= known.chosen.include_untracked;
        if wanted.branch.is_none() {
            wanted.branch.clone_from(&known.chosen.branch);
        }
        if wanted.from.is_none() {
            wanted.from.clone_from(&known.chosen.from);
        }
    }
    let files = |options: &Options| (options.mode, options.include_untracked, options.from.clone());
    let source = if files(&wanted) == files(options) {
        Cow::Borrowed(source)
    } else {
        Cow::Owned(Source::look(&source.root.join(&source.below), &wanted)?)
    };
    Ok((wanted, source))
}
