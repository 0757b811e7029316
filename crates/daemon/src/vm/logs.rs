//! A guest's console, piece by piece.

use super::{folder, view};
use crate::Services;
use banger_protocol::daemon_api::vm::{LogChunk, Logs, State};
use banger_protocol::root_api::CONSOLE_LOG;
use banger_protocol::wire::{ErrorKind, RpcError};
use std::io;
use std::os::unix::fs::FileExt;

/// Most bytes of a piece.
const CHUNK: usize = 256 * 1024;

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
    bytes.truncate(read);
    let text = String::from_utf8_lossy(&bytes).into_owned();
    Ok(LogChunk { text, next_offset: request.offset + read as u64, live })
}
