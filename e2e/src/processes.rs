//! Which processes have to do with a folder, told by the kernel and not by their names.

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use std::fs;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;
use std::time::Instant;

/// A process, by what `/proc` says of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Process {
    pub pid: u32,
    /// Its command line with spaces for separators.
    pub command: String,
}

impl Process {
    /// The file name of its program as it was started.
    #[must_use]
    pub fn program(&self) -> &str {
        let first = self.command.split(' ').next().unwrap_or_default();
        first.rsplit('/').next().unwrap_or(first)
    }
}

/// Every process that works in the folder, was started with its path as an argument or in its environment, or
/// has a file of it open. Other people's processes cannot be looked into and are not ours.
pub(crate) fn touching(folder: &Path) -> Vec<Process> {
    let entries = fs::read_dir("/proc").expect("Linux has /proc");
    let pids = entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<u32>().ok());
    pids.filter(|&pid| pid != std::process::id() && touches(pid, folder)).filter_map(look).collect()
}

fn touches(pid: u32, folder: &Path) -> bool {
    let proc = Path::new("/proc").join(pid.to_string());
    let links_into = |link: &Path| fs::read_link(link).is_ok_and(|target| target.starts_with(folder));
    let needle = folder.as_os_str().as_bytes();
    let mentions = |file: &str| {
        fs::read(proc.join(file)).is_ok_and(|text| text.windows(needle.len()).any(|window| window == needle))
    };
    links_into(&proc.join("cwd"))
        || mentions("cmdline")
        || mentions("environ")
        || fs::read_dir(proc.join("fd"))
            .is_ok_and(|mut fds| fds.any(|fd| fd.is_ok_and(|fd| links_into(&fd.path()))))
}

/// `None` for one that is gone, or a zombie: it holds nothing.
fn look(pid: u32) -> Option<Process> {
    let command = fs::read(format!("/proc/{pid}/cmdline")).ok()?;
    let command = String::from_utf8_lossy(&command).trim_end_matches('\0').replace('\0', " ");
    (!command.is_empty()).then_some(Process { pid, command })
}

/// Signals a process after making sure, with a handle on it, that it is still one of the folder's.
pub(crate) fn signal(process: &Process, folder: &Path, signal: Signal) {
    let Some(pid) = i32::try_from(process.pid).ok().and_then(Pid::from_raw) else { return };
    let Ok(handle) = pidfd_open(pid, PidfdFlags::empty()) else { return };
    if touches(process.pid, folder) {
        // It may have ended in between, which is what was wanted.
        let _ = pidfd_send_signal(&handle, signal);
    }
}

pub(crate) fn kill(process: &Process, folder: &Path) {
    signal(process, folder, Signal::KILL);
}

/// Returns when the process has ended, or at the deadline.
pub(crate) fn wait_for_end(process: &Process, deadline: Instant) {
    let Some(pid) = i32::try_from(process.pid).ok().and_then(Pid::from_raw) else { return };
    let Ok(handle) = pidfd_open(pid, PidfdFlags::empty()) else { return };
    let left = deadline.saturating_duration_since(Instant::now());
    let timeout = Timespec {
        tv_sec: i64::try_from(left.as_secs()).unwrap_or(i64::MAX),
        tv_nsec: left.subsec_nanos().into(),
    };
    // Interrupted or not, the caller looks for itself.
    let _ = poll(&mut [PollFd::new(&handle, PollFlags::IN)], Some(&timeout));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Invocation;

    fn planted(invocation: Invocation, folder: &Path) -> Vec<Process> {
        let mut running = invocation.start();
        running.wait_for("up");
        let found = touching(folder);
        for process in &found {
            kill(process, folder);
        }
        found
    }

    #[test]
    fn a_process_is_found_by_folder_argument_environment_or_open_file() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = folder.path().to_str().expect("a plain path");
        let sh = |script: &str| Invocation::new(Path::new("/bin/sh"), ["-c", script, "sh", "up"]);
        let asleep = "echo up; read forever";
        let cases = [
            ("works in it", sh(asleep).current_dir(folder.path())),
            ("has it as an argument", Invocation::new(Path::new("/bin/sh"), ["-c", asleep, path])),
            ("has it in its environment", sh(asleep).env("HOME", path)),
            (
                "has a file of it open",
                sh("exec 5>file; cd /; echo up; read forever").current_dir(folder.path()),
            ),
        ];
        for (what, invocation) in cases {
            let found = planted(invocation.open_stdin(), folder.path());
            assert_eq!(found.len(), 1, "one that {what}: {found:?}");
            assert_eq!(found[0].program(), "sh");
        }
        assert_eq!(touching(folder.path()), [], "they were killed");
    }

    #[test]
    fn a_process_of_another_folder_is_not_found() {
        let (ours, other) = (tempfile::tempdir().expect("one"), tempfile::tempdir().expect("two"));
        let stranger = Invocation::new(Path::new("/bin/sh"), ["-c", "echo up; read forever"]);
        assert_eq!(planted(stranger.current_dir(other.path()).open_stdin(), ours.path()), []);
    }
}
