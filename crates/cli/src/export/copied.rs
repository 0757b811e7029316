//! A guest without git: its tree is copied out, and the host's git sees what changed.
//!
//! The copy goes into the quarantine, which no link in it leads out of, and from there into an index that begins with
//! what was in the guest at first, so that files that are ignored today and were not then stay.

use super::oid::Oid;
use super::quarantine::Quarantine;
use super::run::RunError;
use super::verify::{Refused, VerifyError};
use crate::guest::{CopyError, copy_some_out, said};
use banger_copy::{Destination, Entry};
use std::io;
use std::os::unix::net::UnixStream;

#[derive(Debug, thiserror::Error)]
pub(crate) enum CopiedError {
    #[error("the working tree was not copied out of the guest")]
    Copy(#[source] CopyError),
    #[error(transparent)]
    Judged(VerifyError),
    #[error("there is no place for it")]
    Place(#[source] io::Error),
    #[error("git could not take it up")]
    Run(#[source] RunError),
}

/// The working tree in the guest, as a tree in the quarantine.
pub(crate) fn tree(
    agent: &mut UnixStream,
    quarantine: &Quarantine,
    workspace: &str,
    base: &Oid,
) -> Result<Oid, CopiedError> {
    let files = quarantine.path().join("tree");
    std::fs::create_dir(&files).map_err(CopiedError::Place)?;
    let limits = quarantine.limits();
    agent.set_read_timeout(Some(limits.silence)).map_err(CopiedError::Place)?;
    let to = Destination { path: files.clone(), name: None };
    copy_some_out(agent, workspace.to_owned(), to, limits.unpacked, is_content).map_err(CopiedError::Copy)?;

    let index = quarantine.path().join("index-of-copy");
    let git = || {
        let run = quarantine.git().env("GIT_INDEX_FILE", &index).env("GIT_WORK_TREE", &files);
        run.args(["-C"]).args([&files])
    };
    git().args(["read-tree", base.as_str()]).silently().map_err(CopiedError::Run)?;
    match git().args(["add", "--all", "--", "."]).silently() {
        Err(RunError::Failed { talk, .. }) => {
            let reason = talk.lines().find(|line| line.contains("invalid path")).unwrap_or(&talk);
            return Err(CopiedError::Judged(Refused::Object(said(reason)).into()));
        }
        added => added.map_err(CopiedError::Run)?,
    }
    let tree = git().args(["write-tree"]).word().map_err(CopiedError::Run)?;
    Oid::parse(&tree).ok_or_else(|| CopiedError::Judged(Refused::Object("git made no tree".into()).into()))
}

/// Whatever a `.git` holds is no content, and a repository of the guest's is nothing to run git in.
fn is_content(entry: &Entry) -> bool {
    !entry.path.split(|byte| *byte == b'/').any(|name| name == b".git")
}
