//! The guest's part: its own git packs what is new.
//!
//! The script leaves head, index, refs and files as they are: it adds everything to a copy of the index, and what git
//! writes on the way goes to a folder of its own in the guest's git folder, which goes when the script ends, also by
//! the hang-up that follows when nobody on the host listens any more. It is for the shell and not a list of commands
//! so that this cleaning up is the guest's and needs no host.
//!
//! Nothing it prints is believed. It begins with
//!
//! ```text
//! banger-export 1
//! head 0123…        or `-` before the first commit
//! tree 4567…
//! edited libs/one   for each submodule in which something was done
//!                   and then the pack
//! ```
//!
//! or with `banger-export no-git`, when the tree has to be copied out instead.

use super::oid::Oid;
use super::quarantine::Quarantine;
use super::verify::Claim;
use crate::guest::{CollectError, collect, said};
use banger_protocol::guest_api::{Exec, Exit};
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Write};
use std::os::unix::net::UnixStream;

/// `$1` is the workspace; `$2` a commit the host has, or `-`; `$3` likewise a tree to bring along.
const SCRIPT: &str = r#"
set -eu
for name in $(env | sed -n 's/^\(GIT_[A-Za-z0-9_]*\)=.*/\1/p'); do unset "$name"; done
cd -- "$1"
if ! command -v git >/dev/null || ! [ -e .git ]; then
    echo 'banger-export no-git'
    exit 0
fi
git() {
    command git -c safe.directory='*' -c core.hooksPath=/dev/null -c core.fsmonitor=false -c gc.auto=0 \
        -c advice.addEmbeddedRepo=false "$@"
}
dir=$(git rev-parse --absolute-git-dir)
find "$dir" -maxdepth 1 -name 'banger-export.*' -mmin +240 -exec rm -rf {} +
tmp=$(mktemp -d "$dir/banger-export.XXXXXX")
trap 'rm -rf "$tmp"' EXIT
trap 'exit 129' HUP INT TERM
index=$(git rev-parse --git-path index)
objects=$(cd -- "$(git rev-parse --git-path objects)" && pwd)
if [ -e "$index" ]; then cp -p -- "$index" "$tmp/index"; fi
mkdir -p "$tmp/objects/info"
printf '"%s"\n' "$(printf %s "$objects" | sed 's/["\\]/\\&/g')" > "$tmp/objects/info/alternates"
export GIT_INDEX_FILE="$tmp/index" GIT_OBJECT_DIRECTORY="$tmp/objects"
git add --all -- . >/dev/null
tree=$(git write-tree)
tab=$(printf '\t')
# A submodule is a repository of its own: that something was done in it is all that is told. Where banger laid it, what was laid
# is known, index and other files; elsewhere git says what is new.
lines() { tr '\0\n' '\n\0' | sort; }
edited() (
    cd -- "$1" 2>/dev/null && [ -e .git ] || exit 1
    unset GIT_INDEX_FILE GIT_OBJECT_DIRECTORY
    if [ ! -e .git/banger-index ]; then [ -n "$(git status --porcelain)" ]; exit; fi
    cp -- .git/banger-index "$tmp/laid-index"
    export GIT_INDEX_FILE="$tmp/laid-index"
    git update-index -q --refresh >/dev/null || :
    git diff-files --quiet --ignore-submodules=all || exit 0
    { cat .git/banger-laid 2>/dev/null || :; } | lines | cut -f 2- | sort > "$tmp/laid"
    git ls-files -z --others --exclude-standard | lines | comm -13 "$tmp/laid" - > "$tmp/new"
    [ -s "$tmp/new" ]
)
git -c core.quotePath=false ls-files --stage | sed -n "s/^160000 [0-9a-f]* 0$tab//p" | head -n 50 |
    while IFS= read -r path; do if edited "$path"; then printf 'edited %s\n' "$path"; fi; done > "$tmp/edited"
head=$(git rev-parse -q --verify 'HEAD^{commit}') || head=-
{
    echo "$tree"
    if [ "$head" != - ]; then echo "$head"; fi
    if [ "$3" != - ] && git cat-file -e "$3" 2>/dev/null; then echo "$3"; fi
    # Without its tree git sends all of that again where there is no new commit.
    if [ "$2" != - ] && git cat-file -e "$2" 2>/dev/null; then echo "^$2"; echo "^$2^{tree}"; fi
} > "$tmp/wanted"
printf 'banger-export 1\nhead %s\ntree %s\n' "$head" "$tree"
cat "$tmp/edited"
echo
git pack-objects --revs --stdout --thin --delta-base-offset -q < "$tmp/wanted"
"#;

/// What the guest has.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    /// The pack is received. There are submodules in which something was done that is not part of it.
    Packed(Claim, Vec<String>),
    /// No git there that could pack it.
    NoGit,
}

#[derive(Debug, thiserror::Error)]
pub(crate) enum AskError {
    #[error(transparent)]
    Collect(CollectError<TakeError>),
    #[error("git in the guest could not pack the changes: {0}")]
    Failed(String),
    #[error("the guest sent an invalid answer")]
    Nonsense,
}

/// Why the bytes of a guest were taken no further.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TakeError {
    #[error("the guest sent more than {0} bytes")]
    TooMuch(u64),
    #[error("the guest sent an invalid answer")]
    Nonsense,
    #[error("the data from the guest could not be stored")]
    Write(#[source] io::Error),
}

/// Has the guest pack everything in `workspace` that is not in `known`, and receives that.
pub(crate) fn for_objects(
    agent: &UnixStream,
    quarantine: &Quarantine,
    workspace: &str,
    known: Option<&Oid>,
    base_tree: Option<&Oid>,
) -> Result<Answer, AskError> {
    let word = |oid: Option<&Oid>| oid.map_or_else(|| "-".to_owned(), ToString::to_string);
    let words = ["/bin/sh", "-c", SCRIPT, "banger-export", workspace].map(str::to_owned);
    let command = Exec {
        argv: words.into_iter().chain([word(known), word(base_tree)]).collect(),
        env: BTreeMap::new(),
        cwd: Some("/".to_owned()),
        user: Some("root".to_owned()),
        terminal: None,
        stdin: false,
    };
    let file = File::create(quarantine.received())
        .map_err(|error| AskError::Collect(CollectError::Unwanted(TakeError::Write(error))))?;
    let mut receiver = Receiver { head: Vec::new(), said: None, file, left: quarantine.limits().received };
    let most = receiver.left;
    let collected = collect(agent, &command, quarantine.limits().silence, |piece| receiver.take(piece, most));
    let collected = collected.map_err(AskError::Collect)?;
    match (collected.exit, receiver.said) {
        (Exit::Code(0), Some(answer)) => Ok(answer),
        (Exit::Code(0), None) => Err(AskError::Nonsense),
        // No shell is no git either.
        (Exit::NotStarted { code: 127, .. }, _) => Ok(Answer::NoGit),
        (Exit::NotStarted { reason, .. }, _) => Err(AskError::Failed(said(&reason))),
        (Exit::Code(_) | Exit::Signal(_), _) => Err(AskError::Failed(collected.talk)),
    }
}

/// Longest beginning of an answer.
const LONGEST_HEAD: usize = 32 << 10;

struct Receiver {
    /// What came of the lines before the pack.
    head: Vec<u8>,
    said: Option<Answer>,
    file: File,
    left: u64,
}

impl Receiver {
    fn take(&mut self, piece: &[u8], most: u64) -> Result<(), TakeError> {
        let left = self.left.checked_sub(piece.len() as u64);
        self.left = left.ok_or(TakeError::TooMuch(most))?;
        if self.said.is_some() {
            return self.file.write_all(piece).map_err(TakeError::Write);
        }
        self.head.extend_from_slice(piece);
        match parse(&self.head) {
            Some((answer, rest)) => {
                self.said = Some(answer);
                self.file.write_all(&self.head[rest..]).map_err(TakeError::Write)
            }
            None if self.head.len() > LONGEST_HEAD => Err(TakeError::Nonsense),
            None => Ok(()),
        }
    }
}

/// The answer, and where its head ends; `None` when it is not all there, or no answer.
fn parse(bytes: &[u8]) -> Option<(Answer, usize)> {
    let no_git = b"banger-export no-git\n";
    if bytes.starts_with(no_git) {
        return Some((Answer::NoGit, no_git.len()));
    }
    let end = bytes.windows(2).position(|pair| pair == b"\n\n")?;
    let head = std::str::from_utf8(&bytes[..end]).ok()?;
    let lines: Vec<&str> = head.split('\n').collect();
    let ["banger-export 1", head, tree, edited @ ..] = &lines[..] else { return None };
    let edited: Option<Vec<String>> =
        edited.iter().map(|line| line.strip_prefix("edited ").map(said)).collect();
    let head = match head.strip_prefix("head ")? {
        "-" => None,
        oid => Some(Oid::parse(oid)?),
    };
    let claim = Claim { head, tree: Oid::parse(tree.strip_prefix("tree ")?)? };
    Some((Answer::Packed(claim, edited?), end + 2))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_understood_in_whatever_pieces_it_comes() {
        let (a, b) = ("a".repeat(40), "b".repeat(40));
        let text = format!("banger-export 1\nhead {a}\ntree {b}\nedited libs/one\n\nPACK");
        for cut in 0..text.len() {
            let mut receiver =
                Receiver { head: Vec::new(), said: None, file: tempfile::tempfile().unwrap(), left: 1000 };
            receiver.take(&text.as_bytes()[..cut], 1000).unwrap();
            receiver.take(&text.as_bytes()[cut..], 1000).unwrap();
            let claim = Claim { head: Oid::parse(&a), tree: Oid::parse(&b).unwrap() };
            assert_eq!(receiver.said, Some(Answer::Packed(claim, vec!["libs/one".to_owned()])));
            assert_eq!(receiver.file.metadata().unwrap().len(), 4);
        }
    }

    #[test]
    fn an_answer_that_is_none_is_not_waited_for() {
        let receiver =
            |left| Receiver { head: Vec::new(), said: None, file: tempfile::tempfile().unwrap(), left };
        let nonsense = receiver(100_000).take(&[b'x'; 40_000], 100_000);
        assert!(matches!(nonsense, Err(TakeError::Nonsense)));
        assert!(matches!(receiver(10).take(&[b'x'; 11], 10), Err(TakeError::TooMuch(10))));
        for text in
            ["banger-export 1\nhead HEAD\ntree x\n\n", "banger-export 2\n\n", "\n\n", "banger-export 1\n\n"]
        {
            assert_eq!(parse(text.as_bytes()), None);
        }
    }

    proptest::proptest! {
        #[test]
        fn no_bytes_make_the_parser_panic(bytes: Vec<u8>) {
            let _ = parse(&bytes);
        }
    }
}
