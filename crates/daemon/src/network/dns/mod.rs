//! Names for guests: each is known by its own, and finds the world if it may, by asking the bridge's address.
//!
//! ```text
//!  guest ── port 53 of the bridge ──▶ udp, tcp ──▶ answer::react(packet, zone) ──▶ the answer
//!                                                        └── forward ──▶ the host's resolvers, for guests with NAT
//! ```
//!
//! The zone holds what runs, and nothing but this process's memory holds the zone: it is made anew by starting and
//! adopting VMs, and what is released leaves it. The sockets are the helper's to open, for the bridge may lie in
//! namespaces of its own. They are asked for whenever a VM starts and cost nothing where they are open already; so a
//! helper that had to make new namespaces is noticed, and the sockets in the old ones are left.
//!
//! Everything that arrives here was written by a guest: see [`answer`] for what is looked at, and [`shares`] for how
//! much anybody may hold.

mod answer;
mod forward;
mod resolv_conf;
mod shares;
mod tcp;
mod udp;
mod zone;

pub(crate) use zone::Guest;

use super::Range;
use crate::client::helper::{Helper, HelperError};
use answer::{Reaction, react};
use banger_protocol::ids::VmId;
use banger_protocol::root_api::DnsListen;
use forward::Forwarder;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, UdpSocket};
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::{Duration, Instant};
use tokio::task::JoinSet;
use zone::Zone;

/// Where the host says who its resolvers are.
const RESOLV_CONF: &str = "/etc/resolv.conf";
/// How long the sockets of a daemon that was killed may outlast it, and those that were just given up.
const FORMER_ENDS: Duration = Duration::from_secs(2);
const POLL: Duration = Duration::from_millis(5);

/// Why guests' questions are not answered.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ServeError {
    #[error(transparent)]
    Helper(#[from] HelperError),
    #[error("the helper's answer came without the sockets for DNS")]
    NoSockets,
    #[error("the DNS port on the bridge is in use")]
    Taken,
    #[error("the sockets for DNS cannot be used")]
    Socket(#[source] io::Error),
}

/// The names of guests, and who answers questions about them.
#[derive(Debug)]
pub(crate) struct Dns {
    names: Names,
    /// Ends with what it holds.
    serving: Mutex<Option<JoinSet<()>>>,
}

/// What answering takes.
#[derive(Clone, Debug)]
struct Names {
    zone: Arc<RwLock<Zone>>,
    forwarder: Arc<Forwarder>,
}

impl Names {
    /// What to do about a packet of this guest.
    fn react(&self, packet: &[u8], guest: Ipv4Addr) -> Reaction {
        react(packet, guest, &self.zone.read().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Dns {
    pub(crate) fn new(range: Range) -> Self {
        Self::asking(range, PathBuf::from(RESOLV_CONF))
    }

    fn asking(range: Range, resolv_conf: PathBuf) -> Self {
        let zone = Arc::new(RwLock::new(Zone::new(range)));
        let forwarder = Arc::new(Forwarder::new(resolv_conf));
        Self { names: Names { zone, forwarder }, serving: Mutex::default() }
    }

    /// From now on the guest is known by its name.
    pub(crate) fn publish(&self, guest: Guest) {
        self.names.zone.write().unwrap_or_else(PoisonError::into_inner).insert(guest);
    }

    /// From now on nobody has this guest's name; again is the same as once.
    pub(crate) fn withdraw(&self, vm: &VmId) {
        self.names.zone.write().unwrap_or_else(PoisonError::into_inner).remove(vm);
    }

    /// Whether somebody answers.
    pub(crate) fn is_served(&self) -> bool {
        self.serving.lock().unwrap_or_else(PoisonError::into_inner).is_some()
    }

    /// Makes sure that questions are answered; blocks, on a thread of the runtime. The bridge is there.
    pub(crate) fn serve(&self, helper: &Helper) -> Result<(), ServeError> {
        // Held meanwhile: of two who ask at once, one gets the sockets and the other has to find them in use.
        let mut serving = self.serving.lock().unwrap_or_else(PoisonError::into_inner);
        if serving.as_mut().is_some_and(|tasks| tasks.try_join_next().is_some()) {
            tracing::error!("who answered guests' questions about names broke off");
            *serving = None;
        }
        let deadline = Instant::now() + FORMER_ENDS;
        loop {
            let (listening, descriptors) = helper.call_receiving(&DnsListen {})?;
            match (listening.changed, <[OwnedFd; 2]>::try_from(descriptors)) {
                (true, Ok([udp, tcp])) => {
                    let tasks = answer_on(udp.into(), tcp.into(), &self.names, tcp::PATIENCE);
                    *serving = Some(tasks.map_err(ServeError::Socket)?);
                    tracing::info!("answering guests' questions about names");
                    return Ok(());
                }
                (true, Err(_)) => return Err(ServeError::NoSockets),
                (false, _) if serving.is_some() => return Ok(()),
                (false, _) if Instant::now() > deadline => return Err(ServeError::Taken),
                #[expect(clippy::disallowed_methods, reason = "polls for the port, with a deadline")]
                (false, _) => std::thread::sleep(POLL),
            }
        }
    }
}

/// Answers what arrives on these sockets until the tasks are dropped.
fn answer_on(udp: UdpSocket, tcp: TcpListener, names: &Names, patience: Duration) -> io::Result<JoinSet<()>> {
    udp.set_nonblocking(true)?;
    tcp.set_nonblocking(true)?;
    let udp = tokio::net::UdpSocket::from_std(udp)?;
    let tcp = tokio::net::TcpListener::from_std(tcp)?;
    let (for_udp, for_tcp) = (names.clone(), names.clone());
    let mut tasks = JoinSet::new();
    tasks.spawn(async move { match udp::serve(udp, for_udp).await {} });
    tasks.spawn(async move { match tcp::serve(tcp, for_tcp, patience).await {} });
    Ok(tasks)
}

/// Guests have no other addresses.
fn ipv4(address: SocketAddr) -> Option<Ipv4Addr> {
    match address.ip() {
        IpAddr::V4(address) => Some(address),
        IpAddr::V6(_) => None,
    }
}

#[cfg(test)]
mod tests;
