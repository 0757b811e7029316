//! Takes a tree apart.
//!
//! Nothing in it is followed: a link travels as a link, and each folder is opened beneath the root, so a tree that
//! somebody changes meanwhile cannot lead out of itself. What is neither file, folder nor link stays behind.

use super::entry::{Entry, Modified, What};
use banger_protocol::guest_api::frame::{Kind, MAX_PAYLOAD};
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::fs::{AtFlags, CWD, Dir, FileType, Mode, OFlags, ResolveFlags, SeekFrom, Stat};
use rustix::io::Errno;
use std::collections::HashSet;
use std::ffi::{CStr, CString, OsStr};
use std::fs::File;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// Why a tree was not sent.
#[derive(Debug, thiserror::Error)]
pub enum SendError {
    #[error("{} could not be read", .path.display())]
    Read { path: PathBuf, source: io::Error },
    #[error("{} is not a file, directory, or symlink", .0.display())]
    Special(PathBuf),
    #[error("{} became shorter while it was read", .0.display())]
    Shrank(PathBuf),
    #[error("the connection was lost")]
    Connection(#[source] io::Error),
}

/// What was sent.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Sent {
    pub entries: u64,
    /// What stayed behind, being neither file, folder nor link.
    pub skipped: Vec<PathBuf>,
}

/// What a copy is called in the folder it goes into; `None` for a path that means what is in a folder and not the
/// folder itself: `/`, `.`, or one that ends in `/.`.
#[must_use]
pub fn name_of(path: &Path) -> Option<&OsStr> {
    if path.as_os_str().as_bytes().ends_with(b"/.") { None } else { path.file_name() }
}

/// Sends what is at `source`, `Done` after it, as frames through `to`.
///
/// # Errors
/// At the first thing that is there and cannot be read, and when `to` fails.
pub fn send(source: &Path, mut to: impl FnMut(Kind, &[u8]) -> io::Result<()>) -> Result<Sent, SendError> {
    let mut sending = Sending { source, to: &mut to, sent: Sent::default(), buffer: vec![0; MAX_PAYLOAD] };
    sending.all()?;
    let sent = sending.sent;
    to(Kind::Done, &[]).map_err(SendError::Connection)?;
    Ok(sent)
}

/// Sends the folder at `root` with these paths below it and none but these, as [`send`] does. The folders on the way to
/// them go along; what is not there, or lies behind a link, does not.
///
/// # Errors
/// As [`send`].
pub fn send_some<'p>(
    root: &Path,
    paths: impl IntoIterator<Item = &'p [u8]>,
    mut to: impl FnMut(Kind, &[u8]) -> io::Result<()>,
) -> Result<Sent, SendError> {
    let mut sending =
        Sending { source: root, to: &mut to, sent: Sent::default(), buffer: vec![0; MAX_PAYLOAD] };
    let folder = sending.open_root()?;
    let about = rustix::fs::fstat(&folder).map_err(|errno| sending.unreadable(b"", errno.into()))?;
    sending.tell(b"", &about, What::Folder)?;
    let mut told = HashSet::new();
    for path in paths {
        unless_gone(sending.below(&folder, path, &mut told))?;
    }
    let sent = sending.sent;
    to(Kind::Done, &[]).map_err(SendError::Connection)?;
    Ok(sent)
}

/// Sends an open file as a tree of nothing else, as [`send`] does; `name` is what errors call it.
///
/// # Errors
/// As [`send`].
pub fn send_file(
    file: &File,
    name: &Path,
    mut to: impl FnMut(Kind, &[u8]) -> io::Result<()>,
) -> Result<Sent, SendError> {
    let mut sending =
        Sending { source: name, to: &mut to, sent: Sent::default(), buffer: vec![0; MAX_PAYLOAD] };
    let about = rustix::fs::fstat(file).map_err(|errno| sending.unreadable(b"", errno.into()))?;
    let size = u64::try_from(about.st_size).unwrap_or(0);
    sending.tell(b"", &about, What::File { size })?;
    sending.content(file.as_fd(), size, b"")?;
    let sent = sending.sent;
    to(Kind::Done, &[]).map_err(SendError::Connection)?;
    Ok(sent)
}

struct Sending<'a, T> {
    source: &'a Path,
    to: &'a mut T,
    sent: Sent,
    buffer: Vec<u8>,
}

impl<T: FnMut(Kind, &[u8]) -> io::Result<()>> Sending<'_, T> {
    fn all(&mut self) -> Result<(), SendError> {
        let root = self.source.as_os_str().as_bytes();
        let root = CString::new(root).map_err(|error| self.unreadable(b"", error.into()))?;
        match self.one(CWD, &root, b"")? {
            FileType::Directory => {}
            FileType::RegularFile | FileType::Symlink => return Ok(()),
            _ => return Err(SendError::Special(self.source.to_owned())),
        }
        let root = self.open_root()?;
        let mut waiting = Vec::new();
        self.folder(&root, b"", &mut waiting)?;
        while let Some(path) = waiting.pop() {
            unless_gone(self.folder(&root, &path, &mut waiting))?;
        }
        Ok(())
    }

    fn open_root(&self) -> Result<OwnedFd, SendError> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let root = rustix::fs::open(self.source, flags, Mode::empty());
        root.map_err(|errno| self.unreadable(b"", errno.into()))
    }

    /// Sends one path below the root, after those folders on its way that were not told yet.
    fn below(&mut self, root: &OwnedFd, path: &[u8], told: &mut HashSet<Vec<u8>>) -> Result<(), SendError> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let mut folder = None;
        for (at, _) in path.iter().enumerate().filter(|(_, byte)| **byte == b'/') {
            let way = &path[..at];
            let unreadable = |errno: Errno| self.unreadable(way, behind_a_link(errno).into());
            let entered =
                rustix::fs::openat2(root, way, flags, Mode::empty(), beneath()).map_err(unreadable)?;
            if told.insert(way.to_vec()) {
                let about = rustix::fs::fstat(&entered).map_err(unreadable)?;
                self.tell(way, &about, What::Folder)?;
            }
            folder = Some(entered);
        }
        let name = path.rsplit(|byte| *byte == b'/').next().unwrap_or_default();
        let name = CString::new(name).map_err(|error| self.unreadable(path, error.into()))?;
        match self.one(folder.as_ref().unwrap_or(root).as_fd(), &name, path)? {
            FileType::Directory | FileType::RegularFile | FileType::Symlink => {}
            _ => self.sent.skipped.push(self.shown(path)),
        }
        Ok(())
    }

    /// Sends what is in the folder at `path` below the root; its folders are left in `waiting`.
    fn folder(&mut self, root: &OwnedFd, path: &[u8], waiting: &mut Vec<Vec<u8>>) -> Result<(), SendError> {
        let unreadable = |errno: Errno| self.unreadable(path, errno.into());
        let at = if path.is_empty() { &b"."[..] } else { path };
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let folder = rustix::fs::openat2(root, at, flags, Mode::empty(), beneath()).map_err(unreadable)?;
        let mut names = Vec::new();
        for entry in Dir::read_from(&folder).map_err(unreadable)? {
            let name = entry.map_err(unreadable)?.file_name().to_owned();
            if ![&b"."[..], b".."].contains(&name.as_bytes()) {
                names.push(name);
            }
        }
        names.sort();
        for name in names {
            let mut below = path.to_vec();
            below.extend((!path.is_empty()).then_some(b'/'));
            below.extend(name.as_bytes());
            match unless_gone(self.one(folder.as_fd(), &name, &below))? {
                Some(FileType::Directory) => waiting.push(below),
                Some(FileType::RegularFile | FileType::Symlink) | None => {}
                Some(_) => self.sent.skipped.push(self.shown(&below)),
            }
        }
        Ok(())
    }

    /// Sends one entry and its content, if it is something that travels; says what it is.
    fn one(&mut self, folder: BorrowedFd<'_>, name: &CStr, path: &[u8]) -> Result<FileType, SendError> {
        let unreadable = |errno: Errno| self.unreadable(path, errno.into());
        let about = rustix::fs::statat(folder, name, AtFlags::SYMLINK_NOFOLLOW).map_err(unreadable)?;
        let kind = FileType::from_raw_mode(about.st_mode);
        match kind {
            FileType::Directory => self.tell(path, &about, What::Folder)?,
            FileType::Symlink => {
                let target = rustix::fs::readlinkat(folder, name, Vec::new()).map_err(unreadable)?;
                self.tell(path, &about, What::Link { target: target.into_bytes() })?;
            }
            FileType::RegularFile => {
                // Should it have become a pipe since: not waited for.
                let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
                let file = rustix::fs::openat(folder, name, flags, Mode::empty()).map_err(unreadable)?;
                let about = rustix::fs::fstat(&file).map_err(unreadable)?;
                if FileType::from_raw_mode(about.st_mode) != FileType::RegularFile {
                    return Ok(FileType::Unknown);
                }
                let size = u64::try_from(about.st_size).unwrap_or(0);
                self.tell(path, &about, What::File { size })?;
                self.content(file.as_fd(), size, path)?;
            }
            _ => {}
        }
        Ok(kind)
    }

    fn tell(&mut self, path: &[u8], about: &Stat, what: What) -> Result<(), SendError> {
        self.sent.entries += 1;
        let modified = Modified {
            seconds: about.st_mtime,
            nanoseconds: u32::try_from(about.st_mtime_nsec).unwrap_or(0),
        };
        let entry = Entry { path: path.to_vec(), mode: about.st_mode & 0o7777, modified, what };
        (self.to)(Kind::Entry, &entry.encode()).map_err(SendError::Connection)
    }

    /// Sends exactly `size` bytes, what is a hole as one.
    fn content(&mut self, file: BorrowedFd<'_>, size: u64, path: &[u8]) -> Result<(), SendError> {
        let mut at = 0;
        while at < size {
            let data = match rustix::fs::seek(file, SeekFrom::Data(at)) {
                Ok(data) => data.min(size),
                // A hole to the end, or the end came nearer.
                Err(Errno::NXIO) => {
                    let about =
                        rustix::fs::fstat(file).map_err(|errno| self.unreadable(path, errno.into()))?;
                    if u64::try_from(about.st_size).unwrap_or(0) < size {
                        return Err(SendError::Shrank(self.shown(path)));
                    }
                    size
                }
                // A file system that does not know of holes.
                Err(_) => at,
            };
            if data > at {
                (self.to)(Kind::Hole, &(data - at).to_le_bytes()).map_err(SendError::Connection)?;
            }
            at = data;
            let end = rustix::fs::seek(file, SeekFrom::Hole(at)).unwrap_or(size).min(size);
            while at < end {
                let most = usize::try_from(end - at).unwrap_or(usize::MAX).min(self.buffer.len());
                match rustix::io::pread(file, &mut self.buffer[..most], at) {
                    Ok(0) => return Err(SendError::Shrank(self.shown(path))),
                    Ok(count) => {
                        (self.to)(Kind::Data, &self.buffer[..count]).map_err(SendError::Connection)?;
                        at += count as u64;
                    }
                    Err(Errno::INTR) => {}
                    Err(errno) => return Err(self.unreadable(path, errno.into())),
                }
            }
        }
        Ok(())
    }

    fn shown(&self, path: &[u8]) -> PathBuf {
        if path.is_empty() { self.source.to_owned() } else { self.source.join(OsStr::from_bytes(path)) }
    }

    fn unreadable(&self, path: &[u8], source: io::Error) -> SendError {
        SendError::Read { path: self.shown(path), source }
    }
}

/// What lies behind a link, or behind what is no folder, is not there.
fn behind_a_link(errno: Errno) -> Errno {
    if matches!(errno, Errno::LOOP | Errno::NOTDIR | Errno::XDEV) { Errno::NOENT } else { errno }
}

/// What vanished since it was listed is not missed.
fn unless_gone<R>(outcome: Result<R, SendError>) -> Result<Option<R>, SendError> {
    match outcome {
        Err(SendError::Read { source, .. }) if source.kind() == io::ErrorKind::NotFound => Ok(None),
        outcome => outcome.map(Some),
    }
}

/// Nowhere but downwards, and through no link.
pub(crate) fn beneath() -> ResolveFlags {
    ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS
}
