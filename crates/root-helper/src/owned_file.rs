//! Files that came as descriptors: what they are and whose, told by the kernel and not by who sent them.
//!
//! That somebody has a file open does not mean that they may read it (O_PATH), nor that it is theirs: what is
//! everybody's to read would become a disk of a guest's, and what root wrote into a folder of the owner's the owner's
//! own. So a file is taken only from its owner, opened for what is going to be done with it.

use banger_protocol::wire::{ErrorKind, RpcError};
use rustix::fs::{FileType, OFlags, fcntl_getfl, fstat, fstatfs};
use std::io;
use std::os::fd::BorrowedFd;

/// `FUSE_SUPER_MAGIC` of `linux/magic.h`: a file system whose answers a program gives, or does not give.
const SERVED_BY_A_PROGRAM: u64 = 0x6573_5546;

/// What a file has to be open for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Use {
    Reading,
    Both,
}

#[derive(Debug, thiserror::Error)]
pub(crate) enum NotOwned {
    #[error("{what} is not a regular file")]
    NotOrdinary { what: &'static str },
    #[error("{what} belongs to user {uid} and not to the owner of this banger")]
    Foreign { what: &'static str, uid: u32 },
    #[error("{what} is not open for {wanted}")]
    Closed { what: &'static str, wanted: &'static str },
    #[error("{what} is on a file system served by a program")]
    Served { what: &'static str },
    #[error("{what} cannot be looked at")]
    Look {
        what: &'static str,
        #[source]
        source: io::Error,
    },
}

impl NotOwned {
    pub(crate) fn answer(&self) -> RpcError {
        let kind = match self {
            Self::Look { .. } => ErrorKind::OperationFailed,
            Self::NotOrdinary { .. } | Self::Foreign { .. } | Self::Closed { .. } | Self::Served { .. } => {
                ErrorKind::Refused
            }
        };
        RpcError::from_error(kind, self)
    }
}

/// A file that passed.
#[derive(Clone, Copy, Debug)]
pub(crate) struct OwnedFile<'a> {
    pub(crate) descriptor: BorrowedFd<'a>,
    /// Device and inode.
    pub(crate) identity: (u64, u64),
    /// In bytes.
    pub(crate) size: u64,
}

/// Accepts an ordinary file of the owner's that is open for this use.
pub(crate) fn prove<'a>(
    what: &'static str,
    descriptor: BorrowedFd<'a>,
    owner: u32,
    needed: Use,
) -> Result<OwnedFile<'a>, NotOwned> {
    let look = |errno: rustix::io::Errno| NotOwned::Look { what, source: errno.into() };
    let found = fstat(descriptor).map_err(look)?;
    if FileType::from_raw_mode(found.st_mode) != FileType::RegularFile {
        return Err(NotOwned::NotOrdinary { what });
    }
    // What root keeps for all to read, such as an installed image, the owner proved to be let to by opening it.
    let root_keeps_it = needed == Use::Reading && found.st_uid == 0;
    if found.st_uid != owner && !root_keeps_it {
        return Err(NotOwned::Foreign { what, uid: found.st_uid });
    }
    let flags = fcntl_getfl(descriptor).map_err(look)?;
    let wanted = match needed {
        Use::Reading if !is_open_for(flags, Use::Reading) => Some("reading"),
        Use::Both if !is_open_for(flags, Use::Both) => Some("reading and writing"),
        Use::Reading | Use::Both => None,
    };
    if let Some(wanted) = wanted {
        return Err(NotOwned::Closed { what, wanted });
    }
    if u64::try_from(fstatfs(descriptor).map_err(look)?.f_type).is_ok_and(|kind| kind == SERVED_BY_A_PROGRAM)
    {
        return Err(NotOwned::Served { what });
    }
    let identity = (found.st_dev, found.st_ino);
    Ok(OwnedFile { descriptor, identity, size: found.st_size.unsigned_abs() })
}

fn is_open_for(flags: OFlags, needed: Use) -> bool {
    if flags.contains(OFlags::PATH) {
        return false;
    }
    match flags & OFlags::RWMODE {
        OFlags::RDWR => true,
        OFlags::RDONLY => needed == Use::Reading,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::File;
    use std::os::fd::AsFd as _;

    fn own() -> u32 {
        rustix::process::geteuid().as_raw()
    }

    #[test]
    fn only_the_owners_ordinary_files_pass_and_only_for_what_they_are_open_for() {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("file");
        std::fs::write(&path, "content").unwrap();
        fn judge(file: &File, owner: u32, needed: Use) -> Result<u64, NotOwned> {
            prove("it", file.as_fd(), owner, needed).map(|proven| proven.size)
        }
        let (reading, both) =
            (File::open(&path).unwrap(), File::options().read(true).write(true).open(&path).unwrap());
        let writing = File::options().write(true).open(&path).unwrap();
        let named = File::from(rustix::fs::open(&path, OFlags::PATH, rustix::fs::Mode::empty()).unwrap());
        assert_eq!(judge(&reading, own(), Use::Reading).unwrap(), 7);
        assert!(judge(&both, own(), Use::Reading).is_ok() && judge(&both, own(), Use::Both).is_ok());
        for (file, needed) in
            [(&reading, Use::Both), (&writing, Use::Both), (&writing, Use::Reading), (&named, Use::Reading)]
        {
            assert!(matches!(judge(file, own(), needed), Err(NotOwned::Closed { .. })));
        }
        let stranger = own() + 1;
        assert!(matches!(judge(&both, stranger, Use::Both), Err(NotOwned::Foreign { .. })));
        let folder = File::open(place.path()).unwrap();
        assert!(matches!(judge(&folder, own(), Use::Reading), Err(NotOwned::NotOrdinary { .. })));
        let device = File::open("/dev/null").unwrap();
        assert!(matches!(judge(&device, own(), Use::Reading), Err(NotOwned::NotOrdinary { .. })));
    }
}
