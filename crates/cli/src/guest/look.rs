//! What of a list of paths is in a guest, and that it goes from there. The guest's own agent looks, so nothing has to be
//! installed for it.

use super::copy::{CopyError, next, refusal, reply};
use banger_copy::{FOUND_LENGTH, Found};
use banger_protocol::guest_api::Request;
use banger_protocol::guest_api::frame::{self, Kind};
use std::io;
use std::os::unix::net::UnixStream;

/// What is at each of these paths below the folder at `path` in the guest, in their order.
pub(crate) fn look(agent: &mut UnixStream, path: String, paths: &[&[u8]]) -> Result<Vec<Found>, CopyError> {
    ask(agent, &Request::Look { path }, paths).map_err(CopyError::Ask)?;
    let most = paths.len() * FOUND_LENGTH;
    let mut bytes = Vec::new();
    loop {
        let frame = next(agent)?;
        match frame.kind {
            Kind::Data if bytes.len() + frame.payload.len() <= most => bytes.extend(frame.payload),
            Kind::Done if bytes.len() == most => break,
            Kind::Error => return Err(refusal(&frame.payload)),
            _ => return Err(CopyError::Protocol),
        }
    }
    let (found, _) = bytes.as_chunks::<FOUND_LENGTH>();
    found.iter().map(|one| Found::parse(one).ok_or(CopyError::Protocol)).collect()
}

/// Removes the files at these paths below the folder at `path` in the guest, and the folders that are empty then.
pub(crate) fn remove(agent: &mut UnixStream, path: String, paths: &[&[u8]]) -> Result<(), CopyError> {
    ask(agent, &Request::Remove { path }, paths).map_err(CopyError::Ask)?;
    reply(&next(agent)?)
}

fn ask(agent: &mut UnixStream, request: &Request, paths: &[&[u8]]) -> io::Result<()> {
    frame::write_json(agent, Kind::Request, request)?;
    let list: Vec<u8> = paths.iter().flat_map(|path| path.iter().copied().chain([0])).collect();
    list.chunks(frame::MAX_PAYLOAD).try_for_each(|piece| frame::write(agent, Kind::Data, piece))?;
    frame::write(agent, Kind::Done, &[])
}
