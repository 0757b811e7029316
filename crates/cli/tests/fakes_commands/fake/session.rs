//! The agent's side of sessions, of which there is no real one: what is typed comes back as words.

use banger_protocol::guest_api::frame::{self, Failure, Kind};
use banger_protocol::guest_api::session::{Request, Session, State};
use banger_protocol::guest_api::{Exit, WindowSize};
use banger_protocol::names::SessionName;
use std::os::unix::net::UnixStream;

/// What the agent of former times says to a word it does not know.
const UNKNOWN: &str = "not a request: unknown variant `session`, expected one of `health`, `exec`";

pub(super) fn serve(mut stream: UnixStream, request: Request) {
    match request {
        Request::List => {
            let failure = Failure { message: UNKNOWN.to_owned() };
            frame::write_json(&mut stream, Kind::Error, &failure).unwrap();
        }
        Request::Show { name } => frame::write_json(&mut stream, Kind::Reply, &session(name)).unwrap(),
        Request::Logs { .. } => {
            frame::write(&mut stream, Kind::Started, &[]).unwrap();
            frame::write(&mut stream, Kind::Dropped, &4711_u64.to_le_bytes()).unwrap();
            // A character and a line's end in two pieces, and what a terminal would obey.
            for piece in [&b"gr\xc3"[..], b"\xbcn\r", b"\n\x1b[31mred"] {
                frame::write(&mut stream, Kind::Stdout, piece).unwrap();
            }
            frame::write_json(&mut stream, Kind::Reply, &()).unwrap();
        }
        Request::Attach { size, .. } => attach(stream, size),
        other => panic!("the command asked the agent for {other:?}"),
    }
}

/// One on a terminal if it is called so.
fn session(name: SessionName) -> Session {
    Session {
        terminal: name.as_str().starts_with("tty"),
        name,
        argv: vec!["sh".to_owned()],
        user: "root".to_owned(),
        pid: 7,
        state: State::Running,
        age_ms: 1000,
        written: 0,
        dropped: 0,
        attached: 0,
    }
}

/// Says what it gets until it is told to exit, or left.
fn attach(mut stream: UnixStream, size: Option<WindowSize>) {
    let say = |stream: &mut UnixStream, text: String| frame::write(stream, Kind::Stdout, text.as_bytes());
    let shown = |size: WindowSize| format!("<{}x{}>", size.rows, size.columns);
    frame::write(&mut stream, Kind::Started, &[]).unwrap();
    let _ = say(&mut stream, format!("ready {}", size.map(shown).unwrap_or_default()));
    while let Ok(Some(frame)) = frame::read(&mut stream) {
        let _ = match frame.kind {
            Kind::Stdin if frame.payload.ends_with(b"exit") => {
                return frame::write_json(&mut stream, Kind::Exit, &Exit::Code(4)).unwrap();
            }
            Kind::Stdin => say(&mut stream, format!("{:?}", String::from_utf8_lossy(&frame.payload))),
            Kind::StdinEnd => say(&mut stream, "<end>".to_owned()),
            Kind::Resize => say(&mut stream, shown(serde_json::from_slice(&frame.payload).unwrap())),
            other => panic!("the command sent a frame {other:?}"),
        };
    }
}
