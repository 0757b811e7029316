//! Running a program with a time limit and keeping everything it says.
//!
//! A command counts as finished when it has ended *and* both its outputs are closed. A daemon that inherited one of
//! them would make `x=$(banger …)` wait for ever, so an output that stays open after the end is a failure here,
//! in every test.

use rustix::event::{PollFd, PollFlags, poll};
use rustix::process::{Pid, PidfdFlags, Signal, kill_process, pidfd_open};
use std::ffi::OsStr;
use std::io::{Read, Write as _};
use std::path::Path;
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::{Duration, Instant};

/// Long enough for an emulated guest on a busy machine; a test that waits this long has failed.
const LIMIT: Duration = Duration::from_secs(300);
/// How long outputs may stay open after the command's end.
const GRACE: Duration = Duration::from_secs(10);

/// A command about to be run.
#[derive(Debug)]
pub struct Invocation {
    command: Command,
    shown: String,
    stdin: Stdin,
    limit: Duration,
}

#[derive(Debug)]
enum Stdin {
    Nothing,
    Bytes(Vec<u8>),
    Open,
}

impl Invocation {
    /// A program with these arguments and no environment but what it is given.
    #[must_use]
    #[expect(clippy::disallowed_methods, reason = "the one place where tests start a program")]
    pub fn new<A: AsRef<OsStr>>(program: &Path, arguments: impl IntoIterator<Item = A>) -> Self {
        let mut command = Command::new(program);
        command.args(arguments).env_clear();
        let words = std::iter::once(program.file_name().unwrap_or_default()).chain(command.get_args());
        let shown = words.map(|word| word.to_string_lossy()).collect::<Vec<_>>().join(" ");
        Self { command, shown, stdin: Stdin::Nothing, limit: LIMIT }
    }

    #[must_use]
    pub fn env(mut self, variable: &str, value: impl AsRef<OsStr>) -> Self {
        self.command.env(variable, value);
        self
    }

    #[must_use]
    pub fn current_dir(mut self, folder: &Path) -> Self {
        self.command.current_dir(folder);
        self
    }

    /// What it reads; nothing unless given.
    #[must_use]
    pub fn stdin(mut self, bytes: impl Into<Vec<u8>>) -> Self {
        self.stdin = Stdin::Bytes(bytes.into());
        self
    }

    /// Leaves its input open, for [`Running::write`].
    #[must_use]
    pub fn open_stdin(mut self) -> Self {
        self.stdin = Stdin::Open;
        self
    }

    #[must_use]
    pub fn limit(mut self, limit: Duration) -> Self {
        self.limit = limit;
        self
    }

    /// Runs it to its end.
    ///
    /// # Panics
    /// When it takes longer than its limit.
    #[must_use]
    pub fn run(self) -> Finished {
        self.start().finish()
    }

    /// How long it takes from its start to its end, with nobody listening to what it says.
    ///
    /// # Panics
    /// When it cannot be started, or fails.
    #[must_use]
    pub fn time(mut self) -> Duration {
        let command = self.command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let begun = Instant::now();
        let status = command.status();
        let took = begun.elapsed();
        let status = status.unwrap_or_else(|error| panic!("could not start `{}`: {error}", self.shown));
        assert!(status.success(), "`{}`: {status}", self.shown);
        took
    }

    /// Starts it. Dropping the [`Running`] kills it.
    ///
    /// # Panics
    /// When it cannot be started.
    #[must_use]
    pub fn start(mut self) -> Running {
        let stdin = if matches!(self.stdin, Stdin::Nothing) { Stdio::null() } else { Stdio::piped() };
        let spawned = self.command.stdin(stdin).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
        let mut child = spawned.unwrap_or_else(|error| panic!("could not start `{}`: {error}", self.shown));
        let (sender, events) = channel();
        read_into(&sender, child.stdout.take(), Event::Stdout);
        read_into(&sender, child.stderr.take(), Event::Stderr);
        tell_end(sender, &child);
        let mut stdin = child.stdin.take();
        if let Stdin::Bytes(bytes) = self.stdin {
            let mut pipe = stdin.take().expect("input was asked for as a pipe");
            // A command that does not read all of its input closes it early, which is its right.
            std::thread::spawn(move || drop(pipe.write_all(&bytes)));
        }
        let now = Instant::now();
        let heard = Heard::default();
        Running { shown: self.shown, child, stdin, events, heard, begun: now, deadline: now + self.limit }
    }
}

/// What the threads that watch a command have to say; an empty read is the output's end.
#[derive(Debug)]
enum Event {
    Stdout(Vec<u8>),
    Stderr(Vec<u8>),
    Ended,
}

fn read_into<R: Read + Send + 'static>(events: &Sender<Event>, pipe: Option<R>, event: fn(Vec<u8>) -> Event) {
    let (events, mut pipe) = (events.clone(), pipe.expect("output was asked for as a pipe"));
    std::thread::spawn(move || {
        let mut buffer = vec![0; 64 * 1024];
        loop {
            let length = pipe.read(&mut buffer).unwrap_or(0);
            if events.send(event(buffer[..length].to_vec())).is_err() || length == 0 {
                return;
            }
        }
    });
}

fn tell_end(events: Sender<Event>, child: &Child) {
    let pidfd =
        pidfd_open(Pid::from_child(child), PidfdFlags::empty()).expect("a child is there until waited for");
    std::thread::spawn(move || {
        while poll(&mut [PollFd::new(&pidfd, PollFlags::IN)], None) == Err(rustix::io::Errno::INTR) {}
        drop(events.send(Event::Ended));
    });
}

/// A command under way.
#[derive(Debug)]
pub struct Running {
    shown: String,
    child: Child,
    stdin: Option<ChildStdin>,
    events: Receiver<Event>,
    heard: Heard,
    begun: Instant,
    deadline: Instant,
}

#[derive(Debug, Default)]
struct Heard {
    stdout: Vec<u8>,
    stderr: Vec<u8>,
    outputs_closed: u8,
    ended: bool,
}

impl Running {
    /// # Panics
    /// When its input was not left open, or it has closed it.
    pub fn write(&mut self, bytes: &[u8]) {
        let stdin = self.stdin.as_mut().expect("`open_stdin` was not asked for");
        stdin.write_all(bytes).unwrap_or_else(|error| panic!("`{}` reads no more: {error}", self.shown));
    }

    /// Ends its input.
    pub fn close_stdin(&mut self) {
        self.stdin = None;
    }

    /// # Panics
    /// When it has been waited for.
    pub fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal)
            .expect("a child can be signalled until waited for");
    }

    /// Waits until its stdout contains `text`.
    ///
    /// # Panics
    /// When it ends, or its limit passes, before that.
    pub fn wait_for(&mut self, text: &str) {
        while !String::from_utf8_lossy(&self.heard.stdout).contains(text) {
            assert!(
                !self.heard.is_finished(),
                "`{}` ended without printing {text:?}\n{}",
                self.shown,
                self.heard
            );
            self.hear(self.deadline);
        }
    }

    /// What it has printed so far.
    #[must_use]
    pub fn stdout_text(&self) -> String {
        String::from_utf8_lossy(&self.heard.stdout).into_owned()
    }

    /// Waits for its end.
    ///
    /// # Panics
    /// When its limit passes before that, or somebody keeps its outputs open.
    #[must_use]
    pub fn finish(mut self) -> Finished {
        self.close_stdin();
        while !self.heard.ended {
            self.hear(self.deadline);
        }
        let grace = Instant::now() + GRACE;
        while !self.heard.is_finished() {
            self.hear(grace);
        }
        let status = self.child.wait().expect("a child can be waited for");
        let heard = std::mem::take(&mut self.heard);
        Finished {
            shown: std::mem::take(&mut self.shown),
            status,
            stdout: heard.stdout,
            stderr: heard.stderr,
            took: self.begun.elapsed(),
        }
    }

    fn hear(&mut self, deadline: Instant) {
        match self.events.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
            Ok(event) => self.heard.take(event),
            Err(RecvTimeoutError::Disconnected) => self.heard.outputs_closed = 2,
            Err(RecvTimeoutError::Timeout) if self.heard.ended => {
                panic!(
                    "`{}` has ended, but something still holds its output open\n{}",
                    self.shown, self.heard
                )
            }
            Err(RecvTimeoutError::Timeout) => {
                panic!("`{}` took longer than {:?}\n{}", self.shown, self.begun.elapsed(), self.heard)
            }
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // After `finish` both do nothing.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

impl Heard {
    fn take(&mut self, event: Event) {
        let (kept, bytes) = match event {
            Event::Ended => return self.ended = true,
            Event::Stdout(bytes) => (&mut self.stdout, bytes),
            Event::Stderr(bytes) => (&mut self.stderr, bytes),
        };
        self.outputs_closed += u8::from(bytes.is_empty());
        kept.extend(bytes);
    }

    fn is_finished(&self) -> bool {
        self.ended && self.outputs_closed == 2
    }
}

impl std::fmt::Display for Heard {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "--- stdout\n{}\n--- stderr\n{}", excerpt(&self.stdout), excerpt(&self.stderr))
    }
}

/// The end of what was printed, which is where errors are.
fn excerpt(bytes: &[u8]) -> String {
    const MOST: usize = 4000;
    let start = bytes.len().saturating_sub(MOST);
    String::from_utf8_lossy(&bytes[start..]).into_owned()
}

/// A command that has ended.
#[derive(Debug)]
pub struct Finished {
    shown: String,
    status: ExitStatus,
    pub stdout: Vec<u8>,
    pub stderr: Vec<u8>,
    pub took: Duration,
}

impl Finished {
    /// # Panics
    /// When the exit code is another one, a signal counting as none.
    #[must_use]
    pub fn expect_code(self, code: i32) -> Self {
        assert!(
            self.status.code() == Some(code),
            "`{}`: {}, not {code}\n{}",
            self.shown,
            self.status,
            self.outputs()
        );
        self
    }

    /// # Panics
    /// When it failed.
    #[must_use]
    pub fn expect_success(self) -> Self {
        self.expect_code(0)
    }

    /// # Panics
    /// When it succeeded, or its stderr lacks one of `words`.
    #[must_use]
    pub fn expect_failure(self, words: &[&str]) -> Self {
        assert!(!self.status.success(), "`{}` succeeded\n{}", self.shown, self.outputs());
        let stderr = self.stderr_text();
        for word in words {
            assert!(
                stderr.contains(word),
                "`{}` failed without saying {word:?}\n{}",
                self.shown,
                self.outputs()
            );
        }
        self
    }

    #[must_use]
    pub fn code(&self) -> Option<i32> {
        self.status.code()
    }

    /// # Panics
    /// When it printed no text.
    #[must_use]
    pub fn stdout_text(&self) -> &str {
        std::str::from_utf8(&self.stdout).unwrap_or_else(|_| panic!("`{}` printed no UTF-8", self.shown))
    }

    #[must_use]
    pub fn stderr_text(&self) -> String {
        String::from_utf8_lossy(&self.stderr).into_owned()
    }

    fn outputs(&self) -> String {
        format!("--- stdout\n{}\n--- stderr\n{}", excerpt(&self.stdout), excerpt(&self.stderr))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str) -> Invocation {
        Invocation::new(Path::new("/bin/sh"), ["-c", script]).env("PATH", "/usr/bin:/bin")
    }

    #[test]
    fn input_outputs_and_code_are_kept_apart() {
        let finished = shell("cat; echo err >&2; exit 42").stdin([0, 159, 146]).run().expect_code(42);
        assert_eq!(finished.stdout, [0, 159, 146]);
        assert_eq!(finished.stderr, b"err\n");
    }

    #[test]
    #[should_panic(expected = "took longer than")]
    fn a_command_that_does_not_end_is_stopped_at_its_limit() {
        drop(shell("exec sleep 600").limit(Duration::from_millis(50)).run());
    }

    #[test]
    fn what_keeps_the_output_open_after_the_end_is_noticed() {
        let mut running = shell("sleep 600 & echo $!").start();
        running.wait_for("\n");
        let sleeper: i32 = String::from_utf8_lossy(&running.heard.stdout).trim().parse().expect("a pid");
        while !running.heard.ended {
            running.hear(running.deadline);
        }
        let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| running.hear(Instant::now())));
        kill_process(Pid::from_raw(sleeper).expect("a pid is not 0"), Signal::KILL).expect("it is our own");
        let message = *outcome.expect_err("nothing was noticed").downcast::<String>().expect("a message");
        assert!(message.contains("still holds its output open"), "{message}");
    }

    #[test]
    fn a_conversation_is_possible() {
        let mut running = shell("echo ready; read answer; echo got $answer").open_stdin().start();
        running.wait_for("ready");
        running.write(b"it\n");
        assert_eq!(running.finish().expect_success().stdout_text(), "ready\ngot it\n");
    }
}
