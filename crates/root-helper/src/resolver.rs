//! Names of guests on the host: systemd-resolved is told who answers questions about them, and about nothing else.
//!
//! It keeps what it was told of a link until the link goes, over restarts of its own; so it is told again whenever the
//! bridge was made, or somebody begins to answer. A host without resolved is none the worse: names are then known to
//! guests and to ssh alone.

use crate::tool::Tool;
use banger_protocol::root_api::{DNS_PORT, Settings};
use std::net::Ipv4Addr;
use std::path::Path;
use std::time::Duration;

/// An answer comes within milliseconds, and whoever waits for the network waits for this.
const RESOLVECTL: Tool<'_> = Tool { path: "/usr/bin/resolvectl", limit: Duration::from_secs(5) };
const UNKNOWN: &str = "names of guests may be unknown on the host";

/// Tells resolved, where there is one.
pub(crate) fn tell(settings: &Settings) {
    if !Path::new(RESOLVECTL.path).exists() {
        return tracing::debug!("there is no systemd-resolved to tell the names of guests");
    }
    for words in orders(settings) {
        let order = || words.join(" ");
        match RESOLVECTL.complaint(&words) {
            Ok(said) if said.is_empty() => {}
            // Not every resolved knows all of these, and names are found without them.
            Ok(said) if ["llmnr", "mdns", "dnssec"].contains(&words[0].as_str()) => {
                tracing::debug!(said, order = order(), "systemd-resolved refused");
            }
            Ok(said) => return tracing::warn!(said, order = order(), "{UNKNOWN}"),
            Err(error) => return tracing::warn!(%error, order = order(), "{UNKNOWN}"),
        }
    }
}

/// What is said, in this order: before it is known that the link answers for these names alone, it answers for none.
/// Pure.
fn orders(settings: &Settings) -> Vec<Vec<String>> {
    let Settings { bridge, address, prefix, .. } = settings;
    let order = |verb: &str, values: &[String]| [&[verb.to_owned(), bridge.clone()], values].concat();
    let word = |text: &str| [text.to_owned()];
    let mut domains = vec!["~vm".to_owned()];
    domains.extend(reverse_zone(*address, *prefix).map(|zone| format!("~{zone}")));
    vec![
        order("default-route", &word("no")),
        order("llmnr", &word("no")),
        order("mdns", &word("no")),
        order("dnssec", &word("no")),
        order("domain", &domains),
        order("dns", &[format!("{address}:{DNS_PORT}")]),
    ]
}

/// The zone of the range's reverse names, where it ends with a whole number.
fn reverse_zone(address: Ipv4Addr, prefix: u8) -> Option<String> {
    let [a, b, c, _] = address.octets();
    match prefix {
        24.. => Some(format!("{c}.{b}.{a}.in-addr.arpa")),
        16..24 => Some(format!("{b}.{a}.in-addr.arpa")),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bridge_answers_for_guests_names_and_addresses_and_for_nothing_else() {
        let settings = Settings {
            qemu: None,
            vsock_backend: None,
            firecracker: None,
            nft: None,
            bridge: "br-x".to_owned(),
            address: Ipv4Addr::new(172, 16, 7, 1),
            prefix: 24,
        };
        let orders: Vec<String> = orders(&settings).iter().map(|order| order.join(" ")).collect();
        assert_eq!(
            orders,
            [
                "default-route br-x no",
                "llmnr br-x no",
                "mdns br-x no",
                "dnssec br-x no",
                "domain br-x ~vm ~7.16.172.in-addr.arpa",
                "dns br-x 172.16.7.1:42069",
            ]
        );
    }

    #[test]
    fn a_range_has_the_reverse_zone_of_its_whole_numbers() {
        let zone = |prefix| reverse_zone(Ipv4Addr::new(172, 16, 7, 1), prefix);
        assert_eq!(zone(24).as_deref(), Some("7.16.172.in-addr.arpa"));
        assert_eq!(zone(28).as_deref(), Some("7.16.172.in-addr.arpa"));
        assert_eq!(zone(20).as_deref(), Some("16.172.in-addr.arpa"));
        assert_eq!(zone(12), None);
    }
}
