//! Frames on a vsock connection: one byte of kind, four of length (little endian), then the payload.

use serde::{Deserialize, Serialize};
use std::io::{self, Read, Write};

/// Longest payload of a frame, in bytes.
pub const MAX_PAYLOAD: usize = 64 * 1024;

const HEADER: usize = 5;

/// What a frame carries. The numbers are the wire format.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Kind {
    /// Host → guest: [`super::Request`] as JSON; the first frame, once.
    Request = 0,
    /// Host → guest: bytes of standard input, within the window.
    Stdin = 1,
    /// Host → guest: no more standard input.
    StdinEnd = 2,
    /// Host → guest: a signal number, one byte, for the command's process group.
    Signal = 3,
    /// Host → guest: [`super::WindowSize`] as JSON.
    Resize = 4,
    /// Guest → host: the request is under way.
    Started = 16,
    /// Guest → host: bytes the command wrote.
    Stdout = 17,
    /// Guest → host: bytes the command wrote.
    Stderr = 18,
    /// Guest → host: this many bytes of input (u32, little endian) were taken; the window opens by as much.
    StdinCredit = 19,
    /// Guest → host: [`super::Exit`] as JSON; the last frame.
    Exit = 20,
    /// Guest → host: the request's answer as JSON; the last frame.
    Reply = 21,
    /// Guest → host: [`Failure`] as JSON; the last frame.
    Error = 22,
    /// Guest → host: one of several answers, as JSON; `Reply` follows the last of them.
    Item = 23,
    /// Guest → host: this many bytes (u64, little endian) of output are kept no longer; what follows comes after them.
    Dropped = 24,
    /// Guest → host: [`super::session::Refusal`] as JSON; the last frame.
    Refused = 25,
    /// Either way: a file, folder or link of a copy; `banger-copy` knows the form.
    Entry = 32,
    /// Either way: the next bytes of the file that the last `Entry` announced.
    Data = 33,
    /// Either way: so many zero bytes (u64, little endian) of that file that nobody has written.
    Hole = 34,
    /// Either way: the copy is complete.
    Done = 35,
    /// Guest → host: who asks (u32, little endian), and a message for the ssh agent without its length; nothing more when
    /// that client has gone. Host → guest: the same with the answer.
    SshAgent = 48,
}

/// Why the agent did not do what was asked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Failure {
    pub message: String,
}

impl Kind {
    fn from_byte(byte: u8) -> Option<Self> {
        Some(match byte {
            0 => Self::Request,
            1 => Self::Stdin,
            2 => Self::StdinEnd,
            3 => Self::Signal,
            4 => Self::Resize,
            16 => Self::Started,
            17 => Self::Stdout,
            18 => Self::Stderr,
            19 => Self::StdinCredit,
            20 => Self::Exit,
            21 => Self::Reply,
            22 => Self::Error,
            23 => Self::Item,
            24 => Self::Dropped,
            25 => Self::Refused,
            32 => Self::Entry,
            33 => Self::Data,
            34 => Self::Hole,
            35 => Self::Done,
            48 => Self::SshAgent,
            _ => return None,
        })
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    pub kind: Kind,
    pub payload: Vec<u8>,
}

/// Why no frame could be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadFrameError {
    #[error("the connection was lost")]
    Io(#[source] io::Error),
    #[error("a frame of unknown kind {0}")]
    UnknownKind(u8),
    #[error("a frame of {0} bytes, longer than {MAX_PAYLOAD}")]
    TooLong(u32),
}

/// The next frame, or `None` when the other end closed between two frames.
///
/// # Errors
/// When the connection breaks inside a frame, or a frame breaks the format.
pub fn read(from: &mut impl Read) -> Result<Option<Frame>, ReadFrameError> {
    let mut header = [0_u8; HEADER];
    match from.read(&mut header[..1]) {
        Ok(0) => return Ok(None),
        Ok(_) => {}
        Err(e) if e.kind() == io::ErrorKind::Interrupted => return read(from),
        Err(e) => return Err(ReadFrameError::Io(e)),
    }
    from.read_exact(&mut header[1..]).map_err(ReadFrameError::Io)?;
    let [kind, a, b, c, d] = header;
    let length = u32::from_le_bytes([a, b, c, d]);
    let kind = Kind::from_byte(kind).ok_or(ReadFrameError::UnknownKind(kind))?;
    let size =
        usize::try_from(length).ok().filter(|&n| n <= MAX_PAYLOAD).ok_or(ReadFrameError::TooLong(length))?;
    let mut payload = vec![0; size];
    from.read_exact(&mut payload).map_err(ReadFrameError::Io)?;
    Ok(Some(Frame { kind, payload }))
}

/// Writes one frame with a single `write`.
///
/// # Errors
/// The connection's own.
///
/// # Panics
/// When `payload` is longer than [`MAX_PAYLOAD`]: callers cut their data to size.
pub fn write(to: &mut impl Write, kind: Kind, payload: &[u8]) -> io::Result<()> {
    assert!(payload.len() <= MAX_PAYLOAD, "a payload of {} bytes does not fit a frame", payload.len());
    let length = u32::try_from(payload.len()).expect("the payload was just measured");
    let mut bytes = Vec::with_capacity(HEADER + payload.len());
    bytes.push(kind as u8);
    bytes.extend_from_slice(&length.to_le_bytes());
    bytes.extend_from_slice(payload);
    to.write_all(&bytes)
}

/// Writes one frame with a JSON payload.
///
/// # Errors
/// The connection's own, and `InvalidInput` for a value whose JSON does not fit a frame.
pub fn write_json<T: Serialize>(to: &mut impl Write, kind: Kind, value: &T) -> io::Result<()> {
    let payload = serde_json::to_vec(value)?;
    if payload.len() > MAX_PAYLOAD {
        let message = format!("{} bytes of JSON do not fit a frame of {MAX_PAYLOAD}", payload.len());
        return Err(io::Error::new(io::ErrorKind::InvalidInput, message));
    }
    write(to, kind, &payload)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_arrive_as_written_and_the_end_is_between_two() {
        let mut wire = Vec::new();
        write(&mut wire, Kind::Stdin, b"abc").unwrap();
        write(&mut wire, Kind::StdinEnd, b"").unwrap();
        let mut from = wire.as_slice();
        assert_eq!(read(&mut from).unwrap(), Some(Frame { kind: Kind::Stdin, payload: b"abc".to_vec() }));
        assert_eq!(read(&mut from).unwrap(), Some(Frame { kind: Kind::StdinEnd, payload: Vec::new() }));
        assert_eq!(read(&mut from).unwrap(), None);
    }

    #[test]
    fn a_cut_frame_an_unknown_kind_and_an_overlong_one_are_refused() {
        assert!(matches!(read(&mut [1, 3, 0, 0, 0, b'a'].as_slice()), Err(ReadFrameError::Io(_))));
        assert!(matches!(read(&mut [99, 0, 0, 0, 0].as_slice()), Err(ReadFrameError::UnknownKind(99))));
        assert!(matches!(read(&mut [1, 255, 255, 255, 255].as_slice()), Err(ReadFrameError::TooLong(_))));
    }

    proptest::proptest! {
        #[test]
        fn no_bytes_make_the_reader_panic(bytes: Vec<u8>) {
            let _ = read(&mut bytes.as_slice());
        }
    }
}
