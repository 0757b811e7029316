//! The agent inside a guest, reached through the VM's vsock socket.
//!
//! The socket speaks Firecracker's host side: `CONNECT <port>\n`, answered with `OK <n>\n`, after which the
//! connection is the guest's. Everything that comes back from here was said by the guest.

use banger_protocol::guest_api::frame::{self, Kind, ReadFrameError};
use banger_protocol::guest_api::{AGENT_PORT, Health, Request};
use banger_protocol::root_api::VSOCK_SOCKET;
use rustix::fs::{Mode, OFlags};
use std::io::{self, Read, Write};
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

/// Why the guest's agent gave no answer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum AgentError {
    #[error("the VM's vsock could not be reached")]
    Connect(#[source] io::Error),
    #[error("the guest does not accept connections to its agent")]
    NotAccepted,
    #[error("the connection to the guest's agent broke off")]
    Send(#[source] io::Error),
    #[error("the guest's agent gave no proper answer")]
    Receive(#[source] ReadFrameError),
    #[error("the guest's agent answered with something else")]
    Unexpected,
}

/// Opens a connection to the agent of the VM in `folder`; blocks for at most `limit`, twice.
///
/// The descriptor that comes out has no time limits left and is in blocking mode: it is fit to be handed over.
pub(crate) fn connect(folder: &Path, limit: Duration) -> Result<UnixStream, AgentError> {
    // By way of the folder's descriptor: the path itself may be longer than a socket address can hold.
    let folder = rustix::fs::open(folder, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
        .map_err(|errno| AgentError::Connect(errno.into()))?;
    let mut stream = UnixStream::connect(format!("/proc/self/fd/{}/{VSOCK_SOCKET}", folder.as_raw_fd()))
        .map_err(AgentError::Connect)?;
    set_limit(&stream, Some(limit))?;
    stream.write_all(format!("CONNECT {AGENT_PORT}\n").as_bytes()).map_err(AgentError::Send)?;
    // Byte by byte: what follows the newline belongs to whoever gets the connection.
    let mut answer = Vec::new();
    let mut byte = [0];
    while answer.len() < 32 {
        match stream.read(&mut byte) {
            Ok(1) if byte == *b"\n" => break,
            Ok(1) => answer.push(byte[0]),
            Ok(_) | Err(_) => return Err(AgentError::NotAccepted),
        }
    }
    if !answer.starts_with(b"OK ") {
        return Err(AgentError::NotAccepted);
    }
    set_limit(&stream, None)?;
    Ok(stream)
}

fn set_limit(stream: &UnixStream, limit: Option<Duration>) -> Result<(), AgentError> {
    stream.set_read_timeout(limit).and_then(|()| stream.set_write_timeout(limit)).map_err(AgentError::Connect)
}

/// Asks for something that is answered with one `Reply`; blocks for at most `limit` at each step.
fn ask<R: serde::de::DeserializeOwned>(
    folder: &Path,
    request: &Request,
    limit: Duration,
) -> Result<R, AgentError> {
    let mut stream = connect(folder, limit)?;
    set_limit(&stream, Some(limit))?;
    frame::write_json(&mut stream, Kind::Request, request).map_err(AgentError::Send)?;
    match frame::read(&mut stream).map_err(AgentError::Receive)? {
        Some(frame) if frame.kind == Kind::Reply => {
            serde_json::from_slice(&frame.payload).map_err(|_| AgentError::Unexpected)
        }
        _ => Err(AgentError::Unexpected),
    }
}

/// Asks who is there, without waiting for the guest to be usable.
pub(crate) fn health(folder: &Path, limit: Duration) -> Result<Health, AgentError> {
    ask(folder, &Request::Health, limit)
}

/// Has the guest write everything to its disks.
pub(crate) fn sync(folder: &Path, limit: Duration) -> Result<(), AgentError> {
    ask::<()>(folder, &Request::Sync, limit)
}
