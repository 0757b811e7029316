//! Signals, where rustix leaves them to libc.

use rustix::process::Pid;
use std::io;

/// The signals the agent's own PID 1 acts on.
const WANTED: [libc::c_int; 7] =
    [libc::SIGCHLD, libc::SIGTERM, libc::SIGINT, libc::SIGPWR, libc::SIGUSR1, libc::SIGUSR2, libc::SIGHUP];

/// From now on SIGHUP does nothing to this process.
pub(crate) fn ignore_hangup() {
    // SAFETY: SIG_IGN is a valid disposition and no handler is installed.
    unsafe { libc::signal(libc::SIGHUP, libc::SIG_IGN) };
}

/// Sends `signal`, any number the kernel knows, to a process group.
pub(crate) fn kill_group(group: Pid, signal: u8) -> io::Result<()> {
    // SAFETY: kill takes two integers.
    let result = unsafe { libc::kill(-group.as_raw_nonzero().get(), libc::c_int::from(signal)) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// A child that has ended and was not collected; it stays so until it is waited for by its pid.
pub(crate) fn dead_child() -> Option<Pid> {
    let mut about = std::mem::MaybeUninit::<libc::siginfo_t>::zeroed();
    let how = libc::WEXITED | libc::WNOHANG | libc::WNOWAIT;
    // SAFETY: `about` is as large as waitid writes; zeroed it is valid, and is what waitid leaves when there is nobody.
    let (result, about) = unsafe {
        let result = libc::waitid(libc::P_ALL, 0, about.as_mut_ptr(), how);
        (result, about.assume_init())
    };
    // SAFETY: waitid fills in the fields of SIGCHLD; without a child they are zero.
    let pid = unsafe { about.si_pid() };
    if result == 0 { Pid::from_raw(pid) } else { None }
}

/// Sends `signal` to every process but this one; only PID 1 has a use for it.
pub(crate) fn kill_all(signal: libc::c_int) {
    // SAFETY: kill takes two integers.
    unsafe { libc::kill(-1, signal) };
}

/// Holds the signals of [`next_signal`] back until it asks for them.
pub(crate) fn hold_signals() {
    let set = wanted();
    // SAFETY: `set` is an initialised signal set and the old mask is not asked for.
    unsafe { libc::sigprocmask(libc::SIG_BLOCK, &raw const set, std::ptr::null_mut()) };
}

/// The next held signal.
pub(crate) fn next_signal() -> libc::c_int {
    let set = wanted();
    // SAFETY: `set` is an initialised signal set and no details are asked for.
    unsafe { libc::sigwaitinfo(&raw const set, std::ptr::null_mut()) }
}

fn wanted() -> libc::sigset_t {
    let mut set = std::mem::MaybeUninit::uninit();
    // SAFETY: sigemptyset initialises the set; sigaddset is given valid signal numbers only.
    unsafe {
        libc::sigemptyset(set.as_mut_ptr());
        for signal in WANTED {
            libc::sigaddset(set.as_mut_ptr(), signal);
        }
        set.assume_init()
    }
}
