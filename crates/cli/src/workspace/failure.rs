//! Why a folder is not in a VM, and what can be done about it.

use super::source::shown;
use crate::failure::Failure;
use crate::git::GitError;
use crate::git::inspect::InspectError;
use crate::guest::{CopyError, ExecError};
use banger_protocol::wire::ConnectionError;
use std::io;
use std::path::PathBuf;

/// How many paths are named.
const NAMED: usize = 10;

#[derive(Debug, thiserror::Error)]
pub(crate) enum PrepareError {
    #[error(transparent)]
    Inspect(InspectError),
    #[error("the repository could not be read")]
    Git(#[source] GitError),
    #[error("{} could not be read", path.display())]
    Read { path: PathBuf, source: io::Error },
    #[error("the repository has no commit `{0}`")]
    NoCommit(String),
    #[error("`{0}` is not a valid branch name")]
    BranchName(String),
    #[error("{} is not in a git repository, so `--branch` cannot be used", .0.display())]
    NoRepository(PathBuf),
    #[error("the path of the submodule {} is not UTF-8", shown(.0))]
    SubmodulePath(Vec<u8>),
    #[error("the daemon refused")]
    Daemon(#[source] ConnectionError),
    #[error("the guest is not ready for a prepare")]
    Turn(#[source] CopyError),
    #[error("the guest refused")]
    Guest(#[source] ExecError),
    #[error("`{command}` failed in the guest: {said}")]
    GuestGit { command: String, said: String },
    #[error("`git {command}` in the guest printed something unexpected")]
    GuestOutput { command: &'static str },
    #[error("the record of copied files, {at} in the guest, is damaged")]
    GuestList { at: String },
    #[error("files were not copied into the guest")]
    Copy(#[source] CopyError),
    #[error("{place} already contains files that banger did not copy there")]
    Occupied { place: String },
    #[error("{} files were changed on both sides: {}", paths.len(), listed(paths))]
    Edited { paths: Vec<Vec<u8>> },
    #[error("the repository has new commits, and {place} has commits that are not in the repository")]
    Committed { place: String },
    #[error("the repository has no commits any more, but the guest has some")]
    Unborn,
    #[error("`--branch` works only when a workspace is first prepared, and this one already was")]
    BranchTooLate,
    /// By a signal; the code says which.
    #[error("interrupted")]
    Interrupted { code: u8 },
}

fn listed(paths: &[Vec<u8>]) -> String {
    let named: Vec<String> = paths.iter().take(NAMED).map(|path| shown(path)).collect();
    let more = if paths.len() > NAMED { ", …" } else { "" };
    format!("{}{more}", named.join(", "))
}

impl From<GitError> for PrepareError {
    fn from(error: GitError) -> Self {
        Self::Git(error)
    }
}

impl PrepareError {
    fn hint(&self) -> Option<String> {
        let fixed = match self {
            Self::Inspect(error) => error.hint()?,
            Self::Git(GitError::NotInstalled(_)) => "install git",
            Self::GuestList { .. } => "delete it in the guest, then copy everything again with `--force`",
            Self::NoRepository(_) => {
                "run `git init` there and commit, or leave out `--branch` to copy the directory as it is"
            }
            Self::Occupied { .. } => "use `--force` to overwrite, or `--guest-path` for another destination",
            Self::Edited { .. } => "use `--force` to overwrite the guest's version of these files",
            Self::Committed { .. } => {
                "export them first; with `--force` they are kept under refs/banger/replaced"
            }
            Self::Unborn | Self::BranchTooLate => {
                "create the branch in the guest instead: `banger vm exec VM -- git switch -c NAME`"
            }
            Self::Turn(_) => "if the VM was started by an older banger, run `banger vm restart VM`",
            Self::Git(_)
            | Self::Read { .. }
            | Self::NoCommit(_)
            | Self::BranchName(_)
            | Self::SubmodulePath(_)
            | Self::Daemon(_)
            | Self::Guest(_)
            | Self::GuestGit { .. }
            | Self::GuestOutput { .. }
            | Self::Copy(_)
            | Self::Interrupted { .. } => return None,
        };
        Some(fixed.to_owned())
    }
}

impl From<PrepareError> for Failure {
    fn from(error: PrepareError) -> Self {
        if let PrepareError::Interrupted { code } = error {
            return Self::quiet(code);
        }
        let failure = match error {
            // It says itself what was refused, and what to do.
            PrepareError::Daemon(error) => return error.into(),
            ref error => Self::of(error),
        };
        match error.hint() {
            Some(hint) => failure.with_hint(hint),
            None => failure,
        }
    }
}

impl PrepareError {
    /// As a failure of a command that was to run afterwards.
    pub(crate) fn before_the_command(self) -> Failure {
        Failure::from(self).before_the_command()
    }
}
