//! Sessions as a host sees them, at the other end of socket pairs.
#![expect(clippy::unwrap_used, reason = "a failed call fails the test")]

use banger_guest_agent::session::Sessions;
use banger_protocol::guest_api::frame::{self, Frame, Kind};
use banger_protocol::guest_api::session::{KEPT, MOST, MOST_CLIENTS, Refusal, Request, Session, State};
use banger_protocol::guest_api::{Exec, Exit, STDIN_WINDOW, Terminal, WindowSize};
use banger_protocol::names::SessionName;
use std::collections::BTreeMap;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

/// Longer than anything here takes on a busy machine; reaching it is a hang.
const HANG: Duration = Duration::from_secs(60);

/// A guest with nothing in it.
#[derive(Clone)]
struct Guest {
    sessions: Arc<Sessions>,
}

/// One connection of the host.
struct Host {
    stream: UnixStream,
}

#[derive(Debug, Default)]
struct Heard {
    stdout: Vec<u8>,
    stderr: Vec<u8>,
    dropped: u64,
    credit: u64,
    last: Option<Frame>,
}

impl Guest {
    fn new() -> Self {
        Self { sessions: Arc::new(Sessions::new(vec![std::env::temp_dir()], None)) }
    }

    fn ask(&self, request: Request) -> Host {
        let (stream, guest) = UnixStream::pair().unwrap();
        stream.set_read_timeout(Some(HANG)).unwrap();
        let sessions = Arc::clone(&self.sessions);
        thread::spawn(move || sessions.serve(guest.into(), &request));
        Host { stream }
    }

    fn start(&self, name: &str, command: Exec) -> Session {
        let host = self.ask(Request::Start { name: Some(called(name)), command });
        host.reply().unwrap()
    }

    fn show(&self, name: &str) -> Session {
        self.ask(Request::Show { name: called(name) }).reply().unwrap()
    }

    fn attach(&self, name: &str) -> Host {
        self.ask(Request::Attach { name: called(name), size: None })
    }

    fn logs(&self, name: &str) -> Heard {
        self.ask(Request::Logs { name: called(name), follow: false }).finish()
    }

    fn stop(&self, name: &str, grace: Duration) -> Result<Session, Refusal> {
        let grace_ms = u32::try_from(grace.as_millis()).unwrap();
        self.ask(Request::Stop { name: called(name), grace_ms }).reply()
    }

    fn until_ended(&self, name: &str) -> Exit {
        let begun = Instant::now();
        loop {
            if let State::Ended { exit, .. } = self.show(name).state {
                return exit;
            }
            assert!(begun.elapsed() < HANG, "`{name}` does not end");
            thread::park_timeout(Duration::from_millis(5));
        }
    }
}

impl Host {
    fn send(&mut self, kind: Kind, payload: &[u8]) {
        frame::write(&mut self.stream, kind, payload).unwrap();
    }

    /// The answer to a request that has one.
    fn reply<T: serde::de::DeserializeOwned>(mut self) -> Result<T, Refusal> {
        let frame = frame::read(&mut self.stream).unwrap().expect("an answer");
        match frame.kind {
            Kind::Reply => Ok(serde_json::from_slice(&frame.payload).unwrap()),
            Kind::Refused => Err(serde_json::from_slice(&frame.payload).unwrap()),
            other => panic!("a {other:?} frame: {}", String::from_utf8_lossy(&frame.payload)),
        }
    }

    /// Reads until `enough` or the last frame.
    fn until(&mut self, heard: &mut Heard, enough: impl Fn(&Heard) -> bool) {
        while heard.last.is_none() && !enough(heard) {
            let frame = frame::read(&mut self.stream).unwrap().expect("there is a last frame");
            match frame.kind {
                Kind::Started => {}
                Kind::Stdout => heard.stdout.extend(frame.payload),
                Kind::Stderr => heard.stderr.extend(frame.payload),
                Kind::Dropped => heard.dropped += u64::from_le_bytes(frame.payload[..].try_into().unwrap()),
                Kind::StdinCredit => {
                    heard.credit += u64::from(u32::from_le_bytes(frame.payload[..].try_into().unwrap()));
                }
                _ => heard.last = Some(frame),
            }
        }
    }

    fn wait_for(&mut self, heard: &mut Heard, words: &str) {
        self.until(heard, |heard| text(&heard.stdout).contains(words));
        assert!(text(&heard.stdout).contains(words), "{heard:?}");
    }

    fn finish(mut self) -> Heard {
        let mut heard = Heard::default();
        self.until(&mut heard, |_| false);
        assert_eq!(frame::read(&mut self.stream).unwrap(), None, "nothing follows the last frame");
        heard
    }
}

impl Heard {
    fn exit(&self) -> Exit {
        let last = self.last.as_ref().expect("it is over");
        assert_eq!(last.kind, Kind::Exit, "{last:?}");
        serde_json::from_slice(&last.payload).unwrap()
    }

    fn refusal(&self) -> Refusal {
        let last = self.last.as_ref().expect("it is over");
        assert_eq!(last.kind, Kind::Refused, "{last:?}");
        serde_json::from_slice(&last.payload).unwrap()
    }
}

fn called(name: &str) -> SessionName {
    name.parse().unwrap()
}

/// As whoever runs the tests, with input.
fn shell(script: &str) -> Exec {
    Exec {
        argv: ["sh", "-c", script].map(str::to_owned).into(),
        env: BTreeMap::new(),
        cwd: Some("/".to_owned()),
        user: Some(rustix::process::geteuid().as_raw().to_string()),
        terminal: None,
        stdin: true,
    }
}

fn on_terminal(exec: Exec) -> Exec {
    let size = WindowSize { rows: 24, columns: 80 };
    Exec { terminal: Some(Terminal { term: "xterm".to_owned(), size }), ..exec }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[test]
fn a_session_outlives_who_started_it_and_tells_how_it_ended() {
    let guest = Guest::new();
    let started = guest.start("build", shell("read word; echo got $word; echo err >&2; exit 7"));
    assert_eq!((started.state, started.attached), (State::Running, 0));
    let mut send = guest.ask(Request::Send { name: called("build"), end: false });
    send.send(Kind::Stdin, b"it\n");
    send.send(Kind::StdinEnd, b"");
    assert_eq!(send.finish().last.unwrap().kind, Kind::Reply);
    assert_eq!(guest.until_ended("build"), Exit::Code(7));
    let logs = guest.logs("build");
    assert_eq!((text(&logs.stdout), text(&logs.stderr)), ("got it\n".to_owned(), "err\n".to_owned()));
    let shown = guest.show("build");
    assert_eq!((shown.written, shown.dropped, shown.argv.len()), (11, 0, 3));
    guest.ask(Request::Remove { name: called("build") }).reply::<()>().unwrap();
    let gone = guest.ask(Request::Show { name: called("build") }).reply::<Session>();
    assert_eq!(gone, Err(Refusal::NoSuchSession { name: called("build"), existing: Vec::new() }));
}

#[test]
fn a_running_name_is_taken_and_an_ended_one_is_free() {
    let guest = Guest::new();
    guest.start("web", shell("sleep 1000"));
    let again = |script| {
        guest.ask(Request::Start { name: Some(called("web")), command: shell(script) }).reply::<Session>()
    };
    assert_eq!(again("true"), Err(Refusal::Runs { name: called("web") }));
    let removed = guest.ask(Request::Remove { name: called("web") }).reply::<()>();
    assert_eq!(removed, Err(Refusal::Runs { name: called("web") }));
    let stopped = guest.stop("web", HANG).unwrap();
    assert!(matches!(stopped.state, State::Ended { exit: Exit::Signal(15), .. }), "{stopped:?}");
    again("echo second").unwrap();
    assert_eq!(guest.until_ended("web"), Exit::Code(0));
    assert_eq!(text(&guest.logs("web").stdout), "second\n");
}

#[test]
fn a_command_that_cannot_be_started_takes_no_name_and_costs_no_former_output() {
    let guest = Guest::new();
    guest.start("one", shell("echo kept"));
    guest.until_ended("one");
    let nothing = Exec { argv: vec!["no-such-command".to_owned()], ..shell("") };
    for name in [Some(called("one")), Some(called("two")), None] {
        let refused = guest.ask(Request::Start { name, command: nothing.clone() }).reply::<Session>();
        let reason = "no-such-command: not found".to_owned();
        assert_eq!(refused, Err(Refusal::NotStarted { code: 127, reason }));
    }
    assert_eq!(text(&guest.logs("one").stdout), "kept\n");
    let two = guest.ask(Request::Show { name: called("two") }).reply::<Session>();
    assert_eq!(two, Err(Refusal::NoSuchSession { name: called("two"), existing: vec![called("one")] }));
    let long = guest.ask(Request::Start { name: None, command: shell(&"x".repeat(40_000)) });
    assert!(matches!(long.reply::<Session>(), Err(Refusal::TooLong { bytes: 40_000.. })));
}

#[test]
fn there_are_so_many_sessions_and_no_more() {
    let guest = Guest::new();
    let start = || guest.ask(Request::Start { name: None, command: shell("exit 3") }).reply::<Session>();
    let names: Vec<SessionName> = (0..MOST).map(|_| start().unwrap().name).collect();
    assert_eq!(names[..2], [called("sh-1"), called("sh-2")]);
    assert_eq!(start(), Err(Refusal::TooMany));
    let mut list = guest.ask(Request::List);
    let mut listed = Vec::new();
    loop {
        let frame = frame::read(&mut list.stream).unwrap().unwrap();
        match frame.kind {
            Kind::Item => listed.push(serde_json::from_slice::<Session>(&frame.payload).unwrap().name),
            other => break assert_eq!(other, Kind::Reply),
        }
    }
    let mut expected = names.clone();
    expected.sort();
    assert_eq!(listed, expected);
    guest.until_ended("sh-1");
    guest.ask(Request::Remove { name: called("sh-1") }).reply::<()>().unwrap();
    assert_eq!(start().unwrap().name, called("sh-1"));
}

#[test]
fn who_attaches_sees_the_latest_lines_then_everything_and_the_end() {
    let guest = Guest::new();
    guest.start("lines", shell("seq 1 20000; echo ready; read word; echo $word; exit 4"));
    let mut first = guest.attach("lines");
    let mut heard = Heard::default();
    first.wait_for(&mut heard, "ready\n");
    let mut late = guest.attach("lines");
    let mut shown = Heard::default();
    late.wait_for(&mut shown, "ready\n");
    let lines = text(&shown.stdout);
    assert!(shown.stdout.len() <= 8192 && shown.dropped == 0, "{} bytes", shown.stdout.len());
    let expected: Vec<String> = (1..=20_000).map(|n| n.to_string()).chain(["ready".to_owned()]).collect();
    assert!(
        expected.ends_with(&lines.lines().map(str::to_owned).collect::<Vec<_>>()),
        "a torn line:\n{lines}"
    );
    assert_eq!(guest.show("lines").attached, 2);

    late.send(Kind::StdinEnd, b"");
    first.send(Kind::Stdin, b"typed\n");
    first.until(&mut heard, |_| false);
    late.until(&mut shown, |_| false);
    for heard in [heard, shown] {
        assert_eq!(heard.exit(), Exit::Code(4));
        assert!(heard.stdout.ends_with(b"ready\ntyped\n"));
    }
    let after = guest.attach("lines").finish();
    assert_eq!(after.exit(), Exit::Code(4));
    assert!(after.stdout.ends_with(b"typed\n"));
}

#[test]
fn a_client_that_goes_away_harms_nothing() {
    let guest = Guest::new();
    guest.start("loop", shell("trap 'echo hung up' HUP; echo up; while read line; do echo $line; done"));
    for _ in 0..5 {
        let mut host = guest.attach("loop");
        host.wait_for(&mut Heard::default(), "up");
        host.send(Kind::Stdin, b"half a li");
    }
    let mut host = guest.attach("loop");
    host.send(Kind::Stdin, b"ne\n");
    let mut heard = Heard::default();
    host.wait_for(&mut heard, "ne\n");
    assert!(!text(&heard.stdout).contains("hung up"));
    let begun = Instant::now();
    while guest.show("loop").attached > 1 {
        assert!(begun.elapsed() < HANG, "a client that went away still counts");
    }
    guest.stop("loop", HANG).unwrap();
}

#[test]
fn a_hundred_mebibytes_leave_their_end_and_tell_what_is_lost() {
    let guest = Guest::new();
    const TOTAL: u64 = 100 << 20;
    // A follower that never reads, from the first byte to the last.
    let script = format!("read go; seq 1 100000000 | head -c {TOTAL}");
    guest.start("flood", shell(&script));
    let _never_reads = guest.ask(Request::Logs { name: called("flood"), follow: true });
    let mut slow = guest.ask(Request::Logs { name: called("flood"), follow: true });
    let mut go = guest.ask(Request::Send { name: called("flood"), end: true });
    go.send(Kind::Stdin, b"go\n");
    go.send(Kind::StdinEnd, b"");
    assert_eq!(guest.until_ended("flood"), Exit::Code(0));
    let resident = std::fs::read_to_string("/proc/self/statm").unwrap();
    let pages: u64 = resident.split(' ').nth(1).unwrap().parse().unwrap();
    assert!(pages * 4096 < 64 << 20, "{} MiB resident", (pages * 4096) >> 20);

    let logs = guest.logs("flood");
    assert_eq!(logs.dropped + logs.stdout.len() as u64, TOTAL);
    assert!(logs.stdout.len() as u64 > KEPT - (64 << 10), "{} bytes are kept", logs.stdout.len());
    let shown = guest.show("flood");
    assert_eq!((shown.written, shown.dropped), (TOTAL, logs.dropped));
    let kept = text(&logs.stdout);
    let numbers: Vec<u64> = kept.lines().skip(1).map(|line| line.parse().unwrap()).collect();
    let whole = &numbers[..numbers.len() - 1];
    assert!(whole.windows(2).all(|pair| pair[0] + 1 == pair[1]), "lines are missing or mixed up");

    // Who read some of it is told of a gap, and gets the same end.
    let mut heard = Heard::default();
    slow.until(&mut heard, |_| false);
    assert_eq!(heard.dropped + heard.stdout.len() as u64, TOTAL);
    assert!(heard.dropped > 0 && heard.stdout.ends_with(&logs.stdout[logs.stdout.len() - 1000..]));
}

#[test]
fn input_is_taken_at_the_commands_pace_and_ends_when_told() {
    let guest = Guest::new();
    guest.start("count", shell("wc -c"));
    let mut send = guest.ask(Request::Send { name: called("count"), end: true });
    let mut heard = Heard::default();
    let piece = vec![b'x'; 32 * 1024];
    for number in 0..64_u64 {
        send.until(&mut heard, |h| (number + 1) * 32 * 1024 - h.credit <= u64::from(STDIN_WINDOW));
        send.send(Kind::Stdin, &piece);
    }
    send.send(Kind::StdinEnd, b"");
    send.until(&mut heard, |_| false);
    assert_eq!(heard.last.unwrap().kind, Kind::Reply);
    assert_eq!(guest.until_ended("count"), Exit::Code(0));
    assert_eq!(text(&guest.logs("count").stdout).trim(), (64 * 32 * 1024).to_string());

    let late = guest.ask(Request::Send { name: called("count"), end: false }).finish();
    assert_eq!(late.refusal(), Refusal::HasEnded { name: called("count"), exit: Exit::Code(0) });
}

#[test]
fn a_command_that_ends_by_what_it_reads_has_taken_it() {
    let guest = Guest::new();
    guest.start("once", shell("read word"));
    let mut send = guest.ask(Request::Send { name: called("once"), end: true });
    send.send(Kind::Stdin, b"go\n");
    assert_eq!(guest.until_ended("once"), Exit::Code(0));
    send.send(Kind::StdinEnd, b"");
    assert_eq!(send.finish().last.unwrap().kind, Kind::Reply);
}

#[test]
fn who_waits_to_be_read_is_told_when_nobody_ever_will() {
    let guest = Guest::new();
    guest.start("deaf", shell("read word; exec <&-; sleep 1000"));
    let mut send = guest.ask(Request::Send { name: called("deaf"), end: false });
    for _ in 0..7 {
        send.send(Kind::Stdin, &[b'x'; 32 * 1024]);
    }
    // It waits with its pipe full until somebody else makes the command close it.
    let mut attached = guest.attach("deaf");
    attached.send(Kind::Stdin, b"\n");
    send.stream.set_read_timeout(Some(HANG)).unwrap();
    guest.stop("deaf", HANG).unwrap();
    let refusal = send.finish().refusal();
    assert!(matches!(refusal, Refusal::HasEnded { .. } | Refusal::NoInput { .. }), "{refusal:?}");

    guest.start("mute", Exec { stdin: false, ..shell("sleep 1000") });
    let none = guest.ask(Request::Send { name: called("mute"), end: false }).finish();
    assert_eq!(none.refusal(), Refusal::NoInput { name: called("mute") });
    guest.stop("mute", HANG).unwrap();
}

#[test]
fn a_terminal_has_the_size_of_who_came_last_and_is_still_there() {
    let guest = Guest::new();
    let script = "trap 'stty size' WINCH; echo up; while :; do sleep 0.02; done";
    guest.start("tty", on_terminal(shell(script)));
    let sized = |rows, columns| {
        let size = Some(WindowSize { rows, columns });
        guest.ask(Request::Attach { name: called("tty"), size })
    };
    guest.attach("tty").wait_for(&mut Heard::default(), "up");
    let mut heard = Heard::default();
    let mut first = sized(30, 100);
    first.wait_for(&mut heard, "30 100");
    let mut second = sized(50, 132);
    first.wait_for(&mut heard, "50 132");
    second.send(Kind::Resize, br#"{"rows":51,"columns":133}"#);
    first.wait_for(&mut heard, "51 133");
    drop(second);
    let before = heard.stdout.len();
    first.until(&mut heard, |heard| text(&heard.stdout[before..]).contains("30 100"));
    // Somebody whose terminal is as large wants to see the screen all the same.
    let before = heard.stdout.len();
    let _third = sized(30, 100);
    first.until(&mut heard, |heard| text(&heard.stdout[before..]).contains("30 100"));
    first.send(Kind::Stdin, b"\x03");
    first.until(&mut heard, |_| false);
    assert_eq!(heard.exit(), Exit::Signal(2), "control-C is the terminal's interrupt");
}

#[test]
fn the_end_of_input_on_a_terminal_is_control_d() {
    let guest = Guest::new();
    guest.start("tty", on_terminal(Exec { argv: vec!["cat".to_owned()], ..shell("") }));
    let mut send = guest.ask(Request::Send { name: called("tty"), end: true });
    send.send(Kind::Stdin, b"line\n");
    send.send(Kind::StdinEnd, b"");
    assert_eq!(send.finish().last.unwrap().kind, Kind::Reply);
    assert_eq!(guest.until_ended("tty"), Exit::Code(0));
}

#[test]
fn a_signal_reaches_the_process_group_and_a_late_one_is_told_so() {
    let guest = Guest::new();
    guest.start("trap", shell("trap 'echo caught; exit 9' USR1; echo up; while :; do sleep 0.05; done"));
    guest.attach("trap").wait_for(&mut Heard::default(), "up");
    let signal = || guest.ask(Request::Signal { name: called("trap"), signal: 10 }).reply::<()>();
    signal().unwrap();
    assert_eq!(guest.until_ended("trap"), Exit::Code(9));
    assert_eq!(signal(), Err(Refusal::HasEnded { name: called("trap"), exit: Exit::Code(9) }));
}

fn is_alive(pid: &str) -> bool {
    // A zombie is dead.
    std::fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|stat| !stat.contains(") Z "))
}

#[test]
fn stopping_takes_along_what_a_command_has_left_behind() {
    let guest = Guest::new();
    // A grandchild whose parent is gone, deaf to requests, and a leader that obeys.
    guest.start("tree", shell("(trap '' TERM; sleep 1000 & echo $!) ; echo ready; exec sleep 1000"));
    let mut heard = Heard::default();
    guest.attach("tree").wait_for(&mut heard, "ready");
    let orphan = text(&heard.stdout).lines().next().unwrap().to_owned();
    assert!(is_alive(&orphan));
    let stopped = guest.stop("tree", HANG).unwrap();
    assert!(matches!(stopped.state, State::Ended { exit: Exit::Signal(15), .. }), "{stopped:?}");
    let begun = Instant::now();
    while is_alive(&orphan) {
        assert!(begun.elapsed() < Duration::from_secs(10), "the orphan was left behind");
    }
}

#[test]
fn a_command_that_does_not_want_to_end_is_killed_after_its_time() {
    let guest = Guest::new();
    guest.start("deaf", shell("trap '' TERM; echo up; while :; do sleep 0.05; done"));
    guest.attach("deaf").wait_for(&mut Heard::default(), "up");
    let begun = Instant::now();
    let stopped = guest.stop("deaf", Duration::from_millis(300)).unwrap();
    assert!(matches!(stopped.state, State::Ended { exit: Exit::Signal(9), .. }), "{stopped:?}");
    assert!(begun.elapsed() >= Duration::from_millis(300));
    let again = guest.stop("deaf", HANG);
    assert_eq!(again, Err(Refusal::HasEnded { name: called("deaf"), exit: Exit::Signal(9) }));
    // A shell with somebody before it takes no notice of SIGTERM; that its terminal went is another matter.
    guest.start("shell", on_terminal(Exec { argv: vec!["bash".into(), "-i".into()], ..shell("") }));
    let stopped = guest.stop("shell", HANG).unwrap();
    assert!(matches!(stopped.state, State::Ended { .. }), "{stopped:?}");
}

#[test]
fn a_background_process_holds_up_no_end_and_goes_on() {
    let guest = Guest::new();
    guest.start("daemon", shell("sleep 1000 & echo $!; exit 5"));
    assert_eq!(guest.until_ended("daemon"), Exit::Code(5));
    let left = text(&guest.logs("daemon").stdout).trim().to_owned();
    assert!(is_alive(&left));
    let pid = rustix::process::Pid::from_raw(left.parse().unwrap()).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
}

#[test]
fn so_many_watch_one_session_and_no_more() {
    let guest = Guest::new();
    guest.start("seen", shell("echo up; sleep 1000"));
    let watching: Vec<Host> = (0..MOST_CLIENTS)
        .map(|_| {
            let mut host = guest.attach("seen");
            host.wait_for(&mut Heard::default(), "up");
            host
        })
        .collect();
    let refused = guest.attach("seen").finish();
    assert_eq!(refused.refusal(), Refusal::TooManyClients { name: called("seen") });
    drop(watching);
    guest.stop("seen", HANG).unwrap();
}

#[test]
fn what_is_no_part_of_the_conversation_ends_it_and_not_the_session() {
    let guest = Guest::new();
    guest.start("calm", shell("sleep 1000"));
    for (kind, payload) in
        [(Kind::Request, &b""[..]), (Kind::Signal, b"12"), (Kind::Resize, b"{}"), (Kind::Data, b"")]
    {
        let mut host = guest.attach("calm");
        host.send(kind, payload);
        assert_eq!(host.finish().last.unwrap().kind, Kind::Error, "{kind:?}");
    }
    let mut host = guest.ask(Request::Logs { name: called("calm"), follow: true });
    host.send(Kind::Stdin, b"x");
    assert_eq!(host.finish().last.unwrap().kind, Kind::Error);
    assert_eq!(guest.show("calm").state, State::Running);
    guest.stop("calm", HANG).unwrap();
}
