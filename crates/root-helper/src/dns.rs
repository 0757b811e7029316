//! The sockets on which guests' questions about names arrive.
//!
//! The daemon answers, and the bridge may lie in namespaces that it is not in; so they are opened here and handed over.
//! Nothing of them is kept: whether they are in use is asked of the kernel.

use banger_protocol::root_api::DNS_PORT;
use banger_protocol::wire::{ErrorKind, RpcError};
use std::io;
use std::net::{Ipv4Addr, TcpListener, UdpSocket};
use std::os::fd::OwnedFd;

#[derive(Debug, thiserror::Error)]
pub(crate) enum ListenError {
    #[error("no socket for DNS was opened: no bridge has the address {address}")]
    NoBridge { address: Ipv4Addr },
    #[error("no socket for DNS was opened at {address} port {DNS_PORT}")]
    Open {
        address: Ipv4Addr,
        #[source]
        source: io::Error,
    },
}

impl ListenError {
    pub(crate) fn answer(&self) -> RpcError {
        match self {
            Self::NoBridge { .. } => RpcError::from_error(ErrorKind::NotFound, self),
            Self::Open { .. } => RpcError::from_error(ErrorKind::OperationFailed, self),
        }
    }
}

/// Opens a socket for UDP and one for TCP at the bridge's address, in this order; `None` when they are in use.
pub(crate) fn listen(address: Ipv4Addr) -> Result<Option<[OwnedFd; 2]>, ListenError> {
    // Without SO_REUSEADDR for UDP, with which a later socket would take packets from an earlier one (socket(7)).
    // With it for TCP, as std does: connections of a daemon that is gone may linger.
    let open = || {
        let udp = UdpSocket::bind((address, DNS_PORT))?;
        let tcp = TcpListener::bind((address, DNS_PORT))?;
        Ok([udp.into(), tcp.into()])
    };
    match open() {
        Ok(sockets) => Ok(Some(sockets)),
        Err(error) => match io::Error::kind(&error) {
            io::ErrorKind::AddrInUse => Ok(None),
            io::ErrorKind::AddrNotAvailable => Err(ListenError::NoBridge { address }),
            _ => Err(ListenError::Open { address, source: error }),
        },
    }
}
