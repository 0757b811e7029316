//! The first time: a repository with its last commits is made in the guest, and the working tree laid over it.
//!
//! All of it can be done again over what an earlier attempt left: until the end, the repository says of itself that it is
//! not finished ([`UNFINISHED`]).

use super::host::Snapshot;
use super::inside::{Inside, null_separated};
use super::{Options, PrepareError};
use crate::git::inspect::{Repository, global_identity};
use crate::guest::Input;
use crate::printer;
use std::collections::BTreeSet;

/// A setting of a repository in a guest that is still being made.
pub(crate) const UNFINISHED: &str = "banger.unfinished";
/// What was laid, as a commit on top of the one that was checked out.
pub(crate) const BASE: &str = "refs/banger/base";

/// Where a guest's own commits stay findable that had to make room, each under its name.
const REPLACED: &str = "refs/banger/replaced";

/// Settings by which git changes what it writes into files, which have to be the same on both sides.
const CONVERSIONS: [&str; 4] = ["core.autocrlf", "core.eol", "core.fileMode", "core.ignoreCase"];

/// Lays a repository; the answer is what the guest calls the tree that was laid.
pub(crate) fn lay(
    inside: &mut Inside<'_>,
    repository: &Repository,
    snapshot: &Snapshot,
    options: &Options,
) -> Result<String, PrepareError> {
    begin(inside, repository, snapshot)?;
    if let Some(commit) = &snapshot.commit {
        send_history(inside, repository, snapshot, commit, None)?;
        point_head(inside, branch(repository, options), commit, None)?;
        inside.base(&["read-tree", "-u", "--reset", commit], Input::None)?;
    } else {
        point_unborn_head(inside, branch(repository, options).unwrap_or("main"))?;
        send_objects(inside, repository, snapshot)?;
        inside.base(&["read-tree", "--empty"], Input::None)?;
    }
    let removed: Vec<&[u8]> = snapshot.removed().collect();
    remove_files(inside, &removed)?;
    lay_files(inside, repository, &snapshot.laid_over().collect::<Vec<_>>())?;
    if !snapshot.besides.is_empty() {
        inside.lay(&repository.root, snapshot.besides.iter().map(Vec::as_slice))?;
    }
    let tree = remember_base(inside, snapshot)?;
    make_index(inside, snapshot)?;
    tell_about_repository(inside, repository)?;
    inside.git(&["config", "--unset", UNFINISHED], Input::None)?;
    Ok(tree)
}

/// Makes room after an attempt that was killed. Its last command may not have noticed yet: without its lock it fails.
pub(crate) fn take_over(inside: &mut Inside<'_>) -> Result<(), PrepareError> {
    let locks = ["config", "HEAD", "index", "banger-index", "shallow"];
    let locks = locks.map(|name| format!("{}/.git/{name}.lock", inside.place));
    let argv: Vec<&str> = ["rm", "-f", "--"].into_iter().chain(locks.iter().map(String::as_str)).collect();
    let done = inside.run(&argv, &[], Input::None)?;
    super::inside::succeeded(&["rm"], done).map(drop)
}

/// The branch that the guest is on; `None` for none.
pub(crate) fn branch<'a>(repository: &'a Repository, options: &'a Options) -> Option<&'a str> {
    options.branch.as_deref().or(repository.branch.as_deref())
}

fn begin(inside: &mut Inside<'_>, repository: &Repository, snapshot: &Snapshot) -> Result<(), PrepareError> {
    let place = inside.place.clone();
    let format = if snapshot.commit.as_ref().is_some_and(|oid| oid.len() == 64) { "sha256" } else { "sha1" };
    let format = format!("--object-format={format}");
    let mut init = vec!["git", "init", "--quiet", "--template=", "--", &place];
    if format.ends_with("256") {
        init.insert(3, &format);
    }
    let done = inside.run(&init, &[], Input::None)?;
    super::inside::succeeded(&["init"], done)?;
    inside.git(&["config", UNFINISHED, "true"], Input::None)?;
    for name in CONVERSIONS {
        if let Some(value) = repository.git.find(&["config", "--get", name])? {
            inside.git(&["config", name, &String::from_utf8_lossy(&value)], Input::None)?;
        }
    }
    Ok(())
}

/// Sends a commit with those before it, and what only the index has.
pub(super) fn send_history(
    inside: &mut Inside<'_>,
    repository: &Repository,
    snapshot: &Snapshot,
    commit: &str,
    had: Option<&str>,
) -> Result<(), PrepareError> {
    let mut history = repository.history(commit)?;
    if let Some(had) = had {
        // What lies behind this end of the guest's history it does not have.
        history.boundary.extend(repository.history(had)?.boundary);
    }
    if !history.boundary.is_empty() {
        let lines: String = history.boundary.iter().map(|commit| format!("{commit}\n")).collect();
        inside.write_file(".git/shallow", lines.as_bytes())?;
    }
    let wanted: Vec<&str> = std::iter::once(commit).chain(snapshot.staged_objects()).collect();
    let mut packing = repository.pack(&history, &wanted, had)?;
    send_pack(inside, &mut packing)?;
    Ok(packing.finish()?)
}

/// Sends what only the index has.
pub(super) fn send_objects(
    inside: &mut Inside<'_>,
    repository: &Repository,
    snapshot: &Snapshot,
) -> Result<(), PrepareError> {
    let wanted: Vec<&str> = snapshot.staged_objects().into_iter().collect();
    if wanted.is_empty() {
        return Ok(());
    }
    let mut packing = repository.pack(&Default::default(), &wanted, snapshot.commit.as_deref())?;
    send_pack(inside, &mut packing)?;
    Ok(packing.finish()?)
}

fn send_pack(
    inside: &mut Inside<'_>,
    packing: &mut crate::git::packing::Packing,
) -> Result<(), PrepareError> {
    let pack = packing.take_output().map_or(Input::None, Input::From);
    inside.git(&["index-pack", "--stdin", "--fix-thin"], pack).map(drop)
}

/// Lets HEAD be the branch, or nothing but the commit. `left` is the commit it stood at when something was laid last; what
/// else the guest has there stays findable.
pub(super) fn point_head(
    inside: &mut Inside<'_>,
    branch: Option<&str>,
    commit: &str,
    left: Option<&str>,
) -> Result<(), PrepareError> {
    if branch.is_none() || left.is_none() {
        keep(inside, "HEAD", &[Some(commit), left])?;
    }
    if let Some(branch) = branch {
        let branch = format!("refs/heads/{branch}");
        keep(inside, &branch, &[Some(commit), left])?;
        inside.git(&["update-ref", &branch, commit], Input::None)?;
        inside.git(&["symbolic-ref", "HEAD", &branch], Input::None)?;
    } else {
        inside.git(&["update-ref", "--no-deref", "HEAD", commit], Input::None)?;
    }
    Ok(())
}

/// Keeps a commit of the guest's own below [`REPLACED`], unless it is one of these.
pub(super) fn keep(inside: &mut Inside<'_>, name: &str, known: &[Option<&str>]) -> Result<(), PrepareError> {
    let found = inside.find(&["rev-parse", "--quiet", "--verify", &format!("{name}^{{commit}}")])?;
    let Some(own) = found.filter(|own| !known.contains(&Some(own))) else { return Ok(()) };
    for commit in known.iter().flatten() {
        if inside.find(&["merge-base", "--is-ancestor", &own, commit])?.is_some() {
            return Ok(());
        }
    }
    let kept = format!("{REPLACED}/{own}");
    inside.git(&["update-ref", &kept, &own], Input::None)?;
    printer::talk(format_args!("commits of the guest's own that were in the way are kept there as {kept}"));
    Ok(())
}

fn point_unborn_head(inside: &mut Inside<'_>, branch: &str) -> Result<(), PrepareError> {
    inside.git(&["symbolic-ref", "HEAD", &format!("refs/heads/{branch}")], Input::None).map(drop)
}

/// Takes files away, and has the index of what was laid follow.
pub(super) fn remove_files(inside: &mut Inside<'_>, removed: &[&[u8]]) -> Result<(), PrepareError> {
    if removed.is_empty() {
        return Ok(());
    }
    let from_input =
        ["rm", "--quiet", "--force", "--ignore-unmatch", "--pathspec-from-file=-", "--pathspec-file-nul"];
    inside.base(&from_input, Input::Bytes(null_separated(removed.iter().copied()))).map(drop)
}

/// Lays files of the working tree as they are, and has the index of what was laid follow.
pub(super) fn lay_files(
    inside: &mut Inside<'_>,
    repository: &Repository,
    laid: &[&[u8]],
) -> Result<(), PrepareError> {
    if laid.is_empty() {
        return Ok(());
    }
    inside.lay(&repository.root, laid.iter().copied())?;
    let follow = ["update-index", "-z", "--add", "--remove", "--replace", "--stdin"];
    inside.base(&follow, Input::Bytes(null_separated(laid.iter().copied()))).map(drop)
}

/// Lays files as the commit has them, which the guest has too: what a filter makes of them here is not what they are.
pub(super) fn check_out_files(
    inside: &mut Inside<'_>,
    snapshot: &Snapshot,
    paths: &BTreeSet<&[u8]>,
) -> Result<(), PrepareError> {
    if paths.is_empty() {
        return Ok(());
    }
    let entries = snapshot.index.iter().filter(|entry| paths.contains(entry.path.as_slice()));
    let lines = entries.flat_map(|entry| {
        let about = format!("{} {} 0\t", entry.kind.mode(), entry.oid);
        [about.as_bytes(), &entry.path, b"\0"].concat()
    });
    inside.base(&["update-index", "-z", "--replace", "--index-info"], Input::Bytes(lines.collect()))?;
    let paths = null_separated(paths.iter().copied());
    let check_out = ["checkout-index", "--force", "--index", "-z", "--stdin"];
    inside.base(&check_out, Input::Bytes(paths)).map(drop)
}

/// Makes a commit of what was laid, by which it is known later what the guest did; the answer is its tree.
pub(super) fn remember_base(inside: &mut Inside<'_>, snapshot: &Snapshot) -> Result<String, PrepareError> {
    let oid = |output: Vec<u8>| {
        crate::git::oid(output.trim_ascii_end())
            .map_err(|_| PrepareError::GuestOutput { command: "write-tree" })
    };
    let tree = oid(inside.base(&["write-tree"], Input::None)?)?;
    let mut words = vec!["commit-tree", "-m", "what banger laid", &tree];
    if let Some(commit) = &snapshot.commit {
        words.extend(["-p", commit]);
    }
    let commit = oid(inside.git(&words, Input::None)?)?;
    inside.git(&["update-ref", BASE, &commit], Input::None)?;
    Ok(tree)
}

/// Makes the guest's own index say what the host's says. It knows of each file that was checked out that it is the same.
pub(super) fn make_index(inside: &mut Inside<'_>, snapshot: &Snapshot) -> Result<(), PrepareError> {
    match &snapshot.commit {
        Some(commit) => {
            let output = format!("--index-output={}/.git/index", inside.place);
            inside.base(&["read-tree", "-i", "-m", &output, commit], Input::None)?;
        }
        None => {
            inside.git(&["read-tree", "--empty"], Input::None)?;
        }
    }
    let staged = snapshot.index_info(snapshot.staged.iter());
    if !staged.is_empty() {
        inside.git(&["update-index", "-z", "--index-info"], Input::Bytes(staged))?;
    }
    if !snapshot.intended.is_empty() {
        let paths = null_separated(snapshot.intended.iter().map(Vec::as_slice));
        let words = ["add", "--intent-to-add", "--force", "--pathspec-from-file=-", "--pathspec-file-nul"];
        inside.git(&words, Input::Bytes(paths))?;
    }
    Ok(())
}

/// Where it comes from and who commits in it; and who commits everywhere, where the guest does not know that yet.
pub(super) fn tell_about_repository(
    inside: &mut Inside<'_>,
    repository: &Repository,
) -> Result<(), PrepareError> {
    let own = &repository.identity;
    let origin = repository.origin.as_deref();
    let fetch = origin.map(|_| "+refs/heads/*:refs/remotes/origin/*");
    let local = [
        ("remote.origin.url", origin),
        ("remote.origin.fetch", fetch),
        ("user.name", own.name.as_deref()),
        ("user.email", own.email.as_deref()),
    ];
    for (name, value) in local {
        if let Some(value) = value {
            inside.git(&["config", "--replace-all", name, value], Input::None)?;
        }
    }
    let everywhere = global_identity(&repository.git)?;
    for (name, value) in [("user.name", everywhere.name), ("user.email", everywhere.email)] {
        if let Some(value) = value
            && inside.find(&["config", "--global", "--get", name])?.is_none()
        {
            inside.git(&["config", "--global", name, &value], Input::None)?;
        }
    }
    Ok(())
}
