//! A file that has no name until it is whole.

use rustix::fd::{AsRawFd, OwnedFd};
use rustix::fs::{AtFlags, Mode, OFlags, linkat, openat, renameat, unlinkat};
use rustix::io::Errno;
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io;

/// Dropped before it is published, it is gone.
#[derive(Debug)]
pub struct Unfinished {
    pub(crate) file: File,
    folder: OwnedFd,
    /// What it goes by where a file has to have a name.
    beside: Option<OsString>,
}

impl Unfinished {
    /// Begins one in a folder.
    ///
    /// # Errors
    /// When nothing can be made there.
    pub fn begin(folder: OwnedFd) -> io::Result<Self> {
        let private = Mode::RUSR | Mode::WUSR;
        let nameless = OFlags::TMPFILE | OFlags::WRONLY | OFlags::CLOEXEC;
        match openat(&folder, ".", nameless, private) {
            Ok(file) => Ok(Self { file: file.into(), folder, beside: None }),
            // What file systems say that cannot do it (open(2)).
            Err(Errno::OPNOTSUPP | Errno::ISDIR | Errno::INVAL) => Self::begin_beside(folder),
            Err(errno) => Err(errno.into()),
        }
    }

    fn begin_beside(folder: OwnedFd) -> io::Result<Self> {
        let name = name_beside();
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file = openat(&folder, &name, flags, Mode::RUSR | Mode::WUSR)?;
        Ok(Self { file: file.into(), folder, beside: Some(name) })
    }

    /// What is written into it.
    pub fn file(&mut self) -> &mut File {
        &mut self.file
    }

    /// Gives it its name if nobody has it.
    ///
    /// # Errors
    /// `AlreadyExists` when somebody has.
    pub fn publish_new(mut self, name: &OsStr) -> io::Result<()> {
        match self.beside.take() {
            None => self.link(name)?,
            Some(beside) => {
                let linked = linkat(&self.folder, &beside, &self.folder, name, AtFlags::empty());
                self.beside = Some(beside);
                linked?;
            }
        }
        Ok(())
    }

    /// As an ordinary user a file is linked by its descriptor in this way only (open(2), `O_TMPFILE`).
    fn link(&self, name: &OsStr) -> Result<(), Errno> {
        let own = format!("/proc/self/fd/{}", self.file.as_raw_fd());
        linkat(rustix::fs::CWD, own.as_str(), &self.folder, name, AtFlags::SYMLINK_FOLLOW)
    }

    /// Gives it its name, in place of what had it; a folder keeps it.
    ///
    /// # Errors
    /// When it cannot be had.
    pub fn publish(mut self, name: &OsStr) -> io::Result<()> {
        if self.beside.is_none() {
            match self.link(name) {
                Err(Errno::EXIST) => {
                    let beside = name_beside();
                    self.link(&beside)?;
                    self.beside = Some(beside);
                }
                linked => return Ok(linked?),
            }
        }
        if let Some(beside) = &self.beside {
            renameat(&self.folder, beside, &self.folder, name)?;
        }
        self.beside = None;
        Ok(())
    }
}

impl Drop for Unfinished {
    fn drop(&mut self) {
        if let Some(beside) = &self.beside {
            let _ = unlinkat(&self.folder, beside, AtFlags::empty());
        }
    }
}

/// A name that nobody has.
pub(crate) fn name_beside() -> OsString {
    let mut random = [0_u8; 8];
    // Fails for no reason that a few bytes after boot could meet; a name that is taken is refused anyway.
    let _ = rustix::rand::getrandom(&mut random, rustix::rand::GetRandomFlags::empty());
    format!(".banger-{:016x}.partial", u64::from_le_bytes(random)).into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;
    use std::path::Path;

    fn names(folder: &Path) -> Vec<OsString> {
        std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name()).collect()
    }

    #[test]
    fn a_file_has_its_name_when_it_is_published_and_no_other_before_or_after() {
        let place = tempfile::tempdir().unwrap();
        let open = || OwnedFd::from(File::open(place.path()).unwrap());
        for begin in [Unfinished::begin, Unfinished::begin_beside] {
            for _ in 0..2 {
                let mut unfinished = begin(open()).unwrap();
                unfinished.file.write_all(b"whole").unwrap();
                unfinished.publish("file".as_ref()).unwrap();
                assert_eq!(names(place.path()), ["file"]);
            }
            drop(begin(open()).unwrap());
            assert_eq!(names(place.path()), ["file"]);
        }
        for begin in [Unfinished::begin, Unfinished::begin_beside] {
            let taken = begin(open()).unwrap().publish_new("file".as_ref()).unwrap_err();
            assert_eq!(taken.kind(), io::ErrorKind::AlreadyExists);
            begin(open()).unwrap().publish_new("other".as_ref()).unwrap();
            assert_eq!(names(place.path()).len(), 2);
            std::fs::remove_file(place.path().join("other")).unwrap();
        }
        std::fs::create_dir(place.path().join("folder")).unwrap();
        for begin in [Unfinished::begin, Unfinished::begin_beside] {
            assert!(begin(open()).unwrap().publish("folder".as_ref()).is_err());
            assert_eq!(names(place.path()).len(), 2);
        }
    }
}
