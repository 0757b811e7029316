//! The host's own IPv4 addresses.
//!
//! What carries guests' traffic out is a process of the host. Asked for one of these addresses it would connect to
//! the host itself, from the inside, past whatever keeps strangers out.

use std::collections::BTreeSet;
use std::net::Ipv4Addr;

/// As they are now; none where the kernel does not tell.
pub(crate) fn host_addresses() -> BTreeSet<Ipv4Addr> {
    parse(&std::fs::read_to_string("/proc/net/fib_trie").unwrap_or_default())
}

/// The addresses that a `/proc/net/fib_trie` has as `host LOCAL`, each on the line before (`fib_trie_seq_show` in
/// net/ipv4/fib_trie.c); those of the loopback network aside, which lead nowhere but to whoever asks. Pure.
fn parse(trie: &str) -> BTreeSet<Ipv4Addr> {
    let mut last = None;
    let mut found = BTreeSet::new();
    for line in trie.lines().map(str::trim_start) {
        if let Some(leaf) = line.strip_prefix("|-- ") {
            last = leaf.trim_end().parse::<Ipv4Addr>().ok();
        } else if line.starts_with("/32 host LOCAL") {
            found.extend(last.filter(|address| !address.is_loopback()));
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_hosts_own_addresses_are_taken() {
        let trie = "Main:\n  +-- 0.0.0.0/0 3 0 5\n     |-- 0.0.0.0\n        /0 universe UNICAST\n     |-- 203.0.113.0\n        \
                    /24 link UNICAST\nLocal:\n  +-- 0.0.0.0/0 3 0 5\n     |-- 127.0.0.1\n        /32 host LOCAL\n     \
                    |-- 203.0.113.7\n        /32 host LOCAL\n     |-- 203.0.113.255\n        /32 link BROADCAST\n";
        assert_eq!(parse(trie), BTreeSet::from([Ipv4Addr::new(203, 0, 113, 7)]));
        assert_eq!(parse("nonsense\n/32 host LOCAL\n|-- x\n/32 host LOCAL"), BTreeSet::new());
    }
}
