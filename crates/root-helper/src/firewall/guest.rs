//! What the firewall knows of a guest; pure.
//!
//! It stands on the guest's tap, as the link's alias, so that whoever looks at the links knows who may send what:
//! `172.16.0.2`, or `172.16.0.2 nat`.

use crate::link::{Kind, Link};
use crate::settings::vm_of_tap;
use banger_protocol::root_api::MacAddress;
use std::net::Ipv4Addr;

const NAT: &str = "nat";

/// A tap and what may come through it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Guest {
    pub(crate) tap: String,
    pub(crate) address: Ipv4Addr,
    /// Whether it reaches the world.
    pub(crate) nat: bool,
}

impl Guest {
    /// What stands on the tap.
    pub(crate) fn alias(&self) -> String {
        if self.nat { format!("{} {NAT}", self.address) } else { self.address.to_string() }
    }

    /// The guest of a link, if that is a VM's tap and one is written on it.
    pub(crate) fn of(link: &Link) -> Option<Self> {
        let is_ours = link.kind == Kind::Tap && vm_of_tap(&link.name).is_some();
        let alias = link.alias.as_deref().filter(|_| is_ours)?;
        let (address, nat) = match alias.split_once(' ') {
            None => (alias, false),
            Some((address, NAT)) => (address, true),
            Some(_) => return None,
        };
        Some(Self { tap: link.name.clone(), address: address.parse().ok()?, nat })
    }

    pub(super) fn mac(&self) -> MacAddress {
        MacAddress::of_guest(self.address)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn link(kind: Kind, alias: Option<&str>) -> Link {
        let (name, alias) = ("bt0123456789ab".to_owned(), alias.map(str::to_owned));
        Link { index: 7, name, kind, up: true, bridge: None, isolated: false, mac: None, alias }
    }

    #[test]
    fn a_guest_is_read_from_its_tap_as_it_was_written() {
        for nat in [false, true] {
            let guest =
                Guest { tap: "bt0123456789ab".to_owned(), address: Ipv4Addr::new(172, 16, 0, 2), nat };
            assert_eq!(Guest::of(&link(Kind::Tap, Some(&guest.alias()))), Some(guest.clone()));
            assert_eq!(Guest::of(&link(Kind::Other, Some(&guest.alias()))), None);
            let foreign = Link { name: "tap0".to_owned(), ..link(Kind::Tap, Some(&guest.alias())) };
            assert_eq!(Guest::of(&foreign), None);
        }
    }

    #[test]
    fn what_else_stands_on_a_tap_is_no_guest() {
        for other in [None, Some(""), Some("uplink"), Some("172.16.0.2 nat "), Some("172.16.0.2  nat")] {
            assert_eq!(Guest::of(&link(Kind::Tap, other)), None, "{other:?}");
        }
    }
}
