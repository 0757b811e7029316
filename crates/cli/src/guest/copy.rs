//! A copy out of a guest or into it, over a connection to its agent.

use super::said;
use banger_copy::{
    Destination, Entry, MODES_FROM_GUEST, Modified, ReceiveError, Receiver, SendError, Sent, Step, What,
};
use banger_protocol::guest_api::frame::{self, Failure as AgentFailure, Frame, Kind, ReadFrameError};
use banger_protocol::guest_api::{Copied, Request};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use serde::de::DeserializeOwned;
use std::fs::File;
use std::io;
use std::os::unix::net::UnixStream;
use std::path::Path;

/// Why not all of it was copied.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CopyError {
    #[error("the guest agent refused: {}", said(&.0.message))]
    Refused(AgentFailure),
    #[error("the connection to the guest was lost in the middle of the copy")]
    Lost(#[source] Option<ReadFrameError>),
    #[error("the copy could not be requested")]
    Ask(#[source] io::Error),
    #[error(transparent)]
    Send(SendError),
    #[error("the files from the guest could not be written")]
    Receive(#[source] ReceiveError),
    #[error("the guest sent more than {0} bytes")]
    TooMuch(u64),
    #[error("only a file can be written to standard output")]
    NoFile,
    #[error("standard output was not written to")]
    Pass(#[source] io::Error),
    #[error("the guest agent violated the protocol")]
    Protocol,
}

/// Copies what is at `path` in the guest to `destination` here.
pub(crate) fn copy_out(
    agent: &mut UnixStream,
    path: String,
    destination: Destination,
) -> Result<Copied, CopyError> {
    copy_some_out(agent, path, destination, u64::MAX, |_| true)
}

/// The same without the entries that are not `wanted`, and no more than `most` bytes of the rest.
pub(crate) fn copy_some_out(
    agent: &mut UnixStream,
    path: String,
    destination: Destination,
    most: u64,
    wanted: impl Fn(&Entry) -> bool,
) -> Result<Copied, CopyError> {
    frame::write_json(agent, Kind::Request, &Request::CopyOut { path }).map_err(CopyError::Ask)?;
    let mut agent = io::BufReader::with_capacity(frame::MAX_PAYLOAD, agent);
    let mut receiver = Receiver::new(destination, MODES_FROM_GUEST);
    let (mut left, mut skipping) = (most, false);
    loop {
        let Frame { kind, payload } = next(&mut agent)?;
        // Holes count too: whoever reads the file reads them.
        let bytes = match (kind, payload.as_slice().try_into()) {
            (Kind::Hole, Ok(length)) => u64::from_le_bytes(length),
            _ => payload.len() as u64,
        };
        left = left.checked_sub(bytes).ok_or(CopyError::TooMuch(most))?;
        match kind {
            Kind::Error => return Err(refusal(&payload)),
            Kind::Entry => skipping = Entry::parse(&payload).is_ok_and(|entry| !wanted(&entry)),
            Kind::Done => skipping = false,
            _ => {}
        }
        if skipping {
            continue;
        }
        if receiver.take(kind, &payload).map_err(CopyError::Receive)? == Step::Done {
            return reply(&next(&mut agent)?);
        }
    }
}

/// Gives what the file at `path` in the guest holds to `to`, piece by piece; what is a hole as zeros.
pub(crate) fn pass_out(
    agent: &mut UnixStream,
    path: String,
    mut to: impl FnMut(&[u8]) -> Result<(), CopyError>,
) -> Result<Copied, CopyError> {
    static ZEROS: [u8; 64 << 10] = [0; 64 << 10];
    frame::write_json(agent, Kind::Request, &Request::CopyOut { path }).map_err(CopyError::Ask)?;
    let mut agent = io::BufReader::with_capacity(frame::MAX_PAYLOAD, agent);
    let mut missing = None;
    loop {
        let Frame { kind, payload } = next(&mut agent)?;
        let left = match (kind, missing) {
            (Kind::Error, _) => return Err(refusal(&payload)),
            (Kind::Entry, None) => match Entry::parse(&payload).map(|entry| entry.what) {
                Ok(What::File { size }) => size,
                Ok(What::Folder | What::Link { .. }) => return Err(CopyError::NoFile),
                Err(_) => return Err(CopyError::Protocol),
            },
            (Kind::Data, Some(missing)) => {
                let left = u64::checked_sub(missing, payload.len() as u64).ok_or(CopyError::Protocol)?;
                to(&payload)?;
                left
            }
            (Kind::Hole, Some(missing)) => {
                let length = payload.as_slice().try_into().map(u64::from_le_bytes);
                let length = length.map_err(|_| CopyError::Protocol)?;
                let left = u64::checked_sub(missing, length).ok_or(CopyError::Protocol)?;
                let mut zeros = length;
                while zeros > 0 {
                    let most = ZEROS.len().min(usize::try_from(zeros).unwrap_or(usize::MAX));
                    to(&ZEROS[..most])?;
                    zeros -= most as u64;
                }
                left
            }
            (Kind::Done, Some(0)) => return reply(&next(&mut agent)?),
            _ => return Err(CopyError::Protocol),
        };
        missing = Some(left);
    }
}

/// What the file at `path` in the guest holds, of which there may be `most` bytes; nothing where there is none.
pub(crate) fn read_file(
    agent: &mut UnixStream,
    path: String,
    most: usize,
) -> Result<Option<Vec<u8>>, CopyError> {
    let mut bytes = Vec::new();
    let read = pass_out(agent, path, |piece| {
        if piece.len() > most - bytes.len() {
            return Err(CopyError::TooMuch(most as u64));
        }
        bytes.extend(piece);
        Ok(())
    });
    match read {
        Ok(_) => Ok(Some(bytes)),
        // It says why in words, which are its own.
        Err(CopyError::Refused(_) | CopyError::NoFile) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Copies what is at `source` here to `path` in the guest.
pub(crate) fn copy_in(
    agent: &mut UnixStream,
    source: &Path,
    path: String,
    name: Option<String>,
) -> Result<Copied, CopyError> {
    frame::write_json(agent, Kind::Request, &Request::CopyIn { path, name }).map_err(CopyError::Ask)?;
    let sent = banger_copy::send(source, |kind, payload| pass_on(agent, kind, payload));
    sent_in(agent, sent)
}

/// Copies an open file to `path` in the guest; `name` is what errors call it.
pub(crate) fn copy_file_in(
    agent: &mut UnixStream,
    file: &File,
    name: &str,
    path: String,
) -> Result<Copied, CopyError> {
    frame::write_json(agent, Kind::Request, &Request::CopyIn { path, name: None }).map_err(CopyError::Ask)?;
    let sent = banger_copy::send_file(file, name.as_ref(), |kind, payload| pass_on(agent, kind, payload));
    sent_in(agent, sent)
}

/// Copies these paths below the folder at `root` here, and none but these, to below the folder at `path` in the guest.
pub(crate) fn copy_some_in<'p>(
    agent: &mut UnixStream,
    root: &Path,
    paths: impl IntoIterator<Item = &'p [u8]>,
    path: String,
) -> Result<Copied, CopyError> {
    frame::write_json(agent, Kind::Request, &Request::CopyIn { path, name: None }).map_err(CopyError::Ask)?;
    let sent = banger_copy::send_some(root, paths, |kind, payload| pass_on(agent, kind, payload));
    sent_in(agent, sent)
}

/// Writes a file of these bytes at `path` in the guest.
pub(crate) fn write_file(
    agent: &mut UnixStream,
    path: String,
    mode: u32,
    bytes: &[u8],
) -> Result<(), CopyError> {
    frame::write_json(agent, Kind::Request, &Request::CopyIn { path, name: None }).map_err(CopyError::Ask)?;
    let modified = Modified { seconds: 0, nanoseconds: 0 };
    let entry = Entry { path: Vec::new(), mode, modified, what: What::File { size: bytes.len() as u64 } };
    let mut send = |kind, payload: &[u8]| pass_on(agent, kind, payload);
    let sent = send(Kind::Entry, &entry.encode())
        .and_then(|()| bytes.chunks(frame::MAX_PAYLOAD).try_for_each(|piece| send(Kind::Data, piece)))
        .and_then(|()| send(Kind::Done, &[]));
    let sent = sent.map(|()| Sent::default()).map_err(SendError::Connection);
    sent_in(agent, sent).map(drop)
}

/// The agent says nothing before the end, unless it cannot go on.
fn pass_on(agent: &mut UnixStream, kind: Kind, payload: &[u8]) -> io::Result<()> {
    if has_answer(agent) {
        return Err(io::ErrorKind::BrokenPipe.into());
    }
    frame::write(agent, kind, payload)
}

/// What the agent makes of what it was sent.
fn sent_in(agent: &mut UnixStream, sent: Result<Sent, SendError>) -> Result<Copied, CopyError> {
    match sent {
        Ok(sent) => {
            let copied: Copied = reply(&next(agent)?)?;
            let first_skipped = sent.skipped.first().map(|path| path.display().to_string());
            Ok(Copied { skipped: sent.skipped.len() as u64, first_skipped, ..copied })
        }
        Err(SendError::Connection(_)) => {
            let answer = next(agent)?;
            if answer.kind == Kind::Error { Err(refusal(&answer.payload)) } else { Err(CopyError::Protocol) }
        }
        Err(error) => Err(CopyError::Send(error)),
    }
}

fn has_answer(agent: &UnixStream) -> bool {
    let mut fds = [PollFd::new(agent, PollFlags::IN)];
    poll(&mut fds, Some(&Timespec { tv_sec: 0, tv_nsec: 0 })).is_ok_and(|ready| ready > 0)
}

pub(super) fn next(agent: &mut impl io::Read) -> Result<Frame, CopyError> {
    frame::read(agent).map_err(|error| CopyError::Lost(Some(error)))?.ok_or(CopyError::Lost(None))
}

pub(super) fn reply<T: DeserializeOwned>(frame: &Frame) -> Result<T, CopyError> {
    match frame.kind {
        Kind::Reply => serde_json::from_slice(&frame.payload).map_err(|_| CopyError::Protocol),
        Kind::Error => Err(refusal(&frame.payload)),
        _ => Err(CopyError::Protocol),
    }
}

pub(super) fn refusal(payload: &[u8]) -> CopyError {
    serde_json::from_slice(payload).map_or(CopyError::Protocol, CopyError::Refused)
}
