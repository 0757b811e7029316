//! Processes that must not be mistaken for one another.
//!
//! A number alone names nobody: it is given to somebody else as soon as its owner has ended. So a process is a
//! number and a start time, and whoever waits for its end holds a pidfd that was opened before the start time was
//! checked.

use banger_protocol::root_api::ProcessIdentity;
use rustix::process::{Pid, PidfdFlags, pidfd_open};
use std::io;
use std::os::fd::OwnedFd;
use tokio::io::unix::AsyncFd;

/// Who has this number now; `None` when nobody has, a zombie included.
pub(crate) fn identify(pid: u32) -> Option<ProcessIdentity> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    start_time(&stat).map(|start_time| ProcessIdentity { pid, start_time })
}

/// Field 22 of `/proc/<pid>/stat` (proc_pid_stat(5)), unless the process is only waiting to be reaped.
///
/// The second field is the program's name in parentheses and may itself hold spaces and parentheses, so fields are
/// counted from the last one.
fn start_time(stat: &str) -> Option<u64> {
    let mut fields = stat[stat.rfind(')')? + 1..].split_ascii_whitespace();
    let state = fields.next()?;
    if matches!(state, "Z" | "X") { None } else { fields.nth(18)?.parse().ok() }
}

/// Whether a process is in the user namespace that we are in; `None` when we may not know.
pub(crate) fn shares_our_user_namespace(pid: u32) -> Option<bool> {
    let namespace = |process: &str| std::fs::read_link(format!("/proc/{process}/ns/user")).ok();
    Some(namespace(&pid.to_string())? == namespace("self")?)
}

pub(crate) fn is_alive(process: ProcessIdentity) -> bool {
    identify(process.pid) == Some(process)
}

/// A handle on a living process: readable once it has ended. `None` when it has already.
pub(crate) fn open(process: ProcessIdentity) -> io::Result<Option<OwnedFd>> {
    let Some(pid) = i32::try_from(process.pid).ok().and_then(Pid::from_raw) else { return Ok(None) };
    match pidfd_open(pid, PidfdFlags::empty()) {
        Ok(handle) => Ok(is_alive(process).then_some(handle)),
        Err(rustix::io::Errno::SRCH) => Ok(None),
        Err(errno) => Err(errno.into()),
    }
}

/// Waits for the end of a process, at once if it has ended.
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
        assert_eq!(start_time(&format!("42 (x) {}", tail.replacen('S', "Z", 1))), None);
        assert_eq!(start_time("42 (x"), None);
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
