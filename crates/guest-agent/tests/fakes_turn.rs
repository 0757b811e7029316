//! What is left of a command that was part of a turn, when the next turn has begun.
#![expect(clippy::unwrap_used, reason = "a failed call fails the test")]

use banger_guest_agent::exec;
use banger_guest_agent::turn::Turns;
use banger_protocol::guest_api::Exec;
use banger_protocol::guest_api::frame::{self, Kind};
use banger_protocol::ids::TurnId;
use banger_protocol::image_config::ImageConfig;
use std::collections::BTreeMap;
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
fn nothing_that_a_command_has_started_writes_once_the_next_turn_has_begun() {
    let folder = tempfile::tempdir().unwrap();
    // Its first process dies of the hang-up, the one that writes does not, and its outputs are closed.
    let lines = "(trap '' HUP; exec >/dev/null 2>&1; while :; do echo x >> file; : > there; done) & wait";
    let turns = Turns::default();
    thread::scope(|scope| {
        let (first, second) = (TurnId::random(), TurnId::random());
        turns.begin(&first).unwrap();
        let host = run(scope, &turns, &first, shell(folder.path(), lines));
        wait_for(&folder.path().join("there"));
        // As when the host was killed: nobody has noticed yet.
        turns.begin(&second).unwrap();
        let length = || std::fs::metadata(folder.path().join("file")).unwrap().len();
        let before = length();
        thread::park_timeout(std::time::Duration::from_millis(200));
        assert_eq!(length(), before, "something of the first still writes");
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
