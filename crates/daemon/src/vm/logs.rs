//! A guest's console, piece by piece.

use super::{folder, view};
use crate::Services;
use banger_protocol::daemon_api::vm::{LogChunk, Logs, State};
use banger_protocol::root_api::CONSOLE_LOG;
use banger_protocol::wire::{ErrorKind, RpcError};
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

/// Most bytes of a piece.
const CHUNK: usize = 256 * 1024;

pub(crate) fn logs(services: &Services, request: &Logs) -> Result<LogChunk, RpcError> {
    let vm = view::find(services, &request.vm)?;
    let live = matches!(vm.state.name(), State::Starting | State::Running | State::Paused | State::Stopping);
    let mut bytes = vec![0; CHUNK];
    let read = match folder::open(&services.state.vm(&vm.id), CONSOLE_LOG) {
        Ok(file) => read(&file, &mut bytes, request.offset),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok((request.offset, 0)),
        Err(error) => Err(error),
    };
    let (start, read) = read.map_err(|error| {
        let message = format!("the console of VM `{}` could not be read", vm.name);
        RpcError { causes: vec![error.to_string()], ..RpcError::new(ErrorKind::OperationFailed, message) }
    })?;
    bytes.truncate(read);
    let text = String::from_utf8_lossy(&bytes).into_owned();
    Ok(LogChunk { text, next_offset: start + read as u64, live })
}

/// Reads what is kept at or behind `offset`: where that begins, and how much it is.
fn read(file: &File, bytes: &mut [u8], offset: u64) -> io::Result<(u64, usize)> {
    match folder::next_kept(file, offset)? {
        Some(start) => Ok((start, file.read_at(bytes, start)?)),
        None => Ok((offset, 0)),
    }
}
