//! Waiting for QEMU's vsock backend.
//!
//! QEMU connects to it once and gives up when it is refused, and a trial connection would be taken for QEMU. That
//! the socket's file is there is not enough: it appears with `bind`, and a moment may pass until `listen`. So the
//! kernel is asked which sockets listen.

use super::boot::first_end;
use banger_protocol::root_api::{ProcessIdentity, VHOST_SOCKET};
use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;

/// How long the backend may take to listen; it does nothing before that.
const DEADLINE: Duration = Duration::from_secs(20);
const LOOK_EVERY: Duration = Duration::from_millis(1);

/// The backend ended, or did nothing for too long.
#[derive(Debug, thiserror::Error)]
#[error("the vsock backend did not listen")]
pub(crate) struct BackendSilent;

pub(super) async fn wait_until_listening(
    folder: &Path,
    backend: ProcessIdentity,
) -> Result<(), BackendSilent> {
    let socket = folder.join(VHOST_SOCKET);
    let listening = async {
        // The table has the sockets of every VM, and is read only when it can have this one's.
        while socket.symlink_metadata().is_err() || !listens(backend.pid) {
            tokio::time::sleep(LOOK_EVERY).await;
        }
    };
    let processes = [backend];
    tokio::select! {
        () = listening => Ok(()),
        () = first_end(&processes) => Err(BackendSilent),
        () = tokio::time::sleep(DEADLINE) => Err(BackendSilent),
    }
}

/// Whether one of the process's own sockets listens under the name that QEMU will look for.
fn listens(pid: u32) -> bool {
    // The table of the process's network namespace, which is not ours.
    let table = std::fs::read_to_string(format!("/proc/{pid}/net/unix")).unwrap_or_default();
    let listening = listening_inodes(&table, VHOST_SOCKET);
    // Every backend binds the same name, each in its own folder: only the socket's number tells them apart.
    !listening.is_empty() && listening.intersection(&socket_inodes(pid)).next().is_some()
}

/// Inodes of the sockets in a `/proc/net/unix` that listen under this name. Pure.
///
/// Columns (proc_pid_net(5)): number, references, protocol, flags, type, state, inode, path; a socket that listens
/// has the flag `__SO_ACCEPTCON`.
fn listening_inodes(table: &str, name: &str) -> BTreeSet<u64> {
    const ACCEPTS_CONNECTIONS: u32 = 0x1_0000;
    let listening = |line: &str| {
        let mut columns = line.split_ascii_whitespace();
        let flags = u32::from_str_radix(columns.nth(3)?, 16).ok()?;
        let inode = columns.nth(2)?.parse().ok()?;
        let found = columns.next()? == name && flags & ACCEPTS_CONNECTIONS != 0;
        found.then_some(inode)
    };
    table.lines().filter_map(listening).collect()
}

fn socket_inodes(pid: u32) -> BTreeSet<u64> {
    let descriptors =
        std::fs::read_dir(format!("/proc/{pid}/fd")).into_iter().flatten().filter_map(Result::ok);
    let inode = |descriptor: std::fs::DirEntry| {
        let target = std::fs::read_link(descriptor.path()).ok()?;
        target.to_str()?.strip_prefix("socket:[")?.strip_suffix(']')?.parse().ok()
    };
    descriptors.filter_map(inode).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_socket_that_is_only_bound_does_not_listen() {
        let table = "Num       RefCount Protocol Flags    Type St Inode Path\n\
                     0000000000000000: 00000002 00000000 00010000 0001 01 4711 vhost.sock\n\
                     0000000000000000: 00000002 00000000 00000000 0001 01 4712 vhost.sock\n\
                     0000000000000000: 00000002 00000000 00010000 0001 01 4713 v.sock\n\
                     0000000000000000: 00000003 00000000 00000000 0001 03 4714\n";
        assert_eq!(listening_inodes(table, "vhost.sock"), BTreeSet::from([4711]));
    }

    #[test]
    fn a_processs_own_sockets_are_found_by_their_numbers() {
        let (left, _right) = std::os::unix::net::UnixStream::pair().unwrap();
        let inode = rustix::fs::fstat(&left).unwrap().st_ino;
        assert!(socket_inodes(std::process::id()).contains(&inode));
    }
}
