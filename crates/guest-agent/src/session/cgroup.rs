//! The control group of one session: everything its command has started, however far that went to get away.
//!
//! A process leaves its process group with one system call; it does not leave this. Where the guest has no unified
//! hierarchy, or its kernel no `cgroup.kill` (before 5.14), what left the process group is left alone.

use crate::deadline;
use rustix::fd::OwnedFd;
use rustix::fs::{Mode, OFlags};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Dropping it removes it, unless something still runs in it.
#[derive(Debug)]
pub(super) struct Cgroup {
    folder: PathBuf,
}

impl Cgroup {
    /// The group of this name below `parent`, and how a process gets into it. One that was left behind is taken over.
    pub(super) fn make(parent: &Path, name: &str) -> Option<(Self, OwnedFd)> {
        let group = Self { folder: parent.join(name) };
        // Not in something that merely lies where a hierarchy would.
        parent.join("cgroup.procs").exists().then_some(())?;
        let _ = std::fs::create_dir(&group.folder);
        let members = group.folder.join("cgroup.procs");
        let members = rustix::fs::open(members, OFlags::WRONLY | OFlags::CLOEXEC, Mode::empty()).ok()?;
        Some((group, members))
    }

    /// Kills everything in it, and waits up to `limit` until it is gone.
    pub(super) fn kill(&self, limit: Duration) {
        let killed = std::fs::write(self.folder.join("cgroup.kill"), "1");
        let events = self.folder.join("cgroup.events");
        let is_empty = || std::fs::read_to_string(&events).is_ok_and(|text| text.contains("populated 0"));
        if killed.is_ok() {
            deadline::retry(limit, || is_empty().then_some(()));
        }
    }
}

impl Drop for Cgroup {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir(&self.folder);
    }
}
