//! The agent inside a guest, reached through the VM's vsock socket.
//!
//! The socket speaks Firecracker's host side: `CONNECT <port>\n`, answered with `OK <n>\n`, after which the
//! connection is the guest's. Everything that comes back from here was said by the guest.

use banger_protocol::guest_api::frame::{self, Frame, Kind, ReadFrameError};
use banger_protocol::guest_api::{AGENT_PORT, Exec, Exit, Health, Listener, Request};
use banger_protocol::root_api::VSOCK_SOCKET;
use rustix::fs::{FileType, Mode, OFlags};
use std::collections::BTreeMap;
use std::io::{self, Read, Write};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

/// Frames that are read of a command that should print a word.
const MOST_FRAMES: usize = 16;
/// How an answer of a web server begins (RFC 9112, 4).
const HTTP: [u8; 5] = *b"HTTP/";

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
    let mut stream = connect_to_socket(&folder).map_err(AgentError::Connect)?;
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

/// Connects to the socket in the folder and to nothing a link there leads to: whoever took over the VMM could plant
/// one to a socket of the owner's, and have us speak for it.
fn connect_to_socket(folder: &OwnedFd) -> io::Result<UnixStream> {
    let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let socket = rustix::fs::openat(folder, VSOCK_SOCKET, flags, Mode::empty())?;
    if FileType::from_raw_mode(rustix::fs::fstat(&socket)?.st_mode) != FileType::Socket {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, format!("{VSOCK_SOCKET} is no socket")));
    }
    UnixStream::connect(format!("/proc/self/fd/{}", socket.as_raw_fd()))
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

/// Where something listens in the guest.
pub(crate) fn ports(folder: &Path, limit: Duration) -> Result<Vec<Listener>, AgentError> {
    ask(folder, &Request::Ports, limit)
}

/// Runs a short command as root and returns the beginning of what it printed; `None` when there is no such program.
pub(crate) fn output(folder: &Path, argv: &[&str], limit: Duration) -> Result<Option<Vec<u8>>, AgentError> {
    let mut stream = connect(folder, limit)?;
    set_limit(&stream, Some(limit))?;
    let exec = Exec {
        argv: argv.iter().map(|word| (*word).to_owned()).collect(),
        env: BTreeMap::new(),
        cwd: None,
        user: None,
        terminal: None,
        stdin: false,
    };
    frame::write_json(&mut stream, Kind::Request, &Request::Exec(exec)).map_err(AgentError::Send)?;
    let mut printed = Vec::new();
    for _ in 0..MOST_FRAMES {
        match frame::read(&mut stream).map_err(AgentError::Receive)? {
            Some(Frame { kind: Kind::Started | Kind::Stderr | Kind::StdinCredit, .. }) => {}
            Some(Frame { kind: Kind::Stdout, payload }) => printed.extend(payload),
            Some(Frame { kind: Kind::Exit, payload }) => {
                let exit = serde_json::from_slice(&payload).map_err(|_| AgentError::Unexpected)?;
                return Ok((!matches!(exit, Exit::NotStarted { .. })).then_some(printed));
            }
            _ => return Err(AgentError::Unexpected),
        }
    }
    Err(AgentError::Unexpected)
}

/// Whether a port on the guest's loopback answers as a web server does.
pub(crate) fn speaks_http(folder: &Path, port: u16, host: &str, limit: Duration) -> Result<bool, AgentError> {
    let mut stream = connect(folder, limit)?;
    set_limit(&stream, Some(limit))?;
    frame::write_json(&mut stream, Kind::Request, &Request::Dial { port }).map_err(AgentError::Send)?;
    match frame::read(&mut stream).map_err(AgentError::Receive)? {
        Some(Frame { kind: Kind::Started, .. }) => {}
        _ => return Ok(false),
    }
    let question = format!("HEAD / HTTP/1.0\r\nHost: {host}\r\nConnection: close\r\n\r\n");
    stream.write_all(question.as_bytes()).map_err(AgentError::Send)?;
    let mut answer = [0; HTTP.len()];
    Ok(stream.read_exact(&mut answer).is_ok() && answer == HTTP)
}

/// Has the guest write everything to its disks.
pub(crate) fn sync(folder: &Path, limit: Duration) -> Result<(), AgentError> {
    ask::<()>(folder, &Request::Sync, limit)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::net::UnixListener;

    #[test]
    fn a_link_in_place_of_the_socket_is_not_followed() {
        let place = tempfile::tempdir().unwrap();
        let (outside, folder) = (place.path().join("owners.sock"), place.path().join("vm"));
        std::fs::create_dir(&folder).unwrap();
        let listener = UnixListener::bind(&outside).unwrap();
        listener.set_nonblocking(true).unwrap();
        std::os::unix::fs::symlink(&outside, folder.join(VSOCK_SOCKET)).unwrap();
        assert!(matches!(connect(&folder, Duration::from_secs(1)), Err(AgentError::Connect(_))));
        assert_eq!(listener.accept().unwrap_err().kind(), io::ErrorKind::WouldBlock, "it was called");
    }

    #[test]
    fn the_socket_itself_is_reached_and_asked_for_the_agent() {
        let place = tempfile::tempdir().unwrap();
        let listener = UnixListener::bind(place.path().join(VSOCK_SOCKET)).unwrap();
        let backend = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut asked = vec![0; format!("CONNECT {AGENT_PORT}\n").len()];
            stream.read_exact(&mut asked).unwrap();
            stream.write_all(b"OK 1\nrest").unwrap();
        });
        let mut rest = String::new();
        connect(place.path(), Duration::from_secs(5)).unwrap().read_to_string(&mut rest).unwrap();
        assert_eq!(rest, "rest", "what follows the answer belongs to whoever gets the connection");
        backend.join().unwrap();
    }
}
