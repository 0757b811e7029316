//! The second time and every other: only what changed on the host travels, and what the guest changed is kept.

use super::decide::{Guest, Steps, decide};
use super::host::Snapshot;
use super::inside::Inside;
use super::lay::{
    change_files, make_index, point_head, remember_base, send_history, send_objects, tell_about_repository,
};
use super::{Options, PrepareError};
use crate::git::inspect::Repository;
use crate::git::{MalformedOutput, changes, index, paths};
use crate::guest::Input;
use banger_protocol::daemon_api::workspace::Workspace;
use std::collections::BTreeSet;

/// Where a guest's commits stay findable that force left behind.
const REPLACED: &str = "refs/banger/replaced";

/// Compares; nothing is changed by it.
pub(crate) fn compare(
    inside: &mut Inside<'_>,
    repository: &Repository,
    snapshot: &Snapshot,
) -> Result<Steps, PrepareError> {
    let mut host = snapshot.contents(repository)?;
    let laid = parsed("ls-files", index(&inside.base(&["ls-files", "--stage", "-z"], Input::None)?))?;
    let laid = laid.into_iter().map(|entry| (entry.path, (entry.kind.mode().to_owned(), entry.oid)));
    let mut guest =
        Guest { laid: laid.filter(|(_, (mode, _))| mode != "160000").collect(), ..Guest::default() };
    // Files that git does not know and that went along once go on being looked after.
    host.extend(snapshot.contents_of_untracked(repository, guest.laid.keys())?);
    // It says by its exit code that something changed; that is what is asked next.
    let _ = inside.base(&["update-index", "-q", "--refresh"], Input::None);
    let raw = ["diff-files", "--raw", "-z", "--no-renames", "--ignore-submodules=all"];
    let edited = parsed("diff-files", changes(&inside.base(&raw, Input::None)?))?;
    guest.edited = edited.into_iter().map(|(_, path)| path).collect();
    if host.keys().any(|path| !guest.laid.contains_key(path)) {
        guest.own = paths(&inside.base(&["ls-files", "--others", "-z"], Input::None)?).into_iter().collect();
    }
    Ok(decide(&host, &guest))
}

/// Brings a place up to date; the answer is the tree that is laid then, and how many files changed.
pub(crate) fn update(
    inside: &mut Inside<'_>,
    repository: &Repository,
    snapshot: &Snapshot,
    options: &Options,
    known: &Workspace,
) -> Result<(String, usize), PrepareError> {
    let steps = compare(inside, repository, snapshot)?;
    if !options.force && !steps.conflicts.is_empty() {
        return Err(PrepareError::Edited { paths: steps.conflicts });
    }
    let moved = snapshot.commit != known.head;
    if moved {
        move_head(inside, repository, snapshot, options, known)?;
    } else {
        send_objects(inside, repository, snapshot)?;
    }
    let lay: Vec<&[u8]> = steps.lay.iter().map(Vec::as_slice).collect();
    let remove: Vec<&[u8]> = steps.remove.iter().map(Vec::as_slice).collect();
    change_files(inside, repository, &remove, &lay)?;
    if !snapshot.besides.is_empty() {
        inside.lay(&repository.root, snapshot.besides.iter().map(Vec::as_slice))?;
    }
    let tree = remember_base(inside, snapshot)?;
    if moved {
        make_index(inside, snapshot)?;
        tell_about_repository(inside, repository)?;
    } else {
        // The guest may have staged something of its own elsewhere.
        let touched: BTreeSet<Vec<u8>> =
            steps.lay.iter().chain(&steps.remove).chain(&snapshot.staged).cloned().collect();
        let known: BTreeSet<&[u8]> = snapshot.index.iter().map(|entry| entry.path.as_slice()).collect();
        let tracked =
            touched.iter().filter(|path| known.contains(path.as_slice()) || steps.remove.contains(path));
        let lines = snapshot.index_info(tracked);
        if !lines.is_empty() {
            inside.git(&["update-index", "-z", "--index-info"], Input::Bytes(lines))?;
        }
    }
    Ok((tree, steps.lay.len() + steps.remove.len()))
}

/// Follows the host to another commit. Commits that the guest made since are in the way.
fn move_head(
    inside: &mut Inside<'_>,
    repository: &Repository,
    snapshot: &Snapshot,
    options: &Options,
    known: &Workspace,
) -> Result<(), PrepareError> {
    let Some(commit) = &snapshot.commit else { return Err(PrepareError::Unborn) };
    let in_guest = inside.find(&["rev-parse", "--quiet", "--verify", "HEAD^{commit}"])?;
    if let Some(in_guest) = in_guest.filter(|in_guest| Some(in_guest) != known.head.as_ref()) {
        if !options.force {
            return Err(PrepareError::Committed { place: inside.place.clone() });
        }
        inside.git(&["update-ref", REPLACED, &in_guest], Input::None)?;
    }
    // Both sides must have it for the rest to be left out.
    let had = match &known.head {
        Some(head) if repository.commit(head)?.is_some() => Some(head.as_str()),
        _ => None,
    };
    send_history(inside, repository, snapshot, commit, had)?;
    point_head(inside, branch_after(repository, known)?.as_deref(), commit)
}

/// The branch that the guest is on afterwards: the host's, unless it was given one that the host has not.
pub(super) fn branch_after(
    repository: &Repository,
    known: &Workspace,
) -> Result<Option<String>, PrepareError> {
    if let Some(own) = &known.branch
        && repository.commit(&format!("refs/heads/{own}"))?.is_none()
    {
        return Ok(Some(own.clone()));
    }
    Ok(repository.branch.clone())
}

fn parsed<T>(command: &'static str, outcome: Result<T, MalformedOutput>) -> Result<T, PrepareError> {
    outcome.map_err(|_| PrepareError::GuestOutput { command })
}
