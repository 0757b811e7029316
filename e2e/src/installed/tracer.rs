//! `strace` on a service of the host: what it asks of the kernel, and one of these calls refused, or its last.
//!
//! strace counts by thread, so where several come to their nth call of a name, each of them comes to grief.

use super::sudo;
use crate::{Invocation, Running};
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use tempfile::TempDir;

/// What of a process's calls something comes of that could be left over; what strace does not know on this architecture
/// it leaves out.
const EFFECTS: &str = "?ioctl,?mount,?umount2,?pivot_root,?unshare,?setns,?mkdir,?mkdirat,?mknod,?mknodat,?rmdir,?unlink,\
    ?unlinkat,?rename,?renameat,?renameat2,?link,?linkat,?symlink,?symlinkat,?ftruncate,?chown,?fchown,?lchown,?fchownat,\
    ?fchmod,?fchmodat,?bind,?listen,?sendto,?sendmsg,?fork,?vfork,?clone,?clone3,?execve,?kill,?pidfd_send_signal";

/// What becomes of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Mishap {
    /// It is not made, and fails.
    Refused,
    /// The process is killed at it.
    Last,
}

/// Ended by [`Tracer::end`], or when it is dropped.
#[derive(Debug)]
pub struct Tracer {
    /// Until it has ended.
    running: Option<Running>,
    /// strace's own.
    pid: String,
    mishap: Option<(Mishap, String, u32)>,
    log: TempDir,
}

/// What was seen.
#[derive(Debug)]
pub struct Traced {
    /// How often each call was made by the thread that made it the most.
    pub calls: BTreeMap<String, u32>,
    /// Whether the mishap that was asked for happened.
    pub befell: bool,
}

impl Tracer {
    /// Watches a process and all that it starts from now on, and lets the `nth` call of a name by each thread, from 1, come to
    /// grief.
    ///
    /// # Panics
    /// When it cannot be watched.
    #[must_use]
    pub fn attach(pid: u32, mishap: Option<(Mishap, &str, u32)>) -> Self {
        let log = tempfile::tempdir().expect("there is room for a log");
        let mut words = format!("-f -p {pid} -e trace={EFFECTS} -e signal=none");
        if let Some((mishap, call, nth)) = mishap {
            let what = match mishap {
                Mishap::Refused => "error=EIO",
                Mishap::Last => "signal=KILL",
            };
            words.push_str(&format!(" -e inject={call}:{what}:when={nth}"));
        }
        let script = format!("echo $$; exec strace -o {}/log {words} 2>&1", log.path().display());
        let mut running = Invocation::new(Path::new("/usr/bin/sudo"), ["-n", "sh", "-c", &script]).start();
        running.wait_for("attached");
        let own = running.stdout_text().lines().next().unwrap_or_default().to_owned();
        let mishap = mishap.map(|(mishap, call, nth)| (mishap, call.to_owned(), nth));
        Self { running: Some(running), pid: own, mishap, log }
    }

    /// Lets go of it.
    ///
    /// # Panics
    /// When what was seen cannot be read.
    #[must_use]
    pub fn end(mut self) -> Traced {
        self.let_go();
        let _ = sudo(&["chmod", "a+r", &format!("{}/log", self.log.path().display())]).expect_success();
        let log = fs::read_to_string(self.log.path().join("log")).expect("strace wrote it");
        read(&log, self.mishap.as_ref().map(|(mishap, call, nth)| (*mishap, call.as_str(), *nth)))
    }

    fn let_go(&mut self) {
        let Some(running) = self.running.take() else { return };
        // It has ended if all whom it watched have.
        if fs::read_to_string(format!("/proc/{}/comm", self.pid)).is_ok_and(|name| name == "strace\n") {
            let _ = sudo(&["kill", "-INT", &self.pid]);
        }
        drop(running.finish());
    }
}

impl Drop for Tracer {
    fn drop(&mut self) {
        self.let_go();
    }
}

/// Reads lines such as `812 ioctl(5, TUNSETIFF, …) = 0`; a call that nobody came back from is ` = ?`. Pure.
fn read(log: &str, mishap: Option<(Mishap, &str, u32)>) -> Traced {
    let mut by_thread = BTreeMap::<(&str, &str), u32>::new();
    let mut befell = false;
    for line in log.lines() {
        let (thread, told) = line.split_once(' ').unwrap_or((line, ""));
        befell |= told.contains("(INJECTED)");
        let call = told.trim_start().split_once('(').map_or("", |(name, _)| name);
        if call.is_empty() || !call.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_') {
            continue;
        }
        let count = by_thread.entry((thread, call)).or_default();
        *count += 1;
        // Whoever is killed otherwise, as a VMM is at its end, was at another call.
        befell |= told.trim_end().ends_with("= ?") && mishap == Some((Mishap::Last, call, *count));
    }
    let mut calls = BTreeMap::<String, u32>::new();
    for ((_, call), count) in by_thread {
        let most = calls.entry(call.to_owned()).or_default();
        *most = (*most).max(count);
    }
    Traced { calls, befell }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_are_counted_by_thread_and_what_befell_one_is_seen() {
        let quiet = "7  ioctl(5, A) = 0\n7  mount(\"a(b\", <unfinished ...>\n8  ioctl(5, B <unfinished ...>\n\
                     7  <... mount resumed>) = 0\n7  ioctl(5, A) = -1 EIO (x)\n8  +++ exited with 0 +++\n";
        let seen = read(quiet, None);
        assert_eq!(seen.calls, [("ioctl".to_owned(), 2), ("mount".to_owned(), 1)].into());
        assert!(!seen.befell);
        let refused = "8  ioctl(5, A) = -1 EIO (Input/output error) (INJECTED)\n";
        assert!(read(refused, Some((Mishap::Refused, "ioctl", 1))).befell);
        let killed = "7  ioctl(5, A) = 0\n7  ioctl(5, B)          = ?\n";
        for (call, nth, befell) in [("ioctl", 2, true), ("ioctl", 1, false), ("mount", 2, false)] {
            assert_eq!(read(killed, Some((Mishap::Last, call, nth))).befell, befell, "{call} {nth}");
        }
    }
}
