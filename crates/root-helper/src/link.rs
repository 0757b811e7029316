//! Network links of the helper's own namespace, over netlink.

use banger_protocol::root_api::MacAddress;
use netlink_packet_core::{
    NLM_F_ACK, NLM_F_CREATE, NLM_F_DUMP, NLM_F_EXCL, NLM_F_REQUEST, NetlinkHeader, NetlinkMessage,
    NetlinkPayload,
};
use netlink_packet_route::address::{AddressAttribute, AddressMessage};
use netlink_packet_route::link::{
    InfoBridgePort, InfoKind, InfoPortData, InfoPortKind, LinkAttribute, LinkFlags, LinkInfo, LinkLayerType,
    LinkMessage,
};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};
use netlink_sys::{Socket, SocketAddr, protocols::NETLINK_ROUTE};
use std::io;
use std::net::{IpAddr, Ipv4Addr};

/// The kernel answers in pieces of at most 32 KiB (`netlink_dump`).
const LONGEST_DATAGRAM: usize = 64 << 10;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Bridge,
    Dummy,
    Tap,
    Other,
}

/// A link as it was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Link {
    pub(crate) index: u32,
    pub(crate) name: String,
    pub(crate) kind: Kind,
    pub(crate) up: bool,
    /// The bridge it is a port of.
    pub(crate) bridge: Option<u32>,
    /// Whether it is a port that reaches no other isolated port.
    pub(crate) isolated: bool,
    pub(crate) mac: Option<MacAddress>,
    /// What somebody has written on it.
    pub(crate) alias: Option<String>,
}

/// One conversation with the kernel about links.
pub(crate) struct Netlink {
    socket: Socket,
    sequence: u32,
}

impl Netlink {
    pub(crate) fn open() -> io::Result<Self> {
        let mut socket = Socket::new(NETLINK_ROUTE)?;
        socket.bind_auto()?;
        socket.connect(&SocketAddr::new(0, 0))?;
        Ok(Self { socket, sequence: 0 })
    }

    pub(crate) fn links(&mut self) -> io::Result<Vec<Link>> {
        let request = RouteNetlinkMessage::GetLink(LinkMessage::default());
        Ok(self.ask(request, NLM_F_DUMP)?.iter().filter_map(read_link).collect())
    }

    pub(crate) fn link(&mut self, name: &str) -> io::Result<Option<Link>> {
        let mut message = LinkMessage::default();
        message.attributes.push(LinkAttribute::IfName(name.to_owned()));
        match self.ask(RouteNetlinkMessage::GetLink(message), NLM_F_ACK) {
            Ok(answers) => Ok(answers.iter().find_map(read_link)),
            Err(error) if error.raw_os_error() == Some(libc::ENODEV) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Makes a link and says what was made.
    pub(crate) fn add(&mut self, name: &str, kind: InfoKind) -> io::Result<Link> {
        let mut message = LinkMessage::default();
        message.attributes.push(LinkAttribute::IfName(name.to_owned()));
        message.attributes.push(LinkAttribute::LinkInfo(vec![LinkInfo::Kind(kind)]));
        self.ask(RouteNetlinkMessage::NewLink(message), NLM_F_ACK | NLM_F_CREATE | NLM_F_EXCL)?;
        self.link(name)?.ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    pub(crate) fn delete(&mut self, link: &Link) -> io::Result<()> {
        self.ask(RouteNetlinkMessage::DelLink(about(link.index)), NLM_F_ACK).map(drop)
    }

    pub(crate) fn bring_up(&mut self, link: &Link) -> io::Result<bool> {
        if link.up {
            return Ok(false);
        }
        let mut message = about(link.index);
        set_up(&mut message);
        self.ask(RouteNetlinkMessage::SetLink(message), NLM_F_ACK)?;
        Ok(true)
    }

    /// Gives a link a MAC of its own, unless it has it.
    pub(crate) fn set_mac(&mut self, link: &Link, mac: MacAddress) -> io::Result<bool> {
        if link.mac == Some(mac) {
            return Ok(false);
        }
        let mut message = about(link.index);
        message.attributes.push(LinkAttribute::Address(mac.0.to_vec()));
        self.ask(RouteNetlinkMessage::SetLink(message), NLM_F_ACK)?;
        Ok(true)
    }

    /// Writes on a link, unless it says so already.
    pub(crate) fn set_alias(&mut self, link: &Link, alias: &str) -> io::Result<bool> {
        if link.alias.as_deref() == Some(alias) {
            return Ok(false);
        }
        let mut message = about(link.index);
        message.attributes.push(LinkAttribute::IfAlias(alias.to_owned()));
        self.ask(RouteNetlinkMessage::SetLink(message), NLM_F_ACK)?;
        Ok(true)
    }

    /// Makes a link an isolated port of a bridge, and brings it up last; says whether anything was missing.
    ///
    /// Two messages, because the kernel applies what is particular to a port before it changes the bridge
    /// (`rtnl_changelink`).
    pub(crate) fn make_port(&mut self, link: &Link, bridge: &Link) -> io::Result<bool> {
        let enslaved = link.bridge == Some(bridge.index);
        if enslaved && link.isolated && link.up {
            return Ok(false);
        }
        if !enslaved {
            let mut message = about(link.index);
            message.attributes.push(LinkAttribute::Controller(bridge.index));
            self.ask(RouteNetlinkMessage::SetLink(message), NLM_F_ACK)?;
        }
        let mut message = about(link.index);
        message.attributes.push(LinkAttribute::LinkInfo(vec![
            LinkInfo::PortKind(InfoPortKind::Bridge),
            LinkInfo::PortData(InfoPortData::BridgePort(vec![InfoBridgePort::Isolated(true)])),
        ]));
        set_up(&mut message);
        self.ask(RouteNetlinkMessage::NewLink(message), NLM_F_ACK)?;
        Ok(true)
    }

    /// Gives a link an IPv4 address, unless it has it.
    pub(crate) fn add_address(&mut self, link: &Link, address: Ipv4Addr, prefix: u8) -> io::Result<bool> {
        let mut message = AddressMessage::default();
        message.header.family = AddressFamily::Inet;
        message.header.prefix_len = prefix;
        message.header.index = link.index;
        message.attributes.push(AddressAttribute::Local(IpAddr::V4(address)));
        message.attributes.push(AddressAttribute::Address(IpAddr::V4(address)));
        let flags = NLM_F_ACK | NLM_F_CREATE | NLM_F_EXCL;
        match self.ask(RouteNetlinkMessage::NewAddress(message), flags) {
            Ok(_) => Ok(true),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Sends one request and collects what comes until the kernel says that this was all.
    fn ask(&mut self, request: RouteNetlinkMessage, flags: u16) -> io::Result<Vec<RouteNetlinkMessage>> {
        self.sequence += 1;
        let mut header = NetlinkHeader::default();
        header.flags = NLM_F_REQUEST | flags;
        header.sequence_number = self.sequence;
        let mut message = NetlinkMessage::new(header, NetlinkPayload::from(request));
        message.finalize();
        let mut bytes = vec![0; message.buffer_len()];
        message.serialize(&mut bytes);
        self.socket.send(&bytes, 0)?;

        let mut answers = Vec::new();
        loop {
            let mut datagram = Vec::with_capacity(LONGEST_DATAGRAM);
            self.socket.recv_from(&mut datagram, 0)?;
            let mut rest = &datagram[..];
            while !rest.is_empty() {
                let message = NetlinkMessage::<RouteNetlinkMessage>::deserialize(rest)
                    .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
                // Each message starts at a multiple of four (NLMSG_ALIGN).
                let length = (message.header.length as usize).next_multiple_of(4);
                rest = rest.get(length.max(1)..).unwrap_or_default();
                match message.payload {
                    _ if message.header.sequence_number != self.sequence => {}
                    NetlinkPayload::InnerMessage(answer) => answers.push(answer),
                    NetlinkPayload::Error(error) if error.code.is_some() => return Err(error.to_io()),
                    NetlinkPayload::Error(_) | NetlinkPayload::Done(_) => return Ok(answers),
                    _ => {}
                }
            }
        }
    }
}

/// Brings up `lo`, which a new network namespace has down.
pub(crate) fn bring_loopback_up() -> io::Result<()> {
    let mut netlink = Netlink::open()?;
    let loopback = netlink.link("lo")?.ok_or(io::ErrorKind::NotFound)?;
    netlink.bring_up(&loopback).map(drop)
}

/// Turns IPv6 off on a link, before it comes up; says whether it was on.
///
/// With it on, one router advertisement from a guest gives the host's side of the bridge an address and a
/// default route.
pub(crate) fn disable_ipv6(name: &str) -> io::Result<bool> {
    let switch = format!("/proc/sys/net/ipv6/conf/{name}/disable_ipv6");
    match std::fs::read(&switch) {
        Ok(value) if value.starts_with(b"1") => Ok(false),
        Ok(_) => std::fs::write(&switch, "1").map(|()| true),
        // A kernel without IPv6 has nothing to turn off.
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

fn about(index: u32) -> LinkMessage {
    let mut message = LinkMessage::default();
    message.header.index = index;
    message
}

fn set_up(message: &mut LinkMessage) {
    message.header.flags = LinkFlags::Up;
    message.header.change_mask = LinkFlags::Up;
}

fn read_link(answer: &RouteNetlinkMessage) -> Option<Link> {
    let RouteNetlinkMessage::NewLink(message) = answer else { return None };
    let header = &message.header;
    let up = header.flags.contains(LinkFlags::Up);
    let mut link = Link {
        index: header.index,
        name: String::new(),
        kind: Kind::Other,
        up,
        bridge: None,
        isolated: false,
        mac: None,
        alias: None,
    };
    for attribute in &message.attributes {
        match attribute {
            LinkAttribute::IfName(name) => link.name.clone_from(name),
            LinkAttribute::Address(bytes) => {
                link.mac = bytes.first_chunk().map(|bytes| MacAddress(*bytes));
            }
            LinkAttribute::IfAlias(alias) => link.alias = Some(alias.clone()),
            LinkAttribute::Controller(index) => link.bridge = Some(*index),
            LinkAttribute::LinkInfo(details) => {
                for detail in details {
                    match detail {
                        LinkInfo::Kind(InfoKind::Bridge) => link.kind = Kind::Bridge,
                        LinkInfo::Kind(InfoKind::Dummy) => link.kind = Kind::Dummy,
                        // A tun device carries bare IP packets and so has no Ethernet layer.
                        LinkInfo::Kind(InfoKind::Tun) if header.link_layer_type == LinkLayerType::Ether => {
                            link.kind = Kind::Tap;
                        }
                        LinkInfo::PortData(InfoPortData::BridgePort(port)) => {
                            link.isolated = port.contains(&InfoBridgePort::Isolated(true));
                        }
                        _ => {}
                    }
                }
            }
            _ => {}
        }
    }
    Some(link)
}
