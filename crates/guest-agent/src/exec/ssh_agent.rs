//! The host's ssh agent, as a socket in the guest.
//!
//! ```text
//!  ssh, git ──▶ socket of the user's ──▶ one question at a time, as a frame ──▶ host
//!           ◀──────────────────────────── its answer ◀──────────────────────────┘
//! ```
//!
//! No key is ever here: what passes are questions and answers. The socket lies in a folder that only its user and root can
//! enter, and goes with the host's connection, whoever still holds an end of it.

use super::spawn;
use crate::causes::with_causes;
use banger_protocol::guest_api::frame::{self, Failure, Kind};
use banger_protocol::guest_api::{MOST_SSH_AGENT_CLIENTS, MOST_SSH_AGENT_MESSAGE};
use banger_protocol::image_config::ImageConfig;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::fd::OwnedFd;
use rustix::fs::{Gid, Uid};
use std::fs::{DirBuilder, File, Permissions};
use std::io::{self, Read, Write};
use std::net::Shutdown;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

/// Where the folder of a socket is in a guest.
pub(crate) const PLACES: [&str; 2] = ["/run", "/tmp"];
const STACK: usize = 256 * 1024;

/// Why there is no socket.
#[derive(Debug, thiserror::Error)]
enum OfferError {
    #[error("no user {0:?} in the guest")]
    NoUser(String),
    #[error("no socket for the ssh agent could be made")]
    Socket(#[source] io::Error),
}

/// Offers the agent of the host at the other end of `connection` to a user, until the host has gone. The socket's folder is
/// made in the first of `places` that takes it.
///
/// # Errors
/// When the connection breaks before the host knows where the socket is.
pub fn offer_ssh_agent(
    connection: OwnedFd,
    user: Option<&str>,
    image: &ImageConfig,
    places: &[impl AsRef<Path>],
) -> io::Result<()> {
    let mut connection = File::from(connection);
    match Socket::make(user, image, places) {
        Ok(socket) => {
            frame::write_json(&mut connection, Kind::Item, &socket.path())?;
            serve(&socket, connection)
        }
        Err(error) => {
            let message = with_causes(&error);
            frame::write_json(&mut connection, Kind::Error, &Failure { message })
        }
    }
}

/// Removed on drop.
struct Socket {
    folder: PathBuf,
    listener: UnixListener,
}

impl Socket {
    fn make(
        user: Option<&str>,
        image: &ImageConfig,
        places: &[impl AsRef<Path>],
    ) -> Result<Self, OfferError> {
        let user = spawn::who(user, image).map_err(OfferError::NoUser)?;
        let (uid, gid) = (Uid::from_raw(user.uid), Gid::from_raw(user.gid));
        let made = || -> io::Result<Self> {
            let folder = make_folder(places)?;
            let path = folder.join("agent");
            let listener = UnixListener::bind(&path).inspect_err(|_| drop(std::fs::remove_dir(&folder)))?;
            let socket = Self { folder, listener };
            socket.listener.set_nonblocking(true)?;
            std::fs::set_permissions(&path, Permissions::from_mode(0o600))?;
            // The folder last: until then it is root's.
            rustix::fs::chown(&path, Some(uid), Some(gid))?;
            rustix::fs::chown(&socket.folder, Some(uid), Some(gid))?;
            Ok(socket)
        };
        made().map_err(OfferError::Socket)
    }

    fn path(&self) -> PathBuf {
        self.folder.join("agent")
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        // Its user may have put something beside it, which is then left.
        let _ = std::fs::remove_file(self.path());
        let _ = std::fs::remove_dir(&self.folder);
    }
}

/// A folder that nobody had before.
fn make_folder(places: &[impl AsRef<Path>]) -> io::Result<PathBuf> {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let mut failed = io::ErrorKind::NotFound.into();
    for place in places {
        for _ in 0..MOST_SSH_AGENT_CLIENTS {
            let number = NEXT.fetch_add(1, Ordering::Relaxed);
            let name = format!("banger-ssh-agent.{}.{number}", std::process::id());
            let folder = place.as_ref().join(name);
            match DirBuilder::new().mode(0o700).create(&folder) {
                Ok(()) => return Ok(folder),
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => failed = error,
                Err(error) => {
                    failed = error;
                    break;
                }
            }
        }
    }
    Err(failed)
}

/// Everybody who has connected to the socket, so that nobody outlives it.
#[derive(Default)]
struct Clients(Mutex<Vec<(u32, UnixStream)>>);

impl Clients {
    fn with<T>(&self, act: impl FnOnce(&mut Vec<(u32, UnixStream)>) -> T) -> T {
        act(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

fn serve(socket: &Socket, connection: File) -> io::Result<()> {
    let host = Arc::new(Mutex::new(connection.try_clone()?));
    let clients = Arc::new(Clients::default());
    let mut next = 0;
    loop {
        let mut ready = [
            PollFd::new(&socket.listener, PollFlags::IN),
            // Answers are read by whoever asked; here only the end is looked for.
            PollFd::new(&connection, PollFlags::RDHUP),
        ];
        if poll(&mut ready, None).is_err_and(|error| error != rustix::io::Errno::INTR)
            || !ready[1].revents().is_empty()
        {
            break;
        }
        let Ok((client, _)) = socket.listener.accept() else { continue };
        if clients.with(|clients| clients.len() >= MOST_SSH_AGENT_CLIENTS) {
            continue;
        }
        next += 1;
        begin(next, client, &host, &clients);
    }
    clients.with(|clients| clients.iter().for_each(|(_, client)| drop(client.shutdown(Shutdown::Both))));
    Ok(())
}

/// Without a thread the client is hung up on, which is all that can be said.
fn begin(id: u32, client: UnixStream, host: &Arc<Mutex<File>>, clients: &Arc<Clients>) {
    let Ok(known) = client.try_clone() else { return };
    if client.set_nonblocking(false).is_err() {
        return;
    }
    clients.with(|clients| clients.push((id, known)));
    let (host, all) = (Arc::clone(host), Arc::clone(clients));
    let work = move || {
        let _ = answer(id, client, &host);
        all.with(|clients| clients.retain(|(known, _)| *known != id));
    };
    let started = thread::Builder::new().name("ssh agent".to_owned()).stack_size(STACK).spawn(work);
    if started.is_err() {
        clients.with(|clients| clients.retain(|(known, _)| *known != id));
    }
}

/// Questions of one client until it goes, asks what is none, or the host goes.
fn answer(id: u32, mut client: UnixStream, host: &Mutex<File>) -> io::Result<()> {
    while let Some(question) = read_message(&mut client)? {
        let payload = [&id.to_le_bytes()[..], &question].concat();
        let answer = {
            let mut host = host.lock().unwrap_or_else(PoisonError::into_inner);
            frame::write(&mut *host, Kind::SshAgent, &payload)?;
            frame::read(&mut *host).map_err(io::Error::other)?
        };
        let Some(answer) = answer.filter(|answer| answer.kind == Kind::SshAgent) else { break };
        let Some(answer) = answer.payload.strip_prefix(&id.to_le_bytes()) else { break };
        let length = u32::try_from(answer.len()).unwrap_or_default();
        client.write_all(&[&length.to_be_bytes()[..], answer].concat())?;
    }
    let mut host = host.lock().unwrap_or_else(PoisonError::into_inner);
    frame::write(&mut *host, Kind::SshAgent, &id.to_le_bytes())
}

/// A message of the agent protocol: its length, big endian, and that many bytes; `None` at the end.
fn read_message(client: &mut UnixStream) -> io::Result<Option<Vec<u8>>> {
    let mut length = [0; 4];
    match client.read_exact(&mut length) {
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
        read => read?,
    }
    let length = u32::from_be_bytes(length) as usize;
    if !(1..=MOST_SSH_AGENT_MESSAGE).contains(&length) {
        return Ok(None);
    }
    let mut message = vec![0; length];
    client.read_exact(&mut message)?;
    Ok(Some(message))
}
