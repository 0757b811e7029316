//! A pack in the making. It is read while it is made, so nothing of it is ever a file of this host.

use super::{Git, GitError};
use std::io::{self, Read as _, Write as _};
use std::os::fd::OwnedFd;
use std::process::{Child, Stdio};
use std::thread::JoinHandle;

/// Dropped before its end, the program is ended.
#[derive(Debug)]
pub(crate) struct Packing {
    git: Git,
    child: Child,
    said: Option<JoinHandle<Vec<u8>>>,
}

impl Packing {
    pub(super) fn start(git: &Git, arguments: &[&str], input: String) -> Result<Self, GitError> {
        let mut command = git.command(arguments);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().map_err(|source| git.not_started(arguments, source))?;
        let stdin = child.stdin.take();
        std::thread::spawn(move || stdin.map(|mut stdin| stdin.write_all(input.as_bytes())));
        let said = child.stderr.take().map(|mut stderr| {
            std::thread::spawn(move || {
                let mut said = Vec::new();
                // What was read until then is told.
                let _ = stderr.read_to_end(&mut said);
                said
            })
        });
        Ok(Self { git: git.clone(), child, said })
    }

    /// The pack, to be read by somebody else.
    pub(crate) fn take_output(&mut self) -> Option<OwnedFd> {
        self.child.stdout.take().map(OwnedFd::from)
    }

    /// Waits for its end, and says how it went.
    pub(crate) fn finish(mut self) -> Result<(), GitError> {
        let words = ["pack-objects"];
        let ended = |source: io::Error| self.git.not_started(&words, source);
        let status = self.child.wait().map_err(ended)?;
        let said = self.said.take().and_then(|said| said.join().ok()).unwrap_or_default();
        if status.success() { Ok(()) } else { Err(self.git.failed(&words, &said)) }
    }
}

impl Drop for Packing {
    fn drop(&mut self) {
        // Of one that has ended already there is nothing to end.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
