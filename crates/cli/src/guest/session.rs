//! What is asked about the sessions of a guest, over a connection to its agent for each question.

use super::detach_keys::{DetachKeys, Scanner};
use super::exec::Writer;
use super::input::{self, InputEnd, Window};
use super::said;
use super::terminal::{self, RawMode};
use crate::printer::{self, Foreign};
use crate::signals::{Signals, asks_to_end};
use banger_protocol::guest_api::frame::{self, Failure as AgentFailure, Frame, Kind, ReadFrameError};
use banger_protocol::guest_api::session::{MOST, Refusal, Request, Session};
use banger_protocol::guest_api::{self, Exit};
use banger_protocol::names::SessionName;
use rustix::stdio::{stderr, stdin, stdout};
use serde::de::DeserializeOwned;
use signal_hook::consts::SIGWINCH;
use std::io::{self, BufReader};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::sync::{Arc, Mutex, PoisonError};

/// Why something about a session did not happen.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SessionError {
    #[error("the guest agent could not be asked")]
    Ask(#[source] io::Error),
    /// The agent's own reason, which the command tells.
    #[error("the guest agent refused")]
    Refused(Refusal),
    #[error("the guest agent refused: {}", said(&.0.message))]
    Failed(AgentFailure),
    #[error("the guest agent is older than this banger and does not support sessions")]
    TooOld,
    #[error("the connection to the guest was lost")]
    Lost(#[source] Option<ReadFrameError>),
    #[error("the guest agent violated the protocol with a frame {0:?}")]
    Protocol(Kind),
    #[error("the guest agent violated the protocol with a malformed answer")]
    Malformed(#[source] serde_json::Error),
    #[error("the session's output could not be written")]
    Output(#[source] io::Error),
}

/// Asks what has one answer.
pub(crate) fn ask<T: DeserializeOwned>(mut agent: UnixStream, request: Request) -> Result<T, SessionError> {
    begin(&mut agent, request)?;
    let frame = next(&mut agent)?;
    match frame.kind {
        Kind::Reply => serde_json::from_slice(&frame.payload).map_err(SessionError::Malformed),
        _ => Err(unexpected(&frame)),
    }
}

/// Every session, by name.
pub(crate) fn list(mut agent: UnixStream) -> Result<Vec<Session>, SessionError> {
    begin(&mut agent, Request::List)?;
    let mut sessions = Vec::new();
    loop {
        let frame = next(&mut agent)?;
        match frame.kind {
            Kind::Item if sessions.len() < MOST => {
                sessions.push(serde_json::from_slice(&frame.payload).map_err(SessionError::Malformed)?);
            }
            Kind::Reply => return Ok(sessions),
            _ => return Err(unexpected(&frame)),
        }
    }
}

/// Prints what is kept of its output, then what comes.
pub(crate) fn logs(mut agent: UnixStream, name: SessionName, follow: bool) -> Result<(), SessionError> {
    begin(&mut agent, Request::Logs { name, follow })?;
    let mut agent = BufReader::with_capacity(frame::MAX_PAYLOAD, agent);
    let mut outputs = [Foreign::to(stdout()), Foreign::to(stderr())];
    loop {
        let frame = next(&mut agent)?;
        let written = match frame.kind {
            Kind::Started => Ok(()),
            Kind::Stdout => outputs[0].write(&frame.payload),
            Kind::Stderr => outputs[1].write(&frame.payload),
            Kind::Dropped => {
                printer::talk(dropped(&frame)?);
                Ok(())
            }
            Kind::Reply => {
                let [out, err] = outputs.map(Foreign::end);
                return out.and(err).map_err(SessionError::Output);
            }
            _ => return Err(unexpected(&frame)),
        };
        written.map_err(SessionError::Output)?;
    }
}

/// What goes to a session's command.
#[derive(Debug)]
pub(crate) enum Sent {
    Bytes(Vec<u8>),
    /// Whatever our own standard input has.
    Stdin,
}

/// Gives the command input and waits until it has taken it; with `end` it gets no more after that.
pub(crate) fn send(
    mut agent: UnixStream,
    name: SessionName,
    sent: Sent,
    end: bool,
) -> Result<(), SessionError> {
    begin(&mut agent, Request::Send { name, end })?;
    let writer = Arc::new(Writer::new(agent.try_clone().map_err(SessionError::Ask)?));
    let window = Arc::new(Window::new());
    let (to, room) = (Arc::clone(&writer), Arc::clone(&window));
    // Not waited for: a read of stdin cannot be called off when the agent refuses.
    std::thread::spawn(move || match sent {
        Sent::Bytes(bytes) => input::feed(&bytes, &room, &to),
        Sent::Stdin => drop(input::forward(stdin(), &room, &to, Scanner::default())),
    });
    loop {
        let frame = next(&mut agent)?;
        match frame.kind {
            Kind::Started => {}
            Kind::StdinCredit => window.give(credit(&frame)?),
            Kind::Reply => return Ok(()),
            _ => return Err(unexpected(&frame)),
        }
    }
}

/// How somebody left a session.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Left {
    /// It has ended.
    Ended(Exit),
    /// By the keys for it.
    Detached,
    /// By a signal to this program.
    Signalled(i32),
    /// Whoever read our output went away.
    ReaderGone,
}

/// Shows a session and passes input on until it ends or is left.
pub(crate) fn attach(
    mut agent: UnixStream,
    session: &Session,
    keys: &DetachKeys,
    signals: &Signals,
) -> Result<Left, SessionError> {
    let name = session.name.clone();
    begin(&mut agent, Request::Attach { name, size: session.terminal.then(terminal::size) })?;
    let writer = Arc::new(Writer::new(agent.try_clone().map_err(SessionError::Ask)?));
    let window = Arc::new(Window::new());
    let door =
        Arc::new(Door { left: Mutex::default(), connection: agent.try_clone().map_err(SessionError::Ask)? });

    let _directed = signals.direct(on_signal(Arc::clone(&writer), session.terminal, Arc::clone(&door)));
    let raw = session.terminal.then(RawMode::enter).flatten();
    let line_end = if raw.is_some() { "\r\n" } else { "\n" };
    let scanner = if raw.is_some() { Scanner::new(keys) } else { Scanner::default() };
    let (room, leave) = (Arc::clone(&window), Arc::clone(&door));
    std::thread::spawn(move || {
        if input::forward(stdin(), &room, &writer, scanner) == InputEnd::Detached {
            leave.leave(Left::Detached);
        }
    });

    let outcome = show(agent, &window, line_end);
    match door.left() {
        Some(left) => Ok(left),
        None => outcome,
    }
}

/// The way out for those who do not wait for the end.
#[derive(Debug)]
struct Door {
    left: Mutex<Option<Left>>,
    connection: UnixStream,
}

impl Door {
    fn leave(&self, how: Left) {
        self.left.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(how);
        let _ = self.connection.shutdown(Shutdown::Both);
    }

    fn left(&self) -> Option<Left> {
        self.left.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

/// A signal is for us and not for the command, which other people may be watching; the terminal's size is for it.
fn on_signal(writer: Arc<Writer>, with_terminal: bool, door: Arc<Door>) -> impl FnMut(i32) + Send + 'static {
    move |signal| {
        if signal == SIGWINCH && with_terminal {
            let size = serde_json::to_vec(&terminal::size());
            // An error is the connection's end, which the reading side reports.
            let _ = size.map(|size| writer.send(Kind::Resize, &size));
        } else if asks_to_end(signal) {
            door.leave(Left::Signalled(signal));
        }
    }
}

fn show(agent: UnixStream, window: &Window, line_end: &str) -> Result<Left, SessionError> {
    let mut agent = BufReader::with_capacity(frame::MAX_PAYLOAD, agent);
    loop {
        let frame = next(&mut agent)?;
        let written = match frame.kind {
            Kind::Started => Ok(()),
            Kind::Stdout => printer::pass_through(stdout(), &frame.payload),
            Kind::Stderr => printer::pass_through(stderr(), &frame.payload),
            Kind::Dropped => {
                let line = format!("{line_end}{}{line_end}", dropped(&frame)?);
                printer::pass_through(stderr(), line.as_bytes())
            }
            Kind::StdinCredit => {
                window.give(credit(&frame)?);
                Ok(())
            }
            Kind::Exit => {
                return serde_json::from_slice(&frame.payload)
                    .map(Left::Ended)
                    .map_err(SessionError::Malformed);
            }
            _ => return Err(unexpected(&frame)),
        };
        match written {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => return Ok(Left::ReaderGone),
            Err(error) => return Err(SessionError::Output(error)),
        }
    }
}

fn begin(agent: &mut UnixStream, request: Request) -> Result<(), SessionError> {
    let request = guest_api::Request::Session(request);
    frame::write_json(agent, Kind::Request, &request).map_err(SessionError::Ask)
}

fn next(agent: &mut impl io::Read) -> Result<Frame, SessionError> {
    frame::read(agent).map_err(|error| SessionError::Lost(Some(error)))?.ok_or(SessionError::Lost(None))
}

/// What a frame means that is no part of a good answer.
fn unexpected(frame: &Frame) -> SessionError {
    match frame.kind {
        Kind::Refused => {
            serde_json::from_slice(&frame.payload).map_or_else(SessionError::Malformed, SessionError::Refused)
        }
        Kind::Error => match serde_json::from_slice::<AgentFailure>(&frame.payload) {
            // As an agent answers that does not know the word.
            Ok(failure) if failure.message.starts_with("not a request") => SessionError::TooOld,
            Ok(failure) => SessionError::Failed(failure),
            Err(error) => SessionError::Malformed(error),
        },
        kind => SessionError::Protocol(kind),
    }
}

fn credit(frame: &Frame) -> Result<u32, SessionError> {
    let bytes = frame.payload.as_slice().try_into().map_err(|_| SessionError::Protocol(frame.kind))?;
    Ok(u32::from_le_bytes(bytes))
}

fn dropped(frame: &Frame) -> Result<String, SessionError> {
    let bytes = frame.payload.as_slice().try_into().map_err(|_| SessionError::Protocol(frame.kind))?;
    Ok(format!("… {} bytes were dropped", u64::from_le_bytes(bytes)))
}
