//! Running one of the host's tools: by an absolute path, with words of ours, with nothing of the helper's environment,
//! and not for ever.
//!
//! How a tool ended is not told, for the kernel collects the helper's children (SIGCHLD ignored): what it did is seen
//! by what it said and by looking. It has ended when nobody has the stream open any more that is listened to.

use crate::sys::spawn::making_a_child;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{MemfdFlags, memfd_create};
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use std::fs::File;
use std::io::{self, Read, Seek as _, Write as _};
use std::os::fd::AsFd;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// More bytes than any host's rules take; of what is longer this much is read.
const LONGEST_ANSWER: usize = 16 << 20;
/// Bytes of a complaint that are passed on; nft repeats the rules that it does not like.
const LONGEST_COMPLAINT: usize = 2000;

#[derive(Clone, Copy, Debug)]
pub(crate) struct Tool<'a> {
    pub(crate) path: &'a str,
    /// Whoever takes longer is ended.
    pub(crate) limit: Duration,
}

impl Tool<'_> {
    /// What it says to these words, on stdout.
    ///
    /// # Errors
    /// When it cannot be run, or takes too long.
    pub(crate) fn answer<W: AsRef<str>>(self, words: &[W]) -> io::Result<Vec<u8>> {
        let mut command = self.command(words);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
        self.hear(command, |child| child.stdout.take(), LONGEST_ANSWER)
    }

    /// What it has to say against these words, on stderr and made one line; nothing when all is well.
    ///
    /// # Errors
    /// As [`Tool::answer`].
    pub(crate) fn complaint<W: AsRef<str>>(self, words: &[W]) -> io::Result<String> {
        self.complaint_about(words, "")
    }

    /// The same, of what it reads from stdin.
    ///
    /// # Errors
    /// As [`Tool::answer`].
    pub(crate) fn complaint_about<W: AsRef<str>>(self, words: &[W], input: &str) -> io::Result<String> {
        // A file, which a tool that does not read cannot make us wait at.
        let mut file = File::from(memfd_create("input", MemfdFlags::CLOEXEC)?);
        file.write_all(input.as_bytes())?;
        file.rewind()?;
        let mut command = self.command(words);
        command.stdin(file).stdout(Stdio::null()).stderr(Stdio::piped());
        let said = self.hear(command, |child| child.stderr.take(), LONGEST_COMPLAINT)?;
        Ok(String::from_utf8_lossy(&said).split_whitespace().collect::<Vec<_>>().join(" "))
    }

    fn command<W: AsRef<str>>(self, words: &[W]) -> Command {
        #[expect(
            clippy::disallowed_methods,
            reason = "an absolute path, words of our own, a cleared environment"
        )]
        let mut command = Command::new(self.path);
        command.args(words.iter().map(AsRef::as_ref)).env_clear().env("LC_MESSAGES", "C").current_dir("/");
        command
    }

    fn hear<S: Read + AsFd>(
        self,
        mut command: Command,
        stream: impl FnOnce(&mut Child) -> Option<S>,
        longest: usize,
    ) -> io::Result<Vec<u8>> {
        let making = making_a_child();
        let mut child = command.spawn()?;
        // At once: the kernel collects our children, and then their numbers become others'.
        let handle = pidfd_open(Pid::from_child(&child), PidfdFlags::empty());
        drop(making);
        let said = match stream(&mut child) {
            Some(stream) => self.read(stream, longest),
            None => Ok(Vec::new()),
        };
        // It has said everything, or will not.
        if let Ok(handle) = handle {
            let _ = pidfd_send_signal(handle, Signal::KILL);
        }
        let _ = child.wait();
        said
    }

    /// What comes until the end, or until it is this long.
    fn read(self, mut stream: impl Read + AsFd, longest: usize) -> io::Result<Vec<u8>> {
        let deadline = Instant::now() + self.limit;
        let mut said = Vec::new();
        let mut buffer = [0; 64 << 10];
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let left = Timespec::try_from(left).map_err(io::Error::other)?;
            match poll(&mut [PollFd::new(&stream, PollFlags::IN)], Some(&left)) {
                Ok(0) => return Err(self.too_long()),
                Ok(_) => match stream.read(&mut buffer)? {
                    0 => return Ok(said),
                    // What is too long is heard to its end all the same: the tool has not done its work before.
                    read => said.extend_from_slice(&buffer[..read.min(longest - said.len())]),
                },
                Err(Errno::INTR) => {}
                Err(errno) => return Err(errno.into()),
            }
        }
    }

    fn too_long(self) -> io::Error {
        let Self { path, limit } = self;
        io::Error::new(io::ErrorKind::TimedOut, format!("{path} took longer than {limit:?} and was ended"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHELL: Tool<'_> = Tool { path: "/bin/sh", limit: Duration::from_secs(30) };

    #[test]
    fn what_it_says_and_what_it_has_to_say_against_it_are_heard_apart() {
        let script = ["-c", "echo to stdout; echo to >&2; echo stderr >&2"];
        assert_eq!(SHELL.answer(&script).unwrap(), b"to stdout\n");
        assert_eq!(SHELL.complaint(&script).unwrap(), "to stderr");
    }

    #[test]
    fn it_reads_what_the_words_are_about_and_knows_nothing_of_our_surroundings() {
        let said = SHELL.complaint_about(&["-c", "cat >&2; pwd >&2; env >&2"], "one\ntwo").unwrap();
        assert_eq!(said, "one two/ LC_MESSAGES=C PWD=/");
    }

    #[test]
    fn a_long_complaint_is_cut_and_its_tool_still_works_to_its_end() {
        let folder = tempfile::tempdir().unwrap();
        let done = folder.path().join("done").display().to_string();
        let script = format!("head -c 300000 /dev/zero | tr '\\0' x >&2; : > {done}");
        let said = SHELL.complaint(&["-c", &script]).unwrap();
        assert_eq!((said.len(), folder.path().join("done").exists()), (LONGEST_COMPLAINT, true));
    }

    #[test]
    fn one_that_has_said_everything_is_not_waited_for() {
        let began = Instant::now();
        let said = SHELL.answer(&["-c", "echo all; exec >/dev/null; exec sleep 600"]).unwrap();
        assert_eq!(said, b"all\n");
        assert!(began.elapsed() < SHELL.limit, "{:?}", began.elapsed());
    }

    #[test]
    fn one_that_does_not_end_is_ended() {
        let folder = tempfile::tempdir().unwrap();
        let pid = folder.path().join("pid");
        let script = format!("echo $$ > {}; exec sleep 600", pid.display());
        let impatient = Tool { limit: Duration::from_millis(300), ..SHELL };
        let error = impatient.complaint(&["-c", &script]).unwrap_err();
        assert_eq!(error.to_string(), "/bin/sh took longer than 300ms and was ended");
        let pid = std::fs::read_to_string(pid).unwrap();
        assert!(!std::path::Path::new("/proc").join(pid.trim()).exists());
    }
}
