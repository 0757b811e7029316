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
    #[error("`{0}` names no commit of the repository")]
    NoCommit(String),
    #[error("`{0}` cannot be the name of a branch")]
    BranchName(String),
    #[error("{} is in no repository and can have no branch", .0.display())]
    NoRepository(PathBuf),
    #[error("the path of the submodule {} is no UTF-8", shown(.0))]
    SubmodulePath(Vec<u8>),
    #[error("the daemon did not go along")]
    Daemon(#[source] ConnectionError),
    #[error("the guest did not go along")]
    Guest(#[source] ExecError),
    #[error("`{command}` failed in the guest: {said}")]
    GuestGit { command: String, said: String },
    #[error("what `git {command}` printed in the guest cannot be understood")]
    GuestOutput { command: &'static str },
    #[error("the list of what was laid, {at} in the guest, is none")]
    GuestList { at: String },
    #[error("files were not copied into the guest")]
    Copy(#[source] CopyError),
    #[error("there is something in {place} already that was not laid by banger")]
    Occupied { place: String },
    #[error("{} files were changed on both sides: {}", paths.len(), listed(paths))]
    Edited { paths: Vec<Vec<u8>> },
    #[error("the repository moved on, and there are commits in {place} that it does not have")]
    Committed { place: String },
    #[error("the repository has no commit any more, and the guest has one")]
    Unborn,
    #[error("a branch is made when a workspace is first prepared, and this one was")]
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
            Self::GuestList { .. } => "remove it there; then `--force` lays everything again",
            Self::NoRepository(_) => {
                "`git init` and a commit there make it one; without `--branch` it goes in as it is"
            }
            Self::Occupied { .. } => "`--force` lays over it; `--guest-path` names another place",
            Self::Edited { .. } => "`--force` overwrites what the guest has in these",
            Self::Committed { .. } => {
                "get them out first; with `--force` they stay below refs/banger/replaced"
            }
            Self::Unborn | Self::BranchTooLate => {
                "git in the guest can do that: `banger vm exec VM -- git switch`"
            }
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
