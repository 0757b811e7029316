//! One connection of somebody who watches a session, gives it input, or both.
//!
//! ```text
//!   ring ──(as much as the host takes)──► unsent ──► host
//!   input ◄──(as much as the command takes)── waiting ◄── host
//! ```
//!
//! One thread around one `poll`, every descriptor non-blocking, as for a command that belongs to its connection. But
//! nothing here can hold the command up: output is taken out of the ring when the host has room for it, and what was
//! given up meanwhile is told as a number. And nothing here ends the command: a host that goes away just goes.

use super::live::{Seat, Session};
use super::ring::{Mark, Piece};
use crate::exec::incoming::Incoming;
use banger_protocol::guest_api::frame::{self, Failure, Frame, Kind};
use banger_protocol::guest_api::session::Refusal;
use banger_protocol::guest_api::{STDIN_WINDOW, WindowSize};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::fd::{AsFd, OwnedFd};
use rustix::io::Errno;
use rustix::net::{Shutdown, shutdown};
use std::fs::File;
use std::io;
use std::sync::Arc;

const MOST_UNSENT: usize = 128 * 1024;
const CHUNK: usize = 16 * 1024;
/// Control-D: how a terminal says that there is no more input.
const END_OF_INPUT: u8 = 4;

/// What a client came for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Purpose {
    /// The latest output, input, and how it ends.
    Attach(Option<WindowSize>),
    /// All output that is kept, and with `follow` what comes after it.
    Logs { follow: bool },
    /// Input; the last one if it ends it.
    Send { end: bool },
}

struct Client<'a> {
    session: &'a Session,
    purpose: Purpose,
    host: OwnedFd,
    seat: Seat,
    incoming: Incoming,
    unsent: Vec<u8>,
    /// How far this client has read, unless it does not read.
    mark: Option<Mark>,
    /// Whether the line in which reading began is yet to end.
    is_in_a_line: bool,
    /// Where reading ends for one that does not follow.
    until: Mark,
    /// Input that the command has not taken yet.
    waiting: Vec<u8>,
    /// Whether the host has sent the last of it.
    is_complete: bool,
}

/// Why the conversation is over.
enum Over {
    HostGone,
    Protocol(String),
    Refused(Refusal),
    /// The last frame is among what is unsent.
    Done,
}

/// Serves the host at the other end until it has what it came for, or is gone.
pub(super) fn serve(host: OwnedFd, session: &Arc<Session>, purpose: Purpose) -> io::Result<()> {
    let size = match purpose {
        Purpose::Attach(size) => size,
        Purpose::Logs { .. } | Purpose::Send { .. } => None,
    };
    if let (Purpose::Send { .. }, None) = (purpose, session.input()) {
        let refusal = session.takes_no_input();
        return refuse(host, &refusal);
    }
    // Before the seat is taken, which has a program draw its screen again: that is to be seen.
    let (recent, begins_a_line) = session.recent();
    let seat = match session.sit_down(matches!(purpose, Purpose::Attach(_)), size) {
        Ok(seat) => seat,
        Err(refusal) => return refuse(host, &refusal),
    };
    rustix::io::ioctl_fionbio(&host, true)?;
    let mut client = Client {
        session,
        purpose,
        host,
        seat,
        incoming: Incoming::default(),
        unsent: Vec::new(),
        mark: match purpose {
            Purpose::Attach(_) => Some(recent),
            Purpose::Logs { .. } => Some(Mark::default()),
            Purpose::Send { .. } => None,
        },
        is_in_a_line: matches!(purpose, Purpose::Attach(_)) && !begins_a_line,
        until: session.head(),
        waiting: Vec::new(),
        is_complete: false,
    };
    client.say(Kind::Started, &[]);
    let over = client.until_over();
    match over {
        Over::HostGone => return Ok(()),
        Over::Protocol(message) => client.say_json(Kind::Error, &Failure { message }),
        Over::Refused(refusal) => client.say_json(Kind::Refused, &refusal),
        Over::Done => {}
    }
    client.flush();
    let Client { host, seat, .. } = client;
    drop(seat);
    close_when_heard(host)
}

/// Says why nothing will be done, to a host that may be sending already.
pub(super) fn refuse(host: OwnedFd, refusal: &Refusal) -> io::Result<()> {
    let mut host = File::from(host);
    frame::write_json(&mut host, Kind::Refused, refusal)?;
    close_when_heard(host.into())
}

/// Closed while input is on its way, the connection would lose the last frame with it.
fn close_when_heard(host: OwnedFd) -> io::Result<()> {
    shutdown(&host, Shutdown::Write)?;
    rustix::io::ioctl_fionbio(&host, false)?;
    io::copy(&mut File::from(host), &mut io::sink()).map(drop)
}

impl Client<'_> {
    fn until_over(&mut self) -> Over {
        let mut buffer = vec![0; CHUNK];
        loop {
            self.seat.rest();
            let exit = self.session.exit();
            let has_all = self.fetch();
            if let Some(over) = self.is_over(exit.is_some(), has_all) {
                if let (Purpose::Attach(_), Over::Done, Some(exit)) = (self.purpose, &over, exit) {
                    self.say_json(Kind::Exit, &exit);
                }
                return over;
            }
            if self.send().is_err() {
                return Over::HostGone;
            }
            let turn = self.wait(has_all).and_then(|ready| self.take_frames(ready, &mut buffer));
            if let Err(over) = turn {
                return over;
            }
            self.feed();
        }
    }

    /// Takes as much output as the host is given at once; whether that is all there is.
    fn fetch(&mut self) -> bool {
        let Some(mut mark) = self.mark else { return true };
        let follows = self.purpose != (Purpose::Logs { follow: false });
        let mut has_all = false;
        while self.unsent.len() < MOST_UNSENT && !has_all {
            if !follows && mark.is_at_or_behind(self.until) {
                has_all = true;
                break;
            }
            match self.session.next(&mut mark) {
                Some(Piece::Output(kind, bytes)) => self.show(kind, &bytes),
                Some(Piece::Dropped(count)) => self.say(Kind::Dropped, &count.to_le_bytes()),
                None => has_all = true,
            }
        }
        self.mark = Some(mark);
        has_all
    }

    /// The first line is shown from its beginning or not at all.
    fn show(&mut self, kind: Kind, bytes: &[u8]) {
        let from = match bytes.iter().position(|&byte| byte == b'\n') {
            Some(at) if self.is_in_a_line => at + 1,
            _ => 0,
        };
        self.is_in_a_line = false;
        self.say(kind, &bytes[from..]);
    }

    fn is_over(&mut self, has_ended: bool, has_all: bool) -> Option<Over> {
        match self.purpose {
            Purpose::Attach(_) if has_ended && has_all => Some(Over::Done),
            Purpose::Logs { follow } if has_all && (has_ended || !follow) => {
                self.say_json(Kind::Reply, &());
                Some(Over::Done)
            }
            Purpose::Send { end } => self.is_sent(end),
            Purpose::Attach(_) | Purpose::Logs { .. } => None,
        }
    }

    fn is_sent(&mut self, end: bool) -> Option<Over> {
        // A command that has taken everything may have ended by it before the host says that it was everything.
        if !self.waiting.is_empty() && self.session.input().is_none() {
            return Some(Over::Refused(self.session.takes_no_input()));
        }
        if !self.is_complete || !self.waiting.is_empty() {
            return None;
        }
        if end && !self.session.about.terminal {
            self.session.end_input();
        }
        self.say_json(Kind::Reply, &());
        Some(Over::Done)
    }

    fn wait(&self, has_all: bool) -> Result<PollFlags, Over> {
        let when = |condition: bool, flags: PollFlags| if condition { flags } else { PollFlags::empty() };
        let input = self.session.input().filter(|_| !self.waiting.is_empty());
        let mut fds = vec![
            PollFd::new(
                &self.host,
                PollFlags::IN | when(!has_all || !self.unsent.is_empty(), PollFlags::OUT),
            ),
            PollFd::new(&*self.seat.wake, PollFlags::IN),
        ];
        fds.extend(input.as_ref().map(|input| PollFd::from_borrowed_fd(input.as_fd(), PollFlags::OUT)));
        match poll(&mut fds, None) {
            Ok(_) | Err(Errno::INTR) => Ok(fds[0].revents()),
            Err(_) => Err(Over::HostGone),
        }
    }

    fn take_frames(&mut self, ready: PollFlags, buffer: &mut [u8]) -> Result<(), Over> {
        if !ready.intersects(PollFlags::IN | PollFlags::HUP | PollFlags::ERR) {
            return Ok(());
        }
        match rustix::io::read(&self.host, &mut *buffer) {
            Ok(0) => return Err(Over::HostGone),
            Ok(count) => self.incoming.push(&buffer[..count]),
            Err(Errno::AGAIN | Errno::INTR) => return Ok(()),
            Err(_) => return Err(Over::HostGone),
        }
        while let Some(frame) = self.incoming.next().map_err(|e| Over::Protocol(e.to_string()))? {
            self.act_on(&frame)?;
        }
        Ok(())
    }

    fn act_on(&mut self, frame: &Frame) -> Result<(), Over> {
        match (frame.kind, self.purpose) {
            (Kind::Stdin, Purpose::Attach(_) | Purpose::Send { .. }) => {
                if self.waiting.len() + frame.payload.len() > STDIN_WINDOW as usize {
                    return Err(Over::Protocol("more standard input than the window allows".to_owned()));
                }
                self.waiting.extend_from_slice(&frame.payload);
            }
            (Kind::StdinEnd, Purpose::Attach(_)) => {}
            (Kind::StdinEnd, Purpose::Send { end }) => {
                if end && self.session.about.terminal && !self.is_complete {
                    self.waiting.push(END_OF_INPUT);
                }
                self.is_complete = true;
            }
            (Kind::Signal, Purpose::Attach(_)) => {
                let [signal] = frame.payload[..] else {
                    return Err(Over::Protocol("a signal is one byte".to_owned()));
                };
                // One that comes too late has nobody to go to.
                let _ = self.session.signal(signal);
            }
            (Kind::Resize, Purpose::Attach(_)) => {
                let size = serde_json::from_slice(&frame.payload)
                    .map_err(|e| Over::Protocol(format!("not a window size: {e}")))?;
                self.seat.resize(size);
            }
            (kind, _) => return Err(Over::Protocol(format!("a {kind:?} frame towards a session"))),
        }
        Ok(())
    }

    /// Gives the command as much of its input as it takes, and the host credit for it.
    fn feed(&mut self) {
        if self.waiting.is_empty() {
            return;
        }
        let taken = match self.session.input().map(|input| rustix::io::write(&input, &self.waiting)) {
            Some(Ok(count)) => count,
            Some(Err(Errno::AGAIN | Errno::INTR)) => 0,
            Some(Err(_)) => {
                // The command closed its input.
                self.session.end_input();
                0
            }
            // Who came to send is told.
            None if matches!(self.purpose, Purpose::Send { .. }) => 0,
            // As in a shell's pipe that nobody reads.
            None => self.waiting.len(),
        };
        self.waiting.drain(..taken);
        if taken > 0 {
            let credit = u32::try_from(taken).unwrap_or(STDIN_WINDOW);
            self.say(Kind::StdinCredit, &credit.to_le_bytes());
        }
    }

    fn say(&mut self, kind: Kind, payload: &[u8]) {
        frame::write(&mut self.unsent, kind, payload).expect("writing to memory does not fail");
    }

    fn say_json(&mut self, kind: Kind, value: &impl serde::Serialize) {
        frame::write_json(&mut self.unsent, kind, value).expect("short JSON, and memory takes it");
    }

    /// Sends what the host takes now.
    fn send(&mut self) -> Result<(), Errno> {
        if self.unsent.is_empty() {
            return Ok(());
        }
        match rustix::io::write(&self.host, &self.unsent) {
            Ok(count) => {
                self.unsent.drain(..count);
                Ok(())
            }
            Err(Errno::AGAIN | Errno::INTR) => Ok(()),
            Err(errno) => Err(errno),
        }
    }

    /// Sends everything, waiting for the host as long as it is there.
    fn flush(&mut self) {
        while !self.unsent.is_empty() {
            let mut host = [PollFd::new(&self.host, PollFlags::OUT)];
            let waited = poll(&mut host, None);
            if waited.is_err_and(|errno| errno != Errno::INTR) || self.send().is_err() {
                return;
            }
        }
    }
}
