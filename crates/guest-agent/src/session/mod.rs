//! Sessions: commands with a name, which outlive the connection that started them.
//!
//! ```text
//!                     ┌────────── session ──────────┐
//!   command ──output──► keeper ──► ring ──► clients ──► hosts
//!      ▲              │                        │    │
//!      └─────input─────────────────────────────┘    │
//!                     └─────────────────────────────┘
//!
//!   running ──(command ended, everything it wrote was read)──► ended ──(remove, or its name is wanted)──► gone
//! ```
//!
//! The [`keeper`] is a thread of each running session. It takes what the command writes into the [`ring`], whoever
//! reads or does not. A [`client`] is a connection: it reads the ring at its own pace and hands input on. So no client
//! can hold up the command, and none that goes away harms it.
//!
//! Nothing of a session outlives the guest: the agent knows them, and their output lies in files without a name. Bounded
//! are how many there are, how many clients each has, how long a command is, and how much output is kept.

mod cgroup;
mod client;
mod generated_name;
mod keeper;
mod live;
mod ring;

use crate::causes::with_causes;
use crate::exec::spawn::{self, Besides, Descriptors, Running};
use crate::image;
use banger_protocol::guest_api::Exec;
use banger_protocol::guest_api::frame::{self, Kind};
use banger_protocol::guest_api::session::{KEPT, MOST, MOST_COMMAND, Refusal, Request};
use banger_protocol::names::SessionName;
use cgroup::Cgroup;
use client::Purpose;
use generated_name::generated_name;
use keeper::Outputs;
use live::{About, Session};
use ring::Ring;
use rustix::fd::OwnedFd;
use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

const STACK: usize = 64 * 1024;
const KILL: u8 = 9;

/// Every session of this guest.
#[derive(Debug, Default)]
pub struct Sessions {
    /// Where output is kept; in memory where none of them takes it.
    folders: Vec<PathBuf>,
    /// The control group below which each session has its own.
    cgroups: Option<PathBuf>,
    table: Mutex<BTreeMap<SessionName, Arc<Session>>>,
}

impl Sessions {
    /// None yet. Output will be kept in the first of `folders` that takes it.
    #[must_use]
    pub fn new(folders: Vec<PathBuf>, cgroups: Option<PathBuf>) -> Self {
        Self { folders, cgroups, table: Mutex::default() }
    }

    /// Answers one request of the host at the other end of `connection`.
    ///
    /// # Errors
    /// When the connection breaks, which ends no session.
    pub fn serve(&self, connection: OwnedFd, request: &Request) -> io::Result<()> {
        match request {
            Request::Start { name, command } => {
                answer(connection, self.start(name.as_ref(), command).map(|session| session.view()))
            }
            Request::List => self.list(connection),
            Request::Show { name } => answer(connection, self.find(name).map(|session| session.view())),
            Request::Attach { name, size } => self.join(connection, name, Purpose::Attach(*size)),
            Request::Logs { name, follow } => self.join(connection, name, Purpose::Logs { follow: *follow }),
            Request::Send { name, end } => self.join(connection, name, Purpose::Send { end: *end }),
            Request::Signal { name, signal } => {
                answer(connection, self.find(name).and_then(|session| session.signal(*signal)))
            }
            Request::Stop { name, grace_ms } => {
                let grace = Duration::from_millis((*grace_ms).into());
                let stopped =
                    self.find(name).and_then(|session| session.stop(grace).map(|()| session.view()));
                answer(connection, stopped)
            }
            Request::Remove { name } => answer(connection, self.remove(name)),
        }
    }

    fn join(&self, connection: OwnedFd, name: &SessionName, purpose: Purpose) -> io::Result<()> {
        match self.find(name) {
            Ok(session) => client::serve(connection, &session, purpose),
            Err(refusal) => client::refuse(connection, &refusal),
        }
    }

    fn table(&self) -> MutexGuard<'_, BTreeMap<SessionName, Arc<Session>>> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn find(&self, name: &SessionName) -> Result<Arc<Session>, Refusal> {
        find(&self.table(), name)
    }

    fn start(&self, name: Option<&SessionName>, command: &Exec) -> Result<Arc<Session>, Refusal> {
        let bytes = serde_json::to_vec(command).map_or(usize::MAX, |json| json.len());
        if bytes > MOST_COMMAND {
            return Err(Refusal::TooLong { bytes: bytes as u64 });
        }
        let mut table = self.table();
        let name = match name {
            Some(name) => name.clone(),
            None => generated_name(&command.argv, |name| table.contains_key(name)),
        };
        match table.get(&name) {
            Some(existing) if existing.exit().is_none() => return Err(Refusal::Runs { name }),
            None if table.len() >= MOST => return Err(Refusal::TooMany),
            Some(_) | None => {}
        }
        let session = self.begin(name.clone(), command)?;
        table.insert(name, Arc::clone(&session));
        Ok(session)
    }

    fn begin(&self, name: SessionName, command: &Exec) -> Result<Arc<Session>, Refusal> {
        let not_kept = |error: io::Error| Refusal::NotStarted {
            code: 126,
            reason: format!("its output cannot be kept: {error}"),
        };
        let ring = Ring::make(&self.folders, KEPT).map_err(not_kept)?;
        let parent = self.cgroups.as_deref();
        let (cgroup, members) = parent.and_then(|parent| Cgroup::make(parent, name.as_str())).unzip();
        let besides = Besides { cgroup: members, ..Besides::default() };
        let Running { child, io } = spawn::start(command, &image::config(), besides)
            .map_err(|error| Refusal::NotStarted { code: error.shell_code(), reason: with_causes(&error) })?;
        let group = child.group;
        let (input, outputs) = match io {
            Descriptors::Pipes { stdin, stdout, stderr } => {
                (stdin, Outputs { stdout: Some(stdout), stderr: Some(stderr) })
            }
            Descriptors::Terminal(terminal) => {
                let input = terminal.try_clone().map_err(not_kept)?;
                (Some(input), Outputs { stdout: Some(terminal), stderr: None })
            }
        };
        let about = About {
            name,
            argv: command.argv.clone(),
            user: command.user.clone().unwrap_or_else(|| "root".to_owned()),
            terminal: command.terminal.is_some(),
            started: Instant::now(),
        };
        let session = Arc::new(Session::new(about, group, cgroup, ring, input));
        let kept = Arc::clone(&session);
        thread::Builder::new()
            .name("session".to_owned())
            .stack_size(STACK)
            .spawn(move || keeper::keep(&kept, &child, outputs))
            .map_err(|error| {
                group.signal(KILL);
                not_kept(error)
            })?;
        Ok(session)
    }

    fn list(&self, connection: OwnedFd) -> io::Result<()> {
        let sessions: Vec<Arc<Session>> = self.table().values().cloned().collect();
        let mut connection = File::from(connection);
        for session in sessions {
            frame::write_json(&mut connection, Kind::Item, &session.view())?;
        }
        frame::write_json(&mut connection, Kind::Reply, &())
    }

    fn remove(&self, name: &SessionName) -> Result<(), Refusal> {
        let mut table = self.table();
        if find(&table, name)?.exit().is_none() {
            return Err(Refusal::Runs { name: name.clone() });
        }
        table.remove(name);
        Ok(())
    }
}

fn find(table: &BTreeMap<SessionName, Arc<Session>>, name: &SessionName) -> Result<Arc<Session>, Refusal> {
    table.get(name).cloned().ok_or_else(|| Refusal::NoSuchSession {
        name: name.clone(),
        existing: table.keys().cloned().collect(),
    })
}

fn answer<T: serde::Serialize>(connection: OwnedFd, outcome: Result<T, Refusal>) -> io::Result<()> {
    let mut connection = File::from(connection);
    match outcome {
        Ok(value) => frame::write_json(&mut connection, Kind::Reply, &value),
        Err(refusal) => frame::write_json(&mut connection, Kind::Refused, &refusal),
    }
}
