//! Namespaces, and the second process that it takes to make one as root.
#![expect(unsafe_code, reason = "fork(2) and unshare(2) before the first thread")]

use rustix::process::{Pid, WaitOptions, waitpid};
use rustix::thread::UnshareFlags;
use std::io::{self, Read as _, Write as _};

/// Moves this process into namespaces of its own.
pub(crate) fn unshare(flags: UnshareFlags) -> io::Result<()> {
    // SAFETY: the descriptor table stays shared (nobody asks for FILES), which is what the function is unsafe about.
    unsafe { rustix::thread::unshare_unsafe(flags) }.map_err(io::Error::from)
}

/// Does `first` here, then `second` in a process that was forked before `first` and kept the rights of then.
///
/// Must run before the first thread: the child goes on using the allocator. A failure of `first` leaves
/// `second` undone.
pub(crate) fn first_here_then_beside(
    first: impl FnOnce() -> io::Result<()>,
    second: impl FnOnce() -> io::Result<()>,
) -> io::Result<()> {
    let (mut gate, mut opener) = io::pipe()?;
    // SAFETY: the process has one thread, so the child finds no lock held by another.
    match unsafe { libc::fork() } {
        -1 => Err(io::Error::last_os_error()),
        0 => {
            drop(opener);
            let opened = gate.read_exact(&mut [0]);
            let outcome = opened.and_then(|()| second());
            let code = outcome.map_or_else(|error| error.raw_os_error().unwrap_or(libc::EIO), |()| 0);
            // SAFETY: ends the child without running what the parent registered to run at its exit.
            unsafe { libc::_exit(code) }
        }
        child => {
            drop(gate);
            let done = first().and_then(|()| opener.write_all(&[0]));
            drop(opener);
            let ended = waitpid(Pid::from_raw(child), WaitOptions::empty())?;
            done?;
            match ended.and_then(|(_, status)| status.exit_status()) {
                Some(0) => Ok(()),
                Some(errno) => Err(io::Error::from_raw_os_error(errno)),
                None => Err(io::ErrorKind::Interrupted.into()),
            }
        }
    }
}
