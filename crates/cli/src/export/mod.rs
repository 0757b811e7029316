//! What was done in a VM, on its way to the user's repository.
//!
//! ```text
//! guest ── pack of what is new, or its files ──▶ quarantine ── judged ──▶ patch, made by the host's git
//!                                                                    └──▶ one pack and one new branch
//! ```
//!
//! The guest is the adversary: it may send anything, for ever. So it sends objects, never a patch: what it names is
//! looked at in a repository that nobody else uses ([`quarantine`]), judged by git's strictest rules and some of our
//! own ([`verify`]), and what the user gets is made here from what passed. A refusal has written nothing.
//!
//! Of the user's repository, objects are read. Only [`land`] writes: objects, and a branch that did not exist.

mod ask;
mod copied;
mod land;
mod limits;
mod oid;
mod patch;
mod quarantine;
mod run;
mod stop;
mod submodules;
#[cfg(test)]
mod tests;
mod verify;

pub(crate) use land::LandError;
pub(crate) use limits::Limits;
pub(crate) use oid::Oid;
pub(crate) use patch::PatchError;
pub(crate) use run::RunError;
pub(crate) use stop::Stop;
pub(crate) use verify::{Refused, VerifyError};

use crate::git::inspect::Repository;
use crate::git::{GitError, path_of};
use ask::{Answer, AskError};
use banger_protocol::daemon_api::workspace::Workspace;
use copied::CopiedError;
use land::{Author, Base};
use quarantine::{Origin, Quarantine, QuarantineError};
use rustix::fd::OwnedFd;
use std::collections::BTreeSet;
use std::fs::File;
use std::os::unix::net::UnixStream;
use std::path::Path;
use verify::Claim;

/// The work of a guest, judged.
#[derive(Debug)]
pub(crate) struct Work {
    quarantine: Quarantine,
    origin: Origin,
    base: Base,
    claim: Claim,
    edited: Vec<String>,
}

/// Why the work of a guest was not had.
#[derive(Debug, thiserror::Error)]
pub(crate) enum FetchError {
    #[error("the repository on the host could not be read")]
    Host(#[source] GitError),
    #[error("the repository on the host has no commit {0} any more")]
    BaseGone(String),
    #[error("there is no temporary directory to verify it in")]
    Quarantine(#[source] QuarantineError),
    #[error("the guest was not asked")]
    Connect(#[source] Box<dyn std::error::Error + Send + Sync>),
    #[error(transparent)]
    Ask(AskError),
    #[error(transparent)]
    Copied(CopiedError),
    #[error("the work was refused, and nothing of it was kept")]
    Refused(#[source] Refused),
    #[error(transparent)]
    Judge(VerifyError),
}

impl From<VerifyError> for FetchError {
    fn from(error: VerifyError) -> Self {
        match error {
            VerifyError::Refused(refused) => Self::Refused(refused),
            error => Self::Judge(error),
        }
    }
}

impl Work {
    /// Asks the guest, over connections that `connect` makes, and judges what it sends.
    pub(crate) fn fetch<E>(
        workspace: &Workspace,
        repository: &Repository,
        cache: &Path,
        limits: Limits,
        stop: &Stop,
        mut connect: impl FnMut() -> Result<OwnedFd, E>,
    ) -> Result<Self, FetchError>
    where
        E: std::error::Error + Send + Sync + 'static,
    {
        let origin = origin(repository).map_err(FetchError::Host)?;
        let mut base = base(workspace, repository)?;
        let quarantine =
            Quarantine::make(cache, &origin, limits, stop.clone()).map_err(FetchError::Quarantine)?;
        let mut agent = || -> Result<UnixStream, FetchError> {
            let agent = UnixStream::from(connect().map_err(|error| FetchError::Connect(Box::new(error)))?);
            stop.connected(&agent);
            Ok(agent)
        };
        let laid = workspace.base_tree.as_deref().and_then(Oid::parse);
        let known = base.commit.as_ref();
        let answer = ask::for_objects(&agent()?, &quarantine, &workspace.guest_path, known, laid.as_ref());
        let (claim, edited) = match answer.map_err(FetchError::Ask)? {
            Answer::Packed(claim, edited) => {
                verify::objects(&quarantine, &claim, known, laid.as_ref())?;
                if let Some(laid) = laid
                    && quarantine.has(&laid)
                {
                    base.tree = laid;
                }
                (claim, edited)
            }
            Answer::NoGit => {
                if let Some(laid) = &laid {
                    let place = &workspace.guest_path;
                    let sent = copied::sent(&mut agent, &quarantine, place, &base.commit_tree, laid)?;
                    base.tree = sent.unwrap_or(base.tree);
                }
                let tree = copied::tree(&mut agent()?, &quarantine, &workspace.guest_path, &base.tree);
                let tree = tree.map_err(|error| match error {
                    copied::CopiedError::Judged(error) => error.into(),
                    error => FetchError::Copied(error),
                })?;
                let claim = Claim { head: base.commit.clone(), tree };
                verify::tree(&quarantine, &claim.tree)?;
                (claim, Vec::new())
            }
        };
        Ok(Self { quarantine, origin, base, claim, edited })
    }

    /// Submodules in which something was done, by what the guest says. It is not part of this.
    pub(crate) fn edited_submodules(&self) -> &[String] {
        &self.edited
    }

    /// The tree that the patch is made against, unless another is asked for: what was in the guest at first.
    pub(crate) fn first(&self) -> &Oid {
        &self.base.tree
    }

    /// A commit of the user's by any name that git knows, as its tree.
    pub(crate) fn tree_of(&self, repository: &Repository, commit: &str) -> Result<Option<Oid>, GitError> {
        let Some(commit) = repository.commit(commit)? else { return Ok(None) };
        tree_of(repository, &commit)
    }

    /// The patch from `first` to what is in the guest now.
    pub(crate) fn patch(&self, first: &Oid) -> Result<File, ShowError> {
        verify::changes(&self.quarantine, first, &self.claim.tree).map_err(ShowError::Judge)?;
        patch::between(&self.quarantine, first, &self.claim.tree).map_err(ShowError::Patch)
    }

    /// Files that were changed here before they went in and again in the guest, and that a filter changes on their way into
    /// the repository here; each with the filter's name.
    pub(crate) fn filtered(&self, repository: &Repository) -> Result<Vec<(Vec<u8>, String)>, ChangedError> {
        let between = |from: &Oid, to: &Oid| -> Result<BTreeSet<Vec<u8>>, RunError> {
            let mut paths = BTreeSet::new();
            let diff = self.quarantine.git().args(["diff-tree", "-r", "-z", "--name-only", "--no-renames"]);
            diff.args([from.as_str(), to.as_str()]).parts(0, |path| {
                paths.insert(path.to_vec());
                Ok::<(), RunError>(())
            })?;
            Ok(paths)
        };
        let here = between(&self.base.commit_tree, &self.base.tree).map_err(ChangedError::Compare)?;
        let there = between(&self.base.tree, &self.claim.tree).map_err(ChangedError::Compare)?;
        let both: Vec<&[u8]> = here.intersection(&there).map(Vec::as_slice).collect();
        repository.filtered(&both).map_err(ChangedError::Look)
    }

    /// What git shows of the difference, in one of its forms.
    pub(crate) fn show(
        &self,
        first: &Oid,
        form: &[&str],
        mut take: impl FnMut(&[u8]),
    ) -> Result<(), ShowError> {
        let diff = self.quarantine.git().args(["diff-tree", "-r", "--no-ext-diff", "--no-textconv"]);
        let diff = diff.args(["--ignore-submodules=none", "--find-renames"]).args(form);
        let diff = diff.args([first.as_str(), self.claim.tree.as_str()]);
        diff.pieces(self.quarantine.limits().patch, &mut take).map_err(ShowError::Show)
    }

    /// Tracked files here that are not as they went into the guest. Only those are compared whose size or times say that
    /// they may have changed, and nothing of the repository's is asked to convert them.
    pub(crate) fn changed_here(
        &self,
        repository: &Repository,
        workspace: &Workspace,
    ) -> Result<Vec<Vec<u8>>, ChangedError> {
        let mut suspects: BTreeSet<Vec<u8>> =
            repository.changed_files().map_err(ChangedError::Look)?.into_keys().collect();
        if let Some(head) = &workspace.head {
            suspects.extend(repository.staged(head).map_err(ChangedError::Look)?);
        }
        let index = self.quarantine.path().join("index-of-here");
        let git =
            || self.quarantine.git().env("GIT_INDEX_FILE", &index).env("GIT_WORK_TREE", &repository.root);
        git().args(["read-tree", self.base.tree.as_str()]).silently().map_err(ChangedError::Compare)?;
        let mut differ = BTreeSet::new();
        let diff = git().args(["-C"]).args([&repository.root]).args(["diff-files", "-z", "--name-only"]);
        let diff = diff.args(["--ignore-submodules=all", "--no-ext-diff"]);
        diff.parts(0, |path| {
            differ.insert(path.to_vec());
            Ok::<(), RunError>(())
        })
        .map_err(ChangedError::Compare)?;
        Ok(suspects.into_iter().filter(|path| differ.contains(path)).collect())
    }

    /// How many commits the guest made that are reachable from where it is.
    pub(crate) fn commits(&self) -> Result<usize, RunError> {
        let (Some(head), base) = (&self.claim.head, &self.base.commit) else { return Ok(0) };
        let not = base.as_ref().map(|base| format!("^{base}"));
        let count = self.quarantine.git().args(["rev-list", "--count", head.as_str()]).args(not).word()?;
        Ok(count.parse().unwrap_or_default())
    }

    /// Puts it into the user's repository as a branch; the commit that is at its end. `None` when there is nothing.
    pub(crate) fn land(
        &self,
        repository: &Repository,
        branch: &str,
        vm: &str,
        identity: (String, String),
    ) -> Result<Option<Oid>, LandWorkError> {
        // What could not be a patch is no branch either.
        self.patch(&self.base.commit_tree).map_err(LandWorkError::Show)?;
        let base = self.base.commit.as_ref();
        let author = Author { name: identity.0, email: identity.1 };
        let tip = land::commit(&self.quarantine, &self.base, &self.claim, vm, &author)
            .map_err(LandWorkError::Land)?;
        let Some(tip) = tip.filter(|tip| Some(tip) != base) else { return Ok(None) };
        verify::commits(&self.quarantine, &tip, base).map_err(LandWorkError::Judge)?;
        land::land(&self.quarantine, &self.origin, &repository.git, (&tip, base), branch, vm)
            .map_err(LandWorkError::Land)?;
        Ok(Some(tip))
    }
}

/// Why what was done in a guest is not shown.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ShowError {
    #[error("the work was refused, and nothing of it was kept")]
    Judge(#[source] VerifyError),
    #[error(transparent)]
    Patch(PatchError),
    #[error("git does not show the difference")]
    Show(#[source] RunError),
}

/// Why it is not known what was changed on the host.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ChangedError {
    #[error("the repository could not be looked at")]
    Look(#[source] GitError),
    #[error("it could not be compared")]
    Compare(#[source] RunError),
}

/// Why no branch was made of it.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LandWorkError {
    #[error("the work was refused, and nothing of it was kept")]
    Judge(#[source] VerifyError),
    #[error(transparent)]
    Show(ShowError),
    #[error(transparent)]
    Land(LandError),
}

fn origin(repository: &Repository) -> Result<Origin, GitError> {
    let git = &repository.git;
    let asked = |arguments: &[&str]| -> Result<Vec<u8>, GitError> {
        let said = git.run(arguments)?;
        Ok(said.strip_suffix(b"\n").unwrap_or(&said).to_vec())
    };
    let format = String::from_utf8_lossy(&asked(&["rev-parse", "--show-object-format"])?).into_owned();
    let place = |name| Ok(repository.root.join(path_of(&asked(&["rev-parse", "--git-path", name])?)));
    Ok(Origin { objects: place("objects")?, shallow: place("shallow")?, format })
}

fn base(workspace: &Workspace, repository: &Repository) -> Result<Base, FetchError> {
    let Some(head) = &workspace.head else {
        let empty =
            repository.git.run(&["hash-object", "-t", "tree", "/dev/null"]).map_err(FetchError::Host)?;
        let empty = Oid::parse(String::from_utf8_lossy(&empty).trim_end());
        let empty = empty.ok_or_else(|| FetchError::BaseGone("at all".to_owned()))?;
        return Ok(Base { commit: None, commit_tree: empty.clone(), tree: empty });
    };
    let gone = || FetchError::BaseGone(head.clone());
    let commit = Oid::parse(head).ok_or_else(gone)?;
    let tree = tree_of(repository, head).map_err(FetchError::Host)?.ok_or_else(gone)?;
    Ok(Base { commit: Some(commit), commit_tree: tree.clone(), tree })
}

fn tree_of(repository: &Repository, commit: &str) -> Result<Option<Oid>, GitError> {
    let tree = repository.git.find(&["rev-parse", "--quiet", "--verify", &format!("{commit}^{{tree}}")])?;
    Ok(tree.and_then(|tree| Oid::parse(&String::from_utf8_lossy(&tree))))
}
