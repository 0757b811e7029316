//! A repository of its own for what comes from a guest.
//!
//! ```text
//! ~/.cache/banger/exports/
//!   lock              held while a quarantine is made and abandoned ones are removed
//!   q-XXXXXX/         held by flock as long as its command lives
//!     received        the bytes as the guest sent them
//!     git/            bare, without hooks and without configuration but our own; its alternates lead to the
//!                     user's objects, and nothing leads back
//! ```
//!
//! Nothing that a guest sent is written anywhere else until all of it has been judged. A quarantine goes when it is
//! dropped, and that of a killed command goes when the next one is made.

use super::limits::Limits;
use super::oid::Oid;
use super::run::{Run, RunError};
use super::stop::Stop;
use crate::git::{Git, GitError};
use rustix::fs::{FlockOperation, flock};
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use tempfile::TempDir;

/// The user's repository, as far as a quarantine needs it.
#[derive(Clone, Debug)]
pub(crate) struct Origin {
    /// Its object folder; absolute.
    pub objects: PathBuf,
    /// The list of commits at which its history was cut off, if it was.
    pub shallow: PathBuf,
    /// `sha1` or `sha256`.
    pub format: String,
}

#[derive(Debug)]
pub(crate) struct Quarantine {
    folder: TempDir,
    /// The folder itself, locked; after `folder`, so that nobody takes it for abandoned while it is removed.
    _held: File,
    git: Git,
    limits: Limits,
    stop: Stop,
}

#[derive(Debug, thiserror::Error)]
pub(crate) enum QuarantineError {
    #[error("{} could not be used", .path.display())]
    Place { path: PathBuf, source: io::Error },
    #[error("git cannot be used")]
    Git(#[source] GitError),
    #[error("no repository could be made in it")]
    Init(#[source] RunError),
}

impl Quarantine {
    /// Makes one below `cache`, and removes those whose commands are gone.
    pub(crate) fn make(
        cache: &Path,
        origin: &Origin,
        limits: Limits,
        stop: Stop,
    ) -> Result<Self, QuarantineError> {
        let exports = cache.join("exports");
        let (folder, held) =
            begin(&exports).map_err(|source| QuarantineError::Place { path: exports.clone(), source })?;
        let git = Git::at(folder.path()).map_err(QuarantineError::Git)?;
        let quarantine = Self { folder, _held: held, git, limits, stop };
        let format = format!("--object-format={}", origin.format);
        let init = quarantine.git().args(["init", "--quiet", "--bare", "--template=", &format]);
        init.silently().map_err(QuarantineError::Init)?;
        quarantine
            .link_to(origin)
            .map_err(|source| QuarantineError::Place { path: quarantine.repository(), source })?;
        Ok(quarantine)
    }

    /// Where the bytes go that the guest sends.
    pub(crate) fn received(&self) -> PathBuf {
        self.folder.path().join("received")
    }

    pub(crate) fn repository(&self) -> PathBuf {
        self.folder.path().join("git")
    }

    pub(crate) fn path(&self) -> &Path {
        self.folder.path()
    }

    pub(crate) fn limits(&self) -> &Limits {
        &self.limits
    }

    /// Whether an object is there.
    pub(crate) fn has(&self, object: &Oid) -> bool {
        self.git().args(["cat-file", "-e", object.as_str()]).silently().is_ok()
    }

    /// A run of git in here.
    pub(crate) fn git(&self) -> Run<'_> {
        let mut command = self.git.command(["-c", "core.protectHFS=true", "-c", "core.protectNTFS=true"]);
        command
            .env_remove("XDG_CONFIG_HOME")
            .env("HOME", self.folder.path())
            .env("GIT_DIR", self.repository())
            .env("GIT_CONFIG_NOSYSTEM", "1")
            .env("GIT_CONFIG_GLOBAL", "/dev/null")
            .env("GIT_ATTR_NOSYSTEM", "1")
            // Mapped packs count as memory.
            .args(["-c", "core.packedGitWindowSize=64m", "-c", "core.packedGitLimit=1g"])
            .args(["-c", "pack.threads=2", "-c", "pack.writeReverseIndex=false"]);
        Run::new(command, &self.limits, &self.stop)
    }

    fn link_to(&self, origin: &Origin) -> io::Result<()> {
        let repository = self.repository();
        let alternates = repository.join("objects/info/alternates");
        if let Some(info) = alternates.parent() {
            fs::create_dir_all(info)?;
        }
        fs::write(alternates, quoted(origin.objects.as_os_str().as_bytes()))?;
        match fs::copy(&origin.shallow, repository.join("shallow")) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }
}

fn begin(exports: &Path) -> io::Result<(TempDir, File)> {
    DirBuilder::new().recursive(true).mode(0o700).create(exports)?;
    let lock = OpenOptions::new().append(true).create(true).mode(0o600).open(exports.join("lock"))?;
    flock(&lock, FlockOperation::LockExclusive)?;
    sweep(exports)?;
    let folder = tempfile::Builder::new().prefix("q-").tempdir_in(exports)?;
    let held = File::open(folder.path())?;
    flock(&held, FlockOperation::NonBlockingLockExclusive)?;
    Ok((folder, held))
}

/// Removes what nobody holds.
fn sweep(exports: &Path) -> io::Result<()> {
    for entry in fs::read_dir(exports)? {
        let path = entry?.path();
        let Ok(folder) = File::open(&path) else { continue };
        let is_quarantine = path.file_name().is_some_and(|name| name.as_bytes().starts_with(b"q-"));
        if is_quarantine && flock(&folder, FlockOperation::NonBlockingLockExclusive).is_ok() {
            // A git of that command may be about for a moment longer; the one after this removes the rest.
            let _ = fs::remove_dir_all(&path);
        }
    }
    Ok(())
}

/// A path as git reads it in a list of alternates, whatever bytes it has.
fn quoted(path: &[u8]) -> Vec<u8> {
    let mut text = vec![b'"'];
    for &byte in path {
        match byte {
            b'"' | b'\\' => text.extend([b'\\', byte]),
            b' '..=b'~' => text.push(byte),
            _ => text.extend(format!("\\{byte:03o}").bytes()),
        }
    }
    text.extend(b"\"\n");
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quarantine_that_somebody_holds_stays_and_an_abandoned_one_goes() {
        let cache = tempfile::tempdir().unwrap();
        let exports = cache.path().join("exports");
        let (living, held) = begin(&exports).unwrap();
        let (dead, let_go) = begin(&exports).unwrap();
        let dead = dead.keep();
        fs::write(dead.join("received"), "x").unwrap();
        drop(let_go);
        let (next, _held) = begin(&exports).unwrap();
        assert!(living.path().exists() && next.path().exists() && !dead.exists());
        drop(held);
    }

    #[test]
    fn any_path_can_be_said_to_git() {
        assert_eq!(quoted(b"/a \"\\\n\xff"), b"\"/a \\\"\\\\\\012\\377\"\n");
    }
}
