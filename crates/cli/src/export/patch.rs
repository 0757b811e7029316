//! The patch, as the host's git makes it.
//!
//! It is tried before anybody gets it: applied to the one tree it has to give the other, so a patch that was printed
//! is one that works.

use super::oid::Oid;
use super::quarantine::Quarantine;
use super::run::RunError;
use std::fs::File;
use std::io;
use std::path::PathBuf;

#[derive(Debug, thiserror::Error)]
pub(crate) enum PatchError {
    #[error("git made no patch")]
    Run(#[source] RunError),
    #[error("the patch could not be kept")]
    Keep(#[source] io::Error),
    /// Whatever the tree has that the patch does not say, git would not have written.
    #[error("git computes a different tree than the guest's")]
    Wrong,
}

/// A file with the patch in it that leads from one tree to the other. It lives as long as the quarantine.
pub(crate) fn between(quarantine: &Quarantine, from: &Oid, to: &Oid) -> Result<File, PatchError> {
    // Moves are easier to read, and a few shapes of trees can only be told without them.
    for moves in ["--find-renames", "--no-renames"] {
        let path = quarantine.path().join("patch");
        let file = File::create(&path).map_err(PatchError::Keep)?;
        let diff =
            quarantine.git().args(["diff-tree", "-p", "--binary", "--full-index", "--no-color", moves]);
        let diff = diff.args(["--no-ext-diff", "--no-textconv", "--ignore-submodules=none"]);
        let diff = diff.args(["--src-prefix=a/", "--dst-prefix=b/", "-l2000", from.as_str(), to.as_str()]);
        diff.into_file(file, quarantine.limits().patch).map_err(PatchError::Run)?;
        if from == to || applied(quarantine, from, &path).is_ok_and(|tree| tree == to.as_str()) {
            return File::open(&path).map_err(PatchError::Keep);
        }
    }
    Err(PatchError::Wrong)
}

/// The tree that the patch makes of another.
fn applied(quarantine: &Quarantine, to: &Oid, patch: &PathBuf) -> Result<String, PatchError> {
    let index = quarantine.path().join("index-of-patch");
    let git = || quarantine.git().env("GIT_INDEX_FILE", &index);
    git().args(["read-tree", to.as_str()]).silently().map_err(PatchError::Run)?;
    let apply = git().args(["apply", "--cached", "--whitespace=nowarn", "--"]).args([patch]);
    apply.silently().map_err(PatchError::Run)?;
    git().args(["write-tree"]).word().map_err(PatchError::Run)
}
