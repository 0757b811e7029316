//! Loop devices' ioctls, `linux/loop.h`.
#![expect(unsafe_code, reason = "ioctl(2) on loop devices")]

use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd as _, BorrowedFd};

const GET_FREE: libc::c_ulong = 0x4c82;
const CONFIGURE: libc::c_ulong = 0x4c0a;
const GET_STATUS: libc::c_ulong = 0x4c05;

const READ_ONLY: u32 = 1;
/// It is gone with the last who has it open.
const AUTOCLEAR: u32 = 4;
/// Past the page cache, where the file system lets it; the kernel falls back by itself where not.
const DIRECT: u32 = 16;

const LABEL_LENGTH: usize = 64;

#[repr(C)]
#[derive(Clone, Copy)]
struct Info {
    device: u64,
    inode: u64,
    raw_device: u64,
    offset: u64,
    size_limit: u64,
    number: u32,
    encryption: u32,
    key_size: u32,
    flags: u32,
    label: [u8; LABEL_LENGTH],
    cipher: [u8; LABEL_LENGTH],
    key: [u8; 32],
    initial: [u64; 2],
}

const NO_INFO: Info = Info {
    device: 0,
    inode: 0,
    raw_device: 0,
    offset: 0,
    size_limit: 0,
    number: 0,
    encryption: 0,
    key_size: 0,
    flags: 0,
    label: [0; LABEL_LENGTH],
    cipher: [0; LABEL_LENGTH],
    key: [0; 32],
    initial: [0; 2],
};

#[repr(C)]
struct Configuration {
    file: u32,
    block_size: u32,
    info: Info,
    reserved: [u64; 8],
}

/// What a loop device is set up with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Found {
    /// Device and inode of its file.
    pub(crate) backing: (u64, u64),
    pub(crate) read_only: bool,
    /// What it was labelled with by who set it up.
    pub(crate) label: String,
    pub(crate) offset: u64,
    pub(crate) size_limit: u64,
}

/// The number of a device that nobody uses, for the moment.
pub(crate) fn free(control: &File) -> io::Result<u32> {
    // SAFETY: LOOP_CTL_GET_FREE takes no argument.
    let number = unsafe { libc::ioctl(control.as_raw_fd(), GET_FREE) };
    u32::try_from(number).map_err(|_| io::Error::last_os_error())
}

/// Puts a file behind a device, in one step; `EBUSY` when somebody was faster.
pub(crate) fn configure(device: &File, file: BorrowedFd<'_>, read_only: bool, label: &str) -> io::Result<()> {
    let mut info = Info { flags: AUTOCLEAR | DIRECT | if read_only { READ_ONLY } else { 0 }, ..NO_INFO };
    if label.len() >= LABEL_LENGTH {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    info.label[..label.len()].copy_from_slice(label.as_bytes());
    let file = u32::try_from(file.as_raw_fd()).map_err(|_| io::ErrorKind::InvalidInput)?;
    let configuration = Configuration { file, block_size: 0, info, reserved: [0; 8] };
    // SAFETY: both descriptors are open and LOOP_CONFIGURE reads one structure of this layout.
    check(unsafe { libc::ioctl(device.as_raw_fd(), CONFIGURE, &raw const configuration) })
}

/// What a device is set up with; nothing when it is free.
pub(crate) fn look(device: &File) -> io::Result<Option<Found>> {
    let mut info = NO_INFO;
    // SAFETY: the descriptor is open and LOOP_GET_STATUS64 writes one structure of this layout.
    match check(unsafe { libc::ioctl(device.as_raw_fd(), GET_STATUS, &raw mut info) }) {
        Ok(()) => {}
        Err(error) if error.raw_os_error() == Some(libc::ENXIO) => return Ok(None),
        Err(error) => return Err(error),
    }
    let label = info.label.split(|&b| b == 0).next().unwrap_or_default();
    Ok(Some(Found {
        backing: (info.device, info.inode),
        read_only: info.flags & READ_ONLY != 0,
        label: String::from_utf8_lossy(label).into_owned(),
        offset: info.offset,
        size_limit: info.size_limit,
    }))
}

fn check(outcome: libc::c_int) -> io::Result<()> {
    if outcome < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_structures_are_as_long_as_the_kernels() {
        assert_eq!((size_of::<Info>(), size_of::<Configuration>()), (232, 304));
    }
}
