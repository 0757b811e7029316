//! What a command's process does to itself between fork and exec.

use rustix::fd::OwnedFd;
use rustix::io::Errno;
use rustix::process::{Gid, Resource, Rlimit, Uid};
use std::ffi::CString;
use std::io;
use std::os::unix::process::CommandExt;
use std::process::Command;

/// Everything that makes a fork of the agent into the user's own process. Made before the fork: the child may
/// not allocate.
#[derive(Debug)]
pub(crate) struct Become {
    pub(crate) uid: Uid,
    pub(crate) gid: Gid,
    pub(crate) groups: Vec<Gid>,
    pub(crate) directory: CString,
    /// Where to go when `directory` cannot be entered; an error when not given.
    pub(crate) fallback: Option<CString>,
    /// Whether standard input is the terminal this process is to control.
    pub(crate) terminal: bool,
    /// The `cgroup.procs` of the group to be in.
    pub(crate) cgroup: Option<OwnedFd>,
    /// Held open by this process and by all that it starts.
    pub(crate) sign_of_life: Option<OwnedFd>,
}

/// Has `command` do what `identity` says before it executes its program.
pub(crate) fn arrange(command: &mut Command, identity: Become) {
    // SAFETY: the closure runs in a forked child of a process with other threads: it makes system calls only,
    // takes no lock and does not allocate or free (`identity` belongs to the parent's copy of the closure).
    unsafe { command.pre_exec(move || identity.apply()) };
}

impl Become {
    fn apply(&self) -> io::Result<()> {
        rustix::process::setsid()?;
        if self.terminal {
            rustix::process::ioctl_tiocsctty(rustix::stdio::stdin())?;
        }
        like_a_login();
        if let Some(cgroup) = &self.cgroup {
            // Outside of it the command runs as well; what it leaves behind is then found by its process group only.
            let _ = rustix::io::write(cgroup, b"0");
        }
        if let Some(sign) = &self.sign_of_life {
            rustix::io::fcntl_setfd(sign, rustix::io::FdFlags::empty())?;
        }
        match self.change_identity() {
            // An agent without privileges runs commands as who it is itself.
            Err(Errno::PERM) if rustix::process::geteuid() == self.uid => {}
            outcome => outcome?,
        }
        match (rustix::process::chdir(self.directory.as_c_str()), &self.fallback) {
            (Err(_), Some(fallback)) => Ok(rustix::process::chdir(fallback.as_c_str())?),
            (outcome, _) => Ok(outcome?),
        }
    }

    /// These three change the calling thread only, and a forked child has one.
    fn change_identity(&self) -> rustix::io::Result<()> {
        if rustix::process::geteuid().is_root() {
            rustix::thread::set_thread_groups(&self.groups)?;
        }
        rustix::thread::set_thread_res_gid(self.gid, self.gid, self.gid)?;
        rustix::thread::set_thread_res_uid(self.uid, self.uid, self.uid)
    }
}

/// Undoes what is particular to the agent: its ignored SIGHUP, its many files, its exemption from the OOM killer.
fn like_a_login() {
    // More than this breaks programs that use select(2); those that want more raise it themselves.
    let allowed = rustix::process::getrlimit(Resource::Nofile).maximum;
    let usual = Some(allowed.map_or(1024, |most| most.min(1024)));
    let _ = rustix::process::setrlimit(Resource::Nofile, Rlimit { current: usual, maximum: allowed });
    // SAFETY: SIG_DFL is a valid disposition.
    unsafe { libc::signal(libc::SIGHUP, libc::SIG_DFL) };
    rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o022));
    let oom = rustix::fs::open(
        c"/proc/self/oom_score_adj",
        rustix::fs::OFlags::WRONLY | rustix::fs::OFlags::CLOEXEC,
        rustix::fs::Mode::empty(),
    );
    if let Ok(oom) = oom {
        // Without the right to change it there was no exemption to undo.
        let _ = rustix::io::write(&oom, b"0");
    }
}
