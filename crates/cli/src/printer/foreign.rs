//! Bytes of a guest that are text for a person, as they come in.

use super::{harmless, harmless_but_colour, pass_through};
use rustix::fd::BorrowedFd;
use rustix::termios::isatty;
use std::io;

/// Longest line that is kept to see its colours whole.
const LONGEST_LINE: usize = 1 << 20;

/// One of our own streams, to which others' output goes: made harmless for a terminal, left alone otherwise.
#[derive(Debug)]
pub(crate) struct Foreign {
    to: BorrowedFd<'static>,
    is_terminal: bool,
    /// Whether colours are for the terminal to obey.
    colour: bool,
    /// The beginning of a character or of a line's end.
    held: Vec<u8>,
}

impl Foreign {
    pub(crate) fn to(stream: BorrowedFd<'static>) -> Self {
        Self { to: stream, is_terminal: isatty(stream), colour: false, held: Vec::new() }
    }

    /// The same with colours kept, for text that a program here has coloured.
    pub(crate) fn with_colour(stream: BorrowedFd<'static>) -> Self {
        Self { colour: true, ..Self::to(stream) }
    }

    fn show(&self, text: &[u8]) -> io::Result<()> {
        let text = String::from_utf8_lossy(text);
        let text = if self.colour { harmless_but_colour(&text) } else { harmless(&text) };
        pass_through(self.to, text.as_bytes())
    }

    /// # Errors
    /// The stream's own.
    pub(crate) fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        if !self.is_terminal {
            return pass_through(self.to, bytes);
        }
        self.held.extend_from_slice(bytes);
        let mut end = complete(&self.held);
        if self.colour {
            // Half a colour waits as well.
            end = self.held[..end].iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
            if self.held.len() > LONGEST_LINE {
                end = self.held.len();
            }
        }
        let rest = self.held.split_off(end);
        let text = std::mem::replace(&mut self.held, rest);
        self.show(&text)
    }

    /// There is no more.
    ///
    /// # Errors
    /// The stream's own.
    pub(crate) fn end(self) -> io::Result<()> {
        if self.is_terminal { self.show(&self.held) } else { Ok(()) }
    }
}

/// How many bytes can be shown without the next ones: neither half a character nor a carriage return come last.
fn complete(bytes: &[u8]) -> usize {
    let last: Vec<u8> = bytes.iter().rev().take(3).copied().collect();
    let needed = |lead: u8| match lead {
        0xc0..=0xdf => 2,
        0xe0..=0xef => 3,
        0xf0..=0xf7 => 4,
        _ => 1,
    };
    match last.iter().position(|&byte| byte & 0xc0 != 0x80) {
        Some(at) if last[at] == b'\r' && at == 0 => bytes.len() - 1,
        Some(at) if needed(last[at]) > at + 1 => bytes.len() - at - 1,
        _ => bytes.len(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn half_a_character_and_half_a_line_end_wait_for_the_rest() {
        for (bytes, shown) in [
            (&b"abc"[..], 3),
            (b"abc\r", 3),
            (b"abc\r\n", 5),
            ("abü".as_bytes(), 4),
            (&"abü".as_bytes()[..3], 2),
            (&"€".as_bytes()[..2], 0),
            (&"😀".as_bytes()[..3], 0),
            ("😀".as_bytes(), 4),
            (b"\x80\x80\x80\x80", 4),
            (b"", 0),
        ] {
            assert_eq!(complete(bytes), shown, "{bytes:?}");
        }
    }

    proptest::proptest! {
        #[test]
        fn pieces_of_text_are_shown_as_the_whole(text: String, at: u8) {
            let bytes = text.as_bytes();
            let (first, second) = bytes.split_at(usize::from(at).min(bytes.len()));
            let mut held = first.to_vec();
            let rest = held.split_off(complete(&held));
            let shown = String::from_utf8_lossy(&held).into_owned();
            let rest = [rest, second.to_vec()].concat();
            proptest::prop_assert_eq!(harmless(&shown) + &harmless(&String::from_utf8_lossy(&rest)), harmless(&text));
        }
    }
}
