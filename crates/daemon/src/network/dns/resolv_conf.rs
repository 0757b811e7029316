//! The host's own resolvers, as resolv.conf(5) names them. Pure.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

/// As many as the C library asks (`MAXNS` of resolv.h).
const MOST: usize = 3;
const PORT: u16 = 53;

/// The resolvers in the order in which they are to be asked. A file that names none means the one on this host.
pub(super) fn resolvers(text: &str) -> Vec<SocketAddr> {
    let named = |line: &str| {
        let mut words = line.split_ascii_whitespace();
        if words.next()? == "nameserver" { address(words.next()?) } else { None }
    };
    let mut found: Vec<SocketAddr> = text.lines().filter_map(named).take(MOST).collect();
    if found.is_empty() {
        found.push((Ipv4Addr::LOCALHOST, PORT).into());
    }
    found
}

/// An address, or `[address]:port`, which OpenBSD's resolv.conf(5) allows.
fn address(word: &str) -> Option<SocketAddr> {
    let (address, port) = match word.strip_prefix('[').and_then(|rest| rest.split_once("]:")) {
        Some((address, port)) => (address, port.parse().ok()?),
        None => (word, PORT),
    };
    Some(SocketAddr::new(address.parse::<IpAddr>().ok()?, port))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn resolvers_are_read_as_the_c_library_reads_them() {
        let table: [(&str, &[&str]); 8] = [
            ("nameserver 10.0.0.1\n", &["10.0.0.1:53"]),
            ("nameserver\t10.0.0.1 # near\nnameserver ::1", &["10.0.0.1:53", "[::1]:53"]),
            ("# nameserver 10.0.0.1\n;nameserver 10.0.0.2\nsearch nameserver\n", &["127.0.0.1:53"]),
            ("nameserver nonsense\nnameserver\nnameservers 10.0.0.1\n", &["127.0.0.1:53"]),
            ("nameserver [10.0.0.1]:5353\nnameserver [::1]:x\n", &["10.0.0.1:5353"]),
            ("options edns0\r\nnameserver 10.0.0.3\r\n", &["10.0.0.3:53"]),
            ("", &["127.0.0.1:53"]),
            (
                "nameserver 1.0.0.1\nnameserver 1.0.0.2\nnameserver 1.0.0.3\nnameserver 1.0.0.4\n",
                &["1.0.0.1:53", "1.0.0.2:53", "1.0.0.3:53"],
            ),
        ];
        for (text, expected) in table {
            let found: Vec<String> = resolvers(text).iter().map(ToString::to_string).collect();
            assert_eq!(found, expected, "{text:?}");
        }
    }

    proptest::proptest! {
        #[test]
        fn no_file_makes_the_reader_panic(text: String) {
            assert!(!resolvers(&text).is_empty());
        }
    }
}
