//! Copies out of this process's folder and into it, which is all that the helper left it.

use banger_copy::{Destination, Entry, MODES_FROM_HOST, Modified, Receiver, Step, What};
use banger_protocol::guest_api::Copied;
use banger_protocol::guest_api::frame::{self, Failure, Kind};
use std::io;
use std::os::unix::net::UnixStream;
use std::path::Path;

pub(super) fn out(stream: &mut UnixStream, path: &str) -> io::Result<()> {
    let sent = banger_copy::send(Path::new(path), |kind, payload| frame::write(stream, kind, payload));
    match sent {
        Ok(sent) => reply(stream, sent.entries),
        Err(error) => frame::write_json(stream, Kind::Error, &Failure { message: error.to_string() }),
    }
}

pub(super) fn r#in(stream: &mut UnixStream, path: &str, name: Option<&str>) -> io::Result<()> {
    let destination = Destination { path: path.into(), name: name.map(Into::into) };
    let mut receiver = Receiver::new(destination, MODES_FROM_HOST);
    while let Ok(Some(frame)) = frame::read(stream) {
        match receiver.take(frame.kind, &frame.payload) {
            Ok(Step::More) => {}
            Ok(Step::Done) => return reply(stream, receiver.entries()),
            Err(error) => {
                frame::write_json(stream, Kind::Error, &Failure { message: error.to_string() })?;
                while let Ok(Some(_)) = frame::read(stream) {}
            }
        }
    }
    Ok(())
}

/// A folder, a link out of it, and a file behind the link.
pub(super) fn climb(stream: &mut UnixStream) -> io::Result<()> {
    let tree = [
        ("", What::Folder),
        ("way", What::Link { target: b"..".to_vec() }),
        ("way/planted", What::File { size: 0 }),
    ];
    for (path, what) in tree {
        let modified = Modified { seconds: 0, nanoseconds: 0 };
        let entry = Entry { path: path.into(), mode: 0o755, modified, what };
        frame::write(stream, Kind::Entry, &entry.encode())?;
    }
    frame::write(stream, Kind::Done, &[])?;
    reply(stream, 3)
}

fn reply(stream: &mut UnixStream, entries: u64) -> io::Result<()> {
    frame::write_json(stream, Kind::Reply, &Copied { entries, skipped: 0, first_skipped: None })
}
