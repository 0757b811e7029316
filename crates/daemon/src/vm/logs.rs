//! A guest's console, piece by piece.

use super::{folder, view};
use crate::Services;
use banger_protocol::daemon_api::vm::{LogChunk, Logs, State};
use banger_protocol::root_api::CONSOLE_LOG;
use banger_protocol::wire::{ErrorKind, MAX_LINE, RpcError};
use std::io;
use std::os::unix::fs::FileExt;

/// Most bytes of a piece. A control character takes six bytes of JSON (`\u0000`), and a guest may write nothing else:
/// the answer's line must not become longer than a line may be.
const CHUNK: usize = 128 * 1024;
const _: () = assert!(CHUNK * 6 < MAX_LINE);

pub(crate) fn logs(services: &Services, request: &Logs) -> Result<LogChunk, RpcError> {
    let vm = view::find(services, &request.vm)?;
    let live = matches!(vm.state.name(), State::Starting | State::Running | State::Paused | State::Stopping);
    let mut bytes = vec![0; CHUNK];
    let read = match folder::open(&services.state.vm(&vm.id), CONSOLE_LOG) {
        Ok(file) => file.read_at(&mut bytes, request.offset),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(0),
        Err(error) => Err(error),
    };
    let read = read.map_err(|error| {
        let message = format!("the console of VM `{}` could not be read", vm.name);
        RpcError { causes: vec![error.to_string()], ..RpcError::new(ErrorKind::OperationFailed, message) }
    })?;
    bytes.truncate(whole_characters(&bytes[..read], read == CHUNK));
    let text = String::from_utf8_lossy(&bytes).into_owned();
    Ok(LogChunk { text, next_offset: request.offset.saturating_add(bytes.len() as u64), live })
}

/// How many bytes of a piece to tell: a character cut in two by its end is left to the next one, if there is one.
fn whole_characters(bytes: &[u8], more_follows: bool) -> usize {
    let last = bytes.utf8_chunks().last().map_or(&[][..], |chunk| chunk.invalid());
    let is_cut = matches!(std::str::from_utf8(last), Err(error) if error.error_len().is_none());
    bytes.len() - if more_follows && is_cut { last.len() } else { 0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_character_is_not_cut_in_two_by_the_end_of_a_piece() {
        let text = "naïve".as_bytes();
        assert_eq!(whole_characters(&text[..3], true), 2);
        assert_eq!(whole_characters(&text[..3], false), 3, "it is all there is");
        assert_eq!(whole_characters(&text[..4], true), 4);
        assert_eq!(whole_characters(b"a\xff", true), 2, "no continuation can mend it");
        assert_eq!(whole_characters(b"", true), 0);
    }
}
