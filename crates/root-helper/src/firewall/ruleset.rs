//! Every rule there is, as text for nft; pure.
//!
//! A table for each place in the kernel where something can be known. Which tap a frame came from is known in the
//! bridge and nowhere else; what a packet is to the host, and where it goes, only above it. Both tables are replaced
//! as wholes and in one transaction: at no moment is there less of them.
//!
//! Rules do not name guests. Who may send what is in the sets [`GUESTS`] and [`NAT`], of which [`super::membership`]
//! changes one element at a time.

use super::guest::Guest;
use banger_protocol::root_api::{DNS_PORT, Settings};
use std::collections::BTreeSet;
use std::fmt::Display;
use std::net::Ipv4Addr;

/// The name of both tables.
pub(super) const TABLE: &str = "banger";
/// Tap, MAC and address that belong together, in the table of the bridge.
pub(super) const GUESTS: &str = "guests";
/// Addresses of guests that reach the world, in the other table.
pub(super) const NAT: &str = "nat";

/// What is no place in the world, however it is reached: this network, private networks, carriers' (RFC 6598), this
/// host, what a link has to itself and clouds keep their metadata at, protocols' own (RFC 6890), benchmarks', and
/// everything from multicast on.
const NOT_THE_WORLD: [&str; 10] = [
    "0.0.0.0/8",
    "10.0.0.0/8",
    "100.64.0.0/10",
    "127.0.0.0/8",
    "169.254.0.0/16",
    "172.16.0.0/12",
    "192.0.0.0/24",
    "192.168.0.0/16",
    "198.18.0.0/15",
    "224.0.0.0/3",
];

/// Both tables, with their elements, in the place of whatever has their names.
pub(super) fn render(settings: &Settings, barred: &BTreeSet<Ipv4Addr>, guests: &[Guest]) -> String {
    let Settings { bridge, address, .. } = settings;
    let members = elements(guests.iter().map(|guest| {
        let Guest { tap, address, .. } = guest;
        format!("{tap} . {} . {address}", guest.mac())
    }));
    let nat = elements(guests.iter().filter(|guest| guest.nat).map(|guest| guest.address));
    let barred = elements(barred);
    let not_the_world = NOT_THE_WORLD.join(", ");
    // Taps are told by the beginning of their name: not every kernel's nftables can tell which bridge a port is of.
    format!(
        "\
table bridge {TABLE}
delete table bridge {TABLE}
table bridge {TABLE} {{
  set {GUESTS} {{
    type ifname . ether_addr . ipv4_addr
{members}  }}
  # A guest sends IPv4 and ARP, as nobody but itself.
  chain from_guests {{
    type filter hook prerouting priority filter; policy accept;
    iifname != \"bt*\" accept
    ether type ip iifname . ether saddr . ip saddr @{GUESTS} accept
    ether type arp arp htype 1 arp ptype ip arp hlen 6 arp plen 4 \\
      iifname . ether saddr . arp saddr ip @{GUESTS} \\
      iifname . arp saddr ether . arp saddr ip @{GUESTS} accept
    drop
  }}
  # It has nobody beside it.
  chain between_guests {{
    type filter hook forward priority filter; policy accept;
    iifname \"bt*\" drop
    oifname \"bt*\" drop
  }}
}}
table inet {TABLE}
delete table inet {TABLE}
table inet {TABLE} {{
  set {NAT} {{
    type ipv4_addr
{nat}  }}
  set barred {{
    type ipv4_addr
{barred}  }}
  # What is sent to a link's own groups, such as LLDP's, passes the bridge and its table by and comes from the tap.
  chain past_the_bridge {{
    type filter hook prerouting priority raw; policy accept;
    iifname \"bt*\" drop
  }}
  chain dns {{
    type nat hook prerouting priority dstnat; policy accept;
    iifname \"{bridge}\" ip daddr {address} meta l4proto {{ tcp, udp }} th dport 53 redirect to :{DNS_PORT}
  }}
  # Of the host a guest reaches that it is there, and DNS.
  chain to_the_host {{
    type filter hook input priority filter; policy accept;
    iifname != \"{bridge}\" accept
    ct state established accept
    ip daddr {address} icmp type echo-request accept
    ip daddr {address} meta l4proto {{ tcp, udp }} th dport {DNS_PORT} accept
    drop
  }}
  # Routed, guests do not reach each other either. The set is asked in both directions, so that who leaves it is
  # cut off in the middle of a connection.
  chain through_the_host {{
    type filter hook forward priority filter; policy accept;
    iifname != \"{bridge}\" oifname != \"{bridge}\" accept
    iifname \"{bridge}\" oifname \"{bridge}\" drop
    oifname \"{bridge}\" ip daddr @{NAT} ct state established,related accept
    ct state invalid drop
    iifname \"{bridge}\" ip daddr {{ {not_the_world} }} drop
    iifname \"{bridge}\" ip daddr @barred drop
    iifname \"{bridge}\" ip saddr @{NAT} accept
    drop
  }}
  chain outside {{
    type nat hook postrouting priority srcnat; policy accept;
    oifname != \"{bridge}\" ip saddr @{NAT} masquerade
  }}
}}
"
    )
}

/// Neither table.
pub(super) fn render_none() -> String {
    ["bridge", "inet"]
        .map(|family| format!("table {family} {TABLE}\ndelete table {family} {TABLE}\n"))
        .concat()
}

/// The elements of a set; none are written when there are none, for which nft has no words.
fn elements<T: Display>(all: impl IntoIterator<Item = T>) -> String {
    let all: Vec<String> = all.into_iter().map(|one| one.to_string()).collect();
    if all.is_empty() { String::new() } else { format!("    elements = {{ {} }}\n", all.join(", ")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings() -> Settings {
        Settings {
            qemu: None,
            vsock_backend: None,
            firecracker: None,
            nft: None,
            bridge: "br-banger".to_owned(),
            address: Ipv4Addr::new(172, 16, 0, 1),
            prefix: 24,
        }
    }

    #[test]
    fn the_rules_are_as_reviewed() {
        let guest = |tap: &str, last, nat| Guest {
            tap: tap.to_owned(),
            address: Ipv4Addr::new(172, 16, 0, last),
            nat,
        };
        let guests =
            [guest("bt0123456789ab", 2, false), guest("bt00000000000a", 3, true), guest("btff", 4, true)];
        let barred = BTreeSet::from([Ipv4Addr::new(203, 0, 113, 7)]);
        insta::assert_snapshot!(render(&settings(), &barred, &guests));
    }

    #[test]
    fn without_guests_the_sets_are_there_and_empty() {
        let text = render(&settings(), &BTreeSet::new(), &[]);
        assert!(!text.contains("elements"), "{text}");
        for set in [GUESTS, NAT, "barred"] {
            assert!(text.contains(&format!("set {set} {{")), "{text}");
        }
    }
}
