//! The tree of what is sent, named by the host alone.
//!
//! A guest's work is shown as the difference to what was sent. A guest that could say what that was could have its own work
//! taken for it, and so not shown. So the tree is worked out here from the commit and the files, and what the guest calls it
//! is compared with that and not used. Nothing is written: git says what each object would be called.

use super::PrepareError;
use super::decide::Content;
use super::host::Snapshot;
use crate::git::Listed;
use crate::git::inspect::{Kind, Repository};
use std::collections::{BTreeMap, BTreeSet};

/// What was sent: the commit, and over it what the working tree has instead.
#[derive(Debug)]
pub(super) struct SentTree {
    pub oid: String,
    /// The commits of its submodules: of those that go in as repositories, where these are.
    pub submodules: BTreeMap<Vec<u8>, Content>,
}

impl SentTree {
    pub(super) fn of(repository: &Repository, snapshot: &Snapshot) -> Result<Self, PrepareError> {
        let Listed { folders, entries } = match &snapshot.commit {
            Some(commit) => repository.tree(commit)?,
            None => Listed::default(),
        };
        let content = |kind: Kind, oid| (kind.mode().to_owned(), oid);
        let (submodules, files): (Vec<_>, Vec<_>) =
            entries.into_iter().partition(|entry| entry.kind == Kind::Submodule);
        let named = |entries: Vec<crate::git::inspect::IndexEntry>| {
            entries.into_iter().map(|entry| (entry.path, content(entry.kind, entry.oid)))
        };
        let mut submodules: BTreeMap<Vec<u8>, Content> = named(submodules).collect();
        let moved = snapshot.within.iter().map(|within| (within.path.clone(), within.head().to_owned()));
        submodules.extend(moved.map(|(path, head)| (path, content(Kind::Submodule, head))));
        let mut tree: BTreeMap<Vec<u8>, Content> = named(files).chain(submodules.clone()).collect();
        let over = snapshot.contents_over(repository)?;
        tree.retain(|path, _| !snapshot.over.contains_key(path));
        tree.extend(over);
        let within = snapshot.within.iter().map(|within| &within.path);
        let changed = snapshot.over.keys().chain(within).flat_map(|path| folders_of(path)).collect();
        let entries: Vec<(&[u8], &Content)> = tree.iter().map(|(path, c)| (path.as_slice(), c)).collect();
        let trees = Trees { repository, folders, changed };
        let oid = trees.name(&entries, 0)?;
        Ok(Self { oid, submodules })
    }
}

/// Every folder on the way to a path, the root as the empty one.
fn folders_of(path: &[u8]) -> impl Iterator<Item = &[u8]> {
    let slashes = path.iter().enumerate().filter(|(_, byte)| **byte == b'/').map(|(at, _)| at);
    std::iter::once(0).chain(slashes).map(|end| &path[..end])
}

struct Trees<'a> {
    repository: &'a Repository,
    /// The commit's.
    folders: BTreeMap<Vec<u8>, String>,
    /// Those in which something is not as in the commit.
    changed: BTreeSet<&'a [u8]>,
}

impl Trees<'_> {
    /// The name of the tree with these entries, in order of their paths, whose first `above` bytes lead to it.
    fn name(&self, entries: &[(&[u8], &Content)], above: usize) -> Result<String, PrepareError> {
        let mut lines: Vec<(Vec<u8>, Vec<u8>)> = Vec::new();
        let mut rest = entries;
        while let Some(((path, (mode, oid)), after)) = rest.split_first() {
            let Some(length) = path[above..].iter().position(|byte| *byte == b'/') else {
                let name = &path[above..];
                lines.push((name.to_vec(), line(mode, name, oid)));
                rest = after;
                continue;
            };
            let folder = &path[..=above + length];
            let within = rest.iter().take_while(|(path, _)| path.starts_with(folder)).count();
            let (inside, after) = rest.split_at(within);
            let (name, folder) = (&folder[above..], &folder[..above + length]);
            let oid = match self.folders.get(folder).filter(|_| !self.changed.contains(folder)) {
                Some(same) => same.clone(),
                None => self.name(inside, above + length + 1)?,
            };
            // A folder has its place in the order as if its name ended in a slash.
            lines.push((name.to_vec(), line("40000", &name[..length], &oid)));
            rest = after;
        }
        lines.sort();
        let bytes: Vec<u8> = lines.into_iter().flat_map(|(_, line)| line).collect();
        Ok(self.repository.hash("tree", &bytes)?)
    }
}

/// An entry as a tree has it: `mode SP name NUL oid`.
fn line(mode: &str, name: &[u8], oid: &str) -> Vec<u8> {
    let digits = oid.as_bytes().chunks_exact(2);
    let binary = digits.map(|pair| pair.iter().fold(0, |byte, digit| byte << 4 | value(*digit)));
    [mode.as_bytes(), b" ", name, b"\0"].concat().into_iter().chain(binary).collect()
}

fn value(digit: u8) -> u8 {
    if digit.is_ascii_digit() { digit - b'0' } else { digit - b'a' + 10 }
}
