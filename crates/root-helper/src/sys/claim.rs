//! Claims on an open file that live as long as some process has it open, fcntl_locking(2) "Open file description locks".
#![expect(unsafe_code, reason = "fcntl(2) with a lock")]

use std::io;
use std::os::fd::{AsRawFd as _, BorrowedFd};

/// Claims the byte at this place for everybody who has this very descriptor, children after an exec included; says
/// false when somebody else has claimed it. The file must be open for writing; the byte need not exist.
pub(crate) fn take(file: BorrowedFd<'_>, place: u8) -> io::Result<bool> {
    // SAFETY: `flock` is plain numbers, for which all zero is a value.
    let mut claim: libc::flock = unsafe { std::mem::zeroed() };
    claim.l_type = libc::c_short::try_from(libc::F_WRLCK).expect("a lock's kind is a small number");
    claim.l_whence = libc::c_short::try_from(libc::SEEK_SET).expect("an origin is a small number");
    claim.l_start = place.into();
    claim.l_len = 1;
    // SAFETY: the descriptor is open and F_OFD_SETLK reads one `flock`.
    if unsafe { libc::fcntl(file.as_raw_fd(), libc::F_OFD_SETLK, &raw const claim) } == 0 {
        return Ok(true);
    }
    match io::Error::last_os_error() {
        error if matches!(error.raw_os_error(), Some(libc::EAGAIN | libc::EACCES)) => Ok(false),
        error => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::File;
    use std::os::fd::AsFd as _;

    #[test]
    fn a_claim_is_one_for_each_place_and_ends_with_the_last_who_has_the_file_open() {
        let path = std::env::temp_dir().join(format!("claim-{}", std::process::id()));
        let open = || File::options().append(true).create(true).open(&path).unwrap();
        let (first, other) = (open(), open());
        assert!(take(first.as_fd(), 0).unwrap());
        assert!(take(first.as_fd(), 0).unwrap(), "one's own claim can be repeated");
        assert!(!take(other.as_fd(), 0).unwrap());
        assert!(take(other.as_fd(), 1).unwrap());
        // As a program does that is started with the log for its output.
        let heir = first.try_clone().unwrap();
        drop(first);
        assert!(!take(other.as_fd(), 0).unwrap());
        drop(heir);
        assert!(take(other.as_fd(), 0).unwrap());
        std::fs::remove_file(path).unwrap();
    }
}
