//! The blocking end of a socket: whole lines in and out, with the descriptors that travel beside them.

use super::{
    Incoming, MAX_DESCRIPTORS, MAX_LINE, MalformedLine, Method, RpcError, encode_request, parse_incoming,
};
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage,
    SendFlags,
};
use serde_json::value::RawValue;
use std::collections::VecDeque;
use std::io::{self, IoSlice, IoSliceMut};
use std::marker::PhantomData;
use std::mem::MaybeUninit;
use std::net::Shutdown;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::time::Duration;

/// One line without its newline, and the descriptors that came with it.
#[derive(Debug)]
pub struct Line {
    pub bytes: Vec<u8>,
    pub descriptors: Vec<OwnedFd>,
}

/// Why a call got no answer.
#[derive(Debug, thiserror::Error)]
pub enum ConnectionError {
    #[error("the other end closed the connection")]
    Closed,
    #[error(transparent)]
    TooLong(#[from] LineTooLong),
    #[error("the socket could not be read")]
    Receive(#[source] io::Error),
    #[error("the socket could not be written")]
    Send(#[source] io::Error),
    #[error(transparent)]
    Malformed(#[from] MalformedLine),
    #[error("the answer to {method} has an unexpected form")]
    UnexpectedReply {
        method: &'static str,
        #[source]
        source: serde_json::Error,
    },
    #[error("the answer carried no descriptor")]
    NoDescriptor,
    #[error(transparent)]
    Refused(#[from] RpcError),
}

/// Cuts what a socket delivers into lines, each with its descriptors.
///
/// Knows nothing of blocking: a daemon that waits for readiness and a caller that blocks use it alike.
#[derive(Debug, Default)]
pub struct LineBuffer {
    bytes: Vec<u8>,
    /// Each with the offset in `bytes` at which its line starts.
    descriptors: VecDeque<(usize, OwnedFd)>,
    /// Bytes already known to hold no newline.
    searched: usize,
}

impl LineBuffer {
    /// Reads once from the socket; 0 is the end of the stream.
    ///
    /// A descriptor is attached to the first byte of its line, and `recvmsg` on a stream socket stops behind
    /// the message that carried one (`unix_stream_read_generic`), though it may begin with earlier ones. So what
    /// arrives belongs to the last line that starts in what was read.
    ///
    /// # Errors
    /// The socket's own, `WouldBlock` included.
    pub fn receive(&mut self, socket: impl AsFd) -> io::Result<usize> {
        let mut chunk = [0_u8; 64 * 1024];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_DESCRIPTORS))];
        let mut ancillary = RecvAncillaryBuffer::new(&mut space);
        let got = loop {
            let mut into = [IoSliceMut::new(&mut chunk)];
            match rustix::net::recvmsg(&socket, &mut into, &mut ancillary, RecvFlags::CMSG_CLOEXEC) {
                Ok(message) => break message.bytes,
                Err(rustix::io::Errno::INTR) => {}
                Err(errno) => return Err(errno.into()),
            }
        };
        self.bytes.extend_from_slice(&chunk[..got]);
        for message in ancillary.drain() {
            if let RecvAncillaryMessage::ScmRights(received) = message {
                // Looked for only now: a long line without descriptors comes in many pieces.
                let before_end = self.bytes.len().saturating_sub(1);
                let newline = self.bytes[..before_end].iter().rposition(|&b| b == b'\n');
                let line_start = newline.map_or(0, |at| at + 1);
                self.descriptors.extend(received.map(|descriptor| (line_start, descriptor)));
            }
        }
        Ok(got)
    }

    /// The next whole line, if there is one.
    ///
    /// # Errors
    /// When the line at the front is longer than [`MAX_LINE`], finished or not.
    pub fn next_line(&mut self) -> Result<Option<Line>, LineTooLong> {
        let Some(found) = self.bytes[self.searched..].iter().position(|&b| b == b'\n') else {
            self.searched = self.bytes.len();
            return if self.bytes.len() < MAX_LINE { Ok(None) } else { Err(LineTooLong) };
        };
        let length = self.searched + found + 1;
        if length > MAX_LINE {
            return Err(LineTooLong);
        }
        self.searched = 0;
        let rest = self.bytes.split_off(length);
        let mut bytes = std::mem::replace(&mut self.bytes, rest);
        bytes.pop();
        let mut descriptors = Vec::new();
        while self.descriptors.front().is_some_and(|(start, _)| *start < length) {
            descriptors.extend(self.descriptors.pop_front().map(|(_, descriptor)| descriptor));
        }
        for (start, _) in &mut self.descriptors {
            *start -= length;
        }
        Ok(Some(Line { bytes, descriptors }))
    }
}

/// The other end sent a line longer than [`MAX_LINE`].
#[derive(Debug, thiserror::Error)]
#[error("the other end sent a line longer than {MAX_LINE} bytes")]
pub struct LineTooLong;

/// One connection, whose requests are answered in their order. Closing it is dropping it.
#[derive(Debug)]
pub struct Connection {
    stream: UnixStream,
    buffer: LineBuffer,
    next_id: u64,
}

/// Which of two requests was not answered.
#[derive(Debug)]
pub enum PairError {
    First(ConnectionError),
    Second(ConnectionError),
}

/// A request that is under way.
#[derive(Debug)]
struct Asked<M> {
    id: u64,
    method: PhantomData<M>,
}

impl Connection {
    #[must_use]
    pub fn new(stream: UnixStream) -> Self {
        Self { stream, buffer: LineBuffer::default(), next_id: 1 }
    }

    #[must_use]
    pub fn stream(&self) -> &UnixStream {
        &self.stream
    }

    /// Asks, and waits for the answer. Events on the way are dropped.
    ///
    /// # Errors
    /// When the other end refuses, goes away or answers with something else.
    pub fn call<M: Method>(&mut self, params: &M) -> Result<M::Reply, ConnectionError> {
        self.call_with(params, &[], |_| {}).map(|(reply, _)| reply)
    }

    /// Asks, sending descriptors along, handing each event to `on_event`; returns the answer and the
    /// descriptors that came with it.
    ///
    /// # Errors
    /// As [`Connection::call`].
    pub fn call_with<M: Method>(
        &mut self,
        params: &M,
        descriptors: &[BorrowedFd<'_>],
        on_event: impl FnMut(&RawValue),
    ) -> Result<(M::Reply, Vec<OwnedFd>), ConnectionError> {
        let asked = self.ask(params, descriptors)?;
        self.answer(&asked, on_event)
    }

    /// Asks two things in one breath: the second lies there already when the first has been answered. Each answer has to
    /// come within its limit.
    ///
    /// # Errors
    /// [`PairError::First`] only when the second was not begun, nor ever will be.
    pub fn call_pair<First: Method, M: Method>(
        &mut self,
        first: &First,
        params: &M,
        descriptors: &[BorrowedFd<'_>],
        limits: [Duration; 2],
    ) -> Result<(M::Reply, Vec<OwnedFd>), PairError> {
        let _ = self.stream.set_read_timeout(Some(limits[0]));
        let asked_first = self.ask(first, &[]).map_err(PairError::First)?;
        let asked = self.ask(params, descriptors).map_err(PairError::First)?;
        match self.answer(&asked_first, |_| {}) {
            Ok(_) => {}
            // The other end goes on to the second all the same.
            Err(error @ ConnectionError::Refused(_)) => return Err(PairError::Second(error)),
            Err(error) => {
                // An answer that nobody can take any more ends the conversation at the other end.
                let _ = self.stream.shutdown(Shutdown::Both);
                // One that was sent just before does not.
                let late = self.answer(&asked_first, |_| {});
                let is_silent = matches!(late, Err(ConnectionError::Closed | ConnectionError::Receive(_)));
                return Err(if is_silent { PairError::First(error) } else { PairError::Second(error) });
            }
        }
        let _ = self.stream.set_read_timeout(Some(limits[1]));
        self.answer(&asked, |_| {}).map_err(PairError::Second)
    }

    fn ask<M: Method>(
        &mut self,
        params: &M,
        descriptors: &[BorrowedFd<'_>],
    ) -> Result<Asked<M>, ConnectionError> {
        let id = self.next_id;
        self.next_id += 1;
        send(&self.stream, &encode_request(id, params), descriptors).map_err(ConnectionError::Send)?;
        Ok(Asked { id, method: PhantomData })
    }

    /// Waits for this answer; others that come before it are dropped.
    fn answer<M: Method>(
        &mut self,
        asked: &Asked<M>,
        mut on_event: impl FnMut(&RawValue),
    ) -> Result<(M::Reply, Vec<OwnedFd>), ConnectionError> {
        loop {
            let line = self.read_line()?.ok_or(ConnectionError::Closed)?;
            match parse_incoming(&line.bytes)? {
                Incoming::Event(event) => on_event(&event),
                Incoming::Response { id, outcome } if id == asked.id => {
                    let reply = serde_json::from_str(outcome?.get())
                        .map_err(|source| ConnectionError::UnexpectedReply { method: M::NAME, source })?;
                    return Ok((reply, line.descriptors));
                }
                Incoming::Response { .. } => {}
            }
        }
    }

    /// The next whole line, or `None` at the end of the stream.
    ///
    /// # Errors
    /// When reading fails or a line exceeds [`MAX_LINE`].
    pub fn read_line(&mut self) -> Result<Option<Line>, ConnectionError> {
        loop {
            if let Some(line) = self.buffer.next_line()? {
                return Ok(Some(line));
            }
            if self.buffer.receive(&self.stream).map_err(ConnectionError::Receive)? == 0 {
                return Ok(None);
            }
        }
    }
}

/// Sends all of `bytes` over a blocking socket, the descriptors with the first of them. The caller keeps its own
/// copies.
///
/// # Errors
/// The socket's own.
pub fn send(socket: impl AsFd, bytes: &[u8], descriptors: &[BorrowedFd<'_>]) -> io::Result<()> {
    let mut sent = 0;
    while sent < bytes.len() {
        let with = if sent == 0 { descriptors } else { &[] };
        sent += send_some(&socket, &bytes[sent..], with)?;
    }
    Ok(())
}

/// Sends as much as the socket takes at once, the descriptors with the first byte.
///
/// # Errors
/// The socket's own, `WouldBlock` included; `InvalidInput` for more than [`MAX_DESCRIPTORS`].
pub fn send_some(socket: impl AsFd, bytes: &[u8], descriptors: &[BorrowedFd<'_>]) -> io::Result<usize> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_DESCRIPTORS))];
    let mut ancillary = SendAncillaryBuffer::new(&mut space);
    if !descriptors.is_empty() && !ancillary.push(SendAncillaryMessage::ScmRights(descriptors)) {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "too many descriptors for one line"));
    }
    loop {
        match rustix::net::sendmsg(&socket, &[IoSlice::new(bytes)], &mut ancillary, SendFlags::NOSIGNAL) {
            Err(rustix::io::Errno::INTR) => {}
            outcome => return Ok(outcome?),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::daemon_api::system::Version;
    use crate::daemon_api::vm::List;
    use crate::wire::{ErrorKind, encode_response, parse_request};
    use std::io::{Read, Write};

    #[test]
    fn a_descriptor_arrives_with_its_line() {
        let (left, right) = UnixStream::pair().unwrap();
        let (mut reader, writer) = std::io::pipe().unwrap();
        send(&left, b"first\n", &[]).unwrap();
        send(&left, b"second\n", &[writer.as_fd()]).unwrap();
        drop(writer);
        let mut connection = Connection::new(right);
        assert!(connection.read_line().unwrap().unwrap().descriptors.is_empty());
        let mut line = connection.read_line().unwrap().unwrap();
        assert_eq!(line.bytes, b"second");
        let mut received = std::fs::File::from(line.descriptors.pop().unwrap());
        received.write_all(b"through").unwrap();
        drop(received);
        let mut text = String::new();
        reader.read_to_string(&mut text).unwrap();
        assert_eq!(text, "through");
    }

    #[test]
    fn an_endless_line_is_refused_and_a_closed_socket_is_the_end() {
        let (mut left, right) = UnixStream::pair().unwrap();
        let writer = std::thread::spawn(move || {
            let _ = left.write_all(&vec![b'x'; MAX_LINE + 32 * 1024]);
        });
        let mut connection = Connection::new(right);
        assert!(matches!(connection.read_line(), Err(ConnectionError::TooLong(_))));
        drop(connection);
        writer.join().unwrap();

        let (left, right) = UnixStream::pair().unwrap();
        drop(left);
        assert!(Connection::new(right).read_line().unwrap().is_none());
    }

    /// What comes of a pair of requests when the other end does this.
    fn paired(answers: impl FnOnce(&mut Connection) + Send + 'static) -> Result<usize, PairError> {
        let (left, right) = UnixStream::pair().unwrap();
        let other = std::thread::spawn(move || {
            let mut other = Connection::new(right);
            answers(&mut other);
        });
        let mut connection = Connection::new(left);
        let version = Version { protocol: 1, version: "x".to_owned() };
        let limits = [Duration::from_millis(200), Duration::from_secs(30)];
        let outcome = connection.call_pair(&version, &List {}, &[], limits).map(|(vms, _)| vms.len());
        other.join().expect("the other end is content");
        outcome
    }

    fn answer_version(other: &mut Connection) {
        let line = other.read_line().unwrap().unwrap();
        let id = parse_request(&line.bytes).unwrap().id;
        let version = Version { protocol: 1, version: "y".to_owned() };
        send(other.stream(), &encode_response(id, &Ok(version)), &[]).unwrap();
    }

    #[test]
    fn of_two_requests_in_one_breath_each_gets_its_own_answer() {
        let outcome = paired(|other| {
            answer_version(other);
            let id = parse_request(&other.read_line().unwrap().unwrap().bytes).unwrap().id;
            send(other.stream(), &encode_response::<Vec<()>>(id, &Ok(Vec::new())), &[]).unwrap();
        });
        assert_eq!(outcome.unwrap(), 0);
    }

    #[test]
    fn the_second_of_two_requests_is_known_to_be_undone_only_where_the_first_was_not_answered() {
        // It goes away before it has read anything, or without a word.
        let outcome = paired(|other| other.stream().shutdown(Shutdown::Both).unwrap());
        assert!(matches!(outcome, Err(PairError::First(_))), "{outcome:?}");
        // It says nothing for too long, and cannot say it later either.
        let outcome = paired(|other| {
            let line = other.read_line().unwrap().unwrap();
            let id = parse_request(&line.bytes).unwrap().id;
            assert!(is_given_up(other));
            let version = Version { protocol: 1, version: "y".to_owned() };
            assert!(send(other.stream(), &encode_response(id, &Ok(version)), &[]).is_err());
        });
        assert!(matches!(outcome, Err(PairError::First(ConnectionError::Receive(_)))), "{outcome:?}");
        // It refuses the first, and does the second nevertheless.
        let outcome = paired(|other| {
            let id = parse_request(&other.read_line().unwrap().unwrap().bytes).unwrap().id;
            let refusal = RpcError::new(ErrorKind::BadVersion, "another one");
            send(other.stream(), &encode_response::<()>(id, &Err(refusal)), &[]).unwrap();
        });
        assert!(matches!(outcome, Err(PairError::Second(ConnectionError::Refused(_)))), "{outcome:?}");
        // It goes away between the two.
        let outcome = paired(|other| {
            answer_version(other);
            other.stream().shutdown(Shutdown::Both).unwrap();
        });
        assert!(matches!(outcome, Err(PairError::Second(ConnectionError::Closed))), "{outcome:?}");
    }

    /// Whether the other end takes no more.
    fn is_given_up(connection: &Connection) -> bool {
        use rustix::event::{PollFd, PollFlags, poll};
        let mut polled = [PollFd::new(connection.stream(), PollFlags::empty())];
        poll(&mut polled, None).is_ok() && polled[0].revents().contains(PollFlags::HUP)
    }
}
