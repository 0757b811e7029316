//! The Unix sockets of other processes, as the kernel tells of them.
//!
//! Every VM's processes bind the same names, each in its own folder, so a name in the kernel's table says little: what
//! tells sockets apart is their number, which the descriptors of a process show. Of a process that is another user's, as
//! a VM's is where banger is installed, they are not shown. There everybody is in one network namespace, and the kernel
//! tells the file of each socket in it ([`diag`]).

mod diag;

use diag::State;
use std::collections::BTreeSet;
use std::io;
use std::path::Path;

/// A socket of this name that listens (`__SO_ACCEPTCON`).
const ACCEPTS_CONNECTIONS: u32 = 0x1_0000;
/// `SS_CONNECTED`.
const CONNECTED: u32 = 3;

/// Whether one of the process's own sockets listens under this name in its folder.
pub(crate) fn listens(pid: u32, folder: &Path, name: &str) -> bool {
    // It belongs to the network namespace that the process was in, which is not ours.
    let table = format!("/proc/{pid}/net/unix");
    let is_it = |line: &Line<'_>| line.is_called(name) && line.flags & ACCEPTS_CONNECTIONS != 0;
    let counted =
        own(pid, &table, is_it).or_else(|error| if_another_users(error, folder, name, State::Listens));
    counted.is_ok_and(|count| count > 0)
}

/// How many connections that came from our network namespace the process has accepted under this name and still has.
pub(crate) fn connections(pid: u32, folder: &Path, name: &str) -> io::Result<usize> {
    // The accepted end of a connection belongs to the namespace of whoever connected (`unix_stream_connect` in
    // net/unix/af_unix.c), and has the name of the socket that listens.
    own(pid, "/proc/self/net/unix", |line| line.is_called(name) && line.state == CONNECTED)
        .or_else(|error| if_another_users(error, folder, name, State::Connected))
}

fn if_another_users(error: io::Error, folder: &Path, name: &str, state: State) -> io::Result<usize> {
    match error.kind() {
        io::ErrorKind::PermissionDenied => diag::count(&folder.join(name), state),
        _ => Err(error),
    }
}

fn own(pid: u32, table: &str, is_it: impl Fn(&Line<'_>) -> bool) -> io::Result<usize> {
    let table = std::fs::read_to_string(table)?;
    let named: BTreeSet<u64> = lines(&table).filter(is_it).map(|line| line.inode).collect();
    Ok(named.intersection(&inodes(pid)?).count())
}

/// A line of `/proc/net/unix`.
#[derive(Debug, PartialEq, Eq)]
struct Line<'a> {
    flags: u32,
    state: u32,
    inode: u64,
    name: &'a str,
}

impl Line<'_> {
    /// Some are bound by their name in the folder they are started in, others by a path.
    fn is_called(&self, name: &str) -> bool {
        self.name.strip_suffix(name).is_some_and(|folder| folder.is_empty() || folder.ends_with('/'))
    }
}

/// Columns (proc_pid_net(5)): number, references, protocol, flags, type, state, inode, path. Sockets without a path
/// are left out.
fn lines(table: &str) -> impl Iterator<Item = Line<'_>> {
    table.lines().filter_map(|line| {
        let mut columns = line.split_ascii_whitespace();
        let flags = u32::from_str_radix(columns.nth(3)?, 16).ok()?;
        let state = u32::from_str_radix(columns.nth(1)?, 16).ok()?;
        Some(Line { flags, state, inode: columns.next()?.parse().ok()?, name: columns.next()? })
    })
}

fn inodes(pid: u32) -> io::Result<BTreeSet<u64>> {
    let inode = |descriptor: std::fs::DirEntry| {
        let target = std::fs::read_link(descriptor.path()).ok()?;
        target.to_str()?.strip_prefix("socket:[")?.strip_suffix(']')?.parse().ok()
    };
    Ok(std::fs::read_dir(format!("/proc/{pid}/fd"))?.filter_map(Result::ok).filter_map(inode).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::net::{UnixListener, UnixStream};

    #[test]
    fn a_socket_that_is_only_bound_does_not_listen() {
        let table = "Num       RefCount Protocol Flags    Type St Inode Path\n\
                     0000000000000000: 00000002 00000000 00010000 0001 01 4711 vhost.sock\n\
                     0000000000000000: 00000002 00000000 00000000 0001 01 4712 vhost.sock\n\
                     0000000000000000: 00000003 00000000 00000000 0001 03 4713 v.sock\n\
                     0000000000000000: 00000003 00000000 00000000 0001 03 4714\n";
        let found: Vec<_> = lines(table).map(|line| (line.inode, line.flags, line.state)).collect();
        assert_eq!(found, [(4711, ACCEPTS_CONNECTIONS, 1), (4712, 0, 1), (4713, 0, CONNECTED)]);
    }

    #[test]
    fn a_socket_is_known_by_the_last_part_of_its_path() {
        let called = |name| Line { flags: 0, state: 0, inode: 0, name }.is_called("v.sock");
        assert!(called("v.sock") && called("/vm/v.sock"));
        assert!(!called("other-v.sock") && !called("v.sock/below") && !called(""));
    }

    #[test]
    fn connections_are_counted_while_they_are_open() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("v.sock");
        let (own, name) = (std::process::id(), path.to_str().unwrap());
        let count = || connections(own, folder.path(), name).unwrap();
        assert!(!listens(own, folder.path(), name));
        let listener = UnixListener::bind(&path).unwrap();
        assert!(listens(own, folder.path(), name));
        assert_eq!(count(), 0);
        let clients = [UnixStream::connect(&path).unwrap(), UnixStream::connect(&path).unwrap()];
        let first = listener.accept().unwrap();
        let second = listener.accept().unwrap();
        assert_eq!(count(), 2, "each once, and not both of its ends");
        drop(first);
        assert_eq!(count(), 1);
        drop((second, clients));
        assert_eq!(count(), 0);
    }

    #[test]
    fn a_process_that_is_gone_is_an_error_and_not_one_without_connections() {
        assert!(connections(u32::MAX, Path::new("/"), "v.sock").is_err());
    }
}
