//! What of a repository is to be in a guest.

use super::decide::Content;
use super::filters;
use super::within::Within;
use super::{Options, PrepareError};
use crate::git::inspect::{DEPTH, IndexEntry, Kind, Repository};
use banger_protocol::daemon_api::workspace::Mode;
use rustix::fs::{FileType, Mode as Permissions, OFlags, ResolveFlags};
use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::path::Path;

/// Most arguments of one command.
const MOST_ARGUMENTS: usize = 500;

/// A working tree as it was when it was looked at. Paths are the files' own, below its root.
#[derive(Clone, Debug)]
pub(crate) struct Snapshot {
    /// What is checked out in the guest before anything is laid over.
    pub commit: Option<String>,
    pub index: Vec<IndexEntry>,
    /// Where the index differs from the commit.
    pub staged: BTreeSet<Vec<u8>>,
    /// In the index without content: `git add --intent-to-add`.
    pub intended: Vec<Vec<u8>>,
    /// Where the working tree may differ from the commit: what is there instead, if anything.
    pub over: BTreeMap<Vec<u8>, Option<Kind>>,
    /// Every file there is goes in.
    pub is_full: bool,
    /// Files that git does not look after: ignored ones, and those of submodules that have no repository here.
    pub besides: Vec<Vec<u8>>,
    /// Submodules that stay empty.
    pub empty_submodules: usize,
    /// Submodules with a repository here, which go in as repositories.
    pub within: Vec<Within>,
    /// How many commits deep its history goes; `None` for all of it.
    pub depth: Option<usize>,
    /// Names of commits that go along.
    pub refs: Vec<(String, String)>,
}

impl Snapshot {
    pub(crate) fn take(repository: &Repository, options: &Options) -> Result<Self, PrepareError> {
        if let Some(from) = &options.from {
            let commit = repository.commit(from)?.ok_or_else(|| PrepareError::NoCommit(from.clone()))?;
            return Self::of_commit(repository, commit);
        }
        let mut snapshot = Self::unchanged(repository.head.clone(), repository.index()?);
        snapshot.is_full = options.mode == Mode::FullCopy;
        let mut over = BTreeSet::new();
        for (path, letter) in repository.changed_files()? {
            if letter == b'A' {
                snapshot.intended.push(path.clone());
            }
            over.insert(path);
        }
        snapshot.staged = match &snapshot.commit {
            Some(commit) => repository.staged(commit)?,
            None => snapshot.index.iter().map(|entry| entry.path.clone()).collect(),
        };
        let unstaged: BTreeMap<&[u8], &IndexEntry> = snapshot
            .index
            .iter()
            .filter(|entry| {
                entry.stage == 0 && over.contains(&entry.path) && !snapshot.staged.contains(&entry.path)
            })
            .map(|entry| (entry.path.as_slice(), entry))
            .collect();
        for path in filters::unchanged(repository, &unstaged)? {
            over.remove(&path);
        }
        over.extend(snapshot.staged.iter().cloned());
        if options.include_untracked || options.mode == Mode::FullCopy {
            // A repository inside this one is told with a slash at its end, and does not go along.
            over.extend(repository.untracked()?.into_iter().filter(|path| !path.ends_with(b"/")));
        }
        let submodules: BTreeSet<Vec<u8>> = snapshot.submodules().map(<[u8]>::to_vec).collect();
        if snapshot.is_full {
            for path in &submodules {
                snapshot.within.extend(Within::look(repository, path)?);
            }
        } else {
            snapshot.empty_submodules = submodules.len();
        }
        over.retain(|path| !submodules.contains(path));
        let root = open_root(&repository.root)?;
        snapshot.over = over.into_iter().map(|path| (path.clone(), kind_of(&root, &path))).collect();
        if options.mode == Mode::FullCopy {
            let known: BTreeSet<&[u8]> = snapshot.index.iter().map(|entry| entry.path.as_slice()).collect();
            let every = every_file(&repository.root, false)?.into_iter();
            let besides = every.filter(|path| {
                let is_within = snapshot.within.iter().any(|within| is_below(path, &within.path));
                !is_within && !known.contains(path.as_slice()) && !snapshot.over.contains_key(path)
            });
            snapshot.besides = besides.collect();
        }
        Ok(snapshot)
    }

    fn of_commit(repository: &Repository, commit: String) -> Result<Self, PrepareError> {
        let index = repository.tree(&commit)?.entries;
        let mut snapshot = Self::unchanged(Some(commit), index);
        snapshot.empty_submodules = snapshot.submodules().count();
        Ok(snapshot)
    }

    /// A commit, and nothing over it.
    fn unchanged(commit: Option<String>, index: Vec<IndexEntry>) -> Self {
        Self {
            commit,
            index,
            staged: BTreeSet::new(),
            intended: Vec::new(),
            over: BTreeMap::new(),
            is_full: false,
            besides: Vec::new(),
            empty_submodules: 0,
            within: Vec::new(),
            depth: Some(DEPTH),
            refs: Vec::new(),
        }
    }

    fn submodules(&self) -> impl Iterator<Item = &[u8]> {
        let entries = self.index.iter().filter(|entry| entry.kind == Kind::Submodule);
        entries.map(|entry| entry.path.as_slice())
    }

    /// What is there over the commit.
    pub(crate) fn laid_over(&self) -> impl Iterator<Item = &[u8]> {
        self.over.iter().filter(|(_, kind)| kind.is_some()).map(|(path, _)| path.as_slice())
    }

    /// What the commit has and the working tree has not.
    pub(crate) fn removed(&self) -> impl Iterator<Item = &[u8]> {
        self.over.iter().filter(|(_, kind)| kind.is_none()).map(|(path, _)| path.as_slice())
    }

    /// Every file that the working tree has and the guest is to have, with what is known of it from the index; `None`
    /// for one that would have to be read.
    pub(crate) fn files(&self) -> BTreeMap<Vec<u8>, Option<Content>> {
        let clean = self.index.iter().filter(|entry| entry.stage == 0 && entry.kind != Kind::Submodule);
        let clean = clean.filter(|entry| !self.over.contains_key(&entry.path));
        let of = |entry: &IndexEntry| Some((entry.kind.mode().to_owned(), entry.oid.clone()));
        let mut files: BTreeMap<_, _> = clean.map(|entry| (entry.path.clone(), of(entry))).collect();
        files.extend(self.laid_over().map(|path| (path.to_vec(), None)));
        files
    }

    /// Every file that is to go in, those of repositories within too.
    pub(crate) fn every_path(&self) -> Vec<Vec<u8>> {
        let mut paths: Vec<_> = self.files().into_keys().chain(self.besides.iter().cloned()).collect();
        for within in &self.within {
            let below = within.snapshot.every_path().into_iter();
            paths.extend(below.map(|path| [&within.path[..], b"/", &path].concat()));
        }
        paths
    }

    /// The same with everything known.
    pub(crate) fn contents(
        &self,
        repository: &Repository,
    ) -> Result<BTreeMap<Vec<u8>, Content>, PrepareError> {
        let known = self.files().into_iter().filter_map(|(path, content)| Some((path, content?)));
        let mut contents = self.contents_over(repository)?;
        contents.extend(known);
        Ok(contents)
    }

    /// What is there over the commit, as objects.
    pub(crate) fn contents_over(
        &self,
        repository: &Repository,
    ) -> Result<BTreeMap<Vec<u8>, Content>, PrepareError> {
        let read = self.over.iter().filter_map(|(path, kind)| Some((path.as_slice(), (*kind)?)));
        read_contents(repository, read)
    }

    /// Those of these paths that are here, and are not among what goes along.
    pub(crate) fn still_here<'p>(
        &self,
        repository: &Repository,
        paths: impl Iterator<Item = &'p Vec<u8>>,
    ) -> Result<Vec<Vec<u8>>, PrepareError> {
        let tracked: BTreeSet<&[u8]> = self.index.iter().map(|entry| entry.path.as_slice()).collect();
        let root = open_root(&repository.root)?;
        let besides = |path: &&Vec<u8>| {
            let is_ours = tracked.contains(path.as_slice())
                || self.staged.contains(*path)
                || self.over.contains_key(*path)
                || self.within.iter().any(|within| is_below(path, &within.path));
            !is_ours && kind_of(&root, path).is_some()
        };
        Ok(paths.filter(besides).cloned().collect())
    }

    /// Lines for `update-index --index-info` that make another index say of these paths what this one says.
    pub(crate) fn index_info<'p>(&self, paths: impl Iterator<Item = &'p Vec<u8>>) -> Vec<u8> {
        let mut of: BTreeMap<&[u8], Vec<&IndexEntry>> = BTreeMap::new();
        for entry in &self.index {
            of.entry(&entry.path).or_default().push(entry);
        }
        let none = "0".repeat(self.commit.as_ref().map_or(40, String::len));
        let mut lines = Vec::new();
        for path in paths {
            let mut line = |about: String| {
                lines.extend(about.into_bytes());
                lines.extend(path);
                lines.push(0);
            };
            line(format!("0 {none}\t"));
            // What is only intended has no content to name.
            if self.intended.contains(path) {
                continue;
            }
            for entry in of.get(path.as_slice()).into_iter().flatten() {
                line(format!("{} {} {}\t", entry.kind.mode(), entry.oid, entry.stage));
            }
        }
        lines
    }

    /// Objects that only the index has.
    pub(crate) fn staged_objects(&self) -> BTreeSet<&str> {
        let staged = self.index.iter().filter(|entry| self.staged.contains(&entry.path));
        staged.filter(|entry| entry.kind != Kind::Submodule).map(|entry| entry.oid.as_str()).collect()
    }
}

/// What files are as objects.
fn read_contents<'p>(
    repository: &Repository,
    paths: impl Iterator<Item = (&'p [u8], Kind)>,
) -> Result<BTreeMap<Vec<u8>, Content>, PrepareError> {
    let (links, files): (Vec<_>, Vec<_>) = paths.partition(|(_, kind)| *kind == Kind::Link);
    let content = |kind: Kind, oid| (kind.mode().to_owned(), oid);
    let mut contents = BTreeMap::new();
    for (path, kind) in links {
        let link = repository.root.join(crate::git::path_of(path));
        let target = std::fs::read_link(&link).map_err(|source| PrepareError::Read { path: link, source })?;
        let oid = repository.hash("blob", target.as_os_str().as_bytes())?;
        contents.insert(path.to_vec(), content(kind, oid));
    }
    for files in files.chunks(MOST_ARGUMENTS) {
        let paths: Vec<&[u8]> = files.iter().map(|(path, _)| *path).collect();
        for ((path, kind), oid) in files.iter().zip(repository.hash_files(&paths)?) {
            contents.insert(path.to_vec(), content(*kind, oid));
        }
    }
    Ok(contents)
}

fn is_below(path: &[u8], folder: &[u8]) -> bool {
    path.strip_prefix(folder).is_some_and(|rest| rest.first() == Some(&b'/'))
}

fn open_root(root: &Path) -> Result<File, PrepareError> {
    File::open(root).map_err(|source| PrepareError::Read { path: root.to_owned(), source })
}

/// What lies at a path, no link followed on the way; `None` for nothing, and for what git does not know.
fn kind_of(root: &File, path: &[u8]) -> Option<Kind> {
    let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let beneath = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
    let found = rustix::fs::openat2(root, path, flags, Permissions::empty(), beneath).ok()?;
    let about = rustix::fs::fstat(&found).ok()?;
    match FileType::from_raw_mode(about.st_mode) {
        FileType::RegularFile if about.st_mode & 0o100 != 0 => Some(Kind::Executable),
        FileType::RegularFile => Some(Kind::File),
        FileType::Symlink => Some(Kind::Link),
        _ => None,
    }
}

/// Every file and link below a folder, no link followed; with what belongs to git, or without.
pub(super) fn every_file(root: &Path, with_git: bool) -> Result<Vec<Vec<u8>>, PrepareError> {
    let mut files = Vec::new();
    let mut waiting = vec![Vec::new()];
    while let Some(folder) = waiting.pop() {
        let at = root.join(crate::git::path_of(&folder));
        let unreadable = |source| PrepareError::Read { path: at.clone(), source };
        for entry in std::fs::read_dir(&at).map_err(unreadable)? {
            let entry = entry.map_err(unreadable)?;
            let name = entry.file_name().into_vec();
            if !with_git && name.eq_ignore_ascii_case(b".git") {
                continue;
            }
            let path = if folder.is_empty() { name } else { [&folder[..], b"/", &name].concat() };
            match entry.file_type().map_err(unreadable)? {
                kind if kind.is_dir() => waiting.push(path),
                kind if kind.is_file() || kind.is_symlink() => files.push(path),
                _ => {}
            }
        }
    }
    Ok(files)
}
