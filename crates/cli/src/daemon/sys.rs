//! Letting a child go its own way.

#![expect(unsafe_code, reason = "the steps between fork and exec have no safe form in the standard library")]

use std::io;
use std::os::unix::process::CommandExt;
use std::process::Command;

/// Gives the child a session of its own and none of our descriptors but its standard streams.
///
/// What this program inherited is not marked close-on-exec, the pipe of a shell's `$(…)` for one: a daemon that
/// kept it would keep the shell waiting for ever.
pub(super) fn detach(command: &mut Command) {
    let between_fork_and_exec = || {
        rustix::process::setsid()?;
        // Marked rather than closed: the standard library still needs the one it reports a failed exec on.
        // SAFETY: the call takes numbers only and changes no memory.
        match unsafe { libc::close_range(3, libc::c_uint::MAX, libc::CLOSE_RANGE_CLOEXEC.cast_signed()) } {
            0 => Ok(()),
            _ => Err(io::Error::last_os_error()),
        }
    };
    // SAFETY: the closure makes two system calls and allocates nothing, so it is sound in a forked child.
    unsafe { command.pre_exec(between_fork_and_exec) };
}
