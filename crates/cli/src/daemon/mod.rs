//! The daemon, as this program sees it: a socket that answers, and is made to answer when nobody is there.
//!
//! ```text
//! connect ── answers ──────────────────────────────► version ── same protocol ──► ready
//!    └── nobody there ── start (one at a time) ──────►   └── another one ──► refused, with what to do
//! ```

mod examine;
mod operation;
mod start;
mod stop;
mod sys;

pub(crate) use examine::examine;
pub(crate) use operation::{FollowError, follow};
pub(crate) use stop::stop_other_version;

use crate::failure::Failure;
use crate::places::{self, Places, PlacesError};
use banger_protocol::daemon_api::system::Version;
use banger_protocol::local_paths::LocalPaths;
use banger_protocol::wire::{Connection, ConnectionError, ErrorKind, Method, RpcError};
use banger_protocol::{PROTOCOL_VERSION, VERSION};
use rustix::event::{Timespec, poll};
use rustix::io::Errno;
use rustix::net::sockopt::socket_peercred;
use rustix::process::geteuid;
use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// How long connections that break off before the daemon's first word are taken for its end and not for an error.
const DAEMON_ENDS: Duration = Duration::from_secs(10);
const TRY_AGAIN: Timespec = Timespec { tv_sec: 0, tv_nsec: 5_000_000 };

/// A connection to the daemon on which requests can be made, one at a time.
#[derive(Debug)]
pub(crate) struct Daemon {
    connection: Connection,
}

/// Why there is no daemon to talk to.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ConnectError {
    #[error("there is no directory for banger's files")]
    Places(#[source] PlacesError),
    #[error("the installed banger does not answer: nothing listens on {}", .0.display())]
    Down(PathBuf),
    #[error("the daemon's socket {} cannot be used", path.display())]
    Socket {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("the daemon's socket {} belongs to a process of uid {theirs}, and this is uid {ours}", path.display())]
    Stranger { path: PathBuf, theirs: u32, ours: u32 },
    #[error("the daemon was not started")]
    Start(#[source] start::StartError),
    #[error("the daemon did not report its version")]
    Handshake(#[source] ConnectionError),
    #[error(
        "the running daemon is version {theirs}, which is incompatible with this banger, version {VERSION}"
    )]
    OtherVersion { theirs: String, is_installed: bool },
}

impl From<ConnectError> for Failure {
    fn from(error: ConnectError) -> Self {
        let hint = match &error {
            ConnectError::OtherVersion { is_installed: true, .. } => {
                Some("upgrade both together: `sudo banger system install`; VMs keep running".to_owned())
            }
            ConnectError::OtherVersion { is_installed: false, .. } => {
                Some("`banger daemon stop`, then try again; VMs keep running".to_owned())
            }
            ConnectError::Down(_) => {
                Some(format!("`{}`; `banger system status` shows what is wrong", banger_system::RESTART))
            }
            ConnectError::Places(PlacesError::Install(error)) => Some(error.hint().to_owned()),
            ConnectError::Start(error) => error.hint(),
            ConnectError::Stranger { path, .. } => Some(format!(
                "nothing was sent to it; remove {}, or set XDG_RUNTIME_DIR to a directory that only you can use",
                path.parent().unwrap_or(path).display()
            )),
            ConnectError::Places(_) | ConnectError::Socket { .. } | ConnectError::Handshake(_) => None,
        };
        let failure = Self::of(&error);
        match hint {
            Some(hint) => failure.with_hint(hint),
            None => failure,
        }
    }
}

impl Daemon {
    /// Connects, starting the daemon if it does not run.
    pub(crate) fn connect() -> Result<Self, ConnectError> {
        let start = |paths: &LocalPaths| start::start(paths).map(Some).map_err(ConnectError::Start);
        Ok(Self::connect_or(start)?.expect("who is started is connected to"))
    }

    /// Connects if the daemon runs.
    pub(crate) fn connect_if_running() -> Result<Option<Self>, ConnectError> {
        Self::connect_or(|_| Ok(None))
    }

    /// Connects to the installed daemon, for its owner or for root; `None` when nobody listens.
    pub(crate) fn installed() -> Result<Option<Self>, ConnectError> {
        let stream = connect_to(Path::new(banger_system::SOCKET), true)?;
        stream.map(|stream| Self::greet(stream, true)).transpose()
    }

    /// Connects; where nobody is, to whom `otherwise` leads. A daemon that is just ending is not taken for one.
    fn connect_or(
        otherwise: impl Fn(&LocalPaths) -> Result<Option<UnixStream>, ConnectError>,
    ) -> Result<Option<Self>, ConnectError> {
        let Places { paths, is_installed } = places::find().map_err(ConnectError::Places)?;
        let deadline = Instant::now() + DAEMON_ENDS;
        loop {
            let stream = match connect_to(&paths.socket, is_installed)? {
                Some(stream) => Some(stream),
                None if is_installed => return Err(ConnectError::Down(paths.socket)),
                None => otherwise(&paths)?,
            };
            match stream.map(|stream| Self::greet(stream, is_installed)).transpose() {
                Err(ConnectError::Handshake(error)) if broke_off(&error) && Instant::now() < deadline => {
                    // Nothing to poll but time.
                    let _ = poll(&mut [], Some(&TRY_AGAIN));
                }
                outcome => return outcome,
            }
        }
    }

    /// The first exchange: both ends must speak the same protocol.
    fn greet(stream: UnixStream, is_installed: bool) -> Result<Self, ConnectError> {
        let mut connection = Connection::new(stream);
        let ours = Version { protocol: PROTOCOL_VERSION, version: VERSION.to_owned() };
        match connection.call(&ours) {
            Ok(theirs) if theirs.protocol == PROTOCOL_VERSION => Ok(Self { connection }),
            Ok(theirs) => Err(ConnectError::OtherVersion { theirs: theirs.version, is_installed }),
            // It does not know our protocol, or says who it is in words that we do not know.
            Err(
                ConnectionError::Refused(RpcError { kind: ErrorKind::BadVersion, .. })
                | ConnectionError::Malformed(_)
                | ConnectionError::UnexpectedReply { .. },
            ) => Err(ConnectError::OtherVersion { theirs: "unknown".to_owned(), is_installed }),
            Err(error) => Err(ConnectError::Handshake(error)),
        }
    }

    /// Asks, and waits for the answer.
    pub(crate) fn call<M: Method>(&mut self, params: &M) -> Result<M::Reply, ConnectionError> {
        self.connection.call(params)
    }

    /// Asks, sending descriptors along.
    pub(crate) fn call_sending<M: Method>(
        &mut self,
        params: &M,
        descriptors: &[BorrowedFd<'_>],
    ) -> Result<M::Reply, ConnectionError> {
        self.connection.call_with(params, descriptors, |_| {}).map(|(reply, _)| reply)
    }

    /// Asks for something that comes as a descriptor.
    pub(crate) fn call_receiving<M: Method>(
        &mut self,
        params: &M,
    ) -> Result<(M::Reply, OwnedFd), ConnectionError> {
        let (reply, descriptors) = self.connection.call_with(params, &[], |_| {})?;
        let descriptor = descriptors.into_iter().next().ok_or(ConnectionError::NoDescriptor)?;
        Ok((reply, descriptor))
    }

    /// The socket itself, to notice its end.
    pub(crate) fn stream(&self) -> &UnixStream {
        self.connection.stream()
    }
}

/// What becomes of a connection that a daemon took as its last, or never got to take: a process that ends keeps its
/// socket a little longer than it can answer.
fn broke_off(error: &ConnectionError) -> bool {
    match error {
        ConnectionError::Closed | ConnectionError::Receive(_) | ConnectionError::Send(_) => true,
        ConnectionError::TooLong(_)
        | ConnectionError::Malformed(_)
        | ConnectionError::UnexpectedReply { .. }
        | ConnectionError::NoDescriptor
        | ConnectionError::Refused(_) => false,
    }
}

/// A connection, or `None` when nobody listens there. Somebody else's process is not spoken to: without a runtime
/// folder of the user's own the socket lies below the temporary folder, where anybody could have been first. The installed
/// one is systemd's, who is root.
pub(crate) fn connect_to(socket: &Path, is_installed: bool) -> Result<Option<UnixStream>, ConnectError> {
    match UnixStream::connect(socket) {
        Ok(stream) => {
            let failed =
                |errno: Errno| ConnectError::Socket { path: socket.to_owned(), source: errno.into() };
            let theirs = socket_peercred(&stream).map_err(failed)?.uid.as_raw();
            let ours = geteuid().as_raw();
            if theirs == ours || (is_installed && theirs == 0) {
                Ok(Some(stream))
            } else {
                Err(ConnectError::Stranger { path: socket.to_owned(), theirs, ours })
            }
        }
        Err(e) if matches!(e.kind(), io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused) => Ok(None),
        Err(source) => Err(ConnectError::Socket { path: socket.to_owned(), source }),
    }
}

/// Where this user's banger lives.
pub(crate) fn paths() -> Result<LocalPaths, ConnectError> {
    places::find().map(|places| places.paths).map_err(ConnectError::Places)
}
