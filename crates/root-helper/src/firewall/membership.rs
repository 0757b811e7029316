//! One guest put into the sets of the firewall, or taken out, by netlink: what `nft` would do in milliseconds takes
//! some ten microseconds. And the number by which any change of any rule is noticed.
//!
//! `include/uapi/linux/netfilter/nf_tables.h` and `nfnetlink.h` in the kernel's sources.

use super::guest::Guest;
use super::ruleset::{GUESTS, NAT, TABLE};
use netlink_sys::{Socket, SocketAddr, protocols::NETLINK_NETFILTER};
use std::io;

/// `NFNL_SUBSYS_NFTABLES`, and where in a message's type it stands.
const NFTABLES: u16 = 10;
const BATCH_BEGIN: u16 = 16;
const BATCH_END: u16 = 17;
const NEW_ELEMENT: u16 = NFTABLES << 8 | 12;
const DELETE_ELEMENT: u16 = NFTABLES << 8 | 14;
const NEW_GENERATION: u16 = NFTABLES << 8 | 15;
const GET_GENERATION: u16 = NFTABLES << 8 | 16;

/// `NLMSG_ERROR`; with the number 0 it is an acknowledgement.
const ERROR: u16 = 2;
const REQUEST: u16 = 1;
const ACKNOWLEDGE: u16 = 4;
const CREATE: u16 = 0x400;
/// `NLA_F_NESTED`.
const NESTED: u16 = 0x8000;

/// Families of tables: `NFPROTO_INET` and `NFPROTO_BRIDGE`.
const INET: u8 = 1;
const BRIDGE: u8 = 7;

/// `IFNAMSIZ`: what a link's name takes in a set.
const NAME: usize = 16;
/// An answer to a request is shorter than this.
const DATAGRAM: usize = 8 << 10;

/// A conversation with the kernel about rules.
///
/// Kept for as long as it goes well: the kernel holds up whoever ends one until the last things that were taken out of a
/// set are freed, which takes many times as long as the change itself (`nft_rcv_nl_event`). After an error it is ended,
/// because answers may still be on their way.
#[derive(Debug)]
pub(super) struct Kernel(Socket);

impl Kernel {
    pub(super) fn open() -> io::Result<Self> {
        let mut socket = Socket::new(NETLINK_NETFILTER)?;
        socket.bind_auto()?;
        socket.connect(&SocketAddr::new(0, 0))?;
        Ok(Self(socket))
    }

    /// Puts a guest into the sets in which it shall be, and out of the one in which it shall not. Done at once or not
    /// at all; doing it again changes nothing.
    pub(super) fn admit(&self, guest: &Guest) -> io::Result<()> {
        let (family, set, key) = as_guest(guest);
        let mut batch = vec![(NEW_ELEMENT, element(family, set, &key))];
        let (family, set, key) = as_nat(guest);
        batch.push((NEW_ELEMENT, element(family, set, &key)));
        if !guest.nat {
            // Of what is not there the deletion would fail; so it is there first.
            batch.push((DELETE_ELEMENT, element(family, set, &key)));
        }
        self.perform(&batch)
    }

    /// Takes a guest out of all sets; it need not be in any of them.
    pub(super) fn expel(&self, guest: &Guest) -> io::Result<()> {
        let gone = [as_guest(guest), as_nat(guest)];
        let both = |(family, set, key): &(u8, &str, Vec<u8>)| {
            [NEW_ELEMENT, DELETE_ELEMENT].map(|what| (what, element(*family, set, key)))
        };
        let batch: Vec<_> = gone.iter().flat_map(both).collect();
        self.perform(&batch)
    }

    /// A number that goes up by one with each transaction that changes rules or sets, whoever makes it.
    pub(super) fn generation(&self) -> io::Result<u32> {
        let answers = self.converse(&message(GET_GENERATION, REQUEST, 0, &header(0, 0)), 1)?;
        // The header of the family, then the attribute with the number.
        let number = answers.iter().find(|answer| answer.kind == NEW_GENERATION).and_then(|answer| {
            let bytes: [u8; 4] = answer.body.get(8..12)?.try_into().ok()?;
            Some(u32::from_be_bytes(bytes))
        });
        number.ok_or_else(|| io::ErrorKind::InvalidData.into())
    }

    /// Makes changes in one transaction.
    fn perform(&self, batch: &[(u16, Vec<u8>)]) -> io::Result<()> {
        let bracket = |kind| message(kind, REQUEST, 0, &header(0, NFTABLES));
        let mut bytes = bracket(BATCH_BEGIN);
        for (sequence, (kind, body)) in (1..).zip(batch) {
            bytes.extend(message(*kind, REQUEST | ACKNOWLEDGE | CREATE, sequence, body));
        }
        bytes.extend(bracket(BATCH_END));
        self.converse(&bytes, batch.len()).map(drop)
    }

    /// Says something and collects as many answers, the first error ending it.
    fn converse(&self, said: &[u8], answers: usize) -> io::Result<Vec<Answer>> {
        self.0.send(said, 0)?;
        let mut heard = Vec::new();
        while heard.len() < answers {
            let mut datagram = Vec::with_capacity(DATAGRAM);
            self.0.recv_from(&mut datagram, 0)?;
            for answer in split(&datagram) {
                if answer.kind == ERROR
                    && let Some(number) = answer.body.first_chunk().map(|bytes| i32::from_ne_bytes(*bytes))
                    && number != 0
                {
                    return Err(io::Error::from_raw_os_error(-number));
                }
                heard.push(answer);
            }
        }
        Ok(heard)
    }
}

fn as_guest(guest: &Guest) -> (u8, &'static str, Vec<u8>) {
    let mut key = guest.tap.as_bytes().to_vec();
    key.resize(NAME, 0);
    // Each part of a key begins at a multiple of four.
    key.extend(guest.mac().0);
    key.extend([0, 0]);
    key.extend(guest.address.octets());
    (BRIDGE, GUESTS, key)
}

fn as_nat(guest: &Guest) -> (u8, &'static str, Vec<u8>) {
    (INET, NAT, guest.address.octets().to_vec())
}

/// What `NFT_MSG_NEWSETELEM` and its opposite say: table, set, and a list of one element, which is a key.
fn element(family: u8, set: &str, key: &[u8]) -> Vec<u8> {
    let text = |text: &str| [text.as_bytes(), &[0]].concat();
    let key = attribute(1 | NESTED, &attribute(1, key));
    let list = attribute(1 | NESTED, &key);
    let parts = [attribute(1, &text(TABLE)), attribute(2, &text(set)), attribute(3 | NESTED, &list)].concat();
    [header(family, 0), parts].concat()
}

/// `struct nfgenmsg`.
fn header(family: u8, resource: u16) -> Vec<u8> {
    let [high, low] = resource.to_be_bytes();
    vec![family, 0, high, low]
}

fn attribute(kind: u16, content: &[u8]) -> Vec<u8> {
    let length = u16::try_from(4 + content.len()).expect("what is said here is short");
    let mut bytes = [&length.to_ne_bytes(), &kind.to_ne_bytes(), content].concat();
    bytes.resize(bytes.len().next_multiple_of(4), 0);
    bytes
}

fn message(kind: u16, flags: u16, sequence: u32, body: &[u8]) -> Vec<u8> {
    let length = u32::try_from(16 + body.len()).expect("what is said here is short");
    let (kind, flags) = (kind.to_ne_bytes(), flags.to_ne_bytes());
    [&length.to_ne_bytes(), &kind[..], &flags, &sequence.to_ne_bytes(), &[0; 4], body].concat()
}

/// An answer of the kernel's, apart from its header.
struct Answer {
    kind: u16,
    body: Vec<u8>,
}

/// The messages of a datagram.
fn split(mut bytes: &[u8]) -> Vec<Answer> {
    let mut answers = Vec::new();
    while let Some((head, _)) = bytes.split_at_checked(16) {
        let length = u32::from_ne_bytes([head[0], head[1], head[2], head[3]]) as usize;
        let Some(body) = bytes.get(16..length) else { break };
        answers.push(Answer { kind: u16::from_ne_bytes([head[4], head[5]]), body: body.to_vec() });
        bytes = bytes.get(length.next_multiple_of(4)..).unwrap_or_default();
    }
    answers
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_guests_key_has_each_part_where_nft_puts_it() {
        let guest = Guest {
            tap: "bt0123456789ab".to_owned(),
            address: std::net::Ipv4Addr::new(172, 16, 0, 2),
            nat: true,
        };
        let (_, _, key) = as_guest(&guest);
        // What `nft --debug=netlink list set` shows of the same element.
        assert_eq!(key[..16], *b"bt0123456789ab\0\0");
        assert_eq!(key[16..], [0x02, 0xfc, 172, 16, 0, 2, 0, 0, 172, 16, 0, 2]);
    }

    #[test]
    fn an_attribute_says_its_length_and_is_filled_up() {
        let bytes = attribute(3, b"abcde");
        assert_eq!(bytes, [&9_u16.to_ne_bytes(), &3_u16.to_ne_bytes(), &b"abcde\0\0\0"[..]].concat());
    }

    #[test]
    fn answers_are_split_and_broken_ones_end_it() {
        let two = [message(2, 0, 1, &[0; 4]), message(7, 0, 2, b"abc\0")].concat();
        let found: Vec<_> = split(&two).into_iter().map(|answer| (answer.kind, answer.body)).collect();
        assert_eq!(found, [(2, vec![0; 4]), (7, b"abc\0".to_vec())]);
        for broken in [&two[..10], &[0; 16], &[0xff; 40]] {
            assert!(split(broken).is_empty());
        }
    }
}
