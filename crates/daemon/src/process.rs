//! Processes that must not be mistaken for one another.
//!
//! A number alone names nobody: it is given to somebody else as soon as its owner has ended. So a process is a
//! number and a start time, and whoever waits for its end holds a pidfd that was opened before the start time was
//! checked.

use banger_protocol::root_api::ProcessIdentity;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, pidfd_open};
use std::io;
use std::os::fd::OwnedFd;
use std::time::Duration;
use tokio::io::unix::AsyncFd;

/// Who has this number now; `None` when nobody has.
pub(crate) fn identify(pid: u32) -> Option<ProcessIdentity> {
    look_up(pid).ok().flatten()
}

/// That nobody has the number is one thing, and that it cannot be found out, for want of a descriptor, another.
fn look_up(pid: u32) -> io::Result<Option<ProcessIdentity>> {
    match std::fs::read_to_string(format!("/proc/{pid}/stat")) {
        Ok(stat) => Ok(start_time(&stat).map(|start_time| ProcessIdentity { pid, start_time })),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) if error.raw_os_error() == Some(rustix::io::Errno::SRCH.raw_os_error()) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Field 22 of `/proc/<pid>/stat` (proc_pid_stat(5)).
///
/// The second field is the program's name in parentheses and may itself hold spaces and parentheses, so fields are
/// counted from the last one. The state is not looked at: a process whose first thread has ended is shown as a
/// zombie while its other threads still hold its files open.
fn start_time(stat: &str) -> Option<u64> {
    stat[stat.rfind(')')? + 1..].split_ascii_whitespace().nth(19)?.parse().ok()
}

/// Whether a process is in the user namespace that we are in; `None` when we may not know.
pub(crate) fn shares_our_user_namespace(pid: u32) -> Option<bool> {
    let namespace = |process: &str| std::fs::read_link(format!("/proc/{process}/ns/user")).ok();
    Some(namespace(&pid.to_string())? == namespace("self")?)
}

/// Whether any thread of the process still runs. One that cannot be looked at counts as alive: on the word of this
/// guests are given up.
pub(crate) fn is_alive(process: ProcessIdentity) -> bool {
    let handle = match open(process) {
        Ok(Some(handle)) => handle,
        Ok(None) => return false,
        Err(_) => return true,
    };
    let mut handles = [PollFd::new(&handle, PollFlags::IN)];
    matches!(poll(&mut handles, Some(&Timespec::default())), Ok(0))
}

/// Whether a signal has stopped the process: state `T` (proc_pid_stat(5)).
pub(crate) fn stands_still(process: ProcessIdentity) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", process.pid)).unwrap_or_default();
    start_time(&stat) == Some(process.start_time)
        && stat.rsplit(')').next().is_some_and(|rest| rest.starts_with(" T "))
}

/// Sends SIGKILL to exactly this process, if it lives and is ours to signal.
pub(crate) fn kill(process: ProcessIdentity) {
    // Whether it ended is seen by those who wait for that.
    if let Ok(Some(handle)) = open(process) {
        let _ = rustix::process::pidfd_send_signal(handle, rustix::process::Signal::KILL);
    }
}

/// Whether a process has ended before this long; blocks.
pub(crate) fn ends_within(process: ProcessIdentity, limit: Duration) -> bool {
    let Ok(Some(handle)) = open(process) else { return !is_alive(process) };
    let limit = Timespec::try_from(limit).ok();
    let _ = poll(&mut [PollFd::new(&handle, PollFlags::IN)], limit.as_ref());
    !is_alive(process)
}

/// What a process has used and holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Usage {
    pub cpu: Duration,
    /// Bytes in memory.
    pub resident: u64,
}

/// What a process uses; `None` when it is gone.
pub(crate) fn usage(process: ProcessIdentity) -> Option<Usage> {
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", process.pid)).ok()?;
    let page = u64::try_from(rustix::param::page_size()).ok()?;
    (start_time(&stat)? == process.start_time).then(|| parse_usage(&stat, page)).flatten()
}

/// Fields 14 and 15 in clock ticks, which are 1/100 s on Linux (USER_HZ), and 24 in pages (proc_pid_stat(5)).
fn parse_usage(stat: &str, page: u64) -> Option<Usage> {
    let fields: Vec<&str> = stat[stat.rfind(')')? + 1..].split_ascii_whitespace().collect();
    let field = |number: usize| fields.get(number - 3)?.parse::<u64>().ok();
    let cpu = Duration::from_millis((field(14)? + field(15)?) * 10);
    Some(Usage { cpu, resident: field(24)? * page })
}

/// A handle on a process: readable once its last thread has ended. `None` when it is gone altogether.
pub(crate) fn open(process: ProcessIdentity) -> io::Result<Option<OwnedFd>> {
    let Some(pid) = i32::try_from(process.pid).ok().and_then(Pid::from_raw) else { return Ok(None) };
    match pidfd_open(pid, PidfdFlags::empty()) {
        Ok(handle) => Ok((look_up(process.pid)? == Some(process)).then_some(handle)),
        Err(rustix::io::Errno::SRCH) => Ok(None),
        Err(errno) => Err(errno.into()),
    }
}

/// Waits for the end of a process and all its threads, at once if it has ended.
pub(crate) async fn ended(process: ProcessIdentity) -> io::Result<()> {
    let Some(handle) = open(process)? else { return Ok(()) };
    #[expect(
        deprecated,
        reason = "about types that may lose their descriptor while registered: an OwnedFd does not"
    )]
    let handle = AsyncFd::with_interest(handle, tokio::io::Interest::READABLE)?;
    handle.readable().await.map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_start_time_is_found_behind_any_program_name() {
        let tail = "S 1 1 1 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 1 0 777 123 456";
        assert_eq!(start_time(&format!("42 (a) b (c) {tail}")), Some(777));
        assert_eq!(start_time("42 (x"), None);
    }

    /// The first thread of QEMU ends before the others, and only the last one gives up the disks' locks.
    #[tokio::test]
    async fn a_process_is_alive_until_its_last_thread_has_ended() {
        let script = "import os, threading, time, ctypes\n\
                      threading.Thread(target=time.sleep, args=(0.5,)).start()\n\
                      ctypes.CDLL(None).pthread_exit(None)";
        #[expect(clippy::disallowed_methods, reason = "a test's own child")]
        let mut child = std::process::Command::new("python3").args(["-c", script]).spawn().unwrap();
        let process = identify(child.id()).unwrap();
        let first_thread_ended = || {
            let stat = std::fs::read_to_string(format!("/proc/{}/stat", process.pid)).unwrap();
            stat.contains(") Z ")
        };
        while !first_thread_ended() {
            tokio::task::yield_now().await;
        }
        assert!(is_alive(process));
        ended(process).await.unwrap();
        assert!(!is_alive(process));
        child.wait().unwrap();
    }

    #[test]
    fn what_a_process_uses_is_read_behind_any_program_name() {
        let stat = "42 (a) b (c) S 1 1 1 0 -1 4194560 1 2 3 4 50 25 7 8 20 0 1 0 777 123 3 0";
        let usage = parse_usage(stat, 4096);
        let cpu = Duration::from_millis(750);
        assert_eq!(usage, Some(Usage { cpu, resident: 3 * 4096 }));
        assert_eq!(parse_usage("42 (x) S 1", 4096), None);
        let own = super::usage(identify(std::process::id()).unwrap()).unwrap();
        assert!(own.resident > 100_000);
    }

    #[test]
    fn a_process_that_a_signal_stopped_stands_still_until_it_is_continued() {
        use rustix::process::{Signal, kill_process};
        #[expect(clippy::disallowed_methods, reason = "a test's own child")]
        let mut child = std::process::Command::new("sleep").arg("60").spawn().unwrap();
        let process = identify(child.id()).unwrap();
        let pid = Pid::from_child(&child);
        assert!(!stands_still(process));
        kill_process(pid, Signal::STOP).unwrap();
        while !stands_still(process) {
            std::thread::yield_now();
        }
        assert!(!stands_still(ProcessIdentity { start_time: process.start_time + 1, ..process }));
        kill_process(pid, Signal::CONT).unwrap();
        while stands_still(process) {
            std::thread::yield_now();
        }
        child.kill().unwrap();
        child.wait().unwrap();
    }

    #[tokio::test]
    async fn a_recycled_number_is_nobody() {
        let me = identify(std::process::id()).unwrap();
        assert!(is_alive(me));
        let other = ProcessIdentity { start_time: me.start_time + 1, ..me };
        assert!(!is_alive(other));
        ended(other).await.unwrap();
    }
}
