//! Commands run for a host at the other end of a socket pair, as in a guest at the other end of a vsock.
#![expect(clippy::unwrap_used, reason = "a failed call fails the test")]

use banger_guest_agent::exec;
use banger_protocol::guest_api::frame::{self, Frame, Kind};
use banger_protocol::guest_api::{Exec, Exit, STDIN_WINDOW, Terminal, WindowSize};
use banger_protocol::image_config::ImageConfig;
use std::collections::BTreeMap;
use std::os::unix::net::UnixStream;
use std::thread;
use std::time::{Duration, Instant};

/// Longer than anything here takes on a busy machine; reaching it is a hang.
const HANG: Duration = Duration::from_secs(30);

struct Host {
    stream: UnixStream,
}

#[derive(Debug, Default)]
struct Outcome {
    stdout: Vec<u8>,
    stderr: Vec<u8>,
    credit: u64,
    exit: Option<Exit>,
}

impl Host {
    fn run(exec: Exec) -> Self {
        Self::run_in(exec, ImageConfig::default())
    }

    fn run_in(exec: Exec, image: ImageConfig) -> Self {
        let (stream, guest) = UnixStream::pair().unwrap();
        stream.set_read_timeout(Some(HANG)).unwrap();
        thread::spawn(move || exec::run(guest.into(), &exec, &image));
        Self { stream }
    }

    fn send(&mut self, kind: Kind, payload: &[u8]) {
        frame::write(&mut self.stream, kind, payload).unwrap();
    }

    fn next(&mut self) -> Option<Frame> {
        frame::read(&mut self.stream).unwrap()
    }

    /// Reads until `enough` or the last frame.
    fn until(&mut self, outcome: &mut Outcome, enough: impl Fn(&Outcome) -> bool) {
        while outcome.exit.is_none() && !enough(outcome) {
            let frame = self.next().expect("the last frame is an exit");
            match frame.kind {
                Kind::Started => {}
                Kind::Stdout => outcome.stdout.extend(frame.payload),
                Kind::Stderr => outcome.stderr.extend(frame.payload),
                Kind::StdinCredit => {
                    outcome.credit += u64::from(u32::from_le_bytes(frame.payload[..].try_into().unwrap()));
                }
                Kind::Exit => outcome.exit = Some(serde_json::from_slice(&frame.payload).unwrap()),
                other => panic!("a {other:?} frame: {}", String::from_utf8_lossy(&frame.payload)),
            }
        }
    }

    fn finish(mut self) -> Outcome {
        let mut outcome = Outcome::default();
        self.until(&mut outcome, |_| false);
        assert_eq!(self.next(), None, "nothing follows the exit");
        outcome
    }
}

/// As whoever runs the tests, who may become nobody else.
fn command(argv: &[&str]) -> Exec {
    Exec {
        argv: argv.iter().map(|&word| word.to_owned()).collect(),
        env: BTreeMap::new(),
        cwd: Some("/".to_owned()),
        user: Some(rustix::process::geteuid().as_raw().to_string()),
        terminal: None,
        stdin: false,
    }
}

fn shell(script: &str) -> Exec {
    command(&["sh", "-c", script])
}

fn with_input(exec: Exec) -> Exec {
    Exec { stdin: true, ..exec }
}

fn on_terminal(exec: Exec) -> Exec {
    let size = WindowSize { rows: 33, columns: 101 };
    Exec { stdin: true, terminal: Some(Terminal { term: "xterm-256color".to_owned(), size }), ..exec }
}

fn text(bytes: &[u8]) -> &str {
    str::from_utf8(bytes).unwrap()
}

#[test]
fn output_and_error_arrive_apart_and_the_code_as_it_is() {
    let outcome = Host::run(shell("printf out; printf err >&2; exit 42")).finish();
    assert_eq!((text(&outcome.stdout), text(&outcome.stderr)), ("out", "err"));
    assert_eq!(outcome.exit, Some(Exit::Code(42)));
}

#[test]
fn arguments_arrive_exactly_as_given() {
    let outcome = Host::run(command(&["printf", "%s|", "", "a  b", "$HOME;*", "'\"\\", "ü\n"])).finish();
    assert_eq!(text(&outcome.stdout), "|a  b|$HOME;*|'\"\\|ü\n|");
}

#[test]
fn ten_megabytes_go_through_and_come_back_unchanged() {
    let sent: Vec<u8> = (0_u32..10 << 20).map(|n| n.wrapping_mul(2_654_435_761).to_le_bytes()[3]).collect();
    let mut host = Host::run(with_input(command(&["cat"])));
    let mut outcome = Outcome::default();
    for (number, piece) in sent.chunks(32 * 1024).enumerate() {
        let already = number as u64 * 32 * 1024;
        // Never more than the window ahead of what was acknowledged.
        host.until(&mut outcome, |o| already + 32 * 1024 - o.credit <= u64::from(STDIN_WINDOW));
        host.send(Kind::Stdin, piece);
    }
    host.send(Kind::StdinEnd, b"");
    host.until(&mut outcome, |_| false);
    assert_eq!(outcome.exit, Some(Exit::Code(0)));
    assert_eq!(outcome.credit, sent.len() as u64);
    assert!(outcome.stdout == sent, "{} bytes came back", outcome.stdout.len());
}

#[test]
fn a_command_that_is_not_there_or_not_runnable_says_so_with_a_shells_codes() {
    let exit = |argv: &[&str]| Host::run(command(argv)).finish().exit.unwrap();
    let not_found = Exit::NotStarted { code: 127, reason: "no-such-command: not found".to_owned() };
    assert_eq!(exit(&["no-such-command"]), not_found);
    let not_executable = Exit::NotStarted { code: 126, reason: "/etc/passwd: not executable".to_owned() };
    assert_eq!(exit(&["/etc/passwd", "x"]), not_executable);

    let folder = tempfile::tempdir().unwrap();
    let script = |name: &str, content: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, content).unwrap();
        std::fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let unrunnable = exit(&[&script("broken", "#!/no/such/interpreter\n")]);
    assert!(
        matches!(&unrunnable, Exit::NotStarted { code: 126, reason } if reason.contains("broken: No such file")),
        "{unrunnable:?}"
    );
    assert_eq!(
        exit(&[&script("plain", "exit 9\n")]),
        Exit::Code(9),
        "a script without #! runs as in a shell"
    );
}

#[test]
fn an_unknown_user_and_a_missing_directory_are_named() {
    let unknown = Exec { user: Some("nobody-we-know".to_owned()), ..command(&["true"]) };
    let exit = Host::run(unknown).finish().exit.unwrap();
    assert!(
        matches!(&exit, Exit::NotStarted { code: 126, reason } if reason.contains("nobody-we-know")),
        "{exit:?}"
    );
    let nowhere = Exec { cwd: Some("/no/such".to_owned()), ..command(&["true"]) };
    let exit = Host::run(nowhere).finish().exit.unwrap();
    assert!(
        matches!(&exit, Exit::NotStarted { code: 126, reason } if reason.contains("/no/such")),
        "{exit:?}"
    );
}

#[test]
fn a_signal_reaches_a_command_that_does_not_read_its_full_input() {
    let mut host = Host::run(with_input(command(&["sleep", "1000"])));
    let piece = vec![b'x'; 32 * 1024];
    for _ in 0..STDIN_WINDOW as usize / piece.len() {
        host.send(Kind::Stdin, &piece);
    }
    let mut outcome = Outcome::default();
    host.until(&mut outcome, |o| o.credit > 0);
    assert!(outcome.credit < u64::from(STDIN_WINDOW), "credit is for what the pipe took only");
    host.send(Kind::Signal, &[9]);
    host.until(&mut outcome, |_| false);
    assert_eq!(outcome.exit, Some(Exit::Signal(9)));
    assert_eq!(outcome.exit.unwrap().shell_code(), 137);
}

#[test]
fn a_signal_reaches_the_whole_process_group() {
    let mut host = Host::run(shell(
        "trap 'wait; echo shell; exit 3' TERM; (trap 'echo child; exit' TERM; echo up; \
                                     while :; do sleep 0.1; done) & wait; wait",
    ));
    let mut outcome = Outcome::default();
    host.until(&mut outcome, |o| o.stdout.starts_with(b"up"));
    host.send(Kind::Signal, &[15]);
    host.until(&mut outcome, |_| false);
    assert_eq!(outcome.exit, Some(Exit::Code(3)));
    assert!(text(&outcome.stdout).contains("child"), "{}", text(&outcome.stdout));
}

#[test]
fn more_input_than_the_window_allows_ends_the_command() {
    let mut host = Host::run(with_input(command(&["sleep", "1000"])));
    let piece = vec![b'x'; 60_000];
    // The pipe takes 64 KiB of it, which does not count.
    for _ in 0..7 {
        if frame::write(&mut host.stream, Kind::Stdin, &piece).is_err() {
            break;
        }
    }
    let last = std::iter::from_fn(|| frame::read(&mut host.stream).ok().flatten()).last().unwrap();
    assert_eq!(last.kind, Kind::Error, "{}", text(&last.payload));
}

#[test]
fn input_nobody_reads_any_more_is_still_acknowledged() {
    let mut host = Host::run(with_input(shell("exec <&-; echo closed; sleep 1000")));
    let mut outcome = Outcome::default();
    host.until(&mut outcome, |o| o.stdout.starts_with(b"closed"));
    host.send(Kind::Stdin, &[b'x'; 50_000]);
    host.until(&mut outcome, |o| o.credit == 50_000);
    host.send(Kind::Signal, &[9]);
    host.until(&mut outcome, |_| false);
    assert_eq!(outcome.exit, Some(Exit::Signal(9)));
}

#[test]
fn without_input_a_command_reads_nothing() {
    let outcome = Host::run(command(&["cat"])).finish();
    assert_eq!((outcome.stdout.len(), outcome.exit), (0, Some(Exit::Code(0))));
}

#[test]
fn a_terminal_has_its_size_its_name_and_its_keys() {
    let mut host = Host::run(on_terminal(shell(
        "trap 'stty size' WINCH; stty size; echo $TERM; tty; \
                                                 while :; do sleep 0.05; done",
    )));
    let mut outcome = Outcome::default();
    host.until(&mut outcome, |o| text(&o.stdout).contains("/dev/pts/"));
    assert!(text(&outcome.stdout).starts_with("33 101\r\nxterm-256color\r\n"), "{}", text(&outcome.stdout));
    host.send(Kind::Resize, br#"{"rows":50,"columns":132}"#);
    host.until(&mut outcome, |o| text(&o.stdout).contains("50 132"));
    host.send(Kind::Stdin, b"\x03");
    host.until(&mut outcome, |_| false);
    assert_eq!(outcome.exit, Some(Exit::Signal(2)), "control-C is the terminal's interrupt");
}

#[test]
fn the_end_of_input_on_a_terminal_is_control_d() {
    let mut host = Host::run(on_terminal(command(&["cat"])));
    host.send(Kind::Stdin, b"line\n");
    host.send(Kind::StdinEnd, b"");
    let outcome = host.finish();
    assert_eq!(outcome.exit, Some(Exit::Code(0)));
    assert!(text(&outcome.stdout).ends_with("line\r\n"), "{:?}", text(&outcome.stdout));
}

#[test]
fn no_command_is_a_login_shell() {
    let mut host = Host::run(with_input(command(&[])));
    host.send(Kind::Stdin, b"echo \"$0\"\n");
    host.send(Kind::StdinEnd, b"");
    let outcome = host.finish();
    assert_eq!(outcome.exit, Some(Exit::Code(0)), "{}", text(&outcome.stderr));
    assert!(text(&outcome.stdout).starts_with('-'), "{}", text(&outcome.stdout));
}

#[test]
fn a_background_process_that_holds_the_output_does_not_hold_up_the_exit() {
    let started = Instant::now();
    let outcome = Host::run(shell("sleep 1000 & echo $!; exit 5")).finish();
    assert_eq!(outcome.exit, Some(Exit::Code(5)));
    assert!(started.elapsed() < Duration::from_secs(10), "{:?}", started.elapsed());
    let left = text(&outcome.stdout).trim().parse().ok().and_then(rustix::process::Pid::from_raw).unwrap();
    rustix::process::kill_process(left, rustix::process::Signal::KILL).unwrap();
}

#[test]
fn a_background_process_that_keeps_writing_does_not_hold_up_the_exit() {
    let outcome = Host::run(shell("(trap '' PIPE; while echo more; do sleep 0.02; done) & exit 6")).finish();
    assert_eq!(outcome.exit, Some(Exit::Code(6)));
}

#[test]
fn all_output_comes_before_the_exit_even_to_a_host_that_is_slow() {
    let mut host = Host::run(shell("head -c 3000000 /dev/zero; exit 7"));
    let mut outcome = Outcome::default();
    // Long enough for the command to fill every buffer on the way.
    host.until(&mut outcome, |o| !o.stdout.is_empty());
    host.stream.set_read_timeout(Some(Duration::from_millis(300))).unwrap();
    thread::park_timeout(Duration::from_millis(300));
    host.stream.set_read_timeout(Some(HANG)).unwrap();
    host.until(&mut outcome, |_| false);
    assert_eq!((outcome.stdout.len(), outcome.exit), (3_000_000, Some(Exit::Code(7))));
}

#[test]
fn a_host_that_goes_away_hangs_up_on_the_process_group() {
    let folder = tempfile::tempdir().unwrap();
    let mark = folder.path().join("hung-up");
    let script = format!("trap 'echo > {}; exit' HUP; echo up; while :; do sleep 0.05; done", mark.display());
    let mut host = Host::run(shell(&script));
    host.until(&mut Outcome::default(), |o| o.stdout.starts_with(b"up"));
    drop(host);
    let start = Instant::now();
    while !mark.exists() {
        assert!(start.elapsed() < HANG, "no hang-up arrived");
        thread::yield_now();
    }
}

#[test]
fn an_orphan_is_collected_and_takes_no_exit_with_it() {
    rustix::process::set_child_subreaper(Some(rustix::process::getpid())).unwrap();
    let hosts: Vec<Host> = (0..20)
        .map(|n| Host::run(shell(&format!("(sh -c 'exit 1' &) ; (sleep 0.0{n} &); exit {n}"))))
        .collect();
    for (host, n) in hosts.into_iter().zip(0..) {
        assert_eq!(host.finish().exit, Some(Exit::Code(n)));
    }
}

#[test]
fn the_environment_is_a_logins_and_nothing_of_the_agents() {
    let mut exec = shell("env; [ $USER = $(id -un) ]");
    exec.env.insert("EXTRA".to_owned(), "a=b c".to_owned());
    let outcome = Host::run(exec).finish();
    let lines: Vec<&str> = text(&outcome.stdout).lines().collect();
    assert_eq!(outcome.exit, Some(Exit::Code(0)), "it has another user's name: {lines:?}");
    assert!(lines.contains(&"EXTRA=a=b c"), "{lines:?}");
    assert!(!lines.iter().any(|line| line.starts_with("CARGO")), "{lines:?}");
}

#[test]
fn what_a_command_was_not_given_the_image_gives() {
    let folder = tempfile::tempdir().unwrap();
    let wished = folder.path().join("made/by/the/agent").display().to_string();
    let variables = [("FROM_IMAGE", "image"), ("FROM_BOTH", "image")];
    let image = ImageConfig {
        env: variables.map(|(name, value)| (name.to_owned(), value.to_owned())).into(),
        working_dir: Some(wished.clone()),
        ..ImageConfig::default()
    };
    let script = "echo $FROM_IMAGE $FROM_BOTH; pwd";
    let exec = Exec {
        env: BTreeMap::from([("FROM_BOTH".to_owned(), "host".to_owned())]),
        cwd: None,
        ..command(&["/bin/sh", "-c", script])
    };
    let outcome = Host::run_in(exec, image).finish();
    assert_eq!(String::from_utf8(outcome.stdout).unwrap(), format!("image host\n{wished}\n"));
}

#[test]
fn a_user_that_the_image_names_and_does_not_have_is_told() {
    let image = ImageConfig { user: Some("nobody-here".to_owned()), ..ImageConfig::default() };
    let exec = Exec { user: None, ..command(&["/bin/true"]) };
    let outcome = Host::run_in(exec, image).finish();
    let reason = "no user \"nobody-here\" in the guest".to_owned();
    assert_eq!(outcome.exit, Some(Exit::NotStarted { code: 126, reason }));
}
