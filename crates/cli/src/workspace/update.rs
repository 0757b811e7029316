//! The second time and every other: only what changed on the host travels, and what the guest changed is kept.

use super::decide::{Content, Guest, Steps, decide};
use super::host::Snapshot;
use super::inside::{Inside, null_separated};
use super::lay::{
    check_out_files, keep, lay_files, make_index, point_head, remember_base, remove_files, send_history,
    send_objects, tell_about_repository,
};
use super::sent_tree::SentTree;
use super::{Options, PrepareError};
use crate::git::inspect::{Kind, Repository};
use crate::git::{MalformedOutput, changes, index, paths};
use crate::guest::Input;
use banger_protocol::daemon_api::workspace::Workspace;
use std::collections::{BTreeMap, BTreeSet};

/// What is to be done, and what is known for it.
#[derive(Debug)]
pub(super) struct Comparison {
    pub steps: Steps,
    /// Laid once and still here, but not sent any more: left alone there and looked after no longer.
    left_alone: Vec<Vec<u8>>,
    /// The commits at which submodules are that were laid.
    submodules: BTreeMap<Vec<u8>, Content>,
}

/// Compares; nothing is changed by it. Which files of the host are looked at is the host's to say: a guest that names
/// others as laid learns nothing of them.
pub(super) fn compare(
    inside: &mut Inside<'_>,
    repository: &Repository,
    snapshot: &Snapshot,
) -> Result<Comparison, PrepareError> {
    let host = snapshot.contents(repository)?;
    let laid = parsed("ls-files", index(&inside.base(&["ls-files", "--stage", "-z"], Input::None)?))?;
    let laid = laid.into_iter().map(|entry| (entry.path, (entry.kind.mode().to_owned(), entry.oid)));
    let (submodules, mut laid): (BTreeMap<_, _>, BTreeMap<_, _>) =
        laid.partition(|(_, (mode, _))| mode == Kind::Submodule.mode());
    let left_alone = snapshot.still_here(repository, laid.keys())?;
    left_alone.iter().for_each(|path| drop(laid.remove(path)));
    let mut guest = Guest { laid, ..Guest::default() };
    // It says by its exit code that something changed; that is what is asked next.
    let _ = inside.base(&["update-index", "-q", "--refresh"], Input::None);
    let raw = ["diff-files", "--raw", "-z", "--no-renames", "--ignore-submodules=all"];
    let edited = parsed("diff-files", changes(&inside.base(&raw, Input::None)?))?;
    guest.edited = edited.into_iter().map(|(_, path)| path).collect();
    if host.keys().any(|path| !guest.laid.contains_key(path)) {
        guest.own = paths(&inside.base(&["ls-files", "--others", "-z"], Input::None)?).into_iter().collect();
    }
    Ok(Comparison { steps: decide(&host, &guest), left_alone, submodules })
}

/// Brings a place up to date; the answer is what the guest calls the tree that is laid then, and how many files changed.
pub(crate) fn update(
    inside: &mut Inside<'_>,
    repository: &Repository,
    snapshot: &Snapshot,
    options: &Options,
    known: &Workspace,
    sent: &SentTree,
) -> Result<(String, usize), PrepareError> {
    let Comparison { steps, left_alone, submodules } = compare(inside, repository, snapshot)?;
    if !options.force && !steps.conflicts.is_empty() {
        return Err(PrepareError::Edited { paths: steps.conflicts });
    }
    let moved = snapshot.commit != known.head;
    if moved {
        move_head(inside, repository, snapshot, options, known)?;
    } else {
        send_objects(inside, repository, snapshot)?;
    }
    remove_files(inside, &steps.remove.iter().map(Vec::as_slice).collect::<Vec<_>>())?;
    let lay = steps.lay.iter().map(Vec::as_slice);
    let (over, committed): (Vec<_>, Vec<_>) = lay.partition(|path| snapshot.over.contains_key(*path));
    check_out_files(inside, snapshot, &committed.into_iter().collect())?;
    lay_files(inside, repository, &over)?;
    if !left_alone.is_empty() {
        let paths = null_separated(left_alone.iter().map(Vec::as_slice));
        inside.base(&["update-index", "-z", "--force-remove", "--stdin"], Input::Bytes(paths))?;
    }
    if submodules != sent.submodules {
        let lines = moved_submodules(&submodules, &sent.submodules);
        inside.base(&["update-index", "-z", "--index-info"], Input::Bytes(lines))?;
    }
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
        keep(inside, &in_guest, &[])?;
    }
    // Both sides must have it for the rest to be left out.
    let had = match &known.head {
        Some(head) if repository.commit(head)?.is_some() => Some(head.as_str()),
        _ => None,
    };
    send_history(inside, repository, snapshot, commit, had)?;
    point_head(inside, branch_after(repository, options, known)?.as_deref(), commit, known.head.as_deref())
}

/// Lines that make an index name other commits of submodules.
fn moved_submodules(from: &BTreeMap<Vec<u8>, Content>, to: &BTreeMap<Vec<u8>, Content>) -> Vec<u8> {
    let gone = from.iter().filter(|(path, _)| !to.contains_key(*path));
    let gone = gone.map(|(path, (_, oid))| (path, "0".to_owned(), "0".repeat(oid.len())));
    let lines = gone.chain(to.iter().map(|(path, (mode, oid))| (path, mode.clone(), oid.clone())));
    lines.flat_map(|(path, mode, oid)| [format!("{mode} {oid}\t").as_bytes(), path, b"\0"].concat()).collect()
}

/// The branch that the guest is on afterwards: the one that was asked for, else the host's.
pub(super) fn branch_after(
    repository: &Repository,
    options: &Options,
    known: &Workspace,
) -> Result<Option<String>, PrepareError> {
    if options.branch.is_some() {
        return Ok(options.branch.clone());
    }
    // One that the host had and has no longer stays the guest's.
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
