//! Puts a tree together, below one folder and nowhere else.

use super::entry::{Entry, MalformedEntry, Modified, What};
use super::send::beneath;
use super::unfinished::{Unfinished, name_beside};
use banger_protocol::guest_api::frame::Kind;
use rustix::fd::OwnedFd;
use rustix::fs::{AtFlags, Mode, OFlags, Timespec, Timestamps};
use rustix::io::Errno;
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{self, Seek, SeekFrom, Write};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

/// More entries than anybody has; each costs an inode.
const MOST_ENTRIES: u64 = 10_000_000;
/// How much may be kept in mind of the folders that were made, in bytes: more than a million with paths as they are.
const ROOM: usize = 256 << 20;

/// Where a tree is to go, as a user says it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Destination {
    /// A folder that is there takes the tree in under `name`; otherwise this is what the tree will be called.
    pub path: PathBuf,
    /// `None` when only what is in the tree goes into the folder.
    pub name: Option<OsString>,
}

/// Why a tree was not put together. What was whole by then stays.
#[derive(Debug, thiserror::Error)]
pub enum ReceiveError {
    #[error("the sender broke the order of a copy with a frame {0:?}")]
    Order(Kind),
    #[error("the sender made up an entry")]
    Entry(#[source] MalformedEntry),
    #[error("the sender gave \"{0}\" more bytes than it announced")]
    TooLong(String),
    #[error("the sender sent more than {MOST_ENTRIES} entries")]
    TooMany,
    #[error("the sender sent too many directories")]
    TooManyFolders,
    #[error("{} is there and is not a directory", .0.display())]
    NoFolder(PathBuf),
    #[error("{} is a device, a pipe or a socket, and nothing is copied to these", .0.display())]
    Special(PathBuf),
    #[error("{} could not be used", .path.display())]
    Place { path: PathBuf, source: io::Error },
    #[error("\"{path}\" could not be {what}")]
    Lay { path: String, what: &'static str, source: io::Error },
}

/// Whether there is more to come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    More,
    /// All of it is there.
    Done,
}

/// A copy under way. Dropped before its end, it takes the file it was at with it.
#[derive(Debug)]
pub struct Receiver {
    destination: Destination,
    /// What of a mode is kept.
    modes: u32,
    base: Option<Base>,
    file: Option<Arriving>,
    /// Folders made here, whose modes and times are set when nothing more goes into them.
    made: Vec<Entry>,
    /// How many more bytes these may take.
    pub(crate) room: usize,
    entries: u64,
}

/// The folder that everything goes below.
#[derive(Debug)]
struct Base {
    folder: OwnedFd,
    /// What the root is called in there; `None` when it is the folder itself.
    root: Option<OsString>,
}

/// A file some bytes of which are still to come.
#[derive(Debug)]
struct Arriving {
    entry: Entry,
    name: OsString,
    unfinished: Unfinished,
    missing: u64,
}

impl Receiver {
    #[must_use]
    pub fn new(destination: Destination, modes: u32) -> Self {
        Self { destination, modes, base: None, file: None, made: Vec::new(), room: ROOM, entries: 0 }
    }

    /// How many files, folders and links have come.
    #[must_use]
    pub fn entries(&self) -> u64 {
        self.entries
    }

    /// Takes the next frame.
    ///
    /// # Errors
    /// When it is not one that may come now, or cannot be laid. Nothing more is to be given then.
    pub fn take(&mut self, kind: Kind, payload: &[u8]) -> Result<Step, ReceiveError> {
        match (kind, &mut self.file) {
            (Kind::Entry, None) => {
                let entry = Entry::parse(payload).map_err(ReceiveError::Entry)?;
                self.entry(entry)?;
            }
            (Kind::Data, Some(file)) => {
                file.shrink(payload.len() as u64)?;
                file.unfinished.file.write_all(payload).map_err(lay(&file.entry, "written"))?;
            }
            (Kind::Hole, Some(file)) => {
                let length =
                    payload.try_into().map(u64::from_le_bytes).map_err(|_| ReceiveError::Order(kind))?;
                file.shrink(length)?;
                let length = i64::try_from(length).map_err(|_| ReceiveError::Order(kind))?;
                let seek = file.unfinished.file.seek(SeekFrom::Current(length));
                seek.map_err(lay(&file.entry, "written"))?;
            }
            (Kind::Done, None) if self.base.is_some() => {
                self.finish_folders()?;
                return Ok(Step::Done);
            }
            (kind, _) => return Err(ReceiveError::Order(kind)),
        }
        if self.file.as_ref().is_some_and(|file| file.missing == 0)
            && let Some(file) = self.file.take()
        {
            file.finish(self.modes)?;
        }
        Ok(Step::More)
    }

    fn entry(&mut self, entry: Entry) -> Result<(), ReceiveError> {
        self.entries += 1;
        if self.entries > MOST_ENTRIES {
            return Err(ReceiveError::TooMany);
        }
        let is_root = entry.path.is_empty();
        match (&self.base, is_root) {
            (None, true) => {
                let base = self.destination.find(&entry.what)?;
                let is_itself = base.root.is_none();
                self.base = Some(base);
                if is_itself {
                    return Ok(());
                }
            }
            (Some(_), false) => {}
            (None, false) | (Some(_), true) => return Err(ReceiveError::Order(Kind::Entry)),
        }
        let (folder, name) = self.locate(&entry)?;
        match &entry.what {
            What::Folder => {
                if make_folder(&folder, &name).map_err(lay(&entry, "made"))? {
                    let left = self.room.checked_sub(size_of::<Entry>() + entry.path.len());
                    self.room = left.ok_or(ReceiveError::TooManyFolders)?;
                    self.made.push(entry);
                }
            }
            What::Link { target } => {
                make_link(&folder, &name, OsStr::from_bytes(target)).map_err(lay(&entry, "made"))?;
            }
            What::File { size } => {
                let missing = *size;
                let unfinished = Unfinished::begin(folder).map_err(lay(&entry, "made"))?;
                self.file = Some(Arriving { entry, name, unfinished, missing });
            }
        }
        Ok(())
    }

    /// The folder that an entry goes into, and its name there.
    fn locate(&self, entry: &Entry) -> Result<(OwnedFd, OsString), ReceiveError> {
        let Some(base) = &self.base else { return Err(ReceiveError::Order(Kind::Entry)) };
        let path = base.below(&entry.path);
        let (folders, name) = match path.iter().rposition(|byte| *byte == b'/') {
            Some(at) => (&path[..at], &path[at + 1..]),
            None => (&b"."[..], path.as_slice()),
        };
        let folder = open_below(&base.folder, folders, OFlags::PATH)
            .map_err(|errno| lay(entry, "reached")(errno.into()))?;
        Ok((folder, OsString::from_vec(name.to_vec())))
    }

    fn finish_folders(&mut self) -> Result<(), ReceiveError> {
        let Some(base) = &self.base else { return Ok(()) };
        // The innermost first: a mode may forbid entering, and a time changes with what is below.
        for entry in self.made.iter().rev() {
            let finish = || -> io::Result<()> {
                let folder = File::from(open_below(&base.folder, &base.below(&entry.path), OFlags::RDONLY)?);
                dress(&folder, entry, self.modes)
            };
            finish().map_err(lay(entry, "finished"))?;
        }
        Ok(())
    }
}

impl Base {
    fn below(&self, path: &[u8]) -> Vec<u8> {
        let root = self.root.as_ref().map(|root| root.as_bytes());
        let parts: Vec<&[u8]> = root.into_iter().chain((!path.is_empty()).then_some(path)).collect();
        parts.join(&b'/')
    }
}

impl Destination {
    /// Decides where the root goes, now that it is known what it is.
    fn find(&self, root: &What) -> Result<Base, ReceiveError> {
        let failed = |source: io::Error| ReceiveError::Place { path: self.path.clone(), source };
        let is_folder = *root == What::Folder;
        let open = |path: &Path| -> Result<OwnedFd, ReceiveError> {
            let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
            rustix::fs::open(path, flags, Mode::empty()).map_err(|errno| failed(errno.into()))
        };
        match std::fs::metadata(&self.path) {
            Ok(about) if about.is_dir() => {
                if self.name.is_none() && !is_folder {
                    return Err(failed(io::ErrorKind::IsADirectory.into()));
                }
                return Ok(Base { folder: open(&self.path)?, root: self.name.clone() });
            }
            Ok(_) if is_folder => return Err(ReceiveError::NoFolder(self.path.clone())),
            Ok(about) if !about.is_file() => return Err(ReceiveError::Special(self.path.clone())),
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(failed(error)),
        }
        let wants_folder = self.path.as_os_str().as_bytes().ends_with(b"/");
        match (self.path.file_name(), self.path.parent()) {
            (Some(name), Some(parent)) if is_folder || !wants_folder => {
                let parent = if parent.as_os_str().is_empty() { Path::new(".") } else { parent };
                Ok(Base { folder: open(parent)?, root: Some(name.to_owned()) })
            }
            _ => Err(failed(io::ErrorKind::NotFound.into())),
        }
    }
}

impl Arriving {
    fn shrink(&mut self, by: u64) -> Result<(), ReceiveError> {
        let missing = self.missing.checked_sub(by);
        self.missing = missing.ok_or_else(|| ReceiveError::TooLong(self.entry.shown()))?;
        Ok(())
    }

    fn finish(self, modes: u32) -> Result<(), ReceiveError> {
        let Self { entry, name, unfinished, .. } = self;
        if let What::File { size } = entry.what {
            // A hole at the end leaves no trace but the length.
            unfinished.file.set_len(size).map_err(lay(&entry, "written"))?;
        }
        dress(&unfinished.file, &entry, modes).map_err(lay(&entry, "finished"))?;
        unfinished.publish(&name).map_err(lay(&entry, "put in its place"))
    }
}

/// Gives a file or folder its mode and time.
fn dress(file: &File, entry: &Entry, modes: u32) -> io::Result<()> {
    rustix::fs::fchmod(file, Mode::from_raw_mode(entry.mode & modes))?;
    let Modified { seconds, nanoseconds } = entry.modified;
    let at = Timespec { tv_sec: seconds, tv_nsec: nanoseconds.into() };
    rustix::fs::futimens(file, &Timestamps { last_access: at, last_modification: at })?;
    Ok(())
}

/// Whether it was made; one that is there must be a folder, and no link to one.
fn make_folder(folder: &OwnedFd, name: &OsStr) -> io::Result<bool> {
    match rustix::fs::mkdirat(folder, name, Mode::RWXU) {
        Ok(()) => Ok(true),
        Err(Errno::EXIST) => {
            open_below(folder, name.as_bytes(), OFlags::PATH)?;
            Ok(false)
        }
        Err(errno) => Err(errno.into()),
    }
}

/// Makes a link, in place of what had its name; a folder keeps it.
fn make_link(folder: &OwnedFd, name: &OsStr, target: &OsStr) -> io::Result<()> {
    match rustix::fs::symlinkat(target, folder, name) {
        Err(Errno::EXIST) => {}
        made => return Ok(made?),
    }
    let beside = name_beside();
    rustix::fs::symlinkat(target, folder, &beside)?;
    rustix::fs::renameat(folder, &beside, folder, name).map_err(|errno| {
        let _ = rustix::fs::unlinkat(folder, &beside, AtFlags::empty());
        errno.into()
    })
}

fn open_below(folder: &OwnedFd, path: &[u8], access: OFlags) -> Result<OwnedFd, Errno> {
    let flags = access | OFlags::DIRECTORY | OFlags::CLOEXEC;
    rustix::fs::openat2(folder, path, flags, Mode::empty(), beneath())
}

fn lay(entry: &Entry, what: &'static str) -> impl Fn(io::Error) -> ReceiveError + use<> {
    let path = entry.shown();
    move |source| ReceiveError::Lay { path: path.clone(), what, source }
}
