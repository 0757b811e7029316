//! The socket the helper answers on, and how two that start at once become one.
//!
//! A file lock beside the socket is held from looking whether somebody answers until listening, and no longer. A helper
//! that is told to end removes socket and lock file, so a lock counts only on the file that has the name now.
//! So the second of two cold starts finds the first one answering and ends, and a helper that is gone, however
//! it ended, leaves a socket that nobody answers on, which is replaced.

use rustix::fs::{FlockOperation, Mode, OFlags};
use rustix::io::Errno;
use std::ffi::OsString;
use std::fmt;
use std::fs::Permissions;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{FileTypeExt as _, PermissionsExt as _};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};

/// `sun_path` of unix(7), its final NUL included.
const SUN_PATH: usize = 108;

/// Where the socket is.
#[derive(Clone, Debug)]
pub(crate) struct Place(PathBuf);

impl Place {
    pub(crate) fn new(path: OsString) -> Self {
        Self(path.into())
    }

    fn lock(&self) -> PathBuf {
        let mut lock = self.0.clone().into_os_string();
        lock.push(".lock");
        lock.into()
    }

    /// Removes the socket, so that no further connection is made, and what it was locked by.
    pub(crate) fn remove(&self) -> Result<(), SocketError> {
        let _lock = lock(self)?;
        remove(&self.0).and_then(|()| remove(&self.lock())).map_err(|source| self.not_made(source))
    }

    fn not_made(&self, source: io::Error) -> SocketError {
        SocketError::NotMade { path: self.0.clone(), source }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.display().fmt(f)
    }
}

#[derive(Debug, thiserror::Error)]
pub(crate) enum SocketError {
    #[error("the socket {path} was not made or removed", path = .path.display())]
    NotMade {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("the socket {path} was not made: its path is relative or longer than {max} bytes", path = .path.display(), max = SUN_PATH - 1)]
    Path { path: PathBuf },
    #[error("the socket {path} was not made: something else has this name", path = .path.display())]
    NotASocket { path: PathBuf },
}

impl SocketError {
    pub(crate) fn hint(&self) -> Option<String> {
        match self {
            Self::NotMade { .. } => None,
            Self::Path { .. } => Some("set XDG_RUNTIME_DIR to a shorter absolute path".to_owned()),
            Self::NotASocket { path } => Some(format!("look at it, then remove it: rm {}", path.display())),
        }
    }
}

/// The right to listen, while the lock is held.
#[derive(Debug)]
pub(crate) struct Claim {
    place: Place,
    _lock: OwnedFd,
}

/// Takes the place, or finds that a living helper has it.
pub(crate) fn claim(place: &Place) -> Result<Option<Claim>, SocketError> {
    let path = &place.0;
    if !path.is_absolute() || path.as_os_str().as_bytes().len() >= SUN_PATH {
        return Err(SocketError::Path { path: path.clone() });
    }
    let lock = lock(place)?;
    match std::fs::symlink_metadata(path) {
        Ok(found) if !found.file_type().is_socket() => {
            return Err(SocketError::NotASocket { path: path.clone() });
        }
        Ok(_) if UnixStream::connect(path).is_ok() => return Ok(None),
        _ => {}
    }
    Ok(Some(Claim { place: place.clone(), _lock: lock }))
}

impl Claim {
    /// Listens, in place of a socket that nobody answers on. It is the owner's alone from the beginning, by the
    /// umask of 077, and says so in its mode.
    pub(crate) fn listen(self) -> Result<UnixListener, SocketError> {
        let Place(path) = &self.place;
        let listen = || {
            remove(path)?;
            let listener = UnixListener::bind(path)?;
            std::fs::set_permissions(path, Permissions::from_mode(0o600))?;
            Ok(listener)
        };
        listen().map_err(|source| self.place.not_made(source))
    }
}

fn lock(place: &Place) -> Result<OwnedFd, SocketError> {
    let path = place.lock();
    let flags = OFlags::RDWR | OFlags::CREATE | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    let take = || -> Result<Option<OwnedFd>, Errno> {
        let file = rustix::fs::open(&path, flags, Mode::RUSR | Mode::WUSR)?;
        rustix::fs::flock(&file, FlockOperation::LockExclusive)?;
        let held = rustix::fs::fstat(&file)?;
        // Whoever had it may have removed the file: then others lock another one.
        let is_current =
            rustix::fs::stat(&path).is_ok_and(|now| (now.st_dev, now.st_ino) == (held.st_dev, held.st_ino));
        Ok(is_current.then_some(file))
    };
    loop {
        if let Some(lock) = take().map_err(|errno| place.not_made(errno.into()))? {
            return Ok(lock);
        }
    }
}

/// Removing what is absent is done already.
fn remove(path: &Path) -> io::Result<()> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        outcome => outcome,
    }
}
