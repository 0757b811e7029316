//! Unix sockets by the file they are bound to, told by the kernel over netlink (sock_diag(7)).
//!
//! The table in `/proc` knows names only, and of another user's process nobody says which socket is whose. Here the kernel
//! tells the inode, and needs no right over the process. It tells of one network namespace, ours.

use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, netlink};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

/// A socket's state, as both TCP and Unix sockets number them (include/net/tcp_states.h).
#[derive(Clone, Copy, Debug)]
pub(super) enum State {
    Connected = 1,
    Listens = 10,
}

/// `SOCK_DIAG_BY_FAMILY`, the one request and every answer to it.
const BY_FAMILY: u16 = 20;
/// `NLM_F_REQUEST` and `NLM_F_DUMP`.
const ALL: u16 = 0x1 | 0x300;
/// `NLMSG_ERROR` and `NLMSG_DONE`.
const ERROR: u16 = 2;
const DONE: u16 = 3;
/// `UDIAG_SHOW_VFS`, and the attribute that comes of it.
const SHOW_FILE: u32 = 0x2;
const FILE: u16 = 1;

const HEADER: usize = 16;
/// `struct unix_diag_msg`, before the attributes.
const ABOUT: usize = 16;

/// How many sockets in this state are bound to the file at this path, or were accepted from one that is.
pub(super) fn count(path: &Path, state: State) -> io::Result<usize> {
    // The kernel tells the lower half of an inode's number; files of one folder are on one file system.
    let [a, b, c, d, ..] = path.symlink_metadata()?.ino().to_ne_bytes();
    let wanted = u32::from_ne_bytes([a, b, c, d]);
    let socket = ask(state)?;
    let mut found = 0;
    let mut buffer = vec![0; 32 << 10];
    loop {
        let (_, length) = rustix::net::recv(&socket, buffer.as_mut_slice(), RecvFlags::TRUNC)?;
        let received = buffer.get(..length).ok_or(io::ErrorKind::FileTooLarge)?;
        for message in messages(received) {
            match message {
                Message::BoundTo(inode) => found += usize::from(inode == wanted),
                Message::Other => {}
                Message::Refused(errno) => return Err(io::Error::from_raw_os_error(errno)),
                Message::Done => return Ok(found),
            }
        }
    }
}

fn ask(state: State) -> io::Result<OwnedFd> {
    let socket = rustix::net::socket_with(
        AddressFamily::NETLINK,
        SocketType::RAW,
        SocketFlags::CLOEXEC,
        Some(netlink::SOCK_DIAG),
    )?;
    rustix::net::send(&socket, &request(state), SendFlags::empty())?;
    Ok(socket)
}

/// `struct nlmsghdr` and `struct unix_diag_req`.
fn request(state: State) -> Vec<u8> {
    const LENGTH: u32 = 40;
    const FAMILY_AND_PROTOCOL: [u8; 4] = [1, 0, 0, 0];
    let states = 1_u32 << (state as u32);
    let header = [&LENGTH.to_ne_bytes()[..], &BY_FAMILY.to_ne_bytes(), &ALL.to_ne_bytes(), &[0; 8]].concat();
    let wishes = [states, 0, SHOW_FILE, 0, 0].map(u32::to_ne_bytes).concat();
    [header, FAMILY_AND_PROTOCOL.to_vec(), wishes].concat()
}

#[derive(Debug, PartialEq, Eq)]
enum Message {
    /// A socket, and the inode of its file.
    BoundTo(u32),
    /// A socket that has no file.
    Other,
    Refused(i32),
    Done,
}

/// What a datagram of the kernel's says, up to where it is cut off.
fn messages(mut bytes: &[u8]) -> impl Iterator<Item = Message> {
    std::iter::from_fn(move || {
        let length = usize::try_from(u32_at(bytes, 0)?).ok()?;
        let kind = u16_at(bytes, 4)?;
        let body = bytes.get(HEADER..length)?;
        bytes = bytes.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some(match kind {
            BY_FAMILY => attribute(body.get(ABOUT..)?, FILE).map_or(Message::Other, Message::BoundTo),
            ERROR => Message::Refused(u32_at(body, 0)?.cast_signed().wrapping_neg()),
            DONE => Message::Done,
            _ => Message::Other,
        })
    })
}

/// The first number of the attribute of this kind.
fn attribute(mut bytes: &[u8], wanted: u16) -> Option<u32> {
    loop {
        let length = usize::from(u16_at(bytes, 0)?);
        if u16_at(bytes, 2)? == wanted {
            return u32_at(bytes.get(..length)?, 4);
        }
        bytes = bytes.get(length.max(4).next_multiple_of(4)..)?;
    }
}

fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_ne_bytes(*bytes.get(at..)?.first_chunk()?))
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_ne_bytes(*bytes.get(at..)?.first_chunk()?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::net::{UnixListener, UnixStream};

    #[test]
    fn sockets_are_told_apart_by_their_files_and_not_by_their_names() {
        let folders = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
        let [ours, other] = folders.each_ref().map(|folder| folder.path().join("v.sock"));
        let listeners = [&ours, &other].map(|path| UnixListener::bind(path).unwrap());
        assert_eq!(count(&ours, State::Listens).unwrap(), 1);
        assert_eq!(count(&ours, State::Connected).unwrap(), 0);
        let clients = [&ours, &ours, &other].map(|path| UnixStream::connect(path).unwrap());
        let accepted = [&listeners[0], &listeners[0], &listeners[1]].map(|one| one.accept().unwrap());
        assert_eq!(count(&ours, State::Connected).unwrap(), 2);
        drop((clients, accepted, listeners));
        assert_eq!(count(&ours, State::Listens).unwrap(), 0);
        std::fs::remove_file(&ours).unwrap();
        assert!(count(&ours, State::Listens).is_err(), "there is no file to be bound to");
    }

    #[test]
    fn an_answer_that_is_cut_off_or_senseless_ends_the_reading_of_it() {
        let message = |kind: u16, body: &[u8]| {
            let length = u32::try_from(HEADER + body.len()).unwrap();
            [&length.to_ne_bytes()[..], &kind.to_ne_bytes(), &[0; 10], body].concat()
        };
        let file = [&12_u16.to_ne_bytes()[..], &FILE.to_ne_bytes(), &[7, 0, 0, 0, 1, 0, 0, 0]].concat();
        let bound = message(BY_FAMILY, &[&[0; ABOUT][..], &[5, 0, 9, 0, 1, 0, 0, 0], &file].concat());
        let refused = message(ERROR, &(-2_i32).to_ne_bytes());
        let whole = [bound.clone(), refused, message(DONE, &[])].concat();
        let read: Vec<_> = messages(&whole).collect();
        assert_eq!(read, [Message::BoundTo(7), Message::Refused(2), Message::Done]);
        for length in 0..bound.len() {
            assert_eq!(messages(&bound[..length]).count(), 0, "{length}");
        }
        assert_eq!(messages(&[0; 64]).count(), 0, "a message shorter than its own header");
    }
}
