//! Writing into a file system that somebody else prepared.
//!
//! Every folder on the way is opened by `openat2` with `RESOLVE_IN_ROOT`: a link leads where it would lead in the
//! guest, never out of it. What the path itself names is replaced and never followed or written through: it is
//! written beside it and renamed over it.

use rustix::fd::OwnedFd;
use rustix::fs::{AtFlags, Mode, OFlags, RenameFlags, ResolveFlags};
use rustix::io::Errno;
use std::fs::File;
use std::io::{self, Read, Write};
use std::path::Path;

const FOLDER_MODE: u32 = 0o755;
const BESIDE: &str = ".banger-new";

/// Longest file that [`Tree::read`] reads.
const MOST_READ: u64 = 1 << 20;

/// A root that paths are resolved in.
#[derive(Debug)]
pub(super) struct Tree {
    root: OwnedFd,
}

impl Tree {
    pub(super) fn open(root: &Path) -> io::Result<Self> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        Ok(Self { root: rustix::fs::open(root, flags, Mode::empty())? })
    }

    /// Makes `path` a regular file of root's with this mode and content, and the folders it needs.
    pub(super) fn put(&self, path: &str, mode: u32, content: &[u8]) -> io::Result<()> {
        let (folders, name) = split(path)?;
        let folder = self.make_folders(&folders)?;
        // Left over from a start that was cut short.
        let _ = rustix::fs::unlinkat(&folder, BESIDE, AtFlags::empty());
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let mut file = File::from(rustix::fs::openat(&folder, BESIDE, flags, Mode::RUSR | Mode::WUSR)?);
        let written = file
            .write_all(content)
            .and_then(|()| Ok(rustix::fs::fchmod(&file, Mode::from_raw_mode(mode))?))
            .and_then(|()| {
                Ok(rustix::fs::renameat_with(&folder, BESIDE, &folder, name, RenameFlags::empty())?)
            });
        if written.is_err() {
            let _ = rustix::fs::unlinkat(&folder, BESIDE, AtFlags::empty());
        }
        written
    }

    /// Removes the file or link at `path`; one that is not there is removed already.
    pub(super) fn remove(&self, path: &str) -> io::Result<()> {
        let (folders, name) = split(path)?;
        let gone = self
            .open_folder(&folders.join("/"))
            .and_then(|folder| rustix::fs::unlinkat(folder, name, AtFlags::empty()));
        match gone {
            Ok(()) | Err(Errno::NOENT | Errno::NOTDIR) => Ok(()),
            Err(e) => Err(e.into()),
        }
    }

    /// The text of the regular file at `path`, a link not followed at its end.
    pub(super) fn read(&self, path: &str) -> io::Result<String> {
        let (folders, name) = split(path)?;
        let folder = self.open_folder(&folders.join("/"))?;
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let file = File::from(rustix::fs::openat(folder, name, flags, Mode::empty())?);
        let mut text = String::new();
        file.take(MOST_READ).read_to_string(&mut text)?;
        Ok(text)
    }

    fn make_folders(&self, folders: &[&str]) -> io::Result<OwnedFd> {
        let mut folder = self.open_folder("")?;
        for depth in 1..=folders.len() {
            let path = folders[..depth].join("/");
            folder = match self.open_folder(&path) {
                Err(Errno::NOENT) => {
                    rustix::fs::mkdirat(&folder, folders[depth - 1], Mode::from_raw_mode(FOLDER_MODE))?;
                    self.open_folder(&path)?
                }
                opened => opened?,
            };
        }
        Ok(folder)
    }

    fn open_folder(&self, path: &str) -> Result<OwnedFd, Errno> {
        let path = if path.is_empty() { "." } else { path };
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        rustix::fs::openat2(&self.root, path, flags, Mode::empty(), ResolveFlags::IN_ROOT)
    }
}

/// The folders and the name of a relative path without detours.
fn split(path: &str) -> io::Result<(Vec<&str>, &str)> {
    let mut parts: Vec<&str> = path.split('/').collect();
    if parts.iter().any(|part| matches!(*part, "" | "." | "..") || part.contains('\0')) {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "not a plain relative path"));
    }
    let name = parts.pop().expect("splitting gives at least one part");
    Ok((parts, name))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::{PermissionsExt, symlink};

    struct Place {
        /// Holds the root and, beside it, what must not be touched.
        folder: tempfile::TempDir,
        tree: Tree,
    }

    impl Place {
        fn new() -> Self {
            let folder = tempfile::tempdir().unwrap();
            fs::create_dir(folder.path().join("root")).unwrap();
            fs::create_dir(folder.path().join("outside")).unwrap();
            fs::write(folder.path().join("outside/file"), "untouched").unwrap();
            let tree = Tree::open(&folder.path().join("root")).unwrap();
            Self { folder, tree }
        }

        fn path(&self, path: &str) -> std::path::PathBuf {
            self.folder.path().join(path)
        }

        fn untouched(&self) -> bool {
            fs::read_dir(self.path("outside")).unwrap().count() == 1
                && fs::read_to_string(self.path("outside/file")).unwrap() == "untouched"
        }
    }

    #[test]
    fn a_file_gets_its_mode_and_the_folders_it_needs() {
        let place = Place::new();
        place.tree.put("etc/ssh/key", 0o600, b"secret").unwrap();
        assert_eq!(fs::read(place.path("root/etc/ssh/key")).unwrap(), b"secret");
        let mode = |path: &str| fs::metadata(place.path(path)).unwrap().permissions().mode() & 0o7777;
        assert_eq!(mode("root/etc/ssh/key"), 0o600);
        assert_eq!(mode("root/etc/ssh"), 0o755);
        assert_eq!(fs::read_dir(place.path("root/etc/ssh")).unwrap().count(), 1, "nothing is left beside it");
    }

    #[test]
    fn paths_with_detours_are_refused() {
        let place = Place::new();
        for path in
            ["", "/etc/passwd", "../outside/file", "etc/../../outside/file", "a/./b", "a//b", "a/", "a\0b"]
        {
            assert!(place.tree.put(path, 0o644, b"").is_err(), "{path:?}");
            assert!(place.tree.remove(path).is_err(), "{path:?}");
        }
        assert!(place.untouched());
    }

    #[test]
    fn a_link_at_the_end_is_replaced_and_not_followed() {
        let place = Place::new();
        fs::create_dir(place.path("root/etc")).unwrap();
        symlink(place.path("outside/file"), place.path("root/etc/resolv.conf")).unwrap();
        place.tree.put("etc/resolv.conf", 0o644, b"nameserver 172.16.0.1\n").unwrap();
        assert!(place.untouched());
        assert!(fs::symlink_metadata(place.path("root/etc/resolv.conf")).unwrap().is_file());
    }

    #[test]
    fn a_link_on_the_way_leads_where_it_would_in_the_guest() {
        let place = Place::new();
        for target in ["../outside", "../../../../outside", "/outside"] {
            let _ = fs::remove_file(place.path("root/etc"));
            symlink(target, place.path("root/etc")).unwrap();
            // It dangles: inside the root there is no such folder.
            assert!(place.tree.put("etc/file", 0o644, b"x").is_err(), "{target}");
        }
        fs::create_dir(place.path("root/outside")).unwrap();
        place.tree.put("etc/file", 0o644, b"x").unwrap();
        assert_eq!(fs::read(place.path("root/outside/file")).unwrap(), b"x");
        assert!(place.untouched());
    }

    #[test]
    fn a_planted_file_beside_the_target_is_not_written_through() {
        let place = Place::new();
        symlink(place.path("outside/file"), place.path("root/.banger-new")).unwrap();
        place.tree.put("motd", 0o644, b"x").unwrap();
        assert!(place.untouched());
    }

    #[test]
    fn removing_takes_the_link_and_twice_is_the_same_as_once() {
        let place = Place::new();
        symlink(place.path("outside/file"), place.path("root/old")).unwrap();
        place.tree.remove("old").unwrap();
        place.tree.remove("old").unwrap();
        place.tree.remove("never/was").unwrap();
        assert!(place.untouched());
        assert!(fs::symlink_metadata(place.path("root/old")).is_err());
    }
}
