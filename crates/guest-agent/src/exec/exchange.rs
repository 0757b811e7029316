//! Moving bytes between the host and a running command, until one of them is gone.
//!
//! ```text
//!            ┌─ command runs ──(ended)──▶ draining ──(outputs closed, or quiet for a moment)──┐
//!  frames in ┤        │                      │                                               ▼
//!            └────────┴──(host gone: SIGHUP to the group)──▶ over                  Exit sent, over
//! ```
//!
//! What must stay true: `Exit` is the last frame and comes after everything the command itself wrote.
//!
//! Memory is bounded on both sides: input by the protocol's window, output by not reading more than
//! [`MOST_UNSENT`] ahead of the host.

use super::ended::{Ended, timespec};
use super::incoming::Incoming;
use super::reaper::Child;
use super::remains::Remains;
use super::spawn::{self, Descriptors, Running};
use banger_protocol::guest_api::frame::{self, Failure, Frame, Kind};
use banger_protocol::guest_api::{Exit, STDIN_WINDOW, WindowSize};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::fd::{AsFd, OwnedFd};
use rustix::io::Errno;
use std::io;
use std::time::Duration;

/// How long a command that was hung up on may still write.
const LAST_WORDS: Duration = Duration::from_secs(1);
const MOST_UNSENT: usize = 128 * 1024;
const CHUNK: usize = 32 * 1024;
const HANGUP: u8 = 1;
/// Control-D: how a terminal says that there is no more input.
const END_OF_INPUT: u8 = 4;

struct Exchange {
    host: OwnedFd,
    incoming: Incoming,
    unsent: Vec<u8>,
    child: Child,
    input: Input,
    stdout: Option<OwnedFd>,
    stderr: Option<OwnedFd>,
    /// Set when the command runs on a terminal, which then is input and output both.
    terminal: bool,
    ended: Option<Ended>,
}

/// Bytes for the command that it has not taken yet.
#[derive(Default)]
struct Input {
    pipe: Option<OwnedFd>,
    waiting: Vec<u8>,
    /// No more will come: close the pipe when `waiting` is empty.
    complete: bool,
}

/// Why an exchange stops before its `Exit`.
enum Stop {
    HostGone,
    Protocol(String),
}

/// What of the poll's answer a turn acts on.
struct Ready {
    host: PollFlags,
    input: PollFlags,
    stdout: PollFlags,
    stderr: PollFlags,
    ended: PollFlags,
}

/// Serves `running` until its end was told to the host, or the host is gone. Of a command whose remains are watched none are
/// left then.
pub(super) fn run(host: OwnedFd, running: Running, remains: Option<&Remains>) -> io::Result<()> {
    rustix::io::ioctl_fionbio(&host, true)?;
    let mut exchange = Exchange::new(host, running)?;
    match exchange.until_over() {
        Ok(()) => {}
        Err(Stop::HostGone) => exchange.hang_up(remains),
        Err(Stop::Protocol(message)) => {
            let _ = frame::write_json(&mut exchange.unsent, Kind::Error, &Failure { message });
            // Best effort, to a host that broke the protocol.
            let _ = rustix::io::write(&exchange.host, &exchange.unsent);
            exchange.hang_up(remains);
        }
    }
    Ok(())
}

impl Exchange {
    fn new(host: OwnedFd, running: Running) -> io::Result<Self> {
        let (input, stdout, stderr, terminal) = match running.io {
            Descriptors::Pipes { stdin, stdout, stderr } => (stdin, stdout, Some(stderr), false),
            Descriptors::Terminal(pty) => (Some(pty.try_clone()?), pty, None, true),
        };
        Ok(Self {
            host,
            incoming: Incoming::default(),
            unsent: Vec::new(),
            child: running.child,
            input: Input { pipe: input, ..Input::default() },
            stdout: Some(stdout),
            stderr,
            terminal,
            ended: None,
        })
    }

    fn until_over(&mut self) -> Result<(), Stop> {
        let mut buffer = vec![0; CHUNK];
        loop {
            let ready = self.wait()?;
            self.take_frames(ready.host, &mut buffer)?;
            if !ready.input.is_empty() {
                self.feed();
            }
            self.take_output(&ready, &mut buffer);
            if self.ended.is_none() && !ready.ended.is_empty() {
                self.ended = Some(Ended::now(self.child.exit()));
            }
            if let Some(exit) = self.finished() {
                append(&mut self.unsent, Kind::Exit, &exit);
                return self.flush();
            }
            self.send()?;
        }
    }

    /// Ends the command as a closed terminal would.
    fn hang_up(&self, remains: Option<&Remains>) {
        self.child.group.signal(HANGUP);
        // With its outputs closed at once, a shell that reports the signal would die of that report before it
        // runs its trap.
        if let Some(remains) = remains {
            return remains.end(self.child.group);
        }
        let mut ended = [PollFd::new(&self.child.ended, PollFlags::IN)];
        let _ = poll(&mut ended, Some(&timespec(LAST_WORDS)));
    }

    fn wait(&self) -> Result<Ready, Stop> {
        let when = |condition: bool, flags: PollFlags| if condition { flags } else { PollFlags::empty() };
        let room = self.unsent.len() < MOST_UNSENT;
        let input = self.input.pipe.as_ref().filter(|_| !self.input.waiting.is_empty());
        let watched = [
            (Some(&self.host), PollFlags::IN | when(!self.unsent.is_empty(), PollFlags::OUT)),
            (input, PollFlags::OUT),
            (self.stdout.as_ref().filter(|_| room), PollFlags::IN),
            (self.stderr.as_ref().filter(|_| room), PollFlags::IN),
            (self.ended.is_none().then_some(&self.child.ended), PollFlags::IN),
        ];
        let mut fds: Vec<PollFd<'_>> = watched
            .iter()
            .filter_map(|&(fd, flags)| Some(PollFd::from_borrowed_fd(fd?.as_fd(), flags)))
            .collect();
        match poll(&mut fds, self.patience().map(timespec).as_ref()) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(_) => return Err(Stop::HostGone),
        }
        let mut answers = fds.iter().map(PollFd::revents);
        let [host, input, stdout, stderr, ended] =
            watched.map(|(fd, _)| fd.and_then(|_| answers.next()).unwrap_or(PollFlags::empty()));
        Ok(Ready { host, input, stdout, stderr, ended })
    }

    /// How long to wait for more output; forever while the command runs or the host is behind.
    fn patience(&self) -> Option<Duration> {
        let ended = self.ended.as_ref()?;
        (self.unsent.len() < MOST_UNSENT).then(|| ended.patience())
    }

    /// How the command ended, once everything it wrote was read.
    fn finished(&self) -> Option<Exit> {
        let ended = self.ended.as_ref()?;
        let closed = self.stdout.is_none() && self.stderr.is_none();
        let quiet = self.unsent.len() < MOST_UNSENT && ended.patience().is_zero();
        (closed || quiet).then(|| ended.exit.clone())
    }

    fn take_frames(&mut self, ready: PollFlags, buffer: &mut [u8]) -> Result<(), Stop> {
        if !ready.intersects(PollFlags::IN | PollFlags::HUP | PollFlags::ERR) {
            return Ok(());
        }
        match rustix::io::read(&self.host, &mut *buffer) {
            Ok(0) => return Err(Stop::HostGone),
            Ok(n) => self.incoming.push(&buffer[..n]),
            Err(Errno::AGAIN | Errno::INTR) => return Ok(()),
            Err(_) => return Err(Stop::HostGone),
        }
        while let Some(frame) = self.incoming.next().map_err(|e| Stop::Protocol(e.to_string()))? {
            self.act_on(&frame)?;
        }
        Ok(())
    }

    fn act_on(&mut self, frame: &Frame) -> Result<(), Stop> {
        match frame.kind {
            Kind::Stdin => {
                if self.input.waiting.len() + frame.payload.len() > STDIN_WINDOW as usize {
                    return Err(Stop::Protocol("more standard input than the window allows".to_owned()));
                }
                self.input.waiting.extend_from_slice(&frame.payload);
                self.feed();
            }
            Kind::StdinEnd => {
                if self.terminal && !self.input.complete {
                    self.input.waiting.push(END_OF_INPUT);
                }
                self.input.complete = true;
                self.feed();
            }
            Kind::Signal => {
                let [signal] = frame.payload[..] else {
                    return Err(Stop::Protocol("a signal is one byte".to_owned()));
                };
                self.child.group.signal(signal);
            }
            Kind::Resize => {
                let size: WindowSize = serde_json::from_slice(&frame.payload)
                    .map_err(|e| Stop::Protocol(format!("not a window size: {e}")))?;
                if let (true, Some(terminal)) = (self.terminal, &self.stdout) {
                    // A terminal that just went away needs no size.
                    let _ = spawn::resize(terminal, size);
                }
            }
            Kind::Request
            | Kind::Started
            | Kind::Stdout
            | Kind::Stderr
            | Kind::StdinCredit
            | Kind::Exit
            | Kind::Reply
            | Kind::Error
            | Kind::Item
            | Kind::Dropped
            | Kind::Refused
            | Kind::Entry
            | Kind::Data
            | Kind::Hole
            | Kind::Done
            | Kind::SshAgent => {
                return Err(Stop::Protocol(format!("a {:?} frame towards a running command", frame.kind)));
            }
        }
        Ok(())
    }

    /// Gives the command as much of its input as it takes, and the host credit for it.
    fn feed(&mut self) {
        let taken = match &self.input.pipe {
            Some(pipe) if !self.input.waiting.is_empty() => {
                match rustix::io::write(pipe, &self.input.waiting) {
                    Ok(n) => n,
                    Err(Errno::AGAIN | Errno::INTR) => 0,
                    Err(_) => {
                        // The command closed its input: the rest goes nowhere, as in a shell's pipe.
                        self.input.pipe = None;
                        self.input.waiting.len()
                    }
                }
            }
            Some(_) => 0,
            None => self.input.waiting.len(),
        };
        self.input.waiting.drain(..taken);
        if taken > 0 {
            let credit = u32::try_from(taken).unwrap_or(STDIN_WINDOW).min(STDIN_WINDOW);
            frame::write(&mut self.unsent, Kind::StdinCredit, &credit.to_le_bytes())
                .expect("writing to memory does not fail");
        }
        if self.input.complete && self.input.waiting.is_empty() && !self.terminal {
            self.input.pipe = None;
        }
    }

    fn take_output(&mut self, ready: &Ready, buffer: &mut [u8]) {
        let mut any = false;
        for (fd, flags, kind) in
            [(&mut self.stdout, ready.stdout, Kind::Stdout), (&mut self.stderr, ready.stderr, Kind::Stderr)]
        {
            let Some(open) = fd.as_ref().filter(|_| !flags.is_empty()) else { continue };
            match rustix::io::read(open, &mut *buffer) {
                Ok(n) if n > 0 => {
                    any = true;
                    frame::write(&mut self.unsent, kind, &buffer[..n])
                        .expect("writing to memory does not fail");
                }
                Err(Errno::AGAIN | Errno::INTR) => {}
                // The end of a pipe is nothing read; that of a terminal is an I/O error.
                Ok(_) | Err(_) => *fd = None,
            }
        }
        if let (true, Some(ended)) = (any, &mut self.ended) {
            ended.heard();
        }
    }

    /// Sends what the host takes now.
    fn send(&mut self) -> Result<(), Stop> {
        if self.unsent.is_empty() {
            return Ok(());
        }
        match rustix::io::write(&self.host, &self.unsent) {
            Ok(n) => {
                self.unsent.drain(..n);
                Ok(())
            }
            Err(Errno::AGAIN | Errno::INTR) => Ok(()),
            Err(_) => Err(Stop::HostGone),
        }
    }

    /// Sends everything, waiting for the host.
    fn flush(&mut self) -> Result<(), Stop> {
        while !self.unsent.is_empty() {
            let mut host = [PollFd::new(&self.host, PollFlags::OUT)];
            match poll(&mut host, None) {
                Ok(_) | Err(Errno::INTR) => self.send()?,
                Err(_) => return Err(Stop::HostGone),
            }
        }
        Ok(())
    }
}

fn append(unsent: &mut Vec<u8>, kind: Kind, exit: &Exit) {
    frame::write_json(unsent, kind, exit).expect("an exit is short JSON and memory takes it");
}
