//! Files and trees, out of the guest and into it.

use crate::causes::with_causes;
use banger_copy::{Destination, MODES_FROM_HOST, Receiver, SendError, Step};
use banger_protocol::guest_api::Copied;
use banger_protocol::guest_api::frame::{self, Failure, Kind};
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

/// Where a path starts that does not start with `/`.
const HOME: &str = "/root";

/// Where a path is in the guest.
pub(super) fn place(path: &str) -> PathBuf {
    Path::new(HOME).join(path)
}

/// Sends what is at `path`.
pub(super) fn out(mut stream: File, path: &str) -> io::Result<()> {
    match banger_copy::send(&place(path), |kind, payload| frame::write(&mut stream, kind, payload)) {
        Ok(sent) => {
            let first_skipped = sent.skipped.first().map(|path| path.display().to_string());
            let skipped = sent.skipped.len() as u64;
            let copied = Copied { entries: sent.entries, skipped, first_skipped };
            frame::write_json(&mut stream, Kind::Reply, &copied)
        }
        Err(SendError::Connection(error)) => Err(error),
        Err(error) => refuse(&mut stream, &error),
    }
}

/// Takes what the host sends and lays it at `path`.
pub(super) fn r#in(mut stream: File, path: &str, name: Option<&str>) -> io::Result<()> {
    let destination = Destination { path: place(path), name: name.map(Into::into) };
    let mut receiver = Receiver::new(destination, MODES_FROM_HOST);
    loop {
        // A host that went away, or speaks no frames, takes the file that was arriving with it.
        let Ok(Some(frame)) = frame::read(&mut stream) else { return Ok(()) };
        match receiver.take(frame.kind, &frame.payload) {
            Ok(Step::More) => {}
            Ok(Step::Done) => break,
            Err(error) => {
                drop(receiver);
                refuse(&mut stream, &error)?;
                // The rest is on its way: closed now, the connection would lose the answer with it.
                while let Ok(Some(_)) = frame::read(&mut stream) {}
                return Ok(());
            }
        }
    }
    let copied = Copied { entries: receiver.entries(), skipped: 0, first_skipped: None };
    frame::write_json(&mut stream, Kind::Reply, &copied)
}

fn refuse(stream: &mut File, error: &(dyn std::error::Error + 'static)) -> io::Result<()> {
    frame::write_json(stream, Kind::Error, &Failure { message: with_causes(error) })
}
