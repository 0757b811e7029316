//! What is left of a command that was part of a turn, when the next turn has begun.
#![expect(clippy::unwrap_used, reason = "a failed call fails the test")]

use banger_guest_agent::exec;
use banger_guest_agent::turn::Turns;
use banger_protocol::guest_api::Exec;
use banger_protocol::guest_api::frame::{self, Kind};
use banger_protocol::ids::TurnId;
use banger_protocol::image_config::ImageConfig;
use rustix::fs::{Mode, OFlags};
use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read as _;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::thread::{self, Scope};

fn shell(folder: &Path, lines: &str) -> Exec {
    Exec {
        argv: ["sh", "-c", lines].map(str::to_owned).into(),
        env: BTreeMap::new(),
        cwd: Some(folder.to_str().unwrap().to_owned()),
        user: Some(rustix::process::geteuid().as_raw().to_string()),
        terminal: None,
        stdin: false,
    }
}

/// Runs lines of shell as part of a turn; the host's end of the connection.
fn run<'s>(scope: &'s Scope<'s, '_>, turns: &'s Turns, turn: &TurnId, exec: Exec) -> UnixStream {
    let (mut host, guest) = UnixStream::pair().unwrap();
    let part = turns.join(turn, &guest).unwrap();
    scope.spawn(move || {
        exec::run_in_turn(guest.into(), &exec, &ImageConfig::default()).unwrap();
        drop(part);
    });
    assert_eq!(frame::read(&mut host).unwrap().unwrap().kind, Kind::Started);
    host
}

fn wait_for(path: &Path) {
    while !path.exists() {
        thread::yield_now();
    }
}

#[test]
fn nothing_that_a_command_has_started_is_left_once_the_next_turn_has_begun() {
    let folder = tempfile::tempdir().unwrap();
    let held = folder.path().join("held");
    let pipe = rustix::fs::FileType::Fifo;
    rustix::fs::mknodat(rustix::fs::CWD, &held, pipe, Mode::from_raw_mode(0o600), 0).unwrap();
    let read = OFlags::RDONLY | OFlags::NONBLOCK;
    let mut held = File::from(rustix::fs::open(&held, read, Mode::empty()).unwrap());
    // Its first process dies of the hang-up; the one that holds the pipe does not, and its outputs are closed.
    let lines = "(trap '' HUP; exec >/dev/null 2>&1 9> held; : > there; while :; do sleep 0.1; done) & wait";
    let turns = Turns::default();
    thread::scope(|scope| {
        let (first, second) = (TurnId::random(), TurnId::random());
        turns.begin(&first).unwrap();
        let host = run(scope, &turns, &first, shell(folder.path(), lines));
        wait_for(&folder.path().join("there"));
        assert!(held.read(&mut [0]).is_err(), "it does not hold it");
        // As when the host was killed and nobody has noticed yet.
        turns.begin(&second).unwrap();
        assert_eq!(held.read(&mut [0]).unwrap(), 0, "something of the first is left");
        drop(host);
    });
}

#[test]
fn what_tidies_up_when_it_is_hung_up_on_is_let_and_waited_for() {
    let folder = tempfile::tempdir().unwrap();
    // As git has it: the shell that started it dies at once.
    let tidies = "trap 'sleep 0.5; rm lock; exit' HUP; : > lock; : > there; while :; do sleep 0.01; done";
    let lines = format!("sh -c '{}' & wait", tidies.replace('\'', "'\\''"));
    let turns = Turns::default();
    thread::scope(|scope| {
        let (first, second) = (TurnId::random(), TurnId::random());
        turns.begin(&first).unwrap();
        let host = run(scope, &turns, &first, shell(folder.path(), &lines));
        wait_for(&folder.path().join("there"));
        drop(host);
        turns.begin(&second).unwrap();
        assert!(!folder.path().join("lock").exists(), "it was killed, or not waited for");
    });
}
