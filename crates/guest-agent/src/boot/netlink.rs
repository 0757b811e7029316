//! The guest's address, by rtnetlink.
//!
//! Message layouts: `rtnetlink(7)`, `linux/if_link.h`, `linux/if_addr.h`, `linux/rtnetlink.h`.

use banger_protocol::guest_api::config_drive::GuestNetwork;
use rustix::fd::OwnedFd;
use rustix::io::Errno;
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType};
use std::io;

/// The guest's only interface; its name is settled by `net.ifnames=0` on the kernel command line.
pub(super) const INTERFACE: &str = "eth0";

const RTM_NEWLINK: u16 = 16;
const RTM_NEWADDR: u16 = 20;
const RTM_NEWROUTE: u16 = 24;
const NLMSG_ERROR: u16 = 2;

/// Request, acknowledge.
const CHANGE: u16 = 0x1 | 0x4;

/// And create, or replace what is there.
const SET: u16 = CHANGE | 0x400 | 0x100;

const IFF_UP: u32 = 1;
const AF_INET: u8 = 2;
const IFA_ADDRESS: u16 = 1;
const IFA_LOCAL: u16 = 2;
const RTA_GATEWAY: u16 = 5;
const RTA_OIF: u16 = 4;
const RT_TABLE_MAIN: u8 = 254;
const RTPROT_STATIC: u8 = 4;
const RTN_UNICAST: u8 = 1;

/// Why the guest has no address.
#[derive(Debug, thiserror::Error)]
pub(super) enum AddressError {
    #[error("the kernel's routing socket cannot be opened")]
    Socket(#[source] Errno),
    #[error("no network interface {0}")]
    NoInterface(&'static str, #[source] io::Error),
    #[error("the interface {0} cannot be set up")]
    Up(&'static str, #[source] io::Error),
    #[error("the address cannot be set")]
    Address(#[source] io::Error),
    #[error("the default route cannot be set")]
    Route(#[source] io::Error),
}

/// Sets the loopback up and, for a guest with a network, its interface, address and default route.
pub(super) fn bring_up(network: Option<&GuestNetwork>) -> Result<(), AddressError> {
    let socket = rustix::net::socket_with(
        AddressFamily::NETLINK,
        SocketType::RAW,
        SocketFlags::CLOEXEC,
        // NETLINK_ROUTE is protocol 0, the default one.
        None,
    )
    .map_err(AddressError::Socket)?;
    let up = |name| {
        let index = index(name).map_err(|e| AddressError::NoInterface(name, e))?;
        ask(&socket, &link_up(index)).map_err(|e| AddressError::Up(name, e))?;
        Ok(index)
    };
    up("lo")?;
    let Some(network) = network else { return Ok(()) };
    let index = up(INTERFACE)?;
    ask(&socket, &address(index, network)).map_err(AddressError::Address)?;
    ask(&socket, &default_route(index, network)).map_err(AddressError::Route)
}

fn index(name: &str) -> io::Result<u32> {
    let text = std::fs::read_to_string(format!("/sys/class/net/{name}/ifindex"))?;
    text.trim().parse().map_err(io::Error::other)
}

fn link_up(index: u32) -> Vec<u8> {
    // struct ifinfomsg: family, pad, type, index, flags, which flags change.
    let mut body = vec![0; 4];
    body.extend_from_slice(&index.to_ne_bytes());
    body.extend_from_slice(&IFF_UP.to_ne_bytes());
    body.extend_from_slice(&IFF_UP.to_ne_bytes());
    message(RTM_NEWLINK, CHANGE, body)
}

fn address(index: u32, network: &GuestNetwork) -> Vec<u8> {
    // struct ifaddrmsg: family, prefix, flags, scope, index.
    let mut body = vec![AF_INET, network.prefix, 0, 0];
    body.extend_from_slice(&index.to_ne_bytes());
    attribute(&mut body, IFA_LOCAL, network.address.octets());
    attribute(&mut body, IFA_ADDRESS, network.address.octets());
    message(RTM_NEWADDR, SET, body)
}

fn default_route(index: u32, network: &GuestNetwork) -> Vec<u8> {
    // struct rtmsg: family, destination and source prefix, tos, table, protocol, scope, type, flags.
    let mut body = vec![AF_INET, 0, 0, 0, RT_TABLE_MAIN, RTPROT_STATIC, 0, RTN_UNICAST, 0, 0, 0, 0];
    attribute(&mut body, RTA_GATEWAY, network.gateway.octets());
    attribute(&mut body, RTA_OIF, index.to_ne_bytes());
    message(RTM_NEWROUTE, SET, body)
}

/// `struct rtattr`: every attribute here has four bytes and so needs no padding.
fn attribute(body: &mut Vec<u8>, kind: u16, value: [u8; 4]) {
    body.extend_from_slice(&8_u16.to_ne_bytes());
    body.extend_from_slice(&kind.to_ne_bytes());
    body.extend_from_slice(&value);
}

/// `struct nlmsghdr` and what it heads.
fn message(kind: u16, flags: u16, body: Vec<u8>) -> Vec<u8> {
    let length = u32::try_from(16 + body.len()).expect("a message here is a few dozen bytes");
    let mut bytes = Vec::new();
    bytes.extend_from_slice(&length.to_ne_bytes());
    bytes.extend_from_slice(&kind.to_ne_bytes());
    bytes.extend_from_slice(&flags.to_ne_bytes());
    bytes.extend_from_slice(&[0; 8]);
    bytes.extend(body);
    bytes
}

/// Sends one message and waits for the kernel's verdict.
fn ask(socket: &OwnedFd, message: &[u8]) -> io::Result<()> {
    rustix::net::send(socket, message, SendFlags::empty())?;
    let mut buffer = [0_u8; 4096];
    let (length, _) = rustix::net::recv(socket, &mut buffer, RecvFlags::empty())?;
    verdict(&buffer[..length])
}

fn verdict(answer: &[u8]) -> io::Result<()> {
    let kind = answer.get(4..6).and_then(|bytes| bytes.try_into().ok()).map(u16::from_ne_bytes);
    let code = answer.get(16..20).and_then(|bytes| bytes.try_into().ok()).map(i32::from_ne_bytes);
    match (kind, code) {
        (Some(NLMSG_ERROR), Some(0)) => Ok(()),
        (Some(NLMSG_ERROR), Some(code)) => Err(io::Error::from_raw_os_error(code.saturating_neg())),
        _ => Err(io::Error::new(io::ErrorKind::InvalidData, "the kernel's answer is not an acknowledgement")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_say_how_long_they_are() {
        let network =
            GuestNetwork { address: [172, 16, 0, 2].into(), prefix: 24, gateway: [172, 16, 0, 1].into() };
        for (message, length) in [
            (link_up(2), 32_u32),
            (address(2, &network), 16 + 8 + 16),
            (default_route(2, &network), 16 + 12 + 16),
        ] {
            assert_eq!(message.len(), length as usize);
            assert_eq!(message[..4], length.to_ne_bytes());
        }
    }

    #[test]
    fn the_kernels_refusal_is_its_error_number() {
        let answer = |code: i32| {
            let mut bytes = message(NLMSG_ERROR, 0, code.to_ne_bytes().to_vec());
            bytes.resize(36, 0);
            bytes
        };
        assert!(verdict(&answer(0)).is_ok());
        assert_eq!(verdict(&answer(-libc::EPERM)).unwrap_err().raw_os_error(), Some(libc::EPERM));
        assert!(verdict(&[]).is_err());
    }
}
