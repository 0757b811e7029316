//! What Firecracker says of itself: into its log if it has one, else where the guest's console goes too.

use super::command_line::{Run, Verbosity};
use super::machine::open_output;
use std::fs::File;
use std::io::{self, Write as _};

#[derive(Debug)]
pub(super) struct Log {
    id: String,
    file: Option<File>,
    verbosity: Verbosity,
}

impl Log {
    pub(super) fn open(run: &Run) -> io::Result<Self> {
        let file = run.log.as_deref().map(open_output).transpose()?;
        Ok(Self { id: run.id.clone(), file, verbosity: run.verbosity })
    }

    /// Writes a line about something that is logged from this verbosity on. A log that cannot be written stops
    /// nothing.
    pub(super) fn tell(&mut self, from: Verbosity, thread: &str, what: &str) {
        if self.verbosity < from {
            return;
        }
        let line = format!("[{}:{thread}] {what}\n", self.id);
        let _ = match &mut self.file {
            Some(file) => file.write_all(line.as_bytes()),
            None => io::stdout().write_all(line.as_bytes()),
        };
    }
}
