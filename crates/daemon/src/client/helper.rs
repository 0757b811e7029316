//! The helper: requests wait for the kernel, so each has a connection to itself while it lasts. Connections are kept for
//! the next one, and there are only so many: who wants another waits.
//!
//! In local mode the helper is started when it is first needed, and again whenever it is found dead. VMs outlive
//! it, and so do the namespaces it works in, as long as one VM lives there. The installed helper is systemd's to start:
//! one that does not answer is an error.

use super::helper_process::{StartHelperError, start_local};
use crate::paths::StateFolder;
use crate::process;
use banger_protocol::ids::OperationId;
use banger_protocol::root_api::{ProcessIdentity, Settings, Shutdown, Version, VersionReply};
use banger_protocol::wire::{Connection, ConnectionError, ErrorKind, Method, PairError, RpcError};
use banger_protocol::{PROTOCOL_VERSION, VERSION};
use rustix::net::sockopt::socket_peercred;
use rustix::process::geteuid;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Duration;

/// How long a helper may take to say who it is: it does nothing before that.
const GREETING_LIMIT: Duration = Duration::from_secs(5);
/// How long it may take for one request. The slowest waits for the kernel to give back a VM's memory.
const REQUEST_LIMIT: Duration = Duration::from_secs(60);
/// How long one that was killed may take to be gone.
const END_LIMIT: Duration = Duration::from_secs(5);

/// Requests at one time. The helper takes 32 connections; beyond these, it is asked who it is now and then.
const MOST_REQUESTS: usize = 16;
/// Each costs the helper a thread.
const MOST_IDLE: usize = 4;

/// Why the helper did not do what was asked.
#[derive(Debug, thiserror::Error)]
pub(crate) enum HelperError {
    #[error(transparent)]
    Start(#[from] StartHelperError),
    #[error("the helper could not be reached at {socket}")]
    Connect { socket: String, source: io::Error },
    #[error("the helper is not running: nothing listens on {0}")]
    Down(String),
    #[error("the helper has different settings than this daemon: one of them was not restarted")]
    OtherSettings,
    #[error("the installed helper does not answer")]
    Stuck,
    #[error("the helper{} does not answer", .pid.map(|pid| format!(", process {pid},")).unwrap_or_default())]
    Silent { pid: Option<i32> },
    #[error("the helper is of another version than this daemon{}", .theirs.as_ref().map(|it| format!(": {it}, not {VERSION}")).unwrap_or_default())]
    OtherVersion {
        theirs: Option<String>,
        is_installed: bool,
        /// Which process that is, where it can be known.
        process: Option<ProcessIdentity>,
    },
    #[error("the helper refused {method}")]
    Refused { method: &'static str, source: banger_protocol::wire::RpcError },
    #[error("the helper gave no answer to {method}")]
    NoAnswer { method: &'static str, source: ConnectionError },
}

impl HelperError {
    /// What the user can do about it, when the helper knows.
    pub(crate) fn hint(&self) -> Option<String> {
        match self {
            Self::Refused { source, .. }
            | Self::NoAnswer { source: ConnectionError::Refused(source), .. } => source.hint.clone(),
            Self::Start(error) => error.hint(),
            // Never with a number made up: 0 would be everything in the user's terminal.
            Self::Silent { pid } => Some(match pid {
                Some(pid) => format!("end it: `kill -9 {pid}`; VMs keep running"),
                None => "end the process `bangerd-root`; VMs keep running".to_owned(),
            }),
            Self::OtherVersion { is_installed: true, .. } => Some(
                "`sudo banger system restart` has both be what was installed last; VMs keep running"
                    .to_owned(),
            ),
            Self::OtherVersion { is_installed: false, .. } => {
                Some("`banger daemon stop`, then try again; VMs keep running".to_owned())
            }
            Self::Down(_) | Self::OtherSettings | Self::Stuck => Some(banger_system::RESTART.to_owned()),
            Self::Connect { .. } | Self::NoAnswer { .. } => None,
        }
    }
}

/// What was answered, and the descriptors that came with it.
type Answer<M> = Result<(<M as Method>::Reply, Vec<OwnedFd>), HelperError>;

/// Connections past their greeting.
#[derive(Debug, Default)]
struct Pool {
    idle: Mutex<Vec<Connection>>,
    /// Requests under way.
    busy: Mutex<usize>,
    left: Condvar,
}

impl Pool {
    /// Waits until another request may be made; it may until the place is dropped.
    fn enter(&self) -> Place<'_> {
        let busy = self.busy.lock().unwrap_or_else(PoisonError::into_inner);
        let full = |busy: &mut usize| *busy >= MOST_REQUESTS;
        *self.left.wait_while(busy, full).unwrap_or_else(PoisonError::into_inner) += 1;
        Place(self)
    }

    fn idle(&self) -> Option<Connection> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop()
    }

    fn keep(&self, connection: Connection) {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        if idle.len() < MOST_IDLE {
            idle.push(connection);
        }
    }
}

/// The right to one request.
#[derive(Debug)]
struct Place<'a>(&'a Pool);

impl Drop for Place<'_> {
    fn drop(&mut self) {
        *self.0.busy.lock().unwrap_or_else(PoisonError::into_inner) -= 1;
        self.0.left.notify_one();
    }
}

/// Whose it is to start the helper.
#[derive(Clone, Debug)]
pub(crate) enum Keeper {
    /// Ours, with a VM of this folder telling which namespaces there are already.
    Daemon(StateFolder),
    Systemd,
}

/// How to reach the helper, and how to start it.
#[derive(Clone, Debug)]
pub(crate) struct Helper {
    socket: PathBuf,
    keeper: Keeper,
    settings: Settings,
    /// On whose behalf it is asked.
    operation: Option<OperationId>,
    /// Held while looking for the helper and starting it: two requests start one.
    starting: Arc<Mutex<()>>,
    pool: Arc<Pool>,
}

impl Helper {
    pub(crate) fn new(socket: PathBuf, keeper: Keeper, settings: Settings) -> Self {
        Self { socket, keeper, settings, operation: None, starting: Arc::default(), pool: Arc::default() }
    }

    /// The same helper, asked on behalf of an operation, which it logs.
    pub(crate) fn on_behalf_of(&self, operation: Option<OperationId>) -> Self {
        Self { operation, ..self.clone() }
    }

    /// Asks; blocks. Starts the helper when it is not there.
    pub(crate) fn call<M: Method>(
        &self,
        params: &M,
        descriptors: &[OwnedFd],
    ) -> Result<M::Reply, HelperError> {
        self.exchange(params, descriptors).map(|(reply, _)| reply)
    }

    /// As [`Helper::call`], for an answer that carries descriptors.
    pub(crate) fn call_receiving<M: Method>(&self, params: &M) -> Answer<M> {
        self.exchange(params, &[])
    }

    fn exchange<M: Method>(&self, params: &M, descriptors: &[OwnedFd]) -> Answer<M> {
        let _place = self.pool.enter();
        let descriptors: Vec<_> = descriptors.iter().map(AsFd::as_fd).collect();
        if let Some(answer) = self.ask_again(params, &descriptors) {
            return answer;
        }
        let mut connection = self.connect_or_start()?;
        let _ = connection.stream().set_read_timeout(Some(REQUEST_LIMIT));
        let outcome = connection.call_with(params, &descriptors, |_| {});
        self.took::<M>(connection, outcome)
    }

    /// Asks over a connection that was kept, if there is one and the helper at its other end. It is told on whose behalf
    /// it is asked now.
    fn ask_again<M: Method>(&self, params: &M, descriptors: &[BorrowedFd<'_>]) -> Option<Answer<M>> {
        let mut connection = self.pool.idle()?;
        let limits = [GREETING_LIMIT, REQUEST_LIMIT];
        let outcome = match connection.call_pair(&self.greeting(), params, descriptors, limits) {
            Ok(answer) => Ok(answer),
            Err(PairError::First(_)) => return None,
            Err(PairError::Second(error)) => Err(error),
        };
        Some(self.took::<M>(connection, outcome))
    }

    /// Keeps a connection that is as good as before.
    fn took<M: Method>(
        &self,
        connection: Connection,
        outcome: Result<(M::Reply, Vec<OwnedFd>), ConnectionError>,
    ) -> Answer<M> {
        match outcome {
            Ok(answer) => {
                self.pool.keep(connection);
                Ok(answer)
            }
            Err(ConnectionError::Refused(source)) => {
                self.pool.keep(connection);
                Err(HelperError::Refused { method: M::NAME, source })
            }
            Err(source) => Err(HelperError::NoAnswer { method: M::NAME, source }),
        }
    }

    fn greeting(&self) -> Version {
        Version { protocol: PROTOCOL_VERSION, operation: self.operation.clone() }
    }

    /// As [`Helper::call`], but `None` when there is no helper and nothing living that it could hold: then there
    /// is nothing to ask about either.
    pub(crate) fn call_if_anything_lives<M: Method>(
        &self,
        params: &M,
    ) -> Result<Option<M::Reply>, HelperError> {
        let answer = {
            let _place = self.pool.enter();
            self.ask_again(params, &[])
        };
        if let Some(answer) = answer {
            return answer.map(|(reply, _)| Some(reply));
        }
        if let Keeper::Daemon(state) = &self.keeper
            && self.connect()?.is_none()
            && state.living_vm_process().is_none()
        {
            return Ok(None);
        }
        self.call(params, &[]).map(Some)
    }

    /// The bridge that guests are on.
    pub(crate) fn bridge(&self) -> &str {
        &self.settings.bridge
    }

    /// The pid of a helper that is there.
    pub(crate) fn pid(&self) -> Option<u32> {
        self.connect().ok().flatten().map(|(_, version)| version.pid)
    }

    /// Ends the helper if it is there and ours. Running VMs stay. One of another version is not asked, since it would not
    /// understand: it may end at any moment, as every helper may.
    pub(crate) fn shut_down(&self) {
        if let Keeper::Systemd = self.keeper {
            return;
        }
        match self.connect() {
            Ok(None) => {}
            Ok(Some((mut connection, _))) => {
                if let Err(error) = connection.call(&Shutdown {}) {
                    tracing::warn!(%error, "the helper did not acknowledge its end");
                }
            }
            Err(HelperError::OtherVersion { theirs, process: Some(process), .. }) => {
                process::kill(process);
                if process::ends_within(process, END_LIMIT) {
                    tracing::info!(pid = process.pid, ?theirs, "ended a helper of another version");
                } else {
                    tracing::warn!(pid = process.pid, ?theirs, "a helper of another version did not end");
                }
            }
            Err(error) => tracing::warn!(?error, "the helper was not told to exit"),
        }
    }

    fn other_version(&self, theirs: Option<String>, process: Option<ProcessIdentity>) -> HelperError {
        HelperError::OtherVersion { theirs, is_installed: matches!(self.keeper, Keeper::Systemd), process }
    }

    fn connect_or_start(&self) -> Result<Connection, HelperError> {
        let _one_at_a_time = self.starting.lock().unwrap_or_else(PoisonError::into_inner);
        let found = self.connect()?;
        let Keeper::Daemon(state) = &self.keeper else {
            return match found {
                Some((connection, version)) if version.settings == self.settings => Ok(connection),
                Some(_) => Err(HelperError::OtherSettings),
                None => Err(HelperError::Down(self.socket.display().to_string())),
            };
        };
        match found {
            Some((connection, version)) if version.settings == self.settings => return Ok(connection),
            Some((mut connection, _)) => {
                tracing::info!("replacing a helper that was started with other settings");
                let _ = connection.call(&Shutdown {});
            }
            None => {}
        }
        start_local(&self.socket, state, &self.settings)?;
        let connected = self.connect()?;
        connected.map(|(connection, _)| connection).ok_or_else(|| HelperError::Connect {
            socket: self.socket.display().to_string(),
            source: io::ErrorKind::ConnectionRefused.into(),
        })
    }

    /// A connection past its greeting; `None` when nobody listens.
    fn connect(&self) -> Result<Option<(Connection, VersionReply)>, HelperError> {
        let stream = match UnixStream::connect(&self.socket) {
            Ok(stream) => stream,
            Err(e) if matches!(e.kind(), io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused) => {
                return Ok(None);
            }
            Err(source) => {
                return Err(HelperError::Connect { socket: self.socket.display().to_string(), source });
            }
        };
        let peer = socket_peercred(&stream).ok();
        let pid = peer.map(|peer| peer.pid.as_raw_nonzero().get());
        // Looked up before it answers: then the number is still its own.
        let ours = peer.filter(|peer| peer.uid == geteuid());
        let process = ours.and(pid).and_then(|pid| process::identify(pid.unsigned_abs()));
        // Without a limit, one that is stopped would keep whoever asks waiting, and with them the daemon's end.
        let _ = stream.set_read_timeout(Some(GREETING_LIMIT));
        let mut connection = Connection::new(stream);
        match connection.call(&self.greeting()) {
            Ok(version) if version.protocol == PROTOCOL_VERSION => Ok(Some((connection, version))),
            Ok(version) => Err(self.other_version(Some(version.version), process)),
            // It does not know our protocol, or says who it is in words that we do not know.
            Err(ConnectionError::Refused(RpcError { kind: ErrorKind::BadVersion, .. })) => {
                Err(self.other_version(None, process))
            }
            Err(ConnectionError::Malformed(_) | ConnectionError::UnexpectedReply { .. }) => {
                Err(self.other_version(None, process))
            }
            Err(ConnectionError::Receive(error)) if error.kind() == io::ErrorKind::WouldBlock => {
                // systemd made the socket, so its number would be systemd's.
                Err(match self.keeper {
                    Keeper::Daemon(_) => HelperError::Silent { pid },
                    Keeper::Systemd => HelperError::Stuck,
                })
            }
            Err(ConnectionError::Closed | ConnectionError::Receive(_) | ConnectionError::Send(_)) => Ok(None),
            Err(ConnectionError::Refused(error)) => {
                Err(HelperError::Refused { method: Version::NAME, source: error })
            }
            Err(source) => Err(HelperError::NoAnswer { method: Version::NAME, source }),
        }
    }
}
