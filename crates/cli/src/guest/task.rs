//! A command in a guest that nobody watches: its input is ours, its output is kept.

use super::detach_keys::Scanner;
use super::exec::{ExecError, Writer};
use super::input::{self, Window};
use banger_protocol::guest_api::frame::{self, Frame, Kind};
use banger_protocol::guest_api::{Exec, Exit, Request};
use std::io::{self, BufReader, Write as _};
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::net::UnixStream;
use std::sync::Arc;

/// Most that is kept of what a command prints. A guest that prints more is not listened to any longer.
const MOST_OUTPUT: usize = 256 << 20;
/// Most that is kept of its complaints.
const MOST_WORDS: usize = 64 << 10;

/// What a command reads.
#[derive(Debug)]
pub(crate) enum Input {
    None,
    Bytes(Vec<u8>),
    /// What another program writes.
    From(OwnedFd),
}

/// What became of it.
#[derive(Debug)]
pub(crate) struct Done {
    pub exit: Exit,
    pub stdout: Vec<u8>,
    pub stderr: Vec<u8>,
}

/// Runs it to its end.
pub(crate) fn run_task(mut agent: UnixStream, exec: &Exec, input: Input) -> Result<Done, ExecError> {
    let exec = Exec { stdin: !matches!(input, Input::None), ..exec.clone() };
    frame::write_json(&mut agent, Kind::Request, &Request::Exec(exec)).map_err(ExecError::Send)?;
    let writer = Arc::new(Writer::new(agent.try_clone().map_err(ExecError::Send)?));
    let window = Arc::new(Window::new());
    if let Some(from) = input.open().map_err(ExecError::Send)? {
        let window = Arc::clone(&window);
        std::thread::spawn(move || input::forward(from.as_fd(), &window, &writer, Scanner::default()));
    }
    let mut done = Done { exit: Exit::Code(0), stdout: Vec::new(), stderr: Vec::new() };
    let mut agent = BufReader::with_capacity(frame::MAX_PAYLOAD, agent);
    loop {
        let frame = frame::read(&mut agent).map_err(|error| ExecError::Lost(Some(error)))?;
        let Frame { kind, payload } = frame.ok_or(ExecError::Lost(None))?;
        match kind {
            Kind::Started => {}
            Kind::Stdout if done.stdout.len() + payload.len() <= MOST_OUTPUT => done.stdout.extend(payload),
            Kind::Stderr => {
                let room = MOST_WORDS.saturating_sub(done.stderr.len()).min(payload.len());
                done.stderr.extend(&payload[..room]);
            }
            Kind::StdinCredit => {
                let credit = payload.try_into().map_err(|_| ExecError::Protocol(kind))?;
                window.give(u32::from_le_bytes(credit));
            }
            Kind::Exit => {
                done.exit = serde_json::from_slice(&payload).map_err(ExecError::Malformed)?;
                return Ok(done);
            }
            Kind::Error => {
                return Err(ExecError::Refused(
                    serde_json::from_slice(&payload).map_err(ExecError::Malformed)?,
                ));
            }
            _ => return Err(ExecError::Protocol(kind)),
        }
    }
}

impl Input {
    /// As something to read from.
    fn open(self) -> io::Result<Option<OwnedFd>> {
        match self {
            Self::None => Ok(None),
            Self::From(file) => Ok(Some(file)),
            Self::Bytes(bytes) => {
                let (read, mut write) = io::pipe()?;
                // Whoever reads may end before all of it was wanted.
                std::thread::spawn(move || write.write_all(&bytes));
                Ok(Some(read.into()))
            }
        }
    }
}
