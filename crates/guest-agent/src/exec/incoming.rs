//! Frames out of bytes that arrive in pieces.

use banger_protocol::guest_api::frame::{self, Frame, MAX_PAYLOAD, ReadFrameError};

/// What came from the host and is not a whole frame yet.
#[derive(Debug, Default)]
pub(crate) struct Incoming {
    bytes: Vec<u8>,
}

impl Incoming {
    pub(crate) fn push(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
    }

    /// The next whole frame.
    pub(crate) fn next(&mut self) -> Result<Option<Frame>, ReadFrameError> {
        let Some(header) = self.bytes.first_chunk::<5>() else { return Ok(None) };
        let [_, a, b, c, d] = *header;
        let length = u32::from_le_bytes([a, b, c, d]);
        // One that is too long is not waited for: reading it says so.
        let whole = usize::try_from(length).map_or(0, |n| if n > MAX_PAYLOAD { 0 } else { 5 + n });
        if self.bytes.len() < whole {
            return Ok(None);
        }
        let mut rest = self.bytes.as_slice();
        let frame = frame::read(&mut rest)?;
        let used = self.bytes.len() - rest.len();
        self.bytes.drain(..used);
        Ok(frame)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use frame::Kind;

    #[test]
    fn frames_come_out_whole_however_they_went_in() {
        let mut wire = Vec::new();
        frame::write(&mut wire, Kind::Stdin, b"abc").unwrap();
        frame::write(&mut wire, Kind::StdinEnd, b"").unwrap();
        for piece in 1..wire.len() {
            let mut incoming = Incoming::default();
            let mut frames = Vec::new();
            for bytes in wire.chunks(piece) {
                incoming.push(bytes);
                while let Some(frame) = incoming.next().unwrap() {
                    frames.push((frame.kind, frame.payload));
                }
            }
            assert_eq!(frames, [(Kind::Stdin, b"abc".to_vec()), (Kind::StdinEnd, Vec::new())]);
        }
    }

    #[test]
    fn an_overlong_frame_is_refused_from_its_header() {
        let mut incoming = Incoming::default();
        incoming.push(&[1, 1, 0, 1, 0]);
        assert!(matches!(incoming.next(), Err(ReadFrameError::TooLong(65537))));
    }
}
