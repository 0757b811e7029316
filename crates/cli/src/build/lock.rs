//! One build of a thing at a time, over all of this user's commands.

use banger_protocol::local_paths::{LocalPaths, PrivateFolderError, make_private_folder};
use rustix::fs::FlockOperation;
use rustix::io::Errno;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;

/// Held while it lives. The file stays: removing it would let two hold "the" lock.
#[derive(Debug)]
pub(super) struct BuildLock {
    _file: File,
}

#[derive(Debug, thiserror::Error)]
pub(crate) enum LockError {
    #[error(transparent)]
    Folder(PrivateFolderError),
    #[error("the lock {} cannot be taken", path.display())]
    Take {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
}

impl BuildLock {
    /// Takes the lock of `what`; calls `on_wait` once if somebody else has it.
    pub(super) fn take(paths: &LocalPaths, what: &str, on_wait: impl FnOnce()) -> Result<Self, LockError> {
        make_private_folder(&paths.cache, rustix::process::geteuid().as_raw()).map_err(LockError::Folder)?;
        let path = paths.cache.join(format!("{what}.lock"));
        let failed = |source| LockError::Take { path: path.clone(), source };
        let opened = OpenOptions::new().append(true).create(true).mode(0o600).open(&path);
        let file = opened.map_err(failed)?;
        match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => return Ok(Self { _file: file }),
            Err(Errno::WOULDBLOCK) => on_wait(),
            Err(errno) => return Err(failed(errno.into())),
        }
        loop {
            match rustix::fs::flock(&file, FlockOperation::LockExclusive) {
                Ok(()) => return Ok(Self { _file: file }),
                Err(Errno::INTR) => {}
                Err(errno) => return Err(failed(errno.into())),
            }
        }
    }
}
