//! Judges what came out of a guest.
//!
//! ```text
//! received ── index-pack, git's own fsck ──▶ objects in the quarantine
//!          ── are they all there, and how many and how large ──▶ sizes
//!          ── git's rules for paths ──▶ an index with the whole tree in it
//!          ── what changed ──▶ no submodule but those that go
//! ```
//!
//! The guest named a commit and a tree; everything else is worked out here, from objects whose names are their
//! content. It cannot name what it does not have the content of, nor give an object another content.
//!
//! A tree that passes has no path that git would refuse to check out anywhere, on any file system; so none is called
//! `.git` in any spelling, climbs, or lies below a link.

use super::oid::Oid;
use super::quarantine::Quarantine;
use super::run::{Run, RunError};
use super::submodules;
use crate::guest::said;
use std::fs::File;
use std::io;

/// What a guest says it has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Claim {
    /// The commit that is checked out; `None` before the first.
    pub head: Option<Oid>,
    /// The working tree.
    pub tree: Oid,
}

/// Why nothing was taken from a guest.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Refused {
    #[error("what it sent is not a pack of git objects: {0}")]
    NotAPack(String),
    #[error("git refuses an object in it: {0}")]
    Object(String),
    #[error("git refuses \"{path}\": {reason}")]
    Path { path: String, reason: String },
    #[error("some of it is missing: {0}")]
    Incomplete(String),
    #[error("more than {0} new files, directories, and commits")]
    TooMany(u64),
    #[error("\"{path}\" has {size} bytes, more than {most}")]
    TooLarge { path: String, size: u64, most: u64 },
    #[error("unpacked it is more than {0} bytes")]
    TooMuch(u64),
    #[error("\"{path}\" is a new submodule, or a repository inside the repository")]
    Submodule { path: String },
    #[error("the submodule \"{path}\" is at another commit, and submodules are not exported")]
    MovedSubmodule { path: String, from: Oid },
    #[error("\".gitmodules\" says something new: {0}")]
    Submodules(String),
    #[error("\"{path}\" is another spelling of .gitmodules")]
    Spelling { path: String },
}

#[derive(Debug, thiserror::Error)]
pub(crate) enum VerifyError {
    #[error(transparent)]
    Refused(Refused),
    #[error("it could not be judged")]
    Run(#[source] RunError),
    #[error("{what} could not be read")]
    Read { what: &'static str, source: io::Error },
}

impl From<RunError> for VerifyError {
    fn from(error: RunError) -> Self {
        Self::Run(error)
    }
}

impl From<Refused> for VerifyError {
    fn from(refused: Refused) -> Self {
        Self::Refused(refused)
    }
}

/// Takes the pack that was received into the quarantine, and judges all of it. `base` is a commit of the user's, and
/// `laid` a tree that may have come along.
pub(crate) fn objects(
    quarantine: &Quarantine,
    claim: &Claim,
    base: Option<&Oid>,
    laid: Option<&Oid>,
) -> Result<(), VerifyError> {
    if let Err(error) = index(quarantine, &["--strict"]) {
        return Err(why(quarantine, claim, error));
    }
    let named = [(Some(&claim.tree), "tree"), (claim.head.as_ref(), "commit"), (laid, "tree")];
    for (oid, kind) in named {
        let Some(oid) = oid.filter(|oid| quarantine.has(oid)) else { continue };
        if quarantine.git().args(["cat-file", "-t", oid.as_str()]).word()? != kind {
            return Err(Refused::Object(format!("{oid} is no {kind}")).into());
        }
    }
    let laid = laid.filter(|laid| quarantine.has(laid));
    complete_and_bounded(quarantine, &listed(claim, base, laid))?;
    tree(quarantine, &claim.tree)
}

/// A pack without objects is not worth a file, and older gits do not take one.
fn index(quarantine: &Quarantine, options: &[&str]) -> Result<(), VerifyError> {
    let unreadable = |source| VerifyError::Read { what: "what was received", source };
    let path = quarantine.received();
    let pack = File::open(&path).map_err(unreadable)?;
    let most = format!("--max-input-size={}", quarantine.limits().received);
    let run = quarantine.git().args(["index-pack", "--stdin", "--fix-thin", &most]).args(options);
    Ok(run.input_file(pack).silently()?)
}

/// git names the object it does not like, and people know paths.
fn why(quarantine: &Quarantine, claim: &Claim, error: VerifyError) -> VerifyError {
    let VerifyError::Run(RunError::Failed { talk, .. }) = &error else { return error };
    let about = talk.lines().find_map(|line| line.trim_start_matches("error: ").strip_prefix("object "));
    let Some((object, reason)) = about.and_then(|about| about.split_once(": ")) else {
        return match error {
            VerifyError::Run(error) => Refused::NotAPack(told(&error)).into(),
            error => error,
        };
    };
    // Once more without judgement, only to find the path.
    if index(quarantine, &[]).is_ok() {
        if let Err(VerifyError::Refused(refused)) = tree(quarantine, &claim.tree) {
            return refused.into();
        }
        if let Some(path) = path_of(quarantine, claim, object) {
            return Refused::Path { path: said(&path), reason: said(reason) }.into();
        }
    }
    Refused::Object(said(&format!("{object}: {reason}"))).into()
}

fn path_of(quarantine: &Quarantine, claim: &Claim, object: &str) -> Option<String> {
    let mut found = None;
    let list = listing(quarantine, &listed(claim, None, None));
    // A list that breaks off at a missing object may have had it.
    let _ = list.parts(b'\n', |line| {
        let line = String::from_utf8_lossy(line);
        match line.strip_prefix(object) {
            Some(path) => {
                found = Some(path.trim_start().to_owned());
                Err(RunError::TooMuch { what: String::new(), most: 0 })
            }
            None => Ok(()),
        }
    });
    found.filter(|path| !path.is_empty())
}

/// What is wanted and what is known, as `rev-list` reads it.
fn listed(claim: &Claim, base: Option<&Oid>, laid: Option<&Oid>) -> String {
    let wanted = [Some(&claim.tree), claim.head.as_ref(), laid].into_iter().flatten();
    let wanted: String = wanted.map(|oid| format!("{oid}\n")).collect();
    wanted + &base.map(|base| format!("^{base}\n^{base}^{{tree}}\n")).unwrap_or_default()
}

/// Every new object with a path to it.
fn listing<'a>(quarantine: &'a Quarantine, listed: &str) -> Run<'a> {
    quarantine.git().args(["rev-list", "--objects", "--stdin"]).input(listed)
}

fn complete_and_bounded(quarantine: &Quarantine, wanted: &str) -> Result<(), VerifyError> {
    let limits = *quarantine.limits();
    let mut objects: Vec<Vec<u8>> = Vec::new();
    let listed = listing(quarantine, wanted).parts(b'\n', |line| {
        objects.push(line.to_vec());
        if objects.len() as u64 > limits.objects {
            Err(Refused::TooMany(limits.objects).into())
        } else {
            Ok(())
        }
    });
    match listed {
        Err(VerifyError::Run(error @ RunError::Failed { .. })) => {
            return Err(Refused::Incomplete(told(&error)).into());
        }
        listed => listed?,
    }
    let mut unpacked = 0_u64;
    let mut lines = objects.iter();
    let names: Vec<u8> = objects.iter().flat_map(|line| [name_in(line), b"\n"].concat()).collect();
    let sizes = quarantine.git().args(["cat-file", "--buffer", "--batch-check=%(objectsize)"]).input(names);
    sizes.parts(b'\n', |size| {
        let path =
            lines.next().map_or(&b""[..], |line| line.splitn(2, |byte| *byte == b' ').nth(1).unwrap_or(b""));
        let size: u64 = String::from_utf8_lossy(size).parse().map_err(|_| {
            Refused::Incomplete(format!("nothing is known of \"{}\"", said(&String::from_utf8_lossy(path))))
        })?;
        if size > limits.file {
            let path = said(&String::from_utf8_lossy(path));
            return Err(Refused::TooLarge { path, size, most: limits.file }.into());
        }
        unpacked = unpacked.saturating_add(size);
        if unpacked > limits.unpacked { Err(Refused::TooMuch(limits.unpacked).into()) } else { Ok(()) }
    })
}

fn name_in(line: &[u8]) -> &[u8] {
    line.split(|byte| *byte == b' ').next().unwrap_or_default()
}

/// Has git put the whole tree into an index, where it checks every path as before a checkout.
pub(crate) fn tree(quarantine: &Quarantine, tree: &Oid) -> Result<(), VerifyError> {
    let index = quarantine.path().join("index-of-paths");
    let read = quarantine.git().env("GIT_INDEX_FILE", &index).args(["read-tree", tree.as_str()]).silently();
    match read {
        Err(error @ RunError::Failed { .. }) => {
            let RunError::Failed { talk, .. } = &error else { return Err(error.into()) };
            let path = talk
                .lines()
                .find_map(|line| line.split_once("invalid path '")?.1.strip_suffix('\'').map(said));
            Err(match path {
                Some(path) => {
                    let reason = "no repository may have such a path".to_owned();
                    Refused::Path { path, reason }.into()
                }
                None => Refused::Object(told(&error)).into(),
            })
        }
        read => Ok(read?),
    }
}

/// Judges what lies between two trees, which is what a patch would do.
pub(crate) fn changes(quarantine: &Quarantine, from: &Oid, to: &Oid) -> Result<(), VerifyError> {
    let diff = quarantine.git().args(["diff-tree", "-r", "-z", "--raw", "--no-renames", "--no-abbrev"]);
    judge(quarantine, diff.args(["--ignore-submodules=none", from.as_str(), to.as_str()]))
}

/// Judges what each commit changes that is reachable from `head` and not from `base`.
pub(crate) fn commits(quarantine: &Quarantine, head: &Oid, base: Option<&Oid>) -> Result<(), VerifyError> {
    let range = base.map_or_else(|| head.to_string(), |base| format!("{base}..{head}"));
    let log = quarantine.git().args(["log", "--format=", "-z", "--raw", "--no-abbrev", "--no-renames", "-c"]);
    judge(quarantine, log.args(["--root", "--ignore-submodules=none", &range, "--"]))
}

fn judge(quarantine: &Quarantine, changes: Run<'_>) -> Result<(), VerifyError> {
    let mut entry: Option<Change> = None;
    let mut of_submodules = Vec::new();
    changes.parts(0, |part| match entry.take() {
        None if part.is_empty() => Ok(()),
        None => {
            entry =
                Some(Change::parse(part).ok_or_else(|| Refused::Object("a change git cannot tell".into()))?);
            Ok(())
        }
        Some(change) => {
            change.judge(part)?;
            if part == b".gitmodules" {
                of_submodules.push(change);
            }
            Ok::<(), VerifyError>(())
        }
    })?;
    for change in of_submodules {
        submodules::judge(quarantine, &change.from, &change.to)?;
    }
    Ok(())
}

/// One line of git's raw form: `:old… new id… id status`, a merge having several old ones.
#[derive(Debug, PartialEq, Eq)]
struct Change {
    mode: String,
    /// Whether it was a submodule on some side before.
    was_submodule: bool,
    from: Vec<Oid>,
    to: Oid,
}

impl Change {
    fn parse(part: &[u8]) -> Option<Self> {
        let text = std::str::from_utf8(part).ok()?;
        let parents = text.bytes().take_while(|byte| *byte == b':').count();
        let words: Vec<&str> = text[parents..].split(' ').collect();
        if parents == 0 || words.len() != 2 * (parents + 1) + 1 {
            return None;
        }
        let ids = words[parents + 1..2 * (parents + 1)].iter().map(|id| Oid::parse(id));
        let mut ids = ids.collect::<Option<Vec<Oid>>>()?;
        let was_submodule = words[..parents].contains(&SUBMODULE);
        Some(Self { mode: words[parents].to_owned(), was_submodule, to: ids.pop()?, from: ids })
    }

    fn judge(&self, path: &[u8]) -> Result<(), Refused> {
        let told = || said(&String::from_utf8_lossy(path));
        if path != b".gitmodules" && path.eq_ignore_ascii_case(b".gitmodules") && self.mode != GONE {
            return Err(Refused::Spelling { path: told() });
        }
        match self.from.first() {
            _ if self.mode != SUBMODULE => Ok(()),
            Some(from) if self.was_submodule => {
                Err(Refused::MovedSubmodule { path: told(), from: from.clone() })
            }
            _ => Err(Refused::Submodule { path: told() }),
        }
    }
}

const GONE: &str = "000000";
const SUBMODULE: &str = "160000";

fn told(error: &RunError) -> String {
    error.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn changes_of_commits_and_of_merges_are_understood() {
        let (a, b, c) = ("a".repeat(40), "b".repeat(40), "c".repeat(40));
        let one = Change::parse(format!(":100644 160000 {a} {b} M").as_bytes()).unwrap();
        assert_eq!((one.mode.as_str(), one.from.len(), one.to.as_str()), ("160000", 1, b.as_str()));
        let merge = Change::parse(format!("::100644 100755 100644 {a} {b} {c} MM").as_bytes()).unwrap();
        assert_eq!((merge.mode.as_str(), merge.from.len(), merge.to.as_str()), ("100644", 2, c.as_str()));
        for nonsense in [&b""[..], b":", b"x", b":100644 100644 a b M", b"\xff"] {
            assert_eq!(Change::parse(nonsense), None);
        }
    }

    #[test]
    fn submodules_and_other_spellings_are_refused_and_may_go() {
        let change = |mode: &str| Change {
            mode: mode.into(),
            was_submodule: false,
            from: Vec::new(),
            to: Oid::parse(&"a".repeat(40)).unwrap(),
        };
        for (mode, path, taken) in [
            ("100644", &b"a"[..], true),
            ("000000", b"sub", true),
            ("160000", b"sub", false),
            ("100644", b".GitModules", false),
            ("000000", b".GitModules", true),
        ] {
            assert_eq!(change(mode).judge(path).is_ok(), taken, "{mode} {path:?}");
        }
    }
}
