//! A TCP port inside a guest, as this program's standard streams; what ssh's `ProxyCommand` runs.

use super::said;
use crate::printer;
use banger_protocol::guest_api::Request;
use banger_protocol::guest_api::frame::{self, Failure as AgentFailure, Kind, ReadFrameError};
use rustix::stdio::{stdin, stdout};
use std::io::{self, Read};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;

#[derive(Debug, thiserror::Error)]
pub(crate) enum DialError {
    #[error("the connection to guest port {port} could not be requested")]
    Send {
        port: u16,
        #[source]
        source: io::Error,
    },
    #[error("cannot connect to guest port {port}: {}", said(&failure.message))]
    Refused { port: u16, failure: AgentFailure },
    #[error("the guest agent did not answer about port {port}")]
    NoAnswer {
        port: u16,
        #[source]
        source: Option<ReadFrameError>,
    },
    #[error("the guest agent violated the protocol")]
    Protocol,
    #[error("the connection was lost")]
    Broken(#[source] io::Error),
}

/// Turns a connection to the agent into one to the port.
pub(crate) fn dial(mut agent: UnixStream, port: u16) -> Result<UnixStream, DialError> {
    frame::write_json(&mut agent, Kind::Request, &Request::Dial { port })
        .map_err(|source| DialError::Send { port, source })?;
    let answer =
        frame::read(&mut agent).map_err(|source| DialError::NoAnswer { port, source: Some(source) })?;
    let answer = answer.ok_or(DialError::NoAnswer { port, source: None })?;
    match answer.kind {
        Kind::Started => Ok(agent),
        Kind::Error => {
            let failure = serde_json::from_slice(&answer.payload).map_err(|_| DialError::Protocol)?;
            Err(DialError::Refused { port, failure })
        }
        _ => Err(DialError::Protocol),
    }
}

/// Passes bytes both ways until the guest closes the connection.
pub(crate) fn pass_both_ways(mut guest: UnixStream) -> Result<(), DialError> {
    let towards_guest = guest.try_clone().map_err(DialError::Broken)?;
    // Not waited for: a read of stdin cannot be called off when the guest closes first.
    std::thread::spawn(move || {
        let _ = forward_stdin(&towards_guest);
        let _ = towards_guest.shutdown(Shutdown::Write);
    });
    let mut chunk = vec![0_u8; 64 * 1024];
    loop {
        match guest.read(&mut chunk) {
            Ok(0) => return Ok(()),
            Ok(count) => printer::pass_through(stdout(), &chunk[..count]).map_err(DialError::Broken)?,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(DialError::Broken(error)),
        }
    }
}

fn forward_stdin(mut to: &UnixStream) -> io::Result<()> {
    let mut chunk = vec![0_u8; 64 * 1024];
    loop {
        match rustix::io::read(stdin(), &mut chunk) {
            Ok(0) => return Ok(()),
            Ok(count) => io::Write::write_all(&mut to, &chunk[..count])?,
            Err(rustix::io::Errno::INTR) => {}
            Err(errno) => return Err(errno.into()),
        }
    }
}
