//! Having a guest's agent take what several connections do for one piece of work, which ends when the next begins.

use super::copy::{CopyError, next, reply};
use banger_protocol::guest_api::Request;
use banger_protocol::guest_api::frame::{self, Kind};
use banger_protocol::ids::TurnId;
use std::os::unix::net::UnixStream;

/// Begins a turn; nothing of any other is left then.
pub(crate) fn begin_turn(agent: &mut UnixStream, turn: TurnId) -> Result<(), CopyError> {
    frame::write_json(agent, Kind::Request, &Request::BeginTurn { turn }).map_err(CopyError::Ask)?;
    reply(&next(agent)?)
}

/// Has what is asked next on this connection be part of a turn.
pub(crate) fn join_turn(agent: &mut UnixStream, turn: TurnId) -> Result<(), CopyError> {
    frame::write_json(agent, Kind::Request, &Request::InTurn { turn }).map_err(CopyError::Ask)
}
