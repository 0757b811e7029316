//! Takes files away below a folder.

use super::send::beneath;
use rustix::fd::{AsFd, OwnedFd};
use rustix::fs::{AtFlags, Mode, OFlags};
use rustix::io::Errno;
use std::io;
use std::path::Path;

/// Removes the files and links at these paths below the folder, and the folders that are empty then, as git does. What is
/// not there, lies behind a link or is a folder is left.
///
/// # Errors
/// At the first that is there and cannot be removed.
pub fn remove<'p>(root: &Path, paths: impl IntoIterator<Item = &'p [u8]>) -> io::Result<()> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let root = match rustix::fs::open(root, flags, Mode::empty()) {
        Ok(root) => root,
        Err(Errno::NOENT) => return Ok(()),
        Err(errno) => return Err(errno.into()),
    };
    for path in paths {
        unlink(&root, path, AtFlags::empty())?;
        let mut way = path;
        while let Some(slash) = way.iter().rposition(|byte| *byte == b'/') {
            way = &way[..slash];
            if !unlink(&root, way, AtFlags::REMOVEDIR)? {
                break;
            }
        }
    }
    Ok(())
}

/// Whether it is gone.
fn unlink(root: &OwnedFd, path: &[u8], how: AtFlags) -> io::Result<bool> {
    let slash = path.iter().rposition(|byte| *byte == b'/');
    let (folder, name) = slash.map_or((&b"."[..], path), |at| (&path[..at], &path[at + 1..]));
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let removed = rustix::fs::openat2(root, folder, flags, Mode::empty(), beneath())
        .and_then(|folder| rustix::fs::unlinkat(folder.as_fd(), name, how));
    match removed {
        Ok(()) | Err(Errno::NOENT) => Ok(true),
        Err(Errno::NOTEMPTY | Errno::EXIST | Errno::ISDIR | Errno::NOTDIR | Errno::LOOP | Errno::XDEV) => {
            Ok(false)
        }
        Err(errno) => Err(errno.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    #[test]
    fn files_go_with_the_folders_they_leave_empty_and_nothing_else_does() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        std::fs::create_dir_all(at("root/a/b")).unwrap();
        std::fs::create_dir_all(at("root/c/d")).unwrap();
        for name in ["root/a/b/x", "root/c/d/x", "root/c/own", "outside"] {
            std::fs::write(at(name), "x").unwrap();
        }
        symlink("..", at("root/up")).unwrap();
        let paths = [&b"a/b/x"[..], b"c/d/x", b"none/x", b"up/outside", b"c"];
        for _ in 0..2 {
            remove(&at("root"), paths).unwrap();
            assert!(!at("root/a").exists() && !at("root/c/d").exists());
            assert!(at("root/c/own").exists() && at("outside").exists() && at("root/up").is_symlink());
        }
        remove(&at("root"), [&b"up"[..]]).unwrap();
        assert!(!at("root/up").is_symlink() && at("outside").exists());
        remove(&at("none"), [&b"x"[..]]).unwrap();
    }
}
