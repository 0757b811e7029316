//! The ioctl by which a mounted ext4 changes its size.

use rustix::fd::{AsFd, AsRawFd};
use std::io;

/// `_IOW('f', 16, __u64)`, the kernel's `include/uapi/linux/ext4.h`.
const EXT4_IOC_RESIZE_FS: libc::c_ulong = 0x4008_6610;

/// Gives the file system that this folder is in so many blocks. Fails with EPERM without CAP_SYS_RESOURCE and with
/// EINVAL when the disk is smaller.
pub(crate) fn resize(folder: impl AsFd, blocks: u64) -> io::Result<()> {
    // SAFETY: the kernel reads eight bytes at the pointer, which outlives the call.
    let result = unsafe { libc::ioctl(folder.as_fd().as_raw_fd(), EXT4_IOC_RESIZE_FS, &raw const blocks) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}
