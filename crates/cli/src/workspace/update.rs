//! The second time and every other: only what changed on the host travels, and what the guest changed is kept.

use super::PrepareError;
use super::compare::{Comparison, beside_index};
use super::decide::Content;
use super::files;
use super::head::{keep, point_head};
use super::host::Snapshot;
use super::inside::{Inside, null_separated};
use super::lay::{
    check_out_files, lay_within, make_index, remove_files, send_history, send_objects, tell_about_repository,
};
use super::sent_tree::SentTree;
use super::within::Within;
use crate::git::inspect::Repository;
use crate::git::oid;
use crate::guest::Input;
use std::collections::{BTreeMap, BTreeSet};

/// `$1` is how many bytes of the input are paths that were laid; lines for the guest's own index follow them, the first `$2`
/// bytes of which are what is staged here, or `-` where the index is made already. What was staged here, is no more, and is in
/// the guest as it was sent, is unstaged there. What was laid counts as such when all the rest is done. Prints the tree that
/// is laid then.
const FOLLOW: &str = r#"
lists=.git/banger-lists staged=.git/banger-staged
trap 'rm -f "$lists" "$lists".* "$staged".*' EXIT
cat > "$lists"
if [ "$2" != - ]; then
    tail -c "+$(($1 + 1))" "$lists" > "$lists.index"
    if [ -s "$staged" ]; then
        lines() { tr '\0\n' '\n\0' | sort; }
        lines < "$staged" > "$staged.was"
        git ls-files --stage -z | lines > "$staged.is"
        grep -v '^0 ' "$staged.was" | cut -f 2- | sort -u > "$staged.kept"
        cut -f 2- "$staged.is" | sort -u > "$staged.there"
        {
            comm -12 "$staged.was" "$staged.is" | cut -f 2-
            cut -f 2- "$staged.was" | sort -u | comm -23 - "$staged.kept" | comm -23 - "$staged.there"
        } | tr '\0\n' '\n\0' > "$staged.back"
        if [ -s "$staged.back" ]; then
            git reset -q --pathspec-from-file="$staged.back" --pathspec-file-nul
        fi
    fi
    head -c "$2" "$lists.index" > "$staged"
    git update-index -z --index-info < "$lists.index"
fi
export GIT_INDEX_FILE="$PWD/.git/banger-index"
if [ "$1" != 0 ]; then
    head -c "$1" "$lists" | git update-index -z --add --remove --replace --stdin
fi
tree=$(git write-tree)
git update-ref refs/banger/base "$tree"
rm -f .git/banger-updating
echo "$tree"
"#;

/// There while an update is under way, so that the next knows of one that was cut off.
const UPDATING: &str = ".git/banger-updating";

/// Brings a place up to date with what is `sent`; the answer is what the guest calls the tree that is laid then.
pub(super) fn update(
    inside: &mut Inside<'_>,
    repository: &Repository,
    snapshot: &Snapshot,
    sent: &SentTree,
    branch: Option<&str>,
    compared: &Comparison,
) -> Result<String, PrepareError> {
    inside.write_file(UPDATING, b"")?;
    let updated = follow_host(inside, repository, snapshot, sent, branch, compared);
    if updated.is_err() {
        // Not cut off: what is locked now is locked by somebody else. Where this fails too, it was.
        let _ = inside.script(&format!("rm -f {UPDATING}"), &[], Input::None);
    }
    updated
}

fn follow_host(
    inside: &mut Inside<'_>,
    repository: &Repository,
    snapshot: &Snapshot,
    sent: &SentTree,
    branch: Option<&str>,
    compared: &Comparison,
) -> Result<String, PrepareError> {
    let steps = &compared.steps;
    let moved = snapshot.commit != compared.head;
    if moved {
        move_head(inside, repository, snapshot, branch, compared)?;
    } else {
        send_objects(inside, repository, snapshot)?;
    }
    remove_files(inside, &steps.remove.iter().map(Vec::as_slice).collect::<Vec<_>>())?;
    let lay = steps.lay.iter().map(Vec::as_slice);
    let (over, committed): (Vec<_>, Vec<_>) = lay.partition(|path| snapshot.over.contains_key(*path));
    check_out_files(inside, snapshot, &committed.into_iter().collect())?;
    if !over.is_empty() {
        inside.lay(&repository.root, over.iter().copied())?;
    }
    if !compared.left_alone.is_empty() {
        let paths = null_separated(compared.left_alone.iter().map(Vec::as_slice));
        inside.base(&["update-index", "-z", "--force-remove", "--stdin"], Input::Bytes(paths))?;
    }
    let (host, besides) = &compared.besides;
    files::apply(inside, &repository.root, besides)?;
    if !besides.lay.is_empty() || !besides.remove.is_empty() {
        let list = beside_index(&inside.place);
        inside.write_file_at(&list, &files::list(host, &BTreeSet::new()))?;
    }
    for (within, compared) in snapshot.within.iter().zip(&compared.within) {
        inside.within(&within.path, |inside| match compared {
            Some(compared) => {
                let Within { repository, snapshot, .. } = within;
                let sent = SentTree::of(repository, snapshot)?;
                update(inside, repository, snapshot, &sent, repository.branch.as_deref(), compared).map(drop)
            }
            None => lay_within(inside, within),
        })?;
    }
    if moved || compared.within.iter().any(Option::is_none) {
        tell_about_repository(inside, repository, snapshot)?;
    }
    if compared.submodules != sent.submodules {
        let lines = moved_submodules(&compared.submodules, &sent.submodules);
        inside.base(&["update-index", "-z", "--index-info"], Input::Bytes(lines))?;
    }
    follow(inside, snapshot, steps, &over, moved)
}

/// Has the indexes of the guest follow what was laid.
fn follow(
    inside: &mut Inside<'_>,
    snapshot: &Snapshot,
    steps: &super::decide::Steps,
    laid: &[&[u8]],
    moved: bool,
) -> Result<String, PrepareError> {
    let mut lists = null_separated(laid.iter().copied());
    let length = lists.len().to_string();
    let mut staged = "-".to_owned();
    if !moved {
        let lines = snapshot.index_info(snapshot.staged.iter());
        staged = lines.len().to_string();
        lists.extend(lines);
        // The guest may have staged something of its own elsewhere.
        let touched: BTreeSet<Vec<u8>> = steps.lay.iter().chain(&steps.remove).cloned().collect();
        let known: BTreeSet<&[u8]> = snapshot.index.iter().map(|entry| entry.path.as_slice()).collect();
        let tracked = touched.iter().filter(|path| !snapshot.staged.contains(*path));
        let tracked = tracked.filter(|path| known.contains(path.as_slice()) || steps.remove.contains(path));
        lists.extend(snapshot.index_info(tracked));
    }
    if moved {
        make_index(inside, snapshot)?;
    }
    let tree = inside.script(FOLLOW, &[&length, &staged], Input::Bytes(lists))?;
    oid(tree.trim_ascii_end()).map_err(|_| PrepareError::GuestOutput { command: "write-tree" })
}

/// Follows the host to another commit. Commits that the guest made since make room.
fn move_head(
    inside: &mut Inside<'_>,
    repository: &Repository,
    snapshot: &Snapshot,
    branch: Option<&str>,
    compared: &Comparison,
) -> Result<(), PrepareError> {
    let Some(commit) = &snapshot.commit else { return Err(PrepareError::Unborn) };
    if let Some(own) = &compared.own {
        keep(inside, own, &[])?;
    }
    // Both sides must have it for the rest to be left out.
    let had = match &compared.head {
        Some(head) if repository.commit(head)?.is_some() => Some(head.as_str()),
        _ => None,
    };
    send_history(inside, repository, snapshot, commit, had)?;
    point_head(inside, branch, commit, compared.head.as_deref())
}

/// Lines that make an index name other commits of submodules.
fn moved_submodules(from: &BTreeMap<Vec<u8>, Content>, to: &BTreeMap<Vec<u8>, Content>) -> Vec<u8> {
    let gone = from.iter().filter(|(path, _)| !to.contains_key(*path));
    let gone = gone.map(|(path, (_, oid))| (path, "0".to_owned(), "0".repeat(oid.len())));
    let lines = gone.chain(to.iter().map(|(path, (mode, oid))| (path, mode.clone(), oid.clone())));
    lines.flat_map(|(path, mode, oid)| [format!("{mode} {oid}\t").as_bytes(), path, b"\0"].concat()).collect()
}
