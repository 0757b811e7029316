//! What systemd hands to a service, and what it wants to hear.
//!
//! A service of ours has one socket, and gets it as its standard input (systemd.exec(5), `StandardInput=socket`): so
//! nothing is found by a number that somebody else may have used.

use std::io;
use std::os::fd::AsFd as _;
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::net::{SocketAddr, UnixDatagram, UnixListener};

/// Why there is nothing to answer on.
#[derive(Debug, thiserror::Error)]
pub enum NoSocket {
    #[error("standard input is not a socket that listens")]
    NotASocket,
    #[error("standard input was not taken over")]
    Take(#[source] io::Error),
}

/// The service's socket.
///
/// # Errors
/// When this was not started by systemd with one.
pub fn listener() -> Result<UnixListener, NoSocket> {
    let stdin = io::stdin();
    match rustix::net::sockopt::socket_acceptconn(&stdin) {
        Ok(true) => {}
        Ok(false) | Err(_) => return Err(NoSocket::NotASocket),
    }
    stdin.as_fd().try_clone_to_owned().map(UnixListener::from).map_err(NoSocket::Take)
}

/// Tells that the service answers now (sd_notify(3)). Where nobody wants to know, nobody is told.
///
/// # Errors
/// When the one who wants to know was not reached.
pub fn ready() -> io::Result<()> {
    let Some(address) = std::env::var_os("NOTIFY_SOCKET") else { return Ok(()) };
    let bytes = std::os::unix::ffi::OsStrExt::as_bytes(address.as_os_str());
    let address = match bytes.split_first() {
        Some((b'@', name)) => SocketAddr::from_abstract_name(name)?,
        _ => SocketAddr::from_pathname(&address)?,
    };
    UnixDatagram::unbound()?.send_to_addr(b"READY=1", &address).map(drop)
}
