//! Tap devices, `Documentation/networking/tuntap.rst`.
#![expect(unsafe_code, reason = "ioctl(2) on /dev/net/tun")]

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd as _;

/// Opens a queue of the named tap on an open `/dev/net/tun`, making the tap when there is none.
///
/// The offload header of virtio (`IFF_VNET_HDR`) is part of the tap's kind, so everybody that opens it says so.
pub(crate) fn attach(tun: &File, name: &str) -> io::Result<()> {
    // SAFETY: `ifreq` is plain numbers, for which all zero is a value.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    if name.len() >= request.ifr_name.len() {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    for (to, from) in request.ifr_name.iter_mut().zip(name.bytes()) {
        *to = libc::c_char::from_ne_bytes([from]);
    }
    let flags = libc::IFF_TAP | libc::IFF_NO_PI | libc::IFF_VNET_HDR;
    request.ifr_ifru.ifru_flags = libc::c_short::try_from(flags).expect("the three flags fit 16 bits");
    // SAFETY: the descriptor is open and TUNSETIFF reads and writes one `ifreq`.
    check(unsafe { libc::ioctl(tun.as_raw_fd(), libc::TUNSETIFF, &raw mut request) })
}

/// Keeps the attached tap when its last descriptor is closed.
pub(crate) fn persist(tun: &File) -> io::Result<()> {
    let yes: libc::c_ulong = 1;
    // SAFETY: TUNSETPERSIST takes its argument by value.
    check(unsafe { libc::ioctl(tun.as_raw_fd(), libc::TUNSETPERSIST, yes) })
}

/// Says who may open the attached tap without a right over the network: this user and nobody else.
pub(crate) fn give_to(tun: &File, uid: u32) -> io::Result<()> {
    // SAFETY: TUNSETOWNER takes its argument by value.
    check(unsafe { libc::ioctl(tun.as_raw_fd(), libc::TUNSETOWNER, libc::c_ulong::from(uid)) })
}

fn check(outcome: libc::c_int) -> io::Result<()> {
    if outcome < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}
