//! A root directory for a process alone, made between fork and exec of a list that was prepared before.
#![expect(unsafe_code, reason = "mount(2), pivot_root(2) and what belongs to them")]

use super::spawn::{Failed, Step, check};
use std::ffi::{CStr, CString};
use std::ptr;

/// Where it is put together: a directory that every host has and no VM's process needs.
pub(crate) const SITE: &CStr = c"/sys";
/// Where the VM's folder is in it.
pub(crate) const OWN_FOLDER: &str = "/vm";
const OWN_FOLDER_INSIDE: &CStr = c"/vm";
const OWN_FOLDER_AT_SITE: &CStr = c"/sys/vm";

/// One thing in the new root. Every `at` begins with [`SITE`].
#[derive(Debug)]
pub(crate) enum Piece {
    Folder(CString),
    Link {
        target: CString,
        at: CString,
    },
    /// A file or folder of the host.
    Mount {
        from: CString,
        at: CString,
        is_folder: bool,
    },
}

/// What a process is going to have for its root.
#[derive(Debug)]
pub(crate) struct Root {
    pub(crate) pieces: Vec<Piece>,
    /// The VM's folder: where it should be among the helper's own mounts, and the device and inode by which it
    /// is known.
    pub(crate) folder: CString,
    pub(crate) identity: (u64, u64),
}

/// What is changed about a mount and all below it, mount_setattr(2).
#[repr(C)]
struct Attributes {
    set: u64,
    clear: u64,
    propagation: u64,
    user_namespace: u64,
}

/// Makes the root, enters it, and works in the VM's folder in it.
///
/// # Safety
/// Only in a child of fork(2), with the rights to mount; async-signal-safe.
pub(super) unsafe fn enter(root: &Root) -> Result<(), Failed> {
    // SAFETY: system calls with valid arguments, none of which allocates or locks.
    unsafe {
        // With its own System V IPC: the owner's programs may share memory by that.
        check(Step::Mounts, libc::unshare(libc::CLONE_NEWNS | libc::CLONE_NEWIPC).into())?;
        // Who runs as another user has to get through these folders.
        let mask = libc::umask(0o022);
        let (nothing, limits) = (c"tmpfs".as_ptr(), c"mode=0755,size=64k,nr_inodes=256".as_ptr());
        let flags = libc::MS_NOSUID | libc::MS_NODEV | libc::MS_NOEXEC;
        check(Step::Root, libc::mount(nothing, SITE.as_ptr(), nothing, flags, limits.cast()).into())?;
        for piece in &root.pieces {
            check(Step::Root, make(piece))?;
        }
        libc::umask(mask);
        let closed = libc::MOUNT_ATTR_RDONLY | libc::MOUNT_ATTR_NOSUID;
        check(Step::Root, restrict(SITE, closed))?;

        // By a path, since a descriptor that was opened before belongs to other mounts; then only what was found there.
        let folder = libc::open(root.folder.as_ptr(), libc::O_PATH | libc::O_DIRECTORY | libc::O_CLOEXEC);
        check(Step::Folder, folder.into())?;
        let mut found: libc::stat = std::mem::zeroed();
        check(Step::Folder, libc::fstat(folder, &raw mut found).into())?;
        if (found.st_dev, found.st_ino) != root.identity {
            *libc::__errno_location() = libc::ESTALE;
            return Err(Failed(Step::Folder));
        }
        check(Step::Folder, libc::fchdir(folder).into())?;
        let (here, none) = (c".".as_ptr(), ptr::null());
        let at = OWN_FOLDER_AT_SITE.as_ptr();
        check(Step::Folder, libc::mount(here, at, none, libc::MS_BIND, ptr::null()).into())?;
        let plain = libc::MOUNT_ATTR_NOSUID | libc::MOUNT_ATTR_NODEV | libc::MOUNT_ATTR_NOEXEC;
        check(Step::Folder, restrict(OWN_FOLDER_AT_SITE, plain))?;

        // pivot_root(2), "pivot_root(".", ".")": the old root lies over the new one for a moment.
        check(Step::Entry, libc::chdir(SITE.as_ptr()).into())?;
        check(Step::Entry, libc::syscall(libc::SYS_pivot_root, here, here))?;
        check(Step::Entry, libc::umount2(here, libc::MNT_DETACH).into())?;
        // Who works outside of its root climbs out of it by `..`.
        check(Step::Entry, libc::chdir(OWN_FOLDER_INSIDE.as_ptr()).into())
    }
}

/// # Safety
/// As [`enter`].
unsafe fn make(piece: &Piece) -> libc::c_long {
    // SAFETY: as in `enter`; the strings end with NUL.
    unsafe {
        match piece {
            Piece::Folder(at) => libc::mkdir(at.as_ptr(), 0o755).into(),
            Piece::Link { target, at } => libc::symlink(target.as_ptr(), at.as_ptr()).into(),
            Piece::Mount { from, at, is_folder } => {
                let place = if *is_folder {
                    libc::mkdir(at.as_ptr(), 0o755)
                } else {
                    libc::mknod(at.as_ptr(), libc::S_IFREG | 0o444, 0)
                };
                if place < 0 {
                    return -1;
                }
                let flags = libc::MS_BIND | libc::MS_REC;
                libc::mount(from.as_ptr(), at.as_ptr(), ptr::null(), flags, ptr::null()).into()
            }
        }
    }
}

/// Takes rights from a mount and all below it, to which nothing is added from outside any more. A kernel before 5.12
/// cannot do that, and what protects a file there is its mode.
///
/// # Safety
/// As [`enter`].
pub(super) unsafe fn restrict(at: &CStr, attributes: u64) -> libc::c_long {
    let change = Attributes { set: attributes, clear: 0, propagation: libc::MS_PRIVATE, user_namespace: 0 };
    let size = size_of::<Attributes>();
    // SAFETY: the structure is the one of this size that the call reads.
    let outcome = unsafe {
        let all = libc::AT_RECURSIVE;
        libc::syscall(libc::SYS_mount_setattr, libc::AT_FDCWD, at.as_ptr(), all, &raw const change, size)
    };
    // SAFETY: reads this thread's own number.
    if outcome < 0 && unsafe { *libc::__errno_location() } == libc::ENOSYS { 0 } else { outcome }
}
