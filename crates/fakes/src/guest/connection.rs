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
    let Ok(Some(first)) = frame::read(stream) else { return Ok(()) };
    let request = match serde_json::from_slice(&first.payload) {
        Ok(request) if first.kind == Kind::Request => request,
        Ok(_) | Err(_) => {
            return frame::write_json(stream, Kind::Error, &Failure { message: "not a request".to_owned() });
        }
    };
    guest.hold.pass();
    match guest.behaviour.answers {
        Answers::Proper => answer(stream, guest, &request),
        Answers::Lies => lie(stream, &request),
    }
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

fn answer(stream: &mut UnixStream, guest: &Guest, request: &Request) -> io::Result<()> {
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
            _ => agent::execute(stream, guest, exec),
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
        Request::Dial { port } => {
            let message = format!("port {port} of the guest does not answer");
            frame::write_json(stream, Kind::Error, &Failure { message })
        }
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
