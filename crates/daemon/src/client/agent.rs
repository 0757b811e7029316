//! The agent inside a guest, reached through the VM's vsock socket.
//!
//! The socket speaks Firecracker's host side: `CONNECT <port>\n`, answered with `OK <n>\n`, after which the
//! connection is the guest's. Everything that comes back from here was said by the guest.

use banger_protocol::guest_api::frame::{self, Frame, Kind, ReadFrameError};
use banger_protocol::guest_api::{AGENT_PORT, Exec, Exit, Health, Listener, Request};
use banger_protocol::root_api::VSOCK_SOCKET;
use rustix::fs::{FileType, Mode, OFlags};
use rustix::net::sockopt::{Timeout, set_socket_timeout};
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};
use std::collections::BTreeMap;
use std::io::{self, Read, Write};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::{Duration, Instant};

/// Frames that are read of a command that should print a word.
const MOST_FRAMES: usize = 16;
/// How an answer of a web server begins (RFC 9112, 4).
const HTTP: [u8; 5] = *b"HTTP/";

/// Why the guest's agent gave no answer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum AgentError {
    #[error("cannot connect to the vsock of the VM")]
    Connect(#[source] io::Error),
    #[error("the guest refuses connections to its agent")]
    NotAccepted,
    #[error("the connection to the guest agent was lost")]
    Send(#[source] io::Error),
    #[error("the guest agent sent an invalid answer")]
    Receive(#[source] ReadFrameError),
    #[error("the guest agent sent an unexpected answer")]
    Unexpected,
}

/// Opens a connection to the agent of the VM in `folder`; blocks for at most `limit`.
///
/// The descriptor that comes out has no time limits left and is in blocking mode: it is fit to be handed over.
pub(crate) fn connect(folder: &Path, limit: Duration) -> Result<UnixStream, AgentError> {
    let stream = Hurried::connect(folder, limit)?.stream;
    let unlimited = stream.set_read_timeout(None).and_then(|()| stream.set_write_timeout(None));
    unlimited.map_err(AgentError::Connect)?;
    Ok(stream)
}

/// A connection for one question, over at a set moment however slowly the guest gives and takes. A socket's own limit
/// is one for each read: a guest that sends a byte now and then would keep us, and whoever wants to pause it, for ever.
#[derive(Debug)]
struct Hurried {
    stream: UnixStream,
    end: Instant,
}

impl Hurried {
    fn connect(folder: &Path, limit: Duration) -> Result<Self, AgentError> {
        let end = Instant::now() + limit;
        // By way of the folder's descriptor: the path itself may be longer than a socket address can hold.
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let folder = rustix::fs::open(folder, flags, Mode::empty())
            .map_err(|errno| AgentError::Connect(errno.into()))?;
        let stream = connect_to_socket(&folder, limit).map_err(AgentError::Connect)?;
        let mut agent = Self { stream, end };
        agent.write_all(format!("CONNECT {AGENT_PORT}\n").as_bytes()).map_err(AgentError::Send)?;
        // Byte by byte: what follows the newline belongs to whoever gets the connection.
        let mut answer = Vec::new();
        let mut byte = [0];
        while answer.len() < 32 {
            match agent.read(&mut byte) {
                Ok(1) if byte == *b"\n" => break,
                Ok(1) => answer.push(byte[0]),
                Ok(_) | Err(_) => return Err(AgentError::NotAccepted),
            }
        }
        if answer.starts_with(b"OK ") { Ok(agent) } else { Err(AgentError::NotAccepted) }
    }

    fn left(&self) -> io::Result<Duration> {
        let left = self.end.saturating_duration_since(Instant::now());
        if left.is_zero() { Err(io::ErrorKind::TimedOut.into()) } else { Ok(left) }
    }
}

impl Read for Hurried {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.stream.set_read_timeout(Some(self.left()?))?;
        self.stream.read(buffer)
    }
}

impl Write for Hurried {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.stream.set_write_timeout(Some(self.left()?))?;
        self.stream.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.stream.flush()
    }
}

/// Connects to the socket in the folder and to nothing a link there leads to: whoever took over the VMM could plant
/// one to a socket of the owner's, and have us speak for it. Nor does one that takes no connections keep us.
fn connect_to_socket(folder: &OwnedFd, limit: Duration) -> io::Result<UnixStream> {
    let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let found = rustix::fs::openat(folder, VSOCK_SOCKET, flags, Mode::empty())?;
    if FileType::from_raw_mode(rustix::fs::fstat(&found)?.st_mode) != FileType::Socket {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, format!("{VSOCK_SOCKET} is not a socket")));
    }
    let socket =
        rustix::net::socket_with(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None)?;
    // For as long as it may be sent to, a connection is waited for (socket(7), SO_SNDTIMEO).
    set_socket_timeout(&socket, Timeout::Send, Some(limit))?;
    let address = SocketAddrUnix::new(format!("/proc/self/fd/{}", found.as_raw_fd()))?;
    rustix::net::connect(&socket, &address)?;
    Ok(socket.into())
}

/// Asks for something that is answered with one `Reply`; blocks for at most `limit`.
fn ask<R: serde::de::DeserializeOwned>(
    folder: &Path,
    request: &Request,
    limit: Duration,
) -> Result<R, AgentError> {
    let mut agent = Hurried::connect(folder, limit)?;
    frame::write_json(&mut agent, Kind::Request, request).map_err(AgentError::Send)?;
    match frame::read(&mut agent).map_err(AgentError::Receive)? {
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
    let mut agent = Hurried::connect(folder, limit)?;
    let exec = Exec {
        argv: argv.iter().map(|word| (*word).to_owned()).collect(),
        env: BTreeMap::new(),
        cwd: None,
        user: Some("root".to_owned()),
        terminal: None,
        stdin: false,
    };
    frame::write_json(&mut agent, Kind::Request, &Request::Exec(exec)).map_err(AgentError::Send)?;
    let mut printed = Vec::new();
    for _ in 0..MOST_FRAMES {
        match frame::read(&mut agent).map_err(AgentError::Receive)? {
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
    let mut agent = Hurried::connect(folder, limit)?;
    frame::write_json(&mut agent, Kind::Request, &Request::Dial { port }).map_err(AgentError::Send)?;
    match frame::read(&mut agent).map_err(AgentError::Receive)? {
        Some(Frame { kind: Kind::Started, .. }) => {}
        _ => return Ok(false),
    }
    let question = format!("HEAD / HTTP/1.0\r\nHost: {host}\r\nConnection: close\r\n\r\n");
    agent.write_all(question.as_bytes()).map_err(AgentError::Send)?;
    let mut answer = [0; HTTP.len()];
    Ok(agent.read_exact(&mut answer).is_ok() && answer == HTTP)
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

    /// What a guest that gives a byte now and then gets, one that has been told to be quick.
    const DRIP: Duration = Duration::from_millis(20);
    const LIMIT: Duration = Duration::from_millis(200);
    /// Far more than the limit, and far less than all the bytes take.
    const PATIENCE: Duration = Duration::from_secs(10);

    #[test]
    fn an_answer_that_comes_byte_by_byte_is_not_waited_for_longer_than_said() {
        let mut answer = b"OK 1\n".to_vec();
        frame::write(&mut answer, Kind::Reply, &[b' '; 4096]).unwrap();
        let place = tempfile::tempdir().unwrap();
        let listener = UnixListener::bind(place.path().join(VSOCK_SOCKET)).unwrap();
        let guest = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            // Until it is hung up on.
            for _ in answer.iter().take_while(|byte| stream.write_all(&[**byte]).is_ok()) {
                std::thread::park_timeout(DRIP);
            }
        });
        let begun = Instant::now();
        assert!(matches!(health(place.path(), LIMIT), Err(AgentError::Receive(_))));
        assert!(begun.elapsed() < PATIENCE, "it took {:?}", begun.elapsed());
        guest.join().unwrap();
    }

    #[test]
    fn a_vmm_that_takes_no_connections_is_not_waited_for_longer_than_said() {
        let place = tempfile::tempdir().unwrap();
        let socket = place.path().join(VSOCK_SOCKET);
        let listener = UnixListener::bind(&socket).unwrap();
        // The one that is let wait.
        rustix::net::listen(&listener, 0).unwrap();
        let _waiting = UnixStream::connect(&socket).unwrap();
        let begun = Instant::now();
        assert!(matches!(connect(place.path(), LIMIT), Err(AgentError::Connect(_))));
        assert!(begun.elapsed() < PATIENCE, "it took {:?}", begun.elapsed());
    }
}
