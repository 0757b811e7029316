//! What is left of a command, its own process and all that it has started.
//!
//! Each of them holds the writing end of a pipe open, which nobody writes to: when its other end is at the end of the file,
//! nothing is left. The kernel closes it with the process, so nothing that was killed still writes to a file by then.

use super::ended::timespec;
use super::reaper::Group;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::fd::OwnedFd;
use rustix::io::Errno;
use rustix::pipe::PipeFlags;
use std::io;
use std::time::{Duration, Instant};

/// How long what was hung up on may take to tidy up: git removes its locks.
const TIDY_UP: Duration = Duration::from_secs(3);
/// How long what was killed may take to be gone.
const DYING: Duration = Duration::from_secs(10);

#[derive(Debug)]
pub(super) struct Remains(OwnedFd);

impl Remains {
    /// Nothing yet, and what a command has to hold open to be among them.
    pub(super) fn none() -> io::Result<(Self, OwnedFd)> {
        let (ours, theirs) = rustix::pipe::pipe_with(PipeFlags::CLOEXEC)?;
        Ok((Self(ours), theirs))
    }

    /// Waits until all of a group that was hung up on is gone, and kills what does not go.
    pub(super) fn end(&self, group: Group) {
        if !self.are_gone_within(TIDY_UP) {
            group.kill_the_rest();
            self.are_gone_within(DYING);
        }
    }

    fn are_gone_within(&self, limit: Duration) -> bool {
        let end = Instant::now() + limit;
        loop {
            let left = end.saturating_duration_since(Instant::now());
            match poll(&mut [PollFd::new(&self.0, PollFlags::IN)], Some(&timespec(left))) {
                Ok(0) => return false,
                Err(Errno::INTR) => {}
                Ok(_) | Err(_) => return true,
            }
        }
    }
}
