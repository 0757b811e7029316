//! The second time and every other: only what changed on the host travels, and what the guest changed is kept.

use super::decide::{Guest, Steps, decide};
use super::host::Snapshot;
use super::inside::Inside;
use super::lay::{self, change_files, make_index, point_head, remember_base, send_history, send_objects};
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
    let host = snapshot.contents(repository)?;
    let laid = parsed("ls-files", index(&inside.base(&["ls-files", "--stage", "-z"], Input::None)?))?;
    let laid = laid.into_iter().map(|entry| (entry.path, (entry.kind.mode().to_owned(), entry.oid)));
    let mut guest =
        Guest { laid: laid.filter(|(_, (mode, _))| mode != "160000").collect(), ..Guest::default() };
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
    let slices = |paths: &'_ [Vec<u8>]| paths.iter().cloned().collect::<Vec<_>>();
    let (lay, remove) = (slices(&steps.lay), slices(&steps.remove));
    let lay: Vec<&[u8]> = lay.iter().map(Vec::as_slice).collect();
    let remove: Vec<&[u8]> = remove.iter().map(Vec::as_slice).collect();
    change_files(inside, repository, &remove, &lay)?;
    if !snapshot.besides.is_empty() {
        inside.lay(&repository.root, snapshot.besides.iter().map(Vec::as_slice))?;
    }
    let tree = remember_base(inside, snapshot)?;
    if moved {
        make_index(inside, snapshot)?;
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
    lay::tell_about_repository(inside, repository)?;
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
    point_head(inside, repository.branch.as_deref(), commit)
}

fn parsed<T>(command: &'static str, outcome: Result<T, MalformedOutput>) -> Result<T, PrepareError> {
    outcome.map_err(|_| PrepareError::GuestOutput { command })
}
