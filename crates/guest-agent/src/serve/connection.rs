//! One connection from the host: its request, and who answers it.
//!
//! Works on any connected stream socket; that the peer is the host was found out before.

use super::usable::Gate;
use super::{copy, dial, notice, ports};
use crate::causes::with_causes;
use crate::session::Sessions;
use crate::turn::Turns;
use crate::{exec, image};
use banger_protocol::VERSION;
use banger_protocol::guest_api::frame::{self, Failure, Kind};
use banger_protocol::guest_api::{Health, Request};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fd::OwnedFd;
use rustix::net::sockopt::{Timeout, set_socket_timeout};
use std::fs::File;
use std::io;
use std::sync::Arc;
use std::time::Duration;

/// How long the host may take to say what it wants.
const REQUEST_TIME: Duration = Duration::from_secs(10);

/// What connections have to do with, other than themselves.
#[derive(Debug)]
pub(super) struct Served {
    pub(super) gate: Arc<Gate>,
    pub(super) sessions: Sessions,
    pub(super) turns: Turns,
}

/// Reads the request and answers it.
pub(super) fn serve(stream: OwnedFd, served: &Served) {
    let mut stream = File::from(stream);
    match read_request(&mut stream) {
        Ok(Some(Request::InTurn { turn })) => match served.turns.join(&turn, &stream) {
            Ok(part) => {
                serve_part(stream, served);
                drop(part);
            }
            Err(error) => refuse(stream.into(), &with_causes(&error)),
        },
        Ok(Some(request)) => {
            // A connection that breaks has nobody left to tell.
            let _ = answer(stream, &request, served);
        }
        Ok(None) => {}
        Err(message) => refuse(stream.into(), &message),
    }
}

/// Reads the request of a connection that is part of a turn, and answers it.
fn serve_part(mut stream: File, served: &Served) {
    match read_request(&mut stream) {
        Ok(Some(Request::Exec(exec))) => {
            let _ = exec::run_in_turn(stream.into(), &exec, &image::config());
        }
        Ok(Some(request)) => {
            let _ = answer(stream, &request, served);
        }
        Ok(None) => {}
        Err(message) => refuse(stream.into(), &message),
    }
}

/// Says why nothing will be done.
pub(super) fn refuse(stream: OwnedFd, message: &str) {
    let _ = frame::write_json(&mut File::from(stream), Kind::Error, &Failure { message: message.to_owned() });
}

fn read_request(stream: &mut File) -> Result<Option<Request>, String> {
    let timed = |e: rustix::io::Errno| format!("cannot set a time limit: {e}");
    set_socket_timeout(&*stream, Timeout::Recv, Some(REQUEST_TIME)).map_err(timed)?;
    let Some(first) = frame::read(stream).map_err(|e| format!("no request: {e}"))? else { return Ok(None) };
    set_socket_timeout(&*stream, Timeout::Recv, None).map_err(timed)?;
    if first.kind != Kind::Request {
        return Err(format!("the first frame is a {:?} and no request", first.kind));
    }
    serde_json::from_slice(&first.payload).map(Some).map_err(|e| format!("not a request: {e}"))
}

fn answer(mut stream: File, request: &Request, served: &Served) -> io::Result<()> {
    let Served { gate, sessions, turns } = served;
    match request {
        Request::Health => frame::write_json(&mut stream, Kind::Reply, &health(gate)),
        Request::WaitUsable => {
            if gate.wait(|| is_gone(&stream)) {
                frame::write_json(&mut stream, Kind::Reply, &health(gate))?;
            }
            Ok(())
        }
        Request::Exec(exec) => exec::run(stream.into(), exec, &image::config()),
        Request::Dial { port } => dial::run(stream, *port),
        Request::CopyOut { path } => copy::out(stream, path),
        Request::CopyIn { path, name } => copy::r#in(stream, path, name.as_deref()),
        Request::Look { path } => banger_copy::answer_look(&mut stream, &copy::place(path)),
        Request::Remove { path } => banger_copy::answer_remove(&mut stream, &copy::place(path)),
        Request::Ports => frame::write_json(&mut stream, Kind::Reply, &ports::listeners()),
        Request::Session(request) => sessions.serve(stream.into(), request),
        Request::SshAgent { user } => {
            let (image, places) = (image::config(), exec::SSH_AGENT_PLACES);
            exec::offer_ssh_agent(stream.into(), user.as_deref(), &image, &places)
        }
        Request::BeginTurn { turn } => match turns.begin(turn) {
            Ok(()) => frame::write_json(&mut stream, Kind::Reply, &()),
            Err(error) => {
                refuse(stream.into(), &with_causes(&error));
                Ok(())
            }
        },
        Request::InTurn { .. } => {
            refuse(stream.into(), "a turn within a turn");
            Ok(())
        }
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
fn is_gone(stream: &File) -> bool {
    let mut fds = [PollFd::new(stream, PollFlags::IN | PollFlags::RDHUP)];
    let at_once = Timespec { tv_sec: 0, tv_nsec: 0 };
    poll(&mut fds, Some(&at_once)).is_ok_and(|ready| ready > 0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::serve::Usable;
    use std::io::{Read, Write};
    use std::net::{Shutdown, TcpListener};
    use std::os::unix::net::UnixStream;
    use std::thread;

    fn served() -> Served {
        Served {
            gate: Arc::new(Gate::new(Usable::Now)),
            sessions: Sessions::default(),
            turns: Turns::default(),
        }
    }

    fn ask(request: &str) -> UnixStream {
        let (mut host, guest) = UnixStream::pair().unwrap();
        host.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        thread::spawn(move || serve(guest.into(), &served()));
        frame::write(&mut host, Kind::Request, request.as_bytes()).unwrap();
        host
    }

    fn only_answer(mut host: UnixStream) -> (Kind, serde_json::Value) {
        let answer = frame::read(&mut host).unwrap().unwrap();
        assert_eq!(frame::read(&mut host).unwrap(), None, "nothing follows the answer");
        (answer.kind, serde_json::from_slice(&answer.payload).unwrap())
    }

    #[test]
    fn health_is_answered_with_the_boot_and_its_age() {
        for request in [r#""health""#, r#""wait_usable""#] {
            let (kind, health) = only_answer(ask(request));
            assert_eq!(kind, Kind::Reply);
            let health: Health = serde_json::from_value(health).unwrap();
            assert_eq!(health.boot_id.len(), 36);
            assert!(health.usable && health.uptime_ms > 0);
        }
    }

    #[test]
    fn what_is_no_request_is_refused_with_the_reason() {
        for request in
            ["", "null", r#""shutdown""#, r#"{"dial":{"port":1,"host":"x"}}"#, r#"{"exec":{"argv":[]}}"#]
        {
            let (kind, failure) = only_answer(ask(request));
            assert_eq!(kind, Kind::Error, "{request}");
            assert!(failure["message"].as_str().unwrap().starts_with("not a request"), "{failure}");
        }
        let (mut host, guest) = UnixStream::pair().unwrap();
        thread::spawn(move || serve(guest.into(), &served()));
        frame::write(&mut host, Kind::Stdin, b"x").unwrap();
        assert_eq!(only_answer(host).0, Kind::Error);
    }

    #[test]
    fn a_dialled_port_is_raw_and_each_direction_ends_by_itself() {
        let service = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = service.local_addr().unwrap().port();
        let answered = thread::spawn(move || {
            let (mut caller, _) = service.accept().unwrap();
            let mut question = String::new();
            caller.read_to_string(&mut question).unwrap();
            caller.write_all(format!("you said {question}").as_bytes()).unwrap();
        });
        let mut host = ask(&format!(r#"{{"dial":{{"port":{port}}}}}"#));
        assert_eq!(frame::read(&mut host).unwrap().unwrap().kind, Kind::Started);
        host.write_all(b"hello").unwrap();
        host.shutdown(Shutdown::Write).unwrap();
        let mut answer = String::new();
        host.read_to_string(&mut answer).unwrap();
        assert_eq!(answer, "you said hello");
        answered.join().unwrap();
    }

    #[test]
    fn a_host_that_leaves_a_service_that_does_not_mind_is_not_kept_a_place_for() {
        let service = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = service.local_addr().unwrap().port();
        let (mut host, guest) = UnixStream::pair().unwrap();
        let (ended, end) = std::sync::mpsc::channel();
        thread::spawn(move || {
            serve(guest.into(), &served());
            ended.send(()).unwrap();
        });
        frame::write(&mut host, Kind::Request, format!(r#"{{"dial":{{"port":{port}}}}}"#).as_bytes())
            .unwrap();
        assert_eq!(frame::read(&mut host).unwrap().unwrap().kind, Kind::Started);
        // It sends no more, and still listens.
        host.shutdown(Shutdown::Write).unwrap();
        assert!(end.recv_timeout(Duration::from_millis(100)).is_err(), "it was hung up on");
        drop(host);
        end.recv_timeout(Duration::from_secs(20)).expect("it ends with the host");
    }

    #[test]
    fn a_port_that_nobody_serves_is_an_error() {
        let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let (kind, failure) = only_answer(ask(&format!(r#"{{"dial":{{"port":{free}}}}}"#)));
        assert_eq!(kind, Kind::Error);
        assert!(failure["message"].as_str().unwrap().contains(&free.to_string()), "{failure}");
    }

    #[test]
    fn a_host_that_leaves_while_the_guest_comes_up_is_noticed() {
        let (host, guest) = UnixStream::pair().unwrap();
        let guest = File::from(OwnedFd::from(guest));
        assert!(!is_gone(&guest));
        drop(host);
        assert!(is_gone(&guest));
        assert!(!Gate::new(Usable::WhenMarked).wait(|| is_gone(&guest)));
    }

    proptest::proptest! {
        #[test]
        fn no_bytes_from_a_peer_make_the_agent_panic(bytes: Vec<u8>) {
            let (mut host, guest) = UnixStream::pair().unwrap();
            host.write_all(&bytes).unwrap();
            host.shutdown(Shutdown::Write).unwrap();
            serve(guest.into(), &served());
        }
    }
}
