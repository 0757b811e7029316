//! Seeing the daemon end.

use super::{Daemon, connect_to, paths};
use crate::failure::Failure;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::net::sockopt::socket_peercred;
use rustix::process::{PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use std::io;

/// How long a daemon may take to end: it finishes nothing, it only closes its files.
const DEADLINE: Timespec = Timespec { tv_sec: 10, tv_nsec: 0 };

/// Why it is not known to have ended.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StopError {
    #[error("the daemon's process cannot be found")]
    Find(#[source] io::Error),
    #[error("the daemon was not told to stop")]
    Tell(#[source] io::Error),
    #[error("the daemon did not stop within {} seconds", DEADLINE.tv_sec)]
    Late,
}

impl Daemon {
    /// Waits until the daemon, told to shut down, has closed this connection.
    pub(crate) fn wait_for_end(self) -> Result<(), StopError> {
        wait(&mut [PollFd::new(self.stream(), PollFlags::IN)])
    }
}

/// Ends a daemon that does not understand us: the kernel knows who listens, and SIGTERM has no versions.
pub(crate) fn stop_other_version() -> Result<(), Failure> {
    let Some(stream) = connect_to(&paths()?.socket, false)? else { return Ok(()) };
    let end = || -> Result<(), StopError> {
        let listener = socket_peercred(&stream).map_err(|errno| StopError::Find(errno.into()))?;
        let process =
            pidfd_open(listener.pid, PidfdFlags::empty()).map_err(|errno| StopError::Find(errno.into()))?;
        pidfd_send_signal(&process, Signal::TERM).map_err(|errno| StopError::Tell(errno.into()))?;
        wait(&mut [PollFd::new(&process, PollFlags::IN)])
    };
    end().map_err(|error| Failure::of(&error))
}

fn wait(end: &mut [PollFd<'_>]) -> Result<(), StopError> {
    loop {
        match poll(end, Some(&DEADLINE)) {
            Ok(0) => return Err(StopError::Late),
            Ok(_) => return Ok(()),
            Err(Errno::INTR) => {}
            Err(errno) => return Err(StopError::Find(errno.into())),
        }
    }
}
