//! Running one of the host's tools: by an absolute path, with words of ours, with nothing of the helper's environment,
//! and not for ever.
//!
//! How a tool ended is not told, for the kernel collects the helper's children (SIGCHLD ignored): what it did is seen
//! by what it said and by looking. That it has ended is known by its pidfd, whoever else has its streams open still.

use crate::sys::spawn::making_a_child;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{MemfdFlags, memfd_create};
use rustix::io::{Errno, ioctl_fionbio};
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use std::fs::File;
use std::io::{self, Read, Seek as _, Write as _};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// More bytes than any host's rules take; of what is longer this much is kept.
const LONGEST_ANSWER: usize = 16 << 20;
/// Bytes of a complaint that are kept; nft repeats the rules that it does not like.
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
        let process = pidfd_open(Pid::from_child(&child), PidfdFlags::empty());
        drop(making);
        let stream = stream(&mut child).expect("it was made with a pipe");
        let said = match &process {
            Ok(process) => self.read(stream, Some(process), longest),
            // It has ended already.
            Err(Errno::SRCH) => self.read(stream, None, longest),
            Err(errno) => Err((*errno).into()),
        };
        if said.is_err() {
            // Without a pidfd it is its number that is meant, which it has had for a moment only.
            let _ = process
                .map_or_else(|_| child.kill().ok(), |process| pidfd_send_signal(process, Signal::KILL).ok());
        }
        let _ = child.wait();
        said
    }

    /// What comes until its end.
    fn read(
        self,
        mut stream: impl Read + AsFd,
        process: Option<&OwnedFd>,
        longest: usize,
    ) -> io::Result<Vec<u8>> {
        ioctl_fionbio(&stream, true)?;
        let deadline = Instant::now() + self.limit;
        let mut said = Vec::new();
        let mut buffer = [0; 64 << 10];
        // Nothing more comes once the stream is at its end.
        let mut is_open = true;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(self.too_long());
            }
            let has_ended = process.is_none_or(|process| is_ready(&[process.as_fd()], Duration::ZERO));
            // What is too long is heard to its end all the same: the tool has not done its work before.
            while is_open && Instant::now() < deadline {
                match stream.read(&mut buffer) {
                    Ok(0) => is_open = false,
                    Ok(read) => said.extend_from_slice(&buffer[..read.min(longest - said.len())]),
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                    Err(error) => return Err(error),
                }
            }
            if has_ended {
                return Ok(said);
            }
            let process = process.map(AsFd::as_fd);
            let waited_for: Vec<_> = process.into_iter().chain(is_open.then(|| stream.as_fd())).collect();
            is_ready(&waited_for, left);
        }
    }

    fn too_long(self) -> io::Error {
        let Self { path, limit } = self;
        io::Error::new(io::ErrorKind::TimedOut, format!("{path} took longer than {limit:?} and was ended"))
    }
}

/// Whether there is something to read from any of them, or comes to be within the time.
fn is_ready(descriptors: &[BorrowedFd<'_>], limit: Duration) -> bool {
    let mut polled: Vec<_> =
        descriptors.iter().map(|descriptor| PollFd::from_borrowed_fd(*descriptor, PollFlags::IN)).collect();
    // A limit is some seconds, and what is interrupted is looked at again.
    let limit = Timespec::try_from(limit).ok();
    poll(&mut polled, limit.as_ref()).is_ok_and(|ready| ready > 0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::process::kill_process;

    const SHELL: Tool<'_> = Tool { path: "/bin/sh", limit: Duration::from_secs(30) };

    #[test]
    fn what_it_says_and_what_it_has_to_say_against_it_are_heard_apart() {
        let script = ["-c", "echo to stdout; echo to >&2; echo stderr >&2"];
        assert_eq!(SHELL.answer(&script).unwrap(), b"to stdout\n");
        assert_eq!(SHELL.complaint(&script).unwrap(), "to stderr");
    }

    #[test]
    fn it_reads_what_the_words_are_about_and_knows_nothing_of_our_surroundings() {
        assert_eq!(SHELL.complaint_about(&["-c", "cat >&2"], "one\ntwo").unwrap(), "one two");
        let none: [&str; 0] = [];
        assert_eq!(Tool { path: "/usr/bin/env", ..SHELL }.answer(&none).unwrap(), b"LC_MESSAGES=C\n");
        assert_eq!(Tool { path: "/bin/pwd", ..SHELL }.answer(&none).unwrap(), b"/\n");
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
    fn it_is_waited_for_when_it_says_no_more_and_others_are_not() {
        let folder = tempfile::tempdir().unwrap();
        let done = folder.path().join("done");
        let script = format!("exec 2>/dev/null; sleep 0.2; : > {}", done.display());
        assert_eq!((SHELL.complaint(&["-c", &script]).unwrap().as_str(), done.exists()), ("", true));
        // Somebody who outlives it has its stderr.
        let began = Instant::now();
        let other = SHELL.complaint(&["-c", "sleep 60 & echo $! >&2"]).unwrap();
        assert!(began.elapsed() < SHELL.limit, "{:?}", began.elapsed());
        kill_process(Pid::from_raw(other.parse().unwrap()).unwrap(), Signal::KILL)
            .expect("it outlives the tool");
    }

    #[test]
    fn one_that_does_not_end_is_ended_whether_it_is_silent_or_not() {
        let impatient = Tool { limit: Duration::from_millis(300), ..SHELL };
        // Nobody else's sleep is as long.
        let silent = format!("exec sleep 6{}", std::process::id());
        for script in [silent.as_str(), "exec cat /dev/zero >&2"] {
            let error = impatient.complaint(&["-c", script]).unwrap_err();
            assert_eq!(error.to_string(), "/bin/sh took longer than 300ms and was ended");
        }
        let words = silent.strip_prefix("exec ").unwrap().replace(' ', "\0");
        let entries = std::fs::read_dir("/proc").unwrap().flatten();
        let mut lines = entries.filter_map(|entry| std::fs::read(entry.path().join("cmdline")).ok());
        assert!(!lines.any(|line| line.starts_with(words.as_bytes())), "it still sleeps");
    }
}
