//! How long the outputs of a command that has ended are still read.
//!
//! Everything the command itself wrote is. A background process that keeps an output open holds nothing up: it is read
//! until nothing has come for [`QUIET`], and for no longer than [`LONGEST_DRAIN`] when such a process keeps writing.

use banger_protocol::guest_api::Exit;
use rustix::event::Timespec;
use std::time::{Duration, Instant};

const QUIET: Duration = Duration::from_millis(100);
const LONGEST_DRAIN: Duration = Duration::from_millis(500);

/// A command's end, and when something was last read from it.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) exit: Exit,
    at: Instant,
    last_output: Instant,
}

impl Ended {
    pub(crate) fn now(exit: Exit) -> Self {
        let now = Instant::now();
        Self { exit, at: now, last_output: now }
    }

    /// Something was read.
    pub(crate) fn heard(&mut self) {
        self.last_output = Instant::now();
    }

    /// How long to wait for more.
    pub(crate) fn patience(&self) -> Duration {
        (self.last_output + QUIET).min(self.at + LONGEST_DRAIN).saturating_duration_since(Instant::now())
    }
}

/// The same time for `poll`.
pub(crate) fn timespec(duration: Duration) -> Timespec {
    Timespec {
        tv_sec: i64::try_from(duration.as_secs()).unwrap_or(i64::MAX),
        tv_nsec: duration.subsec_nanos().into(),
    }
}
