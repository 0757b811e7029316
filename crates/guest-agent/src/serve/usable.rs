//! When commands can be run without the guest's own start-up undoing their work.
//!
//! Under systemd that is once `sysinit.target` is reached: before it, `systemd-tmpfiles` empties `/tmp`. Only
//! systemd knows when that is, so it says so: a unit in `/run` ordered after that target runs this program with
//! [`super::MARK_USABLE`], which leaves a mark that the agent waits for.

use super::FOLDER;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fd::OwnedFd;
use rustix::fs::inotify;
use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

const MARK: &str = "/run/banger/usable";
const LOOK_AGAIN: Duration = Duration::from_secs(1);

/// What "usable" depends on in this guest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Usable {
    Now,
    /// When [`mark_usable`] was called, by whoever was told to.
    WhenMarked,
}

/// Why the mark was not left.
#[derive(Debug, thiserror::Error)]
#[error("cannot mark the guest as usable")]
pub struct MarkError(#[source] io::Error);

/// Tells the agent that the guest's start-up will no longer undo what commands do.
///
/// # Errors
/// When `/run/banger` cannot be written.
pub fn mark_usable() -> Result<(), MarkError> {
    std::fs::write(MARK, "").map_err(MarkError)
}

/// The agent's knowledge of whether the guest is usable. Once open it stays open.
#[derive(Debug)]
pub(super) struct Gate {
    open: AtomicBool,
}

impl Gate {
    pub(super) fn new(usable: Usable) -> Self {
        Self { open: AtomicBool::new(usable == Usable::Now) }
    }

    pub(super) fn is_open(&self) -> bool {
        if !self.open.load(Ordering::Relaxed) && Path::new(MARK).exists() {
            self.open.store(true, Ordering::Relaxed);
        }
        self.open.load(Ordering::Relaxed)
    }

    /// Blocks until the guest is usable; false when `give_up`, asked about once a second, says so first.
    pub(super) fn wait(&self, give_up: impl Fn() -> bool) -> bool {
        let watch = watch();
        loop {
            if self.is_open() {
                return true;
            }
            if give_up() {
                return false;
            }
            let timeout = Timespec { tv_sec: LOOK_AGAIN.as_secs().cast_signed(), tv_nsec: 0 };
            // Without a watch (no inotify in the kernel) this merely looks once a second.
            let mut fds: Vec<PollFd<'_>> = watch.iter().map(|fd| PollFd::new(fd, PollFlags::IN)).collect();
            if poll(&mut fds, Some(&timeout)).is_ok_and(|ready| ready > 0)
                && let Some(watch) = &watch
            {
                let _ = rustix::io::read(watch, &mut [0_u8; 512]);
            }
        }
    }
}

/// Becomes readable when something is made in the agent's folder.
fn watch() -> Option<OwnedFd> {
    let watch = inotify::init(inotify::CreateFlags::CLOEXEC).ok()?;
    inotify::add_watch(&watch, FOLDER, inotify::WatchFlags::CREATE).ok()?;
    Some(watch)
}
