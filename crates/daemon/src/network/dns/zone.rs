//! Which guest has which name now, and whom a question is about. Pure.

use crate::network::Range;
use banger_protocol::ids::VmId;
use banger_protocol::names::VmName;
use hickory_proto::rr::Name;
use std::collections::HashMap;
use std::net::Ipv4Addr;

/// The domain of all guests.
const DOMAIN: &[u8] = b"vm";

/// What is known by a name while it runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Guest {
    pub vm: VmId,
    pub name: VmName,
    pub address: Ipv4Addr,
    /// Whether it may reach beyond the bridge, and so ask about what lies there.
    pub nat: bool,
}

/// The guests that run.
#[derive(Debug)]
pub(super) struct Zone {
    range: Range,
    guests: HashMap<Ipv4Addr, Guest>,
    addresses: HashMap<String, Ipv4Addr>,
}

/// Whom or what a name means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Meaning<'a> {
    /// A guest, by its name.
    Guest(&'a Guest),
    /// A guest, by its address.
    Reverse(&'a Guest),
    /// Something that exists without being a guest, such as the domain itself.
    Inner(Authority),
    /// Nothing that exists, in a place that is ours to tell.
    Nothing(Authority),
    /// Something in the world.
    Elsewhere,
}

/// Who says that there is nothing more to say, by the number of labels of the question's name that are theirs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Authority {
    pub labels: usize,
}

impl Zone {
    pub(super) fn new(range: Range) -> Self {
        Self { range, guests: HashMap::new(), addresses: HashMap::new() }
    }

    /// From now on the guest has its name; a second time changes nothing.
    pub(super) fn insert(&mut self, guest: Guest) {
        self.remove(&guest.vm);
        self.addresses.insert(guest.name.as_str().to_owned(), guest.address);
        self.guests.insert(guest.address, guest);
    }

    /// From now on there is no such guest; one that is unknown is gone already.
    pub(super) fn remove(&mut self, vm: &VmId) {
        let Some(address) = self.guests.values().find(|guest| guest.vm == *vm).map(|guest| guest.address)
        else {
            return;
        };
        if let Some(guest) = self.guests.remove(&address) {
            self.addresses.remove(guest.name.as_str());
        }
    }

    /// Whether the guest with this address may ask about the world.
    pub(super) fn reaches_out(&self, address: Ipv4Addr) -> bool {
        self.guests.get(&address).is_some_and(|guest| guest.nat)
    }

    pub(super) fn meaning(&self, name: &Name) -> Meaning<'_> {
        let labels: Vec<&[u8]> = name.iter().rev().collect();
        match labels.as_slice() {
            [top, below @ ..] if top.eq_ignore_ascii_case(DOMAIN) => self.in_domain(below),
            [arpa, kind, octets @ ..] if is(arpa, b"arpa") && is(kind, b"in-addr") => self.reverse(octets),
            [arpa, kind, nibbles @ ..]
                if is(arpa, b"arpa") && is(kind, b"ip6") && is_private_ip6(nibbles) =>
            {
                Meaning::Nothing(Authority { labels: labels.len() })
            }
            _ => Meaning::Elsewhere,
        }
    }

    /// The labels are in the order from the domain downwards.
    fn in_domain(&self, below: &[&[u8]]) -> Meaning<'_> {
        let domain = Authority { labels: 1 };
        let guest = |label: &[u8]| {
            let name = str::from_utf8(label).ok()?.to_ascii_lowercase();
            self.guests.get(self.addresses.get(&name)?)
        };
        match below {
            [] => Meaning::Inner(domain),
            [label] => guest(label).map_or(Meaning::Nothing(domain), Meaning::Guest),
            [_, _, ..] => Meaning::Nothing(domain),
        }
    }

    /// Who knows the names of our addresses: as many whole octets as the range fixes, and the two labels above them.
    pub(super) fn reverse_authority(&self) -> Authority {
        Authority { labels: usize::from(self.range.prefix / 8) + 2 }
    }

    /// The octets are in the order of an address.
    fn reverse(&self, labels: &[&[u8]]) -> Meaning<'_> {
        let Some((network, prefix)) = network(&labels[..labels.len().min(4)]) else {
            // No address that anybody could have.
            return private_reverse(labels);
        };
        if !self.range.contains(network, prefix) {
            return private_reverse(labels);
        }
        let ours = self.reverse_authority();
        match (labels.len(), self.guests.get(&network)) {
            (4, Some(guest)) => Meaning::Reverse(guest),
            (0..4, _) => Meaning::Inner(ours),
            (4.., _) => Meaning::Nothing(ours),
        }
    }
}

fn is(label: &[u8], word: &[u8]) -> bool {
    label.eq_ignore_ascii_case(word)
}

/// The network that the first octets of an address name, as these are written in decimal.
fn network(labels: &[&[u8]]) -> Option<(Ipv4Addr, u8)> {
    let mut octets = [0; 4];
    for (octet, label) in octets.iter_mut().zip(labels) {
        let text = str::from_utf8(label).ok()?;
        *octet = text.parse().ok().filter(|value: &u8| value.to_string() == text)?;
    }
    Some((octets.into(), u8::try_from(labels.len() * 8).ok()?))
}

/// Addresses that mean something else to everybody, so that asking the world about them tells it about us (RFC 6303,
/// 4).
fn private_reverse(labels: &[&[u8]]) -> Meaning<'static> {
    let first = |count: usize| network(labels.get(..count)?).map(|(network, _)| network);
    let one = first(1).map(|network| network.octets()[0]);
    let two = first(2).map(|network| network.octets());
    let octets = match (one, two) {
        (Some(0 | 10 | 127), _) => 1,
        (Some(169), Some([_, 254, ..])) | (Some(192), Some([_, 168, ..])) => 2,
        (Some(172), Some([_, 16..32, ..])) => 2,
        _ => return Meaning::Elsewhere,
    };
    Meaning::Nothing(Authority { labels: octets + 2 })
}

/// As above: nothing and loopback, unique local (`fc00::/7`) and link-local addresses (`fe80::/10`).
fn is_private_ip6(nibbles: &[&[u8]]) -> bool {
    let zeros = nibbles.iter().take_while(|nibble| is(nibble, b"0")).count();
    let nibble = |at: usize, any: &[u8]| {
        nibbles.get(at).is_some_and(|label| label.len() == 1 && any.contains(&label[0].to_ascii_lowercase()))
    };
    zeros >= 31 || nibble(0, b"f") && (nibble(1, b"cd") || nibble(1, b"e") && nibble(2, b"89ab"))
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub(in crate::network::dns) fn guest(name: &str, last: u8, nat: bool) -> Guest {
        let vm = format!("{last:012x}").parse().unwrap();
        Guest { vm, name: name.parse().unwrap(), address: [172, 16, 0, last].into(), nat }
    }

    fn zone() -> Zone {
        let mut zone = Zone::new(Range::LOCAL);
        zone.insert(guest("dev", 2, false));
        zone.insert(guest("out", 3, true));
        zone
    }

    fn meaning(name: &str) -> String {
        match zone().meaning(&Name::from_ascii(name).unwrap()) {
            Meaning::Guest(guest) => guest.name.to_string(),
            Meaning::Reverse(guest) => format!("reverse {}", guest.name),
            Meaning::Inner(authority) => format!("inner {}", authority.labels),
            Meaning::Nothing(authority) => format!("nothing {}", authority.labels),
            Meaning::Elsewhere => "elsewhere".to_owned(),
        }
    }

    #[test]
    fn every_name_means_one_thing() {
        let table = [
            ("dev.vm.", "dev"),
            ("DeV.Vm.", "dev"),
            ("out.vm.", "out"),
            ("vm.", "inner 1"),
            ("other.vm.", "nothing 1"),
            ("www.dev.vm.", "nothing 1"),
            ("dev.", "elsewhere"),
            (".", "elsewhere"),
            ("debian.org.", "elsewhere"),
            ("notvm.", "elsewhere"),
            ("2.0.16.172.in-addr.arpa.", "reverse dev"),
            ("2.0.16.172.IN-ADDR.ARPA.", "reverse dev"),
            ("9.0.16.172.in-addr.arpa.", "nothing 5"),
            ("0.16.172.in-addr.arpa.", "inner 5"),
            ("2.2.0.16.172.in-addr.arpa.", "nothing 5"),
            ("x.0.16.172.in-addr.arpa.", "nothing 4"),
            ("02.0.16.172.in-addr.arpa.", "nothing 4"),
            ("2.1.16.172.in-addr.arpa.", "nothing 4"),
            ("16.172.in-addr.arpa.", "nothing 4"),
            ("31.172.in-addr.arpa.", "nothing 4"),
            ("32.172.in-addr.arpa.", "elsewhere"),
            ("172.in-addr.arpa.", "elsewhere"),
            ("1.1.168.192.in-addr.arpa.", "nothing 4"),
            ("7.10.in-addr.arpa.", "nothing 3"),
            ("1.0.0.127.in-addr.arpa.", "nothing 3"),
            ("254.169.in-addr.arpa.", "nothing 4"),
            ("8.8.8.8.in-addr.arpa.", "elsewhere"),
            ("in-addr.arpa.", "elsewhere"),
            ("0.8.e.f.ip6.arpa.", "nothing 6"),
            ("d.f.ip6.arpa.", "nothing 4"),
            ("c.f.ip6.arpa.", "nothing 4"),
            ("8.b.d.0.1.0.0.2.ip6.arpa.", "elsewhere"),
        ];
        for (name, expected) in table {
            assert_eq!(meaning(name), expected, "{name}");
        }
        let loopback = format!("1.{}ip6.arpa.", "0.".repeat(31));
        assert_eq!(meaning(&loopback), "nothing 34");
    }

    #[test]
    fn a_wider_range_has_inner_names_at_every_octet() {
        let range = Range { bridge: [172, 16, 0, 1].into(), prefix: 20 };
        let mut zone = Zone::new(range);
        zone.insert(Guest { address: [172, 16, 15, 2].into(), ..guest("far", 2, false) });
        let of = |name: &str| zone.meaning(&Name::from_ascii(name).unwrap());
        let ours = Authority { labels: 4 };
        assert!(matches!(of("2.15.16.172.in-addr.arpa."), Meaning::Reverse(_)));
        assert_eq!(of("15.16.172.in-addr.arpa."), Meaning::Inner(ours));
        assert_eq!(of("16.16.172.in-addr.arpa."), Meaning::Nothing(ours));
    }

    #[test]
    fn a_guest_that_is_removed_is_nothing_and_its_name_can_be_given_again() {
        let mut zone = zone();
        let named = |zone: &Zone, name: &str| match zone.meaning(&Name::from_ascii(name).unwrap()) {
            Meaning::Guest(guest) => Some(guest.address),
            _ => None,
        };
        zone.remove(&guest("dev", 2, false).vm);
        zone.remove(&guest("dev", 2, false).vm);
        assert_eq!(named(&zone, "dev.vm."), None);
        zone.insert(guest("dev", 9, false));
        zone.insert(guest("dev", 9, false));
        assert_eq!(named(&zone, "dev.vm."), Some([172, 16, 0, 9].into()));
        assert_eq!(named(&zone, "out.vm."), Some([172, 16, 0, 3].into()));
    }

    #[test]
    fn only_guests_that_reach_out_may_ask_about_the_world() {
        let zone = zone();
        for (last, may) in [(1, false), (2, false), (3, true), (4, false)] {
            assert_eq!(zone.reaches_out([172, 16, 0, last].into()), may);
        }
    }
}
