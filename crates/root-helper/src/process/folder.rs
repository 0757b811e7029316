//! A VM's folder, reached only through the descriptor that came with the request.
//!
//! Once a VM has run, a guest that took over its VMM may have put anything into the folder. So no link is
//! followed, only regular files with one name are given away, and nothing that is opened can make us wait.

use crate::station::Owner;
use banger_protocol::root_api::{
    API_SOCKET, CONSOLE_LOG, Disk, DiskSource, FIRECRACKER_LOG, FIRECRACKER_METRICS, VHOST_SOCKET,
    VMM_EVENTS, VMM_GREETING, VSOCK_SOCKET,
};
use rustix::fs::{
    AtFlags, FileType, Gid, Mode, OFlags, Uid, chmodat, chownat, fchmod, fchown, fstat, openat, unlinkat,
};
use rustix::io::Errno;
use std::fs::File;
use std::io::{self, Write as _};
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};

/// What a VMM opens beside its disks, if it is there.
const OPENED: [&str; 5] = [CONSOLE_LOG, FIRECRACKER_LOG, FIRECRACKER_METRICS, VMM_GREETING, VMM_EVENTS];

#[derive(Debug, thiserror::Error)]
pub(crate) enum FolderError {
    #[error("the first descriptor is not a directory of the owner's or of the VM's own")]
    NotAFolder,
    #[error("{name} in the VM's directory is not a regular file with one name")]
    NotOrdinary { name: &'static str },
    #[error("{name} in the VM's directory was not {what}")]
    File {
        name: &'static str,
        what: &'static str,
        #[source]
        source: io::Error,
    },
    #[error("the VM's directory was not given to uid {uid}")]
    Own {
        uid: u32,
        #[source]
        source: io::Error,
    },
}

/// Who a VM's folder, and what is in it, may belong to.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Whose<'a> {
    pub(crate) owner: Owner,
    /// The VM's own user id, where it has one.
    pub(crate) uid: Option<u32>,
    /// Those that it had under ranges that root chose before: it has not run since. Nobody else has them.
    pub(crate) former: &'a [u32],
}

impl Whose<'_> {
    /// Pure.
    fn has(self, uid: u32) -> bool {
        uid == self.owner.uid || self.uid == Some(uid) || self.former.contains(&uid)
    }
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Folder<'a> {
    descriptor: BorrowedFd<'a>,
    whose: Whose<'a>,
}

impl<'a> Folder<'a> {
    /// Accepts a directory that belongs to the owner or to the VM itself.
    pub(crate) fn new(descriptor: BorrowedFd<'a>, whose: Whose<'a>) -> Result<Self, FolderError> {
        let found = fstat(descriptor).map_err(|_| FolderError::NotAFolder)?;
        let directory = FileType::from_raw_mode(found.st_mode) == FileType::Directory;
        match directory && whose.has(found.st_uid) {
            true => Ok(Self { descriptor, whose }),
            false => Err(FolderError::NotAFolder),
        }
    }

    pub(crate) fn descriptor(&self) -> BorrowedFd<'a> {
        self.descriptor
    }

    /// Opens one of the logs that the VM's processes write to, at its end; they may open it themselves too.
    pub(crate) fn open_log(&self, name: &'static str) -> Result<OwnedFd, FolderError> {
        let flags = OFlags::WRONLY | OFlags::APPEND;
        let log = match self.open_ordinary(name, flags)? {
            Some(log) => log,
            None => self.make(name, flags)?,
        };
        self.give(&log, name)?;
        Ok(log)
    }

    /// Gives a file to the VM, where it has a user id, and to the owner in common where that is another user.
    fn give(&self, file: &OwnedFd, name: &'static str) -> Result<(), FolderError> {
        let Some(uid) = self.whose.uid else { return Ok(()) };
        let failed = |errno: Errno| FolderError::File { name, what: "handed over", source: errno.into() };
        fchown(file, Some(Uid::from_raw(uid)), Some(self.group(uid))).map_err(failed)?;
        match self.whose.owner.shares() {
            true => fchmod(file, Mode::from_raw_mode(0o660)).map_err(failed),
            false => Ok(()),
        }
    }

    fn group(&self, uid: u32) -> Gid {
        Gid::from_raw(if self.whose.owner.shares() { self.whose.owner.gid } else { uid })
    }

    fn make(&self, name: &'static str, flags: OFlags) -> Result<OwnedFd, FolderError> {
        let flags = flags | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
        openat(self.descriptor, name, flags, Mode::RUSR | Mode::WUSR).map_err(|errno| FolderError::File {
            name,
            what: "made",
            source: errno.into(),
        })
    }

    /// Removes the sockets of former processes, whose names the next ones need.
    pub(crate) fn remove_sockets(&self) -> Result<(), FolderError> {
        for name in [API_SOCKET, VHOST_SOCKET, VSOCK_SOCKET] {
            match unlinkat(self.descriptor, name, AtFlags::empty()) {
                Ok(()) | Err(Errno::NOENT) => {}
                Err(errno) => return Err(FolderError::File { name, what: "removed", source: errno.into() }),
            }
        }
        Ok(())
    }

    /// Makes a file anew that one VMM writes and nobody else.
    pub(crate) fn make_anew(&self, name: &'static str, content: &[u8]) -> Result<(), FolderError> {
        let failed = |errno: Errno| FolderError::File { name, what: "made", source: errno.into() };
        match unlinkat(self.descriptor, name, AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => {}
            Err(errno) => return Err(failed(errno)),
        }
        let file = self.make(name, OFlags::WRONLY)?;
        self.give(&file, name)?;
        File::from(file).write_all(content).map_err(|source| FolderError::File {
            name,
            what: "written",
            source,
        })
    }

    /// Gives the folder and the files in it that a process opens to the VM's own user id, where it has one.
    pub(crate) fn hand_over(&self, disks: &[Disk]) -> Result<(), FolderError> {
        let Some(uid) = self.whose.uid else { return Ok(()) };
        let own = |errno: Errno| FolderError::Own { uid, source: errno.into() };
        let (owner, group) = (Some(Uid::from_raw(uid)), Some(self.group(uid)));
        chownat(self.descriptor, "", owner, group, AtFlags::EMPTY_PATH).map_err(own)?;
        if self.whose.owner.shares() {
            // What the VM makes in it belongs to the owner's group too. Nobody else gets to it: the folder above is the
            // owner's alone.
            chmodat(self.descriptor, ".", Mode::from_raw_mode(0o2770), AtFlags::empty()).map_err(own)?;
        }
        let in_folder = disks.iter().filter(|disk| disk.source == DiskSource::Folder);
        for name in in_folder.map(|disk| disk.role.file_name()).chain(OPENED) {
            if let Some(file) = self.open_ordinary(name, OFlags::RDONLY)? {
                self.give(&file, name)?;
            }
        }
        Ok(())
    }

    /// Opens a regular file with one name; `None` when there is none.
    fn open_ordinary(&self, name: &'static str, flags: OFlags) -> Result<Option<OwnedFd>, FolderError> {
        let flags = flags | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let file = match openat(self.descriptor, name, flags, Mode::RUSR | Mode::WUSR) {
            Ok(file) => file,
            Err(Errno::NOENT) => return Ok(None),
            Err(Errno::LOOP | Errno::NXIO) => return Err(FolderError::NotOrdinary { name }),
            Err(errno) => return Err(FolderError::File { name, what: "opened", source: errno.into() }),
        };
        let failed = |errno: Errno| FolderError::File { name, what: "looked at", source: errno.into() };
        let found = fstat(file.as_fd()).map_err(failed)?;
        // A file of somebody else's may have been moved here, to be given away.
        let ours = self.whose.has(found.st_uid);
        if FileType::from_raw_mode(found.st_mode) != FileType::RegularFile || found.st_nlink != 1 || !ours {
            return Err(FolderError::NotOrdinary { name });
        }
        Ok(Some(file))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_is_the_owners_or_the_vms_own_under_a_range_of_now_or_before() {
        let owner = Owner { uid: 1000, gid: 1000 };
        let whose = Whose { owner, uid: Some(300_042), former: &[200_042, 0x7000_002a] };
        for theirs in [1000, 300_042, 200_042, 0x7000_002a] {
            assert!(whose.has(theirs), "{theirs}");
        }
        for others in [0, 999, 1001, 300_041, 300_043, 200_041, 0x7000_002b, 65_534] {
            assert!(!whose.has(others), "{others}");
        }
        assert!(!Whose { uid: None, former: &[], ..whose }.has(300_042));
    }
}
