//! The three device-mapper ioctls that make one mapped device.
//!
//! Layouts from the kernel's `include/uapi/linux/dm-ioctl.h`, interface version 4.

use rustix::fd::{AsRawFd, OwnedFd};
use rustix::fs::{Mode, OFlags};
use std::io;

const DM_DEV_CREATE: libc::c_ulong = 0xc138_fd03;
const DM_DEV_SUSPEND: libc::c_ulong = 0xc138_fd06;
const DM_TABLE_LOAD: libc::c_ulong = 0xc138_fd09;

const HEADER: usize = 312;
const TARGET: usize = 40;
const CONTROL: &str = "/dev/mapper/control";

/// One line of a device-mapper table that covers the whole device.
#[derive(Debug)]
pub(crate) struct Target<'a> {
    pub(crate) sectors: u64,
    pub(crate) kind: &'a str,
    pub(crate) parameters: &'a str,
}

/// Makes the mapped device `name` and sets it going; returns the minor number `N` of its `/dev/dm-N`.
pub(crate) fn create(name: &str, target: &Target<'_>) -> io::Result<u32> {
    let control = rustix::fs::open(CONTROL, OFlags::RDWR | OFlags::CLOEXEC, Mode::empty())?;
    let created = call(&control, DM_DEV_CREATE, request(name, None))?;
    call(&control, DM_TABLE_LOAD, request(name, Some(target)))?;
    // "Suspend" without the suspend flag resumes, which is what makes the loaded table live.
    call(&control, DM_DEV_SUSPEND, request(name, None))?;
    // The kernel's huge_encode_dev: minor bits 0-7 and 20-31.
    let device = u64::from_ne_bytes(created[40..48].try_into().expect("a slice of eight bytes"));
    let minor = (device & 0xff) | ((device >> 12) & 0xffff_ff00);
    u32::try_from(minor).map_err(|_| io::Error::from_raw_os_error(libc::EOVERFLOW))
}

/// `struct dm_ioctl`, followed by a `struct dm_target_spec` and its parameters.
fn request(name: &str, target: Option<&Target<'_>>) -> Vec<u8> {
    let parameters = target.map_or(0, |t| (t.parameters.len() + 1).next_multiple_of(8));
    let total = HEADER + target.map_or(0, |_| TARGET + parameters);
    let mut bytes = vec![0_u8; total];
    let mut put = |at: usize, value: &[u8]| bytes[at..at + value.len()].copy_from_slice(value);
    put(0, &4_u32.to_ne_bytes());
    put(12, &size(total));
    put(16, &size(HEADER));
    put(48, name.as_bytes());
    if let Some(target) = target {
        put(20, &1_u32.to_ne_bytes());
        put(HEADER + 8, &target.sectors.to_ne_bytes());
        put(HEADER + 20, &size(TARGET + parameters));
        put(HEADER + 24, target.kind.as_bytes());
        put(HEADER + TARGET, target.parameters.as_bytes());
    }
    bytes
}

fn size(value: usize) -> [u8; 4] {
    u32::try_from(value).expect("a table of one line is short").to_ne_bytes()
}

fn call(control: &OwnedFd, operation: libc::c_ulong, mut request: Vec<u8>) -> io::Result<Vec<u8>> {
    // SAFETY: `request` starts with a dm_ioctl whose data_size is its length, the most the kernel reads or
    // writes, and it lives until the call returns.
    let result = unsafe { libc::ioctl(control.as_raw_fd(), operation, request.as_mut_ptr()) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(request) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_says_how_long_it_is_and_where_its_target_starts() {
        let target = Target { sectors: 2048, kind: "snapshot", parameters: "/dev/vda /dev/vdb PO 8" };
        let bytes = request("banger-root", Some(&target));
        assert_eq!(bytes.len(), 312 + 40 + 24);
        assert_eq!(bytes[12..16], 376_u32.to_ne_bytes());
        assert_eq!(&bytes[48..59], b"banger-root");
        assert_eq!(bytes[320..328], 2048_u64.to_ne_bytes());
        assert_eq!(&bytes[336..344], b"snapshot");
        assert_eq!(&bytes[352..374], b"/dev/vda /dev/vdb PO 8");
    }
}
