//! One connection of the host: the socket's greeting, then the agent's one request.

use super::agent;
use super::copy;
use super::phase::Phase;
use super::{Guest, Order};
use crate::behaviour::{Answers, Sync};
use banger_protocol::VERSION;
use banger_protocol::guest_api::frame::{self, Failure, Kind};
use banger_protocol::guest_api::{AGENT_PORT, Health, Listener, Request};
use std::io::{self, Read as _, Write as _};
use std::net::Ipv6Addr;
use std::os::unix::net::UnixStream;
use std::path::Path;

/// Longest greeting, `CONNECT 4294967295\n`.
const MAX_GREETING: usize = 19;
/// The port on the guest's loopback that answers with what it is sent.
const ECHO: u16 = 7;
/// The port that answers as a web server does.
const HTTP: u16 = 80;

/// Serves it to its end. A connection that breaks has nobody left to tell.
pub(super) fn serve(mut stream: UnixStream, guest: &Guest) {
    let _ = greet_and_answer(&mut stream, guest);
}

fn greet_and_answer(stream: &mut UnixStream, guest: &Guest) -> io::Result<()> {
    guest.hold.pass();
    // As with a guest that has nobody listening on that port: the connection closes.
    let hears = guest.hears();
    if greeting(stream)? != format!("CONNECT {AGENT_PORT}") || !hears || guest.phases.now() < Phase::Agent {
        return Ok(());
    }
    stream.write_all(b"OK 1073741824\n")?;
    let Some(request) = request(stream)? else { return Ok(()) };
    guest.hold.pass();
    match (guest.behaviour.answers, &request) {
        (Answers::Proper, Request::InTurn { turn }) => match guest.turns.join(turn, &*stream) {
            Ok(part) => {
                let request = self::request(stream)?;
                let answered = request.map_or(Ok(()), |request| answer(stream, guest, &request, true));
                drop(part);
                answered
            }
            Err(error) => refuse(stream, error.to_string()),
        },
        (Answers::Proper, request) => answer(stream, guest, request, false),
        (Answers::Lies, request) => lie(stream, request),
    }
}

fn request(stream: &mut UnixStream) -> io::Result<Option<Request>> {
    let Ok(Some(frame)) = frame::read(stream) else { return Ok(None) };
    match serde_json::from_slice(&frame.payload) {
        Ok(request) if frame.kind == Kind::Request => Ok(Some(request)),
        Ok(_) | Err(_) => refuse(stream, "not a request".to_owned()).map(|()| None),
    }
}

fn refuse(stream: &mut UnixStream, message: String) -> io::Result<()> {
    frame::write_json(stream, Kind::Error, &Failure { message })
}

fn greeting(stream: &mut UnixStream) -> io::Result<String> {
    let mut line = Vec::new();
    let mut byte = [0];
    while line.len() < MAX_GREETING {
        stream.read_exact(&mut byte)?;
        if byte == *b"\n" {
            break;
        }
        line.push(byte[0]);
    }
    Ok(String::from_utf8_lossy(&line).into_owned())
}

fn answer(
    stream: &mut UnixStream,
    guest: &Guest,
    request: &Request,
    is_part_of_a_turn: bool,
) -> io::Result<()> {
    match request {
        Request::Health => frame::write_json(stream, Kind::Reply, &health(guest)),
        Request::WaitUsable => {
            guest.phases.wait_for(Phase::Usable);
            frame::write_json(stream, Kind::Reply, &health(guest))
        }
        Request::Exec(exec) => match exec.argv.first().map(String::as_str) {
            Some("poweroff") => {
                guest.order(Order::PowerOff);
                Ok(())
            }
            Some("reboot") => {
                guest.order(Order::Reboot);
                Ok(())
            }
            Some("panic") => {
                guest.order(Order::Panic);
                Ok(())
            }
            _ => agent::execute(stream, guest, exec, is_part_of_a_turn),
        },
        Request::SshAgent { .. } => agent::offer_ssh_agent(stream, guest),
        Request::Session(request) => agent::session(stream, guest, request),
        Request::Dial { port: ECHO } => {
            frame::write(stream, Kind::Started, &[])?;
            io::copy(&mut stream.try_clone()?, stream).map(drop)
        }
        Request::Dial { port: HTTP } => {
            frame::write(stream, Kind::Started, &[])?;
            let _ = stream.read(&mut [0; 512])?;
            stream.write_all(b"HTTP/1.0 200 OK\r\n\r\n")
        }
        Request::CopyOut { path } => copy::out(stream, path),
        Request::CopyIn { path, name } => copy::r#in(stream, path, name.as_deref()),
        Request::Look { path } => banger_copy::answer_look(stream, Path::new(path)),
        Request::Remove { path } => banger_copy::answer_remove(stream, Path::new(path)),
        Request::Ports => {
            let listener = |port, address: [u8; 4], process: &str| Listener {
                port,
                address: address.into(),
                process: Some(process.to_owned()),
            };
            let mut listeners = vec![
                listener(ECHO, [127, 0, 0, 1], "echo\u{1b}[2J"),
                listener(HTTP, [0, 0, 0, 0], "webserver"),
            ];
            let everywhere = Listener { address: Ipv6Addr::UNSPECIFIED.into(), ..listeners[1].clone() };
            listeners.push(everywhere);
            frame::write_json(stream, Kind::Reply, &listeners)
        }
        Request::Dial { port } => refuse(stream, format!("port {port} of the guest does not answer")),
        Request::BeginTurn { turn } => match guest.turns.begin(turn) {
            Ok(()) => frame::write_json(stream, Kind::Reply, &()),
            Err(error) => refuse(stream, error.to_string()),
        },
        Request::InTurn { .. } => refuse(stream, "a turn within a turn".to_owned()),
        Request::Sync if guest.behaviour.sync == Sync::Ignored => {
            // Until the host gives up.
            stream.read(&mut [0]).map(drop)
        }
        Request::Sync => {
            writeln!(io::stdout(), "synced")?;
            frame::write_json(stream, Kind::Reply, &())
        }
    }
}

fn health(guest: &Guest) -> Health {
    let usable = guest.phases.now() == Phase::Usable;
    Health { version: VERSION.to_owned(), boot_id: guest.boot_id.clone(), usable, uptime_ms: 3 }
}

/// Something else than was agreed on, for each request another thing.
fn lie(stream: &mut UnixStream, request: &Request) -> io::Result<()> {
    match request {
        // A kind that does not exist.
        Request::Health
        | Request::WaitUsable
        | Request::Dial { .. }
        | Request::Ports
        | Request::Session(_)
        | Request::BeginTurn { .. }
        | Request::InTurn { .. }
        | Request::Look { .. }
        | Request::Remove { .. }
        | Request::CopyIn { .. } => stream.write_all(&[99, 0, 0, 0, 0]),
        // No place for a socket.
        Request::SshAgent { .. } => frame::write_json(stream, Kind::Item, &"../agent"),
        // An answer to something else.
        Request::Sync => frame::write_json(stream, Kind::Exit, &7),
        // A file outside of what was asked for.
        Request::CopyOut { .. } => copy::climb(stream),
        // Four gigabytes in one frame, and it does begin to send them.
        Request::Exec(_) => {
            frame::write(stream, Kind::Started, &[])?;
            stream.write_all(&[Kind::Stdout as u8, 0xff, 0xff, 0xff, 0xff])?;
            loop {
                stream.write_all(&[b'x'; 4096])?;
            }
        }
    }
}
