//! A guest without git: its tree is copied out, and the host's git sees what changed.
//!
//! The copy goes into the quarantine, which no link in it leads out of, and from there into an index that begins with
//! what was in the guest at first, so that files that are ignored today and were not then stay.

use super::oid::Oid;
use super::quarantine::Quarantine;
use super::run::{Run, RunError};
use super::verify::{Refused, VerifyError};
use crate::git::index;
use crate::git::inspect::{IndexEntry, Kind};
use crate::guest::{CopyError, copy_some_out, read_file, said};
use crate::workspace::{LONGEST_LIST, memory};
use banger_copy::{Destination, Entry};
use std::collections::BTreeSet;
use std::io;
use std::os::unix::net::UnixStream;
use std::path::Path;

#[derive(Debug, thiserror::Error)]
pub(crate) enum CopiedError {
    #[error("the working tree was not copied out of the guest")]
    Copy(#[source] CopyError),
    #[error(transparent)]
    Judged(VerifyError),
    #[error("there is no temporary directory for it")]
    Place(#[source] io::Error),
    #[error("git could not take it up")]
    Run(#[source] RunError),
}

/// The tree that was sent, made again of the commit's and what is remembered in the guest. `None` where that has not been
/// kept as it was: what it is called is known here.
pub(crate) fn sent<E>(
    mut connect: impl FnMut() -> Result<UnixStream, E>,
    quarantine: &Quarantine,
    workspace: &str,
    commit_tree: &Oid,
    called: &Oid,
) -> Result<Option<Oid>, E> {
    let (list, copies) = memory(workspace);
    let over = quarantine.path().join("over");
    let (silence, most) = (quarantine.limits().silence, quarantine.limits().unpacked);
    let mut agent = connect()?;
    // A guest that keeps nothing of it, or nothing that makes sense, only has more shown as its work.
    let listed = agent.set_read_timeout(Some(silence)).ok();
    let listed = listed.and_then(|()| read_file(&mut agent, list, LONGEST_LIST).ok().flatten());
    let Some(listed) = listed.and_then(|bytes| index(&bytes).ok()) else { return Ok(None) };
    let mut agent = connect()?;
    let to = Destination { path: over.clone(), name: None };
    let copied = agent.set_read_timeout(Some(silence)).ok();
    if copied.and_then(|()| copy_some_out(&mut agent, copies, to, most, is_content).ok()).is_none() {
        return Ok(None);
    }
    Ok(made_again(quarantine, &over, &listed, commit_tree).ok().flatten().filter(|tree| tree == called))
}

fn made_again(
    quarantine: &Quarantine,
    over: &Path,
    listed: &[IndexEntry],
    commit_tree: &Oid,
) -> Result<Option<Oid>, RunError> {
    let index_file = quarantine.path().join("index-of-base");
    let git = || {
        let run = quarantine.git().env("GIT_INDEX_FILE", &index_file).env("GIT_WORK_TREE", over);
        run.args(["-C"]).args([over])
    };
    git().args(["read-tree", commit_tree.as_str()]).silently()?;
    let kept: BTreeSet<&[u8]> = listed.iter().map(|entry| entry.path.as_slice()).collect();
    let gone = entries(git(), quarantine)?.into_iter().filter(|entry| entry.kind != Kind::Submodule);
    let gone: Vec<u8> =
        gone.filter(|entry| !kept.contains(&*entry.path)).flat_map(|entry| with_nul(&entry.path)).collect();
    git().args(["update-index", "-z", "--force-remove", "--stdin"]).input(gone).silently()?;
    let changed = listed.iter().filter(|entry| entry.stage == 1);
    let changed: Vec<u8> = changed.flat_map(|entry| with_nul(&entry.path)).collect();
    git().args(["update-index", "-z", "--add", "--replace", "--stdin"]).input(changed).silently()?;
    Ok(Oid::parse(&git().args(["write-tree"]).word()?))
}

fn with_nul(path: &[u8]) -> Vec<u8> {
    [path, b"\0"].concat()
}

/// What is in the index that this run is about.
fn entries(run: Run<'_>, quarantine: &Quarantine) -> Result<Vec<IndexEntry>, RunError> {
    let mut output = Vec::new();
    run.args(["ls-files", "--stage", "-z"])
        .pieces(quarantine.limits().unpacked, |piece| output.extend_from_slice(piece))?;
    index(&output).map_err(|_| RunError::Failed { what: "ls-files".to_owned(), talk: String::new() })
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
    let submodules = entries(git(), quarantine).map_err(CopiedError::Run)?.into_iter();
    let submodules = submodules.filter(|entry| entry.kind == Kind::Submodule);
    let submodules: Vec<u8> = submodules
        .flat_map(|entry| [format!("160000 {}\t", entry.oid).as_bytes(), &entry.path, b"\0"].concat())
        .collect();
    match git().args(["add", "--all", "--", "."]).silently() {
        Err(RunError::Failed { talk, .. }) => {
            let reason = talk.lines().find(|line| line.contains("invalid path")).unwrap_or(&talk);
            return Err(CopiedError::Judged(Refused::Object(said(reason)).into()));
        }
        added => added.map_err(CopiedError::Run)?,
    }
    // Their folders were never filled.
    git()
        .args(["update-index", "-z", "--index-info"])
        .input(submodules)
        .silently()
        .map_err(CopiedError::Run)?;
    let tree = git().args(["write-tree"]).word().map_err(CopiedError::Run)?;
    Oid::parse(&tree).ok_or_else(|| CopiedError::Judged(Refused::Object("git made no tree".into()).into()))
}

/// Whatever a `.git` holds is no content, and a repository of the guest's is nothing to run git in.
fn is_content(entry: &Entry) -> bool {
    !entry.path.split(|byte| *byte == b'/').any(|name| name == b".git")
}
