//! What is at paths below a folder, as far as a copy would care: whether it is there, and a digest of what it holds.
//!
//! Both ends look in the same way, so what one found can be compared with what the other finds. No link is followed, on the
//! way or at its end.

use super::entry::is_path;
use super::send::beneath;
use rustix::fd::OwnedFd;
use rustix::fs::{FileType, Mode, OFlags};
use rustix::io::Errno;
use sha2::{Digest, Sha256};
use std::io::{self, Read};
use std::path::Path;

/// Bytes of a [`Found`] on its way.
pub const FOUND_LENGTH: usize = 33;
/// Longest list of paths, in bytes: half a million of them.
const LONGEST_LIST: usize = 64 << 20;

/// What is at a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Found {
    Nothing,
    /// A file that its owner may run, or may not.
    File {
        runs: bool,
        sha256: [u8; 32],
    },
    /// A link; the digest is of its target.
    Link {
        sha256: [u8; 32],
    },
    /// A folder or something stranger; or on the way there is something that is no folder.
    InTheWay,
}

impl Found {
    #[must_use]
    pub fn encode(self) -> [u8; FOUND_LENGTH] {
        let (kind, sha256) = match self {
            Self::Nothing => (0, [0; 32]),
            Self::File { runs: false, sha256 } => (1, sha256),
            Self::File { runs: true, sha256 } => (2, sha256),
            Self::Link { sha256 } => (3, sha256),
            Self::InTheWay => (4, [0; 32]),
        };
        let mut bytes = [kind; FOUND_LENGTH];
        bytes[1..].copy_from_slice(&sha256);
        bytes
    }

    /// `None` for bytes that stand for nothing.
    #[must_use]
    pub fn parse(bytes: &[u8; FOUND_LENGTH]) -> Option<Self> {
        let (kind, sha256) = bytes.split_first()?;
        let sha256 = sha256.try_into().ok()?;
        Some(match kind {
            0 => Self::Nothing,
            1 => Self::File { runs: false, sha256 },
            2 => Self::File { runs: true, sha256 },
            3 => Self::Link { sha256 },
            4 => Self::InTheWay,
            _ => return None,
        })
    }
}

/// A list of paths on its way: each ends in a NUL, and none leads anywhere but down.
#[derive(Debug, Default)]
pub struct Paths(Vec<u8>);

/// A list that no honest sender makes.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum MalformedPaths {
    #[error("a list of more than {LONGEST_LIST} bytes")]
    TooLong,
    #[error("a list with something else in it than paths below a folder")]
    Path,
}

impl Paths {
    /// Takes the next bytes of it.
    ///
    /// # Errors
    /// When there are more than anybody needs.
    pub fn take(&mut self, bytes: &[u8]) -> Result<(), MalformedPaths> {
        if self.0.len() + bytes.len() > LONGEST_LIST {
            return Err(MalformedPaths::TooLong);
        }
        self.0.extend_from_slice(bytes);
        Ok(())
    }

    /// All of them.
    ///
    /// # Errors
    /// When one is not a path below a folder.
    pub fn all(&self) -> Result<Vec<&[u8]>, MalformedPaths> {
        let Some(bytes) = self.0.strip_suffix(b"\0") else {
            return if self.0.is_empty() { Ok(Vec::new()) } else { Err(MalformedPaths::Path) };
        };
        let paths: Vec<&[u8]> = bytes.split(|byte| *byte == 0).collect();
        if paths.iter().all(|path| !path.is_empty() && is_path(path)) {
            Ok(paths)
        } else {
            Err(MalformedPaths::Path)
        }
    }
}

/// A folder in which is looked.
#[derive(Debug)]
pub struct Looking {
    /// `None` for one that is not there, in which there is nothing.
    root: Option<OwnedFd>,
}

impl Looking {
    /// # Errors
    /// When the folder is there and cannot be entered.
    pub fn into(root: &Path) -> io::Result<Self> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        match rustix::fs::open(root, flags, Mode::empty()) {
            Ok(root) => Ok(Self { root: Some(root) }),
            Err(Errno::NOENT) => Ok(Self { root: None }),
            Err(errno) => Err(errno.into()),
        }
    }

    /// # Errors
    /// When a file is there and cannot be read.
    pub fn at(&self, path: &[u8]) -> io::Result<Found> {
        let Some(root) = &self.root else { return Ok(Found::Nothing) };
        let open = |flags| rustix::fs::openat2(root, path, flags | OFlags::CLOEXEC, Mode::empty(), beneath());
        let found = match open(OFlags::PATH | OFlags::NOFOLLOW) {
            Ok(found) => found,
            Err(Errno::NOENT) => return Ok(Found::Nothing),
            Err(Errno::LOOP | Errno::NOTDIR | Errno::XDEV) => return Ok(Found::InTheWay),
            Err(errno) => return Err(errno.into()),
        };
        match FileType::from_raw_mode(rustix::fs::fstat(&found)?.st_mode) {
            FileType::Symlink => {
                let target = rustix::fs::readlinkat(&found, c"", Vec::new())?;
                Ok(Found::Link { sha256: Sha256::digest(target.as_bytes()).into() })
            }
            FileType::RegularFile => {
                // Should it have become a pipe since: not waited for.
                let file = open(OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK)?;
                let mode = rustix::fs::fstat(&file)?.st_mode;
                if FileType::from_raw_mode(mode) != FileType::RegularFile {
                    return Ok(Found::InTheWay);
                }
                Ok(Found::File { runs: mode & 0o100 != 0, sha256: digest(file.into())? })
            }
            _ => Ok(Found::InTheWay),
        }
    }
}

fn digest(mut file: std::fs::File) -> io::Result<[u8; 32]> {
    let (mut digest, mut buffer) = (Sha256::new(), vec![0; 64 << 10]);
    loop {
        match file.read(&mut buffer) {
            Ok(0) => return Ok(digest.finalize().into()),
            Ok(read) => digest.update(&buffer[..read]),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::{PermissionsExt, symlink};

    #[test]
    fn each_kind_of_thing_is_told_apart_and_no_link_is_followed() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        std::fs::create_dir(at("sub")).unwrap();
        std::fs::write(at("sub/file"), "one").unwrap();
        std::fs::write(at("run"), "one").unwrap();
        std::fs::set_permissions(at("run"), PermissionsExt::from_mode(0o755)).unwrap();
        symlink("sub", at("link")).unwrap();
        let looking = Looking::into(folder.path()).unwrap();
        let found = |path: &str| looking.at(path.as_bytes()).unwrap();
        let one = Sha256::digest(b"one").into();
        assert_eq!(found("sub/file"), Found::File { runs: false, sha256: one });
        assert_eq!(found("run"), Found::File { runs: true, sha256: one });
        assert_eq!(found("link"), Found::Link { sha256: Sha256::digest(b"sub").into() });
        assert_eq!((found("none"), found("sub/none")), (Found::Nothing, Found::Nothing));
        for path in ["sub", "link/file", "run/below", "../up"] {
            assert_eq!(found(path), Found::InTheWay, "{path}");
        }
        assert_eq!(Looking::into(&at("none")).unwrap().at(b"x").unwrap(), Found::Nothing);
    }

    #[test]
    fn what_was_found_is_the_same_at_the_other_end() {
        let sha256 = [7; 32];
        for found in [
            Found::Nothing,
            Found::InTheWay,
            Found::Link { sha256 },
            Found::File { runs: true, sha256 },
            Found::File { runs: false, sha256 },
        ] {
            assert_eq!(Found::parse(&found.encode()), Some(found));
        }
        assert_eq!(Found::parse(&[5; FOUND_LENGTH]), None);
    }

    #[test]
    fn a_list_has_nothing_in_it_but_paths_that_lead_down() {
        let list = |bytes: &[u8]| {
            let mut paths = Paths::default();
            paths.take(bytes).unwrap();
            paths.all().map(|paths| paths.len())
        };
        assert_eq!((list(b""), list(b"a\0b/c\0")), (Ok(0), Ok(2)));
        for wrong in [&b"a"[..], b"\0", b"a\0\0", b"/a\0", b"a/../b\0", b"../a\0", b"a//b\0", b".\0"] {
            assert_eq!(list(wrong), Err(MalformedPaths::Path), "{wrong:?}");
        }
        let mut paths = Paths::default();
        assert_eq!(paths.take(&vec![b'a'; LONGEST_LIST + 1]), Err(MalformedPaths::TooLong));
    }
}
