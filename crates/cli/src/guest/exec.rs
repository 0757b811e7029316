//! One command, from its request to its exit.

use super::detach_keys::Scanner;
use super::input::{self, Window};
use super::terminal::{self, RawMode};
use super::{Command, said};
use crate::failure::{Failure, READER_GONE};
use crate::printer;
use crate::signals::{Signals, asks_to_end, exit_code};
use banger_protocol::guest_api::frame::{self, Failure as AgentFailure, Frame, Kind, ReadFrameError};
use banger_protocol::guest_api::{Exit, Request};
use rustix::stdio::{stderr, stdin, stdout};
use signal_hook::consts::{SIGHUP, SIGWINCH};
use std::io::{self, BufReader};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicI32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

/// This many requests to end and the user means it, whatever the guest makes of them.
const PATIENCE: u32 = 3;

/// Why nobody knows how the command ended.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ExecError {
    #[error("the command could not be sent to the guest")]
    Send(#[source] io::Error),
    #[error("the guest agent refused: {}", said(&.0.message))]
    Refused(AgentFailure),
    #[error("the connection to the guest was lost while the command ran")]
    Lost(#[source] Option<ReadFrameError>),
    #[error("the guest agent violated the protocol with a frame {0:?}")]
    Protocol(Kind),
    #[error("the guest agent violated the protocol with a malformed answer")]
    Malformed(#[source] serde_json::Error),
    #[error("the command's output could not be written")]
    Output(#[source] io::Error),
}

/// The sending side of the connection, shared by input and signals.
#[derive(Debug)]
pub(super) struct Writer(Mutex<UnixStream>);

impl Writer {
    pub(super) fn new(agent: UnixStream) -> Self {
        Self(Mutex::new(agent))
    }

    pub(super) fn send(&self, kind: Kind, payload: &[u8]) -> io::Result<()> {
        frame::write(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner), kind, payload)
    }
}

/// Runs the command over a fresh connection to the agent and passes everything both ways until it ends; returns
/// the exit code a shell would give.
pub(crate) fn run(mut agent: UnixStream, command: &Command, signals: &Signals) -> Result<u8, ExecError> {
    let with_terminal = command.terminal;
    frame::write_json(&mut agent, Kind::Request, &Request::Exec(command.as_asked()))
        .map_err(ExecError::Send)?;
    let writer = Arc::new(Writer::new(agent.try_clone().map_err(ExecError::Send)?));
    let window = Arc::new(Window::new());

    let gave_up = Arc::new(AtomicI32::new(0));
    let ends = agent.try_clone().map_err(ExecError::Send)?;
    let _directed =
        signals.direct(pass_signals(Arc::clone(&writer), with_terminal, Arc::clone(&gave_up), ends));
    let _raw = (with_terminal && command.stdin).then(RawMode::enter);
    if command.stdin {
        let (window, writer) = (Arc::clone(&window), Arc::clone(&writer));
        std::thread::spawn(move || input::forward(stdin(), &window, &writer, Scanner::default()));
    }

    let result = receive(agent, &window);
    match gave_up.load(Ordering::SeqCst) {
        0 => result,
        signal => Ok(exit_code(signal)),
    }
}

/// What a signal does: it goes to the command. A terminal that hung up, or a user who insists, ends the
/// connection, and the agent then hangs up on the command.
fn pass_signals(
    writer: Arc<Writer>,
    with_terminal: bool,
    gave_up: Arc<AtomicI32>,
    connection: UnixStream,
) -> impl FnMut(i32) + Send + 'static {
    let mut insistence = 0;
    move |signal| {
        // An error here is the connection's end, which the reading side reports.
        let _ = match (signal, u8::try_from(signal)) {
            (SIGWINCH, _) if with_terminal => match serde_json::to_vec(&terminal::size()) {
                Ok(size) => writer.send(Kind::Resize, &size),
                Err(_) => Ok(()),
            },
            (SIGWINCH, _) | (_, Err(_)) => Ok(()),
            (_, Ok(number)) => writer.send(Kind::Signal, &[number]),
        };
        insistence += u32::from(asks_to_end(signal));
        if insistence >= PATIENCE || (signal == SIGHUP && terminal::is_gone()) {
            gave_up.store(signal, Ordering::SeqCst);
            let _ = connection.shutdown(Shutdown::Both);
        }
    }
}

/// Passes on what the command writes until the agent says how it ended.
fn receive(agent: UnixStream, window: &Window) -> Result<u8, ExecError> {
    let mut agent = BufReader::with_capacity(frame::MAX_PAYLOAD, agent);
    loop {
        let Frame { kind, payload } = match frame::read(&mut agent) {
            Ok(Some(frame)) => frame,
            Ok(None) => return Err(ExecError::Lost(None)),
            Err(error) => return Err(ExecError::Lost(Some(error))),
        };
        let written = match kind {
            Kind::Started => Ok(()),
            Kind::Stdout => printer::pass_through(stdout(), &payload),
            Kind::Stderr => printer::pass_through(stderr(), &payload),
            Kind::StdinCredit => {
                let credit = payload.try_into().map_err(|_| ExecError::Protocol(kind))?;
                window.give(u32::from_le_bytes(credit));
                Ok(())
            }
            Kind::Exit => return serde_json::from_slice(&payload).map(told).map_err(ExecError::Malformed),
            Kind::Error => {
                let failure = serde_json::from_slice(&payload).map_err(ExecError::Malformed)?;
                return Err(ExecError::Refused(failure));
            }
            Kind::Request
            | Kind::Stdin
            | Kind::StdinEnd
            | Kind::Signal
            | Kind::Resize
            | Kind::Reply
            | Kind::Item
            | Kind::Dropped
            | Kind::Refused
            | Kind::Entry
            | Kind::Data
            | Kind::Hole
            | Kind::Done
            | Kind::SshAgent => {
                return Err(ExecError::Protocol(kind));
            }
        };
        match written {
            Ok(()) => {}
            // Closing the connection hangs up on the command, as a broken pipe would.
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => return Ok(READER_GONE),
            Err(error) => return Err(ExecError::Output(error)),
        }
    }
}

/// The code of an exit; a command that never started has its reason told.
fn told(exit: Exit) -> u8 {
    if let Exit::NotStarted { code, reason } = &exit {
        let hint = match code {
            127 => "programs are looked up in the guest, not on this host; `banger vm cp` copies files in",
            _ => {
                "the user, the directory, and the program must exist in the guest, and the program must be executable"
            }
        };
        let failure = Failure::message(said(reason)).reason_for("the command was not run in the guest");
        printer::failure(&failure.with_hint(hint));
    }
    exit.shell_code()
}
