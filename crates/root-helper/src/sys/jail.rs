//! What Firecracker's jailer finds when it starts: a folder to make its root of, in mounts that nobody else has.
//!
//! The folder is on a small tmpfs that is mounted over [`SITE`] in a mount namespace of the child's own. So a jail is
//! never a path of the host's, cannot be found by another process, and is gone with the last process in it: there is
//! nothing to remove, and no link or mount to follow while removing it.
#![expect(unsafe_code, reason = "mount(2), open_tree(2) and what belongs to them")]

use super::root::{SITE, restrict};
use super::spawn::{Failed, Step, check};
use std::ffi::{CStr, CString};

/// Room for the jailer's copy of Firecracker and for nothing else; it counts as the VM's own memory.
const LIMITS: &CStr = c"mode=0755,size=32m,nr_inodes=128";

/// A file or folder of the owner's, by the path under which the helper's mounts should have it, and by what it is.
#[derive(Debug)]
pub(crate) struct Bind {
    pub(crate) from: CString,
    /// Device and inode.
    pub(crate) identity: (u64, u64),
    pub(crate) at: CString,
    pub(crate) is_folder: bool,
    pub(crate) read_only: bool,
}

/// A block device for the VM alone.
#[derive(Debug)]
pub(crate) struct Node {
    pub(crate) at: CString,
    /// As in `st_rdev`.
    pub(crate) device: u64,
    pub(crate) uid: u32,
}

/// What there is beside the jailer's own doing. Every `at` begins with [`SITE`].
#[derive(Debug, Default)]
pub(crate) struct Jail {
    /// In this order.
    pub(crate) folders: Vec<CString>,
    pub(crate) binds: Vec<Bind>,
    pub(crate) nodes: Vec<Node>,
}

/// Puts it together. The child stays in the host's root directory, from which it starts the jailer.
///
/// # Safety
/// Only in a child of fork(2), with the rights of root; async-signal-safe.
pub(super) unsafe fn make(jail: &Jail) -> Result<(), Failed> {
    // SAFETY: system calls with valid arguments, none of which allocates or locks.
    unsafe {
        check(Step::Mounts, libc::unshare(libc::CLONE_NEWNS | libc::CLONE_NEWIPC).into())?;
        let mask = libc::umask(0o022);
        // The jailer makes devices there, and executes its copy.
        let nothing = c"tmpfs".as_ptr();
        let limits = LIMITS.as_ptr().cast();
        check(Step::Root, libc::mount(nothing, SITE.as_ptr(), nothing, libc::MS_NOSUID, limits).into())?;
        for folder in &jail.folders {
            check(Step::Root, libc::mkdir(folder.as_ptr(), 0o755).into())?;
        }
        for file in &jail.binds {
            bind(file)?;
        }
        for Node { at, device, uid } in &jail.nodes {
            check(Step::Root, libc::mknod(at.as_ptr(), libc::S_IFBLK | 0o600, *device).into())?;
            check(Step::Root, libc::chown(at.as_ptr(), *uid, *uid).into())?;
        }
        libc::umask(mask);
        check(Step::Entry, libc::chdir(c"/".as_ptr()).into())
    }
}

/// # Safety
/// As [`make`].
unsafe fn bind(file: &Bind) -> Result<(), Failed> {
    let Bind { from, identity, at, is_folder, read_only } = file;
    // SAFETY: as in `make`; the structure is plain numbers, for which all zero is a value.
    unsafe {
        // Opening a path does nothing to what it names, and only what came as a descriptor is taken further.
        let found = libc::open(from.as_ptr(), libc::O_PATH | libc::O_NOFOLLOW | libc::O_CLOEXEC);
        check(Step::Folder, found.into())?;
        let mut about: libc::stat = std::mem::zeroed();
        check(Step::Folder, libc::fstat(found, &raw mut about).into())?;
        if (about.st_dev, about.st_ino) != *identity {
            *libc::__errno_location() = libc::ESTALE;
            return Err(Failed(Step::Folder));
        }
        let place = if *is_folder {
            libc::mkdir(at.as_ptr(), 0o755)
        } else {
            libc::mknod(at.as_ptr(), libc::S_IFREG | 0o444, 0)
        };
        check(Step::Root, place.into())?;
        let empty = c"".as_ptr();
        let flags = libc::OPEN_TREE_CLONE | libc::OPEN_TREE_CLOEXEC | libc::AT_EMPTY_PATH as libc::c_uint;
        let tree = libc::syscall(libc::SYS_open_tree, found, empty, flags);
        check(Step::Folder, tree)?;
        let (here, from_descriptor) = (libc::AT_FDCWD, libc::MOVE_MOUNT_F_EMPTY_PATH);
        let moved = libc::syscall(libc::SYS_move_mount, tree, empty, here, at.as_ptr(), from_descriptor);
        check(Step::Folder, moved)?;
        let plain = libc::MOUNT_ATTR_NOSUID | libc::MOUNT_ATTR_NODEV | libc::MOUNT_ATTR_NOEXEC;
        let attributes = if *read_only { plain | libc::MOUNT_ATTR_RDONLY } else { plain };
        check(Step::Folder, restrict(at, attributes))?;
        libc::close(found);
        libc::close(libc::c_int::try_from(tree).unwrap_or(-1));
    }
    Ok(())
}
