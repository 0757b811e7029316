//! Where something in the guest listens on TCP, from `/proc`.

use banger_protocol::guest_api::{Listener, MOST_LISTENERS};
use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::Path;

/// `TCP_LISTEN` (include/net/tcp_states.h), as the table prints it.
const LISTENS: &str = "0A";

/// Every listener, by port, those that are one too many left out.
pub(super) fn listeners() -> Vec<Listener> {
    let table = |name: &str| std::fs::read_to_string(Path::new("/proc/net").join(name)).unwrap_or_default();
    let found: Vec<Socket> = parse(&table("tcp")).into_iter().chain(parse(&table("tcp6"))).collect();
    let holders = holders(found.iter().map(|socket| socket.inode).collect());
    let listeners: BTreeSet<Listener> = found
        .into_iter()
        .map(|Socket { address, port, inode }| Listener {
            port,
            address,
            process: holders.get(&inode).cloned(),
        })
        .collect();
    listeners.into_iter().take(MOST_LISTENERS).collect()
}

#[derive(Debug, PartialEq, Eq)]
struct Socket {
    address: IpAddr,
    port: u16,
    inode: u64,
}

/// The sockets that listen in a `/proc/net/tcp` or `tcp6` (proc_pid_net(5)). Pure.
///
/// Columns: slot, local address, remote address, state, queues, timer, retransmits, uid, timeout, inode.
fn parse(table: &str) -> Vec<Socket> {
    let socket = |line: &str| {
        let mut columns = line.split_ascii_whitespace();
        let (address, port) = columns.nth(1)?.split_once(':')?;
        (columns.nth(1)? == LISTENS).then_some(())?;
        let inode = columns.nth(5)?.parse().ok()?;
        Some(Socket { address: parse_address(address)?, port: u16::from_str_radix(port, 16).ok()?, inode })
    };
    table.lines().filter_map(socket).collect()
}

/// An address as the kernel prints it: words of 32 bits in hexadecimal, each in this machine's byte order.
fn parse_address(text: &str) -> Option<IpAddr> {
    let words: Vec<[u8; 4]> = text
        .as_bytes()
        .chunks(8)
        .map(|word| Some(u32::from_str_radix(std::str::from_utf8(word).ok()?, 16).ok()?.to_ne_bytes()))
        .collect::<Option<_>>()?;
    match words.as_slice() {
        [word] if text.len() == 8 => Some(Ipv4Addr::from(*word).into()),
        words => {
            let bytes: [u8; 16] = words.concat().try_into().ok()?;
            (text.len() == 32).then(|| Ipv6Addr::from(bytes).into())
        }
    }
}

/// The names of processes that hold these sockets, by inode.
fn holders(wanted: BTreeSet<u64>) -> BTreeMap<u64, String> {
    let mut found = BTreeMap::new();
    let processes = std::fs::read_dir("/proc").into_iter().flatten().filter_map(Result::ok);
    for process in
        processes.filter(|entry| entry.file_name().to_str().is_some_and(|name| name.parse::<u32>().is_ok()))
    {
        let descriptors =
            std::fs::read_dir(process.path().join("fd")).into_iter().flatten().filter_map(Result::ok);
        for inode in
            descriptors.filter_map(|descriptor| socket_inode(&std::fs::read_link(descriptor.path()).ok()?))
        {
            if wanted.contains(&inode) && !found.contains_key(&inode) {
                let name = std::fs::read(process.path().join("comm")).unwrap_or_default();
                found.insert(inode, String::from_utf8_lossy(&name).trim_end().to_owned());
            }
        }
    }
    found
}

/// `socket:[4711]`
fn socket_inode(target: &Path) -> Option<u64> {
    target.to_str()?.strip_prefix("socket:[")?.strip_suffix(']')?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpListener;

    #[test]
    fn only_listening_sockets_are_read_with_their_address_and_inode() {
        let table = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 0100007F:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 4711 1 0000 100 0 0 10 0
   1: 00000000:0016 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 4712 1 0000 100 0 0 10 0
   2: 0100007F:0016 0100007F:D431 01 00000000:00000000 00:00000000 00000000     0        0 4713 1 0000 100 0 0 10 0
   3: broken line\n";
        let socket = |address: [u8; 4], port, inode| Socket { address: address.into(), port, inode };
        assert_eq!(parse(table), [socket([127, 0, 0, 1], 8080, 4711), socket([0, 0, 0, 0], 22, 4712)]);
    }

    #[test]
    fn the_longer_addresses_are_four_words() {
        assert_eq!(parse_address("00000000000000000000000001000000"), Some(Ipv6Addr::LOCALHOST.into()));
        let mapped = parse_address("0000000000000000FFFF00000100007F");
        assert_eq!(mapped, Some("::ffff:127.0.0.1".parse().unwrap()));
        for broken in ["", "0100007", "0100007F0100007F", "x100007F", &"0".repeat(40)] {
            assert_eq!(parse_address(broken), None, "{broken}");
        }
    }

    #[test]
    fn a_listener_of_this_process_is_found_with_its_name() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let found = listeners().into_iter().find(|found| found.port == address.port()).unwrap();
        let own = std::fs::read_to_string("/proc/self/comm").unwrap();
        assert_eq!((found.address, found.process.as_deref()), (address.ip(), Some(own.trim_end())));
        drop(listener);
        assert!(!listeners().iter().any(|found| found.port == address.port()));
    }

    proptest::proptest! {
        #[test]
        fn no_table_makes_the_parser_panic(text: String) {
            let _ = parse(&text);
            let _ = parse_address(&text);
        }
    }
}
