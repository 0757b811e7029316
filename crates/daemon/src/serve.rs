//! The owner's socket: who may speak, in which form, and what happens when they stop.
//!
//! The peer's uid is read before a byte of theirs is parsed. The first request must be `version`. Requests of one
//! connection are answered one after another; a connection that ends takes its leases with it, wherever its
//! request had got to.

use crate::Services;
use crate::idle::Visit;
use crate::route;
use crate::station::Station;
use crate::vm::lease;
use banger_protocol::PROTOCOL_VERSION;
use banger_protocol::daemon_api::DaemonCall;
use banger_protocol::daemon_api::system::VersionReply;
use banger_protocol::ids::{OperationId, VmId};
use banger_protocol::root_api::ProcessIdentity;
use banger_protocol::wire::{
    ErrorKind, Line, LineBuffer, RpcError, encode_event, encode_response, parse_request, send_some,
};
use serde::Serialize;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::{Arc, Mutex, PoisonError};
use tokio::io::Interest;
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{OwnedMutexGuard, mpsc};
use tokio_util::sync::CancellationToken;

/// A connection as a request sees it.
#[derive(Debug)]
pub(crate) struct Client {
    stream: Arc<UnixStream>,
    /// Cancelled when the other end has closed.
    pub gone: CancellationToken,
    /// The process at the other end.
    pub process: Option<ProcessIdentity>,
    leases: Mutex<Vec<(VmId, OperationId)>>,
    turns: Mutex<Vec<(VmId, OwnedMutexGuard<()>)>>,
}

impl Client {
    /// Ties a VM to this connection.
    pub(crate) fn hold(&self, vm: VmId, starting: OperationId) {
        self.leases.lock().unwrap_or_else(PoisonError::into_inner).push((vm, starting));
    }

    /// Gives this connection the turn to change a VM's workspace.
    pub(crate) fn take_turn(&self, vm: VmId, turn: OwnedMutexGuard<()>) {
        self.turns.lock().unwrap_or_else(PoisonError::into_inner).push((vm, turn));
    }

    /// Whether this connection has that turn.
    pub(crate) fn has_turn(&self, vm: &VmId) -> bool {
        self.turns.lock().unwrap_or_else(PoisonError::into_inner).iter().any(|(of, _)| of == vm)
    }

    pub(crate) fn end_turn(&self, vm: &VmId) {
        self.turns.lock().unwrap_or_else(PoisonError::into_inner).retain(|(of, _)| of != vm);
    }

    /// Sends one event of the request under way.
    pub(crate) async fn event<E: Serialize>(&self, event: &E) -> io::Result<()> {
        send_all(&self.stream, &encode_event(event), &[]).await
    }

    /// Answers a request, a descriptor with it.
    pub(crate) async fn reply<R: Serialize>(
        &self,
        id: u64,
        outcome: &Result<R, RpcError>,
        descriptors: &[BorrowedFd<'_>],
    ) -> io::Result<()> {
        send_all(&self.stream, &encode_response(id, outcome), descriptors).await
    }
}

/// Accepts until told to stop.
pub(crate) async fn serve(listener: UnixListener, services: Arc<Services>) {
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = services.stopping.cancelled() => return,
        };
        match accepted {
            Ok((stream, _)) => {
                // Who comes when the daemon has begun to end finds the connection closed, and tries again.
                if let Some(visit) = services.clients.enter() {
                    tokio::spawn(connection(stream, services.clone(), visit));
                }
            }
            Err(error) => {
                tracing::error!(%error, "a connection could not be accepted");
                tokio::time::sleep(std::time::Duration::from_millis(50)).await;
            }
        }
    }
}

async fn connection(stream: UnixStream, services: Arc<Services>, _visit: Visit) {
    let peer = match stream.peer_cred() {
        Ok(peer) if may_speak(&peer, &services) => peer,
        Ok(peer) => {
            tracing::warn!(uid = peer.uid(), pid = peer.pid(), "a connection from a stranger was closed");
            let message = "this daemon serves its owner only";
            let answer = encode_response::<()>(0, &Err(RpcError::new(ErrorKind::Unauthorized, message)));
            let _ = send_all(&stream, &answer, &[]).await;
            return;
        }
        Err(error) => {
            tracing::error!(%error, "a peer's identity could not be read");
            return;
        }
    };
    let stream = Arc::new(stream);
    let client = Client {
        stream: stream.clone(),
        gone: CancellationToken::new(),
        process: peer.pid().and_then(|pid| crate::process::identify(u32::try_from(pid).ok()?)),
        leases: Mutex::default(),
        turns: Mutex::default(),
    };
    let (lines, mut received) = mpsc::channel(1);
    let reader = tokio::spawn(read_lines(stream, lines, client.gone.clone()));
    let mut greeted = false;
    while let Some(line) = tokio::select! {
        line = received.recv() => line,
        // Nothing new begins, and the connection stays until the very end: by it the caller knows when that is.
        () = services.stopping.cancelled() => std::future::pending().await,
    } {
        if !answer(line, &client, &services, &mut greeted).await {
            break;
        }
    }
    reader.abort();
    client.gone.cancel();
    let leases = client.leases.into_inner().unwrap_or_else(PoisonError::into_inner);
    for (vm, starting) in leases {
        lease::end(&services, vm, Some(&starting)).await;
    }
}

/// The owner may; where VMs run as users of their own, that is all there is to tell. Root, who could be the owner
/// whenever it liked, uninstalls.
fn may_speak(peer: &tokio::net::unix::UCred, services: &Services) -> bool {
    let is_owner = peer.uid() == services.owner_uid;
    match services.station {
        Station::Local => is_owner && shares_our_user_namespace(peer),
        Station::System(_) => is_owner || peer.uid() == 0,
    }
}

/// Whether the peer is the owner's own process and not one of the VMMs, which run as the owner too, but in a user
/// namespace of their own: a guest that took over its VMM must not command the daemon.
fn shares_our_user_namespace(peer: &tokio::net::unix::UCred) -> bool {
    let pid = peer.pid().and_then(|pid| u32::try_from(pid).ok());
    pid.and_then(crate::process::shares_our_user_namespace) == Some(true)
}

/// Cuts the stream into lines and notices its end even while a request is being answered.
async fn read_lines(
    stream: Arc<UnixStream>,
    lines: mpsc::Sender<Result<Line, RpcError>>,
    gone: CancellationToken,
) {
    let mut buffer = LineBuffer::default();
    loop {
        match buffer.next_line() {
            Ok(Some(line)) => {
                if lines.send(Ok(line)).await.is_err() {
                    break;
                }
                continue;
            }
            Ok(None) => {}
            Err(error) => {
                let _ = lines.send(Err(RpcError::from_error(ErrorKind::BadRequest, &error))).await;
                break;
            }
        }
        match stream.async_io(Interest::READABLE, || buffer.receive(&stream)).await {
            Ok(0) | Err(_) => break,
            Ok(_) => {}
        }
    }
    gone.cancel();
}

/// Answers one line; false when the connection shall end.
async fn answer(
    line: Result<Line, RpcError>,
    client: &Client,
    services: &Arc<Services>,
    greeted: &mut bool,
) -> bool {
    let line = match line {
        Ok(line) => line,
        Err(error) => {
            let _ = client.reply::<()>(0, &Err(error), &[]).await;
            return false;
        }
    };
    let request = match parse_request(&line.bytes) {
        Ok(request) => request,
        Err(error) => {
            let _ = client.reply::<()>(0, &Err(error.to_rpc_error()), &[]).await;
            return false;
        }
    };
    let id = request.id;
    let call = match DaemonCall::parse(&request.method, request.params.get()) {
        Ok(call) => call,
        Err(error) => return client.reply::<()>(id, &Err(error), &[]).await.is_ok(),
    };
    if let DaemonCall::Version(version) = &call {
        if version.protocol != PROTOCOL_VERSION {
            let refusal = bad_version(version.protocol, &services.station);
            let _ = client.reply::<()>(id, &Err(refusal), &[]).await;
            return false;
        }
        *greeted = true;
        let reply = VersionReply { protocol: PROTOCOL_VERSION, version: banger_protocol::VERSION.to_owned() };
        return client.reply(id, &Ok(reply), &[]).await.is_ok();
    }
    if !*greeted {
        let error = RpcError::new(ErrorKind::BadVersion, "the first request must be `version`");
        let _ = client.reply::<()>(id, &Err(error), &[]).await;
        return false;
    }
    tracing::debug!(method = call.method(), "request");
    let descriptors: Vec<OwnedFd> = line.descriptors;
    route::route(call, id, descriptors, client, services).await.is_ok()
}

fn bad_version(theirs: u32, station: &Station) -> RpcError {
    let message = format!("this daemon speaks protocol {PROTOCOL_VERSION}, the client speaks {theirs}");
    RpcError::new(ErrorKind::BadVersion, message).with_hint(match station {
        Station::Local => {
            "stop the daemon with `banger daemon stop`; the next command starts the matching one, and VMs keep running"
        }
        Station::System(_) => "upgrade both together: `sudo banger system install`; VMs keep running",
    })
}

async fn send_all(stream: &UnixStream, bytes: &[u8], descriptors: &[BorrowedFd<'_>]) -> io::Result<()> {
    let mut sent = 0;
    while sent < bytes.len() {
        let with = if sent == 0 { descriptors } else { &[] };
        sent +=
            stream.async_io(Interest::WRITABLE, || send_some(stream.as_fd(), &bytes[sent..], with)).await?;
    }
    Ok(())
}
