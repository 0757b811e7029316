//! The first time: a repository with its last commits is made in the guest, and the working tree laid over it.
//!
//! All of it can be done again over what an earlier attempt left: until the end, the repository says of itself that it is
//! not finished ([`UNFINISHED`]).

use super::compare::beside_index;
use super::files;
use super::head::{branch, point_head, point_unborn_head};
use super::host::Snapshot;
use super::inside::{Inside, null_separated, succeeded};
use super::within::Within;
use super::{Options, PrepareError};
use crate::git::inspect::{Repository, global_identity};
use crate::guest::Input;
use std::collections::BTreeSet;

/// A setting of a repository in a guest that is still being made.
pub(crate) const UNFINISHED: &str = "banger.unfinished";
/// What was laid, as a tree. It is there when all of it is.
const BASE: &str = "refs/banger/base";

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
        let host = files::contents(&repository.root, snapshot.besides.iter().map(Vec::as_slice))?;
        inside.lay(&repository.root, host.keys().map(Vec::as_slice))?;
        inside.write_file_at(&beside_index(&inside.place.clone()), &files::list(&host, &BTreeSet::new()))?;
    }
    for within in &snapshot.within {
        inside.within(&within.path, |inside| lay_within(inside, within))?;
        let line = [b"160000 ", within.head().as_bytes(), b"\t", &within.path, b"\0"].concat();
        inside.base(&["update-index", "-z", "--index-info"], Input::Bytes(line))?;
    }
    let tree = inside.base(&["write-tree"], Input::None)?;
    let tree = crate::git::oid(tree.trim_ascii_end())
        .map_err(|_| PrepareError::GuestOutput { command: "write-tree" })?;
    make_index(inside, snapshot)?;
    tell_about_repository(inside, repository, snapshot)?;
    let finish = format!("git update-ref {BASE} \"$1\"\ngit config --unset {UNFINISHED}");
    inside.script(&finish, &[&tree], Input::None)?;
    Ok(tree)
}

/// The same of a repository within another; its submodule is whole in the guest, with all its history and refs.
pub(super) fn lay_within(inside: &mut Inside<'_>, within: &Within) -> Result<(), PrepareError> {
    lay(inside, &within.repository, &within.snapshot, &Options::default())?;
    let update = |(name, oid): &(String, String)| format!("update {name} {oid}\n");
    let refs: String = within.snapshot.refs.iter().map(update).collect();
    if !refs.is_empty() {
        inside.git(&["update-ref", "--stdin"], Input::Bytes(refs.into_bytes()))?;
    }
    Ok(())
}

/// Makes room after an attempt that was cut off with its guest, and left locks that nobody holds.
pub(crate) fn take_over(inside: &mut Inside<'_>) -> Result<(), PrepareError> {
    // A branch can be called anything, and so can its lock. A guest without `find` has git say which is in the way.
    let unlock = "rm -f .git/*.lock\nfind .git/refs -name '*.lock' -exec rm -f {} + || :";
    inside.script(unlock, &[], Input::None).map(drop)
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
    succeeded(&["init"], done)?;
    let mut settings = Vec::new();
    for name in CONVERSIONS {
        if let Some(value) = repository.git.find(&["config", "--get", name])? {
            settings.extend([name.to_owned(), String::from_utf8_lossy(&value).into_owned()]);
        }
    }
    let begin = format!(
        "git config {UNFINISHED} true\n\
         if git rev-parse -q --verify {BASE} >/dev/null; then git update-ref -d {BASE}; fi\n\
         while [ $# -gt 1 ]; do git config \"$1\" \"$2\"; shift 2; done"
    );
    inside.script(&begin, &settings.iter().map(String::as_str).collect::<Vec<_>>(), Input::None).map(drop)
}

/// Sends a commit with those before it, and what only the index has.
pub(super) fn send_history(
    inside: &mut Inside<'_>,
    repository: &Repository,
    snapshot: &Snapshot,
    commit: &str,
    had: Option<&str>,
) -> Result<(), PrepareError> {
    let history = |commit| match snapshot.depth {
        Some(depth) => repository.history(commit, depth),
        None => repository.whole_history(),
    };
    let mut known = history(commit)?;
    if let Some(had) = had {
        // What lies behind this end of the guest's history it does not have.
        known.boundary.extend(history(had)?.boundary);
    }
    let history = known;
    if !history.boundary.is_empty() {
        let lines: String = history.boundary.iter().map(|commit| format!("{commit}\n")).collect();
        inside.write_file(".git/shallow", lines.as_bytes())?;
    }
    let refs = snapshot.refs.iter().map(|(_, oid)| oid.as_str());
    let wanted: Vec<&str> = std::iter::once(commit).chain(refs).chain(snapshot.staged_objects()).collect();
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

/// `$1` is how many bytes of the input are lines of an index; paths follow them. The index of what was laid has them when
/// the files are there.
const CHECK_OUT: &str = r#"
lists=.git/banger-lists next=.git/banger-next
trap 'rm -f "$lists" "$next" "$next.lock"' EXIT
cat > "$lists"
cp .git/banger-index "$next"
export GIT_INDEX_FILE="$PWD/$next"
head -c "$1" "$lists" | git update-index -z --replace --index-info
tail -c "+$(($1 + 1))" "$lists" | git checkout-index --force --index -z --stdin
mv "$next" .git/banger-index
"#;

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
    let mut lists: Vec<u8> = lines.collect();
    let length = lists.len().to_string();
    lists.extend(null_separated(paths.iter().copied()));
    inside.script(CHECK_OUT, &[&length], Input::Bytes(lists)).map(drop)
}

/// Stages what is staged here, and remembers it, so that it can be unstaged.
const STAGE: &str = "cat > .git/banger-staged\ngit update-index -z --index-info < .git/banger-staged";

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
    inside.script(STAGE, &[], Input::Bytes(snapshot.index_info(snapshot.staged.iter())))?;
    if !snapshot.intended.is_empty() {
        let paths = null_separated(snapshot.intended.iter().map(Vec::as_slice));
        let words = ["add", "--intent-to-add", "--force", "--pathspec-from-file=-", "--pathspec-file-nul"];
        inside.git(&words, Input::Bytes(paths))?;
    }
    Ok(())
}

/// `$1` and on are settings of this repository with their values, `--`, and settings for everywhere, where the guest does not
/// know them yet.
const TELL: &str = r#"
while [ "$1" != -- ]; do git config --replace-all "$1" "$2"; shift 2; done
shift
while [ $# -gt 1 ]; do
    git config --global --get "$1" >/dev/null || git config --global "$1" "$2"
    shift 2
done
"#;

/// Where it comes from and who commits in it; and who commits everywhere, where the guest does not know that yet.
pub(super) fn tell_about_repository(
    inside: &mut Inside<'_>,
    repository: &Repository,
    snapshot: &Snapshot,
) -> Result<(), PrepareError> {
    let own = &repository.identity;
    let origin = repository.origin.as_deref();
    let fetch = origin.map(|_| "+refs/heads/*:refs/remotes/origin/*");
    let submodules = if snapshot.within.is_empty() { Vec::new() } else { repository.submodule_settings()? };
    let everywhere = global_identity(&repository.git)?;
    let local = [
        ("remote.origin.url", origin),
        ("remote.origin.fetch", fetch),
        ("user.name", own.name.as_deref()),
        ("user.email", own.email.as_deref()),
    ];
    let local =
        local.into_iter().chain(submodules.iter().map(|(name, value)| (name.as_str(), Some(value.as_str()))));
    let everywhere = [("user.name", everywhere.name.as_deref()), ("user.email", everywhere.email.as_deref())];
    let said = |(name, value): (_, Option<_>)| value.map(|value| [name, value]);
    let words: Vec<&str> = local
        .filter_map(said)
        .flatten()
        .chain(["--"])
        .chain(everywhere.into_iter().filter_map(said).flatten())
        .collect();
    inside.script(TELL, &words, Input::None).map(drop)
}
