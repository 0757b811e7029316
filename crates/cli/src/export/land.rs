//! Lands the work of a guest as a branch in the user's repository.
//!
//! ```text
//! base ──▶ [what was uncommitted here when the VM got it] ──▶ the guest's commits ──▶ [what is uncommitted there]
//! ```
//!
//! Of the user's repository nothing changes but what is added: one pack with the new objects, and then one ref, which
//! git makes only if it does not exist. Killed in between, it leaves objects that nothing leads to, as git itself does.

use super::oid::Oid;
use super::quarantine::{Origin, Quarantine};
use super::run::RunError;
use super::verify::Claim;
use crate::git::{Git, GitError};
use banger_copy::Unfinished;
use rustix::fs::Mode;
use std::ffi::OsString;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

/// What the work is put on.
#[derive(Clone, Debug)]
pub(crate) struct Base {
    /// `None` when the repository had no commit.
    pub commit: Option<Oid>,
    /// The commit's tree; the empty one without a commit.
    pub commit_tree: Oid,
    /// What was in the guest at first.
    pub tree: Oid,
}

/// Who makes the commits that the guest did not make, and what they say.
#[derive(Clone, Debug)]
pub(crate) struct Author {
    pub name: String,
    pub email: String,
}

#[derive(Debug, thiserror::Error)]
pub(crate) enum LandError {
    #[error("the commits could not be created")]
    Commit(#[source] RunError),
    #[error("git made no commit")]
    Nameless,
    #[error("the new objects could not be put together")]
    Pack(#[source] RunError),
    #[error("the new objects could not be put into {}", .folder.display())]
    Place { folder: PathBuf, source: io::Error },
    #[error("the branch was not created")]
    Branch(#[source] GitError),
}

/// The commit that the branch will be at, made in the quarantine.
pub(crate) fn commit(
    quarantine: &Quarantine,
    base: &Base,
    claim: &Claim,
    vm: &str,
    author: &Author,
) -> Result<Option<Oid>, LandError> {
    let commit = |tree: &Oid, parent: Option<&Oid>, message: String| -> Result<Oid, LandError> {
        let mut run = quarantine.git();
        for role in ["AUTHOR", "COMMITTER"] {
            run = run.env(&format!("GIT_{role}_NAME"), &author.name);
            run = run.env(&format!("GIT_{role}_EMAIL"), &author.email);
        }
        let run = run.args(["commit-tree", tree.as_str(), "-F", "-"]);
        let run = run.args(parent.map(|parent| format!("-p{parent}")));
        let oid = run.input(message).word().map_err(LandError::Commit)?;
        Oid::parse(&oid).ok_or(LandError::Nameless)
    };
    let mut tip = claim.head.clone().or_else(|| base.commit.clone());
    let mut tip_tree = match &claim.head {
        Some(head) if Some(head) != base.commit.as_ref() => {
            let tree = quarantine.git().args(["rev-parse", &format!("{head}^{{tree}}")]).word();
            Oid::parse(&tree.map_err(LandError::Commit)?).ok_or(LandError::Nameless)?
        }
        _ => base.commit_tree.clone(),
    };
    // Between the user's own work and the guest's there is a line only if the guest committed nothing on top of both.
    if tip == base.commit && base.tree != tip_tree && base.tree != claim.tree {
        tip = Some(commit(
            &base.tree,
            tip.as_ref(),
            format!("Uncommitted changes when copied into VM {vm}\n"),
        )?);
        tip_tree = base.tree.clone();
    }
    if tip_tree != claim.tree {
        tip = Some(commit(&claim.tree, tip.as_ref(), format!("Uncommitted changes in VM {vm}\n"))?);
    }
    Ok(tip)
}

/// Adds everything that `tip` needs to the user's repository, and makes the branch.
pub(crate) fn land(
    quarantine: &Quarantine,
    origin: &Origin,
    git: &Git,
    (tip, base): (&Oid, Option<&Oid>),
    branch: &str,
    vm: &str,
) -> Result<(), LandError> {
    if let Some(pack) = pack(quarantine, tip, base)? {
        let folder = origin.objects.join("pack");
        place(&pack, &folder).map_err(|source| LandError::Place { folder: folder.clone(), source })?;
    }
    let create = format!("create refs/heads/{branch}\0{tip}\0");
    let message = format!("banger: work of VM {vm}");
    let update = ["update-ref", "-m", &message, "--no-deref", "-z", "--stdin"];
    git.run_with(&update, create.as_bytes()).map(drop).map_err(LandError::Branch)
}

/// The path of a pack with all that only the quarantine has, without its ending; `None` when that is nothing.
fn pack(quarantine: &Quarantine, tip: &Oid, base: Option<&Oid>) -> Result<Option<PathBuf>, LandError> {
    let stem = quarantine.path().join("landing");
    let wanted = format!("{tip}\n{}", base.map(|base| format!("^{base}\n")).unwrap_or_default());
    let pack =
        quarantine.git().args(["pack-objects", "--revs", "--local", "-q", "--non-empty"]).args([&stem]);
    let name = pack.input(wanted).word().map_err(LandError::Pack)?;
    let Some(name) = Oid::parse(&name) else { return Ok(None) };
    Ok(Some(quarantine.path().join(format!("landing-{name}"))))
}

/// A pack counts from when its index is there, so that comes last.
fn place(pack: &Path, folder: &Path) -> io::Result<()> {
    std::fs::create_dir_all(folder)?;
    for ending in ["pack", "idx"] {
        let from = pack.with_extension(ending);
        let name: OsString =
            from.file_name().unwrap_or_default().to_string_lossy().replacen("landing", "pack", 1).into();
        if folder.join(&name).exists() {
            // The same name is the same objects.
            continue;
        }
        let mut unfinished = Unfinished::begin(File::open(folder)?.into())?;
        io::copy(&mut File::open(&from)?, unfinished.file())?;
        rustix::fs::fchmod(unfinished.file(), Mode::from_raw_mode(0o444))?;
        unfinished.file().sync_all()?;
        unfinished.publish(&name)?;
    }
    Ok(())
}
