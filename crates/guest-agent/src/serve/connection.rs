//! One connection from the host: its request, and who answers it.

use super::usable::Gate;
use super::{dial, notice};
use crate::exec;
use banger_protocol::VERSION;
use banger_protocol::guest_api::frame::{self, Failure, Kind};
use banger_protocol::guest_api::{Health, Request};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use std::io;
use std::time::Duration;
use vsock::VsockStream;

/// How long the host may take to say what it wants.
const REQUEST_TIME: Duration = Duration::from_secs(10);

/// Reads the request and answers it.
pub(super) fn serve(mut stream: VsockStream, gate: &Gate) {
    match read_request(&mut stream) {
        Ok(Some(request)) => {
            // A connection that breaks has nobody left to tell.
            let _ = answer(stream, &request, gate);
        }
        Ok(None) => {}
        Err(message) => refuse(stream, &message),
    }
}

/// Says why nothing will be done.
pub(super) fn refuse(mut stream: VsockStream, message: &str) {
    let _ = frame::write_json(&mut stream, Kind::Error, &Failure { message: message.to_owned() });
}

fn read_request(stream: &mut VsockStream) -> Result<Option<Request>, String> {
    let timed = |e: io::Error| format!("cannot set a time limit: {e}");
    stream.set_read_timeout(Some(REQUEST_TIME)).map_err(timed)?;
    let Some(first) = frame::read(stream).map_err(|e| format!("no request: {e}"))? else { return Ok(None) };
    stream.set_read_timeout(None).map_err(timed)?;
    if first.kind != Kind::Request {
        return Err(format!("the first frame is a {:?} and no request", first.kind));
    }
    serde_json::from_slice(&first.payload).map(Some).map_err(|e| format!("not a request: {e}"))
}

fn answer(mut stream: VsockStream, request: &Request, gate: &Gate) -> io::Result<()> {
    match request {
        Request::Health => frame::write_json(&mut stream, Kind::Reply, &health(gate)),
        Request::WaitUsable => {
            if gate.wait(|| is_gone(&stream)) {
                frame::write_json(&mut stream, Kind::Reply, &health(gate))?;
            }
            Ok(())
        }
        Request::Exec(exec) => exec::run(stream.into(), exec),
        Request::Dial { port } => dial::run(stream, *port),
        Request::Sync => {
            rustix::fs::sync();
            frame::write_json(&mut stream, Kind::Reply, &())
        }
    }
}

fn health(gate: &Gate) -> Health {
    Health {
        version: VERSION.to_owned(),
        boot_id: notice::boot_id(),
        usable: gate.is_open(),
        uptime_ms: notice::uptime_ms(),
    }
}

/// Whether the host closed, or sent what no request is followed by.
fn is_gone(stream: &VsockStream) -> bool {
    let mut fds = [PollFd::new(stream, PollFlags::IN | PollFlags::RDHUP)];
    let at_once = Timespec { tv_sec: 0, tv_nsec: 0 };
    poll(&mut fds, Some(&at_once)).is_ok_and(|ready| ready > 0)
}
