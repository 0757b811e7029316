//! Repositories within a repository: its submodules, as far as they are here.

use super::host::Snapshot;
use super::{Options, PrepareError};
use crate::git::inspect::{Found, Repository, inspect};
use crate::git::path_of;
use banger_protocol::daemon_api::workspace::Mode;

/// A submodule with a repository of its own.
#[derive(Clone, Debug)]
pub(crate) struct Within {
    /// In the repository that it is a submodule of.
    pub path: Vec<u8>,
    pub repository: Repository,
    pub snapshot: Snapshot,
}

impl Within {
    /// The commit it is at, which need not be the one that the repository around it names.
    pub(super) fn head(&self) -> &str {
        self.snapshot.commit.as_deref().unwrap_or_default()
    }

    /// `None` where there is nothing of it but its name.
    pub(super) fn look(repository: &Repository, path: &[u8]) -> Result<Option<Self>, PrepareError> {
        let folder = repository.root.join(path_of(path));
        if folder.join(".git").symlink_metadata().is_err() {
            return Ok(None);
        }
        let Found::Repository(found) = inspect(&folder).map_err(PrepareError::Inspect)? else {
            return Ok(None);
        };
        if found.root != folder || found.head.is_none() {
            return Ok(None);
        }
        let options = Options { mode: Mode::FullCopy, ..Options::default() };
        let mut snapshot = Snapshot::take(&found, &options)?;
        snapshot.depth = None;
        snapshot.refs = found.refs()?;
        Ok(Some(Self { path: path.to_vec(), repository: *found, snapshot }))
    }
}
