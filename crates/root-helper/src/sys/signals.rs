//! What signals mean to the helper.
#![expect(unsafe_code, reason = "signal(2)")]

/// Leaves the session of whoever started the helper, so that closing its terminal ends neither the helper nor
/// a VM, and lets the kernel collect children that end (SIGCHLD ignored, wait(2)).
pub(crate) fn outlive_the_terminal() {
    // Fails only for a process that leads its group already, which then has no use for it.
    let _ = rustix::process::setsid();
    for signal in [libc::SIGHUP, libc::SIGCHLD] {
        // SAFETY: ignoring a signal installs no handler.
        unsafe { libc::signal(signal, libc::SIG_IGN) };
    }
}
