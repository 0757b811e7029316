//! What a folder of the host is, and what of it is where: looked at, never changed.

use super::packing::Packing;
use super::{Git, GitError, parse, path_of};
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};

/// How many commits deep a guest's history goes.
pub(crate) const DEPTH: usize = 10;

/// What a user pointed at.
#[derive(Debug)]
pub(crate) enum Found {
    Repository(Box<Repository>),
    /// A folder that is in no repository.
    Folder(PathBuf),
}

/// A repository with a working tree, whether its own or one of several.
#[derive(Clone, Debug)]
pub(crate) struct Repository {
    /// In the root.
    pub git: Git,
    /// The root of the working tree, canonical.
    pub root: PathBuf,
    /// Where in it the user pointed, relative; empty for the root itself.
    pub below: PathBuf,
    /// The commit that is checked out; `None` before the first one.
    pub head: Option<String>,
    /// `None` when detached.
    pub branch: Option<String>,
    /// Without what logs in there.
    pub origin: Option<String>,
    /// The repository's own, where it has one.
    pub identity: Identity,
}

/// Who commits; either may be missing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Identity {
    pub name: Option<String>,
    pub email: Option<String>,
}

/// What an index says of a path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct IndexEntry {
    pub kind: Kind,
    pub oid: String,
    /// 0, or one side of a conflict.
    pub stage: u8,
    pub path: Vec<u8>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    File,
    Executable,
    Link,
    Submodule,
}

impl Kind {
    pub(super) fn of_mode(mode: &[u8]) -> Option<Self> {
        match mode {
            b"100644" => Some(Self::File),
            b"100755" => Some(Self::Executable),
            b"120000" => Some(Self::Link),
            b"160000" => Some(Self::Submodule),
            _ => None,
        }
    }

    pub(crate) fn mode(self) -> &'static str {
        match self {
            Self::File => "100644",
            Self::Executable => "100755",
            Self::Link => "120000",
            Self::Submodule => "160000",
        }
    }
}

/// Commits up to some depth.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct History {
    pub commits: BTreeSet<String>,
    /// Those whose parents are left out.
    pub boundary: BTreeSet<String>,
}

/// Why a folder cannot be brought into a VM.
#[derive(Debug, thiserror::Error)]
pub(crate) enum InspectError {
    #[error("cannot open {}", path.display())]
    Folder { path: PathBuf, source: io::Error },
    #[error("{} is not a directory", .0.display())]
    NoFolder(PathBuf),
    #[error("the path {} is not UTF-8", .0.display())]
    Unnameable(PathBuf),
    #[error("{} is a bare repository without files to copy", .0.display())]
    Bare(PathBuf),
    #[error("{} is inside a .git directory", .0.display())]
    InsideGitFolder(PathBuf),
    #[error("{} is not a repository that git can use", path.display())]
    Broken { path: PathBuf, source: Box<GitError> },
    #[error("the repository at {} has its working tree in {}", path.display(), elsewhere.display())]
    Elsewhere { path: PathBuf, elsewhere: PathBuf },
    #[error("the repository at {} could not be read", path.display())]
    Git { path: PathBuf, source: Box<GitError> },
}

impl InspectError {
    /// What the user can do about it.
    pub(crate) fn hint(&self) -> Option<&'static str> {
        match self {
            Self::Bare(_) => Some("create a working tree with `git worktree add ../tree`, and use that"),
            Self::InsideGitFolder(_) => Some("use the path of the repository itself"),
            Self::Elsewhere { .. } => {
                Some("if that is not intended, run `git config --unset core.worktree` there")
            }
            Self::Broken { .. } => Some("run `git status` there for the reason"),
            Self::Unnameable(_) => Some("rename the directory"),
            Self::Folder { .. } | Self::NoFolder(_) | Self::Git { .. } => None,
        }
    }
}

/// Looks at a folder.
pub(crate) fn inspect(given: &Path) -> Result<Found, InspectError> {
    let path =
        given.canonicalize().map_err(|source| InspectError::Folder { path: given.to_owned(), source })?;
    if !path.is_dir() {
        return Err(InspectError::NoFolder(given.to_owned()));
    }
    if path.to_str().is_none() {
        return Err(InspectError::Unnameable(path));
    }
    let failed = |source| InspectError::Git { path: path.clone(), source: Box::new(source) };
    let git = Git::at(&path).map_err(failed)?;
    let what = match git.run(&["rev-parse", "--is-bare-repository", "--is-inside-work-tree"]) {
        Ok(what) => what,
        // A folder that merely is in no repository has nothing of one above it either.
        Err(GitError::Failed { .. }) if !path.ancestors().any(is_of_git) => return Ok(Found::Folder(path)),
        Err(source) => return Err(InspectError::Broken { path, source: Box::new(source) }),
    };
    match what.as_slice() {
        b"false\ntrue\n" => {}
        b"true\nfalse\n" => return Err(InspectError::Bare(path)),
        _ => return Err(InspectError::InsideGitFolder(path)),
    }
    let root = line(git.run(&["rev-parse", "--show-toplevel"]).map_err(failed)?);
    let root = path_of(&root);
    // A repository may name any folder as its own, such as the user's home: its files would go to whoever made it.
    let below = match path.strip_prefix(&root) {
        Ok(below) if root.join(".git").symlink_metadata().is_ok() => below.to_owned(),
        _ => return Err(InspectError::Elsewhere { path, elsewhere: root }),
    };
    let git = git.in_folder(&root);
    read(git, root, below).map(Box::new).map(Found::Repository).map_err(failed)
}

fn is_of_git(folder: &Path) -> bool {
    let has = |name| folder.join(name).symlink_metadata().is_ok();
    has(".git") || (has("HEAD") && has("objects") && has("refs"))
}

fn read(git: Git, root: PathBuf, below: PathBuf) -> Result<Repository, GitError> {
    let head = git.find(&["rev-parse", "--quiet", "--verify", "HEAD^{commit}"])?;
    let head = head.map(|head| parse::oid(&head)).transpose().map_err(malformed("rev-parse"))?;
    let branch = git.find(&["symbolic-ref", "--quiet", "HEAD"])?.map(text);
    let branch = branch.and_then(|name| name.strip_prefix("refs/heads/").map(str::to_owned));
    let origin = git.find(&["config", "--get", "remote.origin.url"])?.map(text);
    let local = |key| git.find(&["config", "--local", "--includes", "--get", key]);
    let identity = Identity { name: local("user.name")?.map(text), email: local("user.email")?.map(text) };
    let origin = origin.map(|url| without_credentials(&url));
    Ok(Repository { root, below, head, branch, origin, identity, git })
}

impl Repository {
    /// Every entry of the index.
    pub(crate) fn index(&self) -> Result<Vec<IndexEntry>, GitError> {
        let output = self.git.run(&["ls-files", "--stage", "-z"])?;
        parse::index(&output).map_err(malformed("ls-files"))
    }

    /// Paths in whose file something may differ from the index, by what git remembers of its size and times; no file is
    /// read, and no filter asked. With the letter git gives them.
    pub(crate) fn changed_files(&self) -> Result<BTreeMap<Vec<u8>, u8>, GitError> {
        let raw = ["diff-files", "--raw", "-z", "--no-renames", "--ignore-submodules=all", "--no-ext-diff"];
        let output = self.git.run(&raw)?;
        Ok(parse::changes(&output)
            .map_err(malformed("diff-files"))?
            .into_iter()
            .map(|(l, path)| (path, l))
            .collect())
    }

    /// Paths at which the index differs from a commit.
    pub(crate) fn staged(&self, commit: &str) -> Result<BTreeSet<Vec<u8>>, GitError> {
        let raw = [
            "diff-index",
            "--cached",
            "--raw",
            "-z",
            "--no-renames",
            "--ignore-submodules=dirty",
            "--no-ext-diff",
        ];
        let output = self.git.run(&[&raw[..], &[commit]].concat())?;
        Ok(parse::changes(&output)
            .map_err(malformed("diff-index"))?
            .into_iter()
            .map(|(_, path)| path)
            .collect())
    }

    /// Files that are neither in the index nor ignored.
    pub(crate) fn untracked(&self) -> Result<Vec<Vec<u8>>, GitError> {
        Ok(parse::paths(&self.git.run(&["ls-files", "--others", "--exclude-standard", "-z"])?))
    }

    /// Those of these paths that the repository has filtered, and the name of the filter.
    pub(crate) fn filtered(&self, paths: &[&[u8]]) -> Result<Vec<(Vec<u8>, String)>, GitError> {
        if paths.is_empty() {
            return Ok(Vec::new());
        }
        let list: Vec<u8> = paths.iter().flat_map(|path| path.iter().copied().chain([0])).collect();
        // path NUL attribute NUL value NUL
        let output = self.git.run_with(&["check-attr", "-z", "--stdin", "filter"], &list)?;
        let words: Vec<&[u8]> = output.split(|byte| *byte == 0).collect();
        let (answers, _) = words.as_chunks::<3>();
        let filtered =
            answers.iter().filter(|[_, _, value]| ![&b"unspecified"[..], b"unset", b"set"].contains(value));
        Ok(filtered.map(|[path, _, value]| (path.to_vec(), text(value.to_vec()))).collect())
    }

    /// The commit that a name means.
    pub(crate) fn commit(&self, name: &str) -> Result<Option<String>, GitError> {
        let found = self.git.find(&[
            "rev-parse",
            "--quiet",
            "--verify",
            "--end-of-options",
            &format!("{name}^{{commit}}"),
        ])?;
        found.map(|oid| parse::oid(&oid)).transpose().map_err(malformed("rev-parse"))
    }

    /// Everything in a commit.
    pub(crate) fn tree(&self, commit: &str) -> Result<parse::Listed, GitError> {
        let output = self.git.run(&["ls-tree", "-r", "-t", "-z", "--full-tree", commit])?;
        parse::tree(&output).map_err(malformed("ls-tree"))
    }

    /// What an object of these bytes would be called; it is not made.
    pub(crate) fn hash(&self, kind: &str, bytes: &[u8]) -> Result<String, GitError> {
        let output = self.git.run_with(&["hash-object", "--no-filters", "-t", kind, "--stdin"], bytes)?;
        parse::oid(&line(output)).map_err(malformed("hash-object"))
    }

    /// What these files would be called as objects, line ends as git would keep them and nothing else converted.
    pub(crate) fn hash_files(&self, paths: &[&[u8]]) -> Result<Vec<String>, GitError> {
        let words = ["hash-object", "--"];
        let output = self.git.run_about(&words, paths)?;
        let oids = output.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()).map(parse::oid);
        oids.collect::<Result<_, _>>().map_err(malformed("hash-object"))
    }

    /// A program that writes a pack to its standard output: a commit's history and single objects, without what is
    /// reachable from commits that the other side has.
    pub(crate) fn pack(
        &self,
        history: &History,
        wanted: &[&str],
        had: Option<&str>,
    ) -> Result<Packing, GitError> {
        let words =
            ["--shallow-file", "", "pack-objects", "--revs", "--stdout", "--shallow", "--thin", "--quiet"];
        let words = [&words[..], &["--delta-base-offset"]].concat();
        let mut input: String =
            history.boundary.iter().map(|commit| format!("--shallow {commit}\n")).collect();
        input.extend(wanted.iter().map(|oid| format!("{oid}\n")));
        input.extend(had.map(|commit| format!("--not\n{commit}\n")));
        Packing::start(&self.git, &words, input)
    }

    /// Every branch, tag and remote branch but the one that is checked out, with its object.
    pub(crate) fn refs(&self) -> Result<Vec<(String, String)>, GitError> {
        let format = "--format=%(refname) %(objectname)";
        let output = self.git.run(&["for-each-ref", format, "refs/heads", "refs/tags", "refs/remotes"])?;
        let current = self.branch.as_ref().map(|branch| format!("refs/heads/{branch}"));
        let lines = text(output);
        let pairs = lines.lines().filter_map(|line| line.rsplit_once(' '));
        let others = pairs.filter(|(name, _)| Some(*name) != current.as_deref());
        Ok(others.map(|(name, oid)| (name.to_owned(), oid.to_owned())).collect())
    }

    /// By which settings it knows its submodules, without what logs in there and without what is run for them.
    pub(crate) fn submodule_settings(&self) -> Result<Vec<(String, String)>, GitError> {
        let words = ["config", "--local", "--null", "--get-regexp", r"^submodule\..*\.(url|active)$"];
        let output = self.git.find(&words)?.unwrap_or_default();
        let pairs = text(output);
        let pairs = pairs.split('\0').filter_map(|pair| pair.split_once('\n'));
        Ok(pairs.map(|(name, value)| (name.to_owned(), without_credentials(value))).collect())
    }

    /// All of it: it ends where the repository itself has no more.
    pub(crate) fn whole_history(&self) -> Result<History, GitError> {
        Ok(History { boundary: self.cut_off()?.into_iter().collect(), ..History::default() })
    }

    /// A commit and those before it, so many deep. Where the repository itself has no more, there it ends.
    pub(crate) fn history(&self, commit: &str, deepest: usize) -> Result<History, GitError> {
        let mut history = History::default();
        let mut level = BTreeSet::from([commit.to_owned()]);
        for depth in 1..=deepest {
            let commits: String = level.iter().map(|commit| format!("{commit}\n")).collect();
            let output = self
                .git
                .run_with(&["rev-list", "--no-walk=unsorted", "--parents", "--stdin"], commits.as_bytes())?;
            let known = parse::parents(&output).map_err(malformed("rev-list"))?;
            let last = depth == deepest;
            let mut next = BTreeSet::new();
            for (commit, parents) in known {
                if last && !parents.is_empty() {
                    history.boundary.insert(commit.clone());
                }
                next.extend(parents);
                history.commits.insert(commit);
            }
            level = next.difference(&history.commits).cloned().collect();
            if level.is_empty() {
                break;
            }
        }
        history
            .boundary
            .extend(self.cut_off()?.into_iter().filter(|commit| history.commits.contains(commit)));
        Ok(history)
    }

    /// Where the repository's own history was cut off.
    fn cut_off(&self) -> Result<Vec<String>, GitError> {
        if self.git.run(&["rev-parse", "--is-shallow-repository"])? != b"true\n" {
            return Ok(Vec::new());
        }
        // Those without parents here. Some name parents all the same; to call the others cut off does no harm.
        let output = self.git.run(&["rev-list", "--max-parents=0", "--all", "HEAD"])?;
        let oids: Result<Vec<String>, _> =
            output.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()).map(parse::oid).collect();
        oids.map_err(malformed("rev-list"))
    }
}

/// The user's own name and e-mail, as given for every repository.
pub(crate) fn global_identity(git: &Git) -> Result<Identity, GitError> {
    let words = ["config", "--global", "--includes", "--null", "--get-regexp", r"^user\.(name|email)$"];
    let said = text(git.find(&words)?.unwrap_or_default());
    // The last of each is the one that counts.
    let of =
        |key: &str| said.split('\0').filter_map(|pair| pair.split_once('\n')).rfind(|(name, _)| *name == key);
    let value = |key| of(key).map(|(_, value)| value.to_owned());
    Ok(Identity { name: value("user.name"), email: value("user.email") })
}

fn malformed(command: &'static str) -> impl Fn(parse::MalformedOutput) -> GitError {
    move |source| GitError::Output { command, source }
}

fn line(mut output: Vec<u8>) -> Vec<u8> {
    if output.last() == Some(&b'\n') {
        output.pop();
    }
    output
}

fn text(bytes: Vec<u8>) -> String {
    String::from_utf8_lossy(&bytes).into_owned()
}

/// A remote's address without password or token; who logs in by ssh is kept, for without it the address is another.
fn without_credentials(url: &str) -> String {
    let Some((scheme, rest)) = url.split_once("://") else { return url.to_owned() };
    let (authority, path) = rest.find('/').map_or((rest, ""), |at| rest.split_at(at));
    let Some((user, host)) = authority.rsplit_once('@') else { return url.to_owned() };
    let user = user.split(':').next().unwrap_or_default();
    if scheme.ends_with("ssh") && !user.is_empty() {
        format!("{scheme}://{user}@{host}{path}")
    } else {
        format!("{scheme}://{host}{path}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_origin_goes_without_what_logs_in_there() {
        for (url, kept) in [
            ("https://user:token@host/a/b.git", "https://host/a/b.git"),
            ("https://token@host:8443/a", "https://host:8443/a"),
            ("https://a:p@ss@host/a@b", "https://host/a@b"),
            ("ssh://git:secret@host:22/a", "ssh://git@host:22/a"),
            ("git+ssh://git@host/a", "git+ssh://git@host/a"),
            ("git@host:a/b.git", "git@host:a/b.git"),
            ("/srv/a@b", "/srv/a@b"),
            ("https://host/a@b", "https://host/a@b"),
            ("https://user:token@host", "https://host"),
        ] {
            assert_eq!(without_credentials(url), kept);
        }
    }
}
