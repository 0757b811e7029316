//! Ethernet frames as a guest would send them, honest or not.

use std::net::Ipv4Addr;

pub(crate) type Mac = [u8; 6];

pub(crate) const EVERYBODY: Mac = [0xff; 6];
pub(crate) const IPV4: u16 = 0x0800;
pub(crate) const ARP: u16 = 0x0806;
pub(crate) const IPV6: u16 = 0x86dd;

const ICMP: u8 = 1;
const TCP: u8 = 6;
const UDP: u8 = 17;

pub(crate) fn ethernet(to: Mac, from: Mac, ethertype: u16, content: &[u8]) -> Vec<u8> {
    [&to[..], &from, &ethertype.to_be_bytes(), content].concat()
}

pub(crate) fn ipv4(from: Ipv4Addr, to: Ipv4Addr, protocol: u8, content: &[u8]) -> Vec<u8> {
    let length = u16::try_from(20 + content.len()).expect("a short packet").to_be_bytes();
    let mut header = [&[0x45, 0], &length[..], &[0, 0, 0x40, 0, 64, protocol, 0, 0]].concat();
    header.extend([from.octets(), to.octets()].concat());
    let sum = checksum(&header);
    header[10..12].copy_from_slice(&sum);
    [header, content.to_vec()].concat()
}

/// An echo request that is told from others by its number.
pub(crate) fn echo(from: Ipv4Addr, to: Ipv4Addr, number: u16) -> Vec<u8> {
    let [high, low] = number.to_be_bytes();
    let mut message = vec![8, 0, 0, 0, 0, 7, high, low];
    let sum = checksum(&message);
    message[2..4].copy_from_slice(&sum);
    ipv4(from, to, ICMP, &message)
}

/// The first packet of a connection.
pub(crate) fn syn(from: (Ipv4Addr, u16), to: (Ipv4Addr, u16)) -> Vec<u8> {
    let ports = [from.1.to_be_bytes(), to.1.to_be_bytes()].concat();
    let mut segment = [&ports[..], &[0, 0, 0, 1, 0, 0, 0, 0, 0x50, 2, 0xff, 0xff, 0, 0, 0, 0]].concat();
    let sum = checksum(&pseudo(from.0, to.0, TCP, &segment));
    segment[16..18].copy_from_slice(&sum);
    ipv4(from.0, to.0, TCP, &segment)
}

pub(crate) fn udp(from: (Ipv4Addr, u16), to: (Ipv4Addr, u16), content: &[u8]) -> Vec<u8> {
    let length = u16::try_from(8 + content.len()).expect("a short packet").to_be_bytes();
    // Without a checksum, which IPv4 allows.
    let header = [from.1.to_be_bytes(), to.1.to_be_bytes(), length, [0, 0]].concat();
    ipv4(from.0, to.0, UDP, &[&header, content].concat())
}

/// `operation` is 1 for a question and 2 for an answer.
pub(crate) fn arp(operation: u8, sender: (Mac, Ipv4Addr), target: (Mac, Ipv4Addr)) -> Vec<u8> {
    let mut packet = vec![0, 1, 8, 0, 6, 4, 0, operation];
    for (mac, address) in [sender, target] {
        packet.extend(mac);
        packet.extend(address.octets());
    }
    packet
}

fn pseudo(from: Ipv4Addr, to: Ipv4Addr, protocol: u8, segment: &[u8]) -> Vec<u8> {
    let length = u16::try_from(segment.len()).expect("a short segment").to_be_bytes();
    [&from.octets()[..], &to.octets(), &[0, protocol], &length, segment].concat()
}

/// RFC 1071.
fn checksum(bytes: &[u8]) -> [u8; 2] {
    let word = |pair: &[u8]| u32::from(pair[0]) << 8 | u32::from(pair.get(1).copied().unwrap_or(0));
    let mut sum: u32 = bytes.chunks(2).map(word).sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    (!u16::try_from(sum).expect("it was folded")).to_be_bytes()
}

/// What an IPv4 frame says of where it comes from, its protocol and what that carries.
pub(crate) struct Packet<'a> {
    pub(crate) from: Ipv4Addr,
    protocol: u8,
    content: &'a [u8],
}

impl<'a> Packet<'a> {
    pub(crate) fn read(frame: &'a [u8]) -> Option<Self> {
        let packet = (ethertype(frame) == IPV4).then(|| frame.get(14..)).flatten()?;
        let from: [u8; 4] = packet.get(12..16)?.try_into().ok()?;
        Some(Self { from: from.into(), protocol: *packet.get(9)?, content: packet.get(20..)? })
    }

    pub(crate) fn is_echo_reply(&self, number: u16) -> bool {
        self.protocol == ICMP && self.content[0] == 0 && self.content[6..8] == number.to_be_bytes()
    }

    /// Whether somebody listens at the port that was asked for a connection.
    pub(crate) fn is_syn_ack_of(&self, port: u16) -> bool {
        self.protocol == TCP && self.content[..2] == port.to_be_bytes() && self.content[13] == 0x12
    }

    /// What came by UDP from a port.
    pub(crate) fn udp_from(&self, port: u16) -> Option<&'a [u8]> {
        (self.protocol == UDP && self.content[..2] == port.to_be_bytes()).then(|| &self.content[8..])
    }
}

pub(crate) fn ethertype(frame: &[u8]) -> u16 {
    u16::from_be_bytes([frame[12], frame[13]])
}
