//! What a user meets, with a daemon and guests that are not real.

mod copies;
mod export;
mod fake;
mod ssh_agent;
mod workspace;

use fake::{Finished, Start, World, in_background, signal};
use rustix::process::Signal;
use std::io::Read;
use std::os::unix::process::ExitStatusExt;
use std::time::{Duration, Instant};

const ONE: &str = "aaaaaaaaaaaa";
const TWO: &str = "abbbbbbbbbbb";

#[test]
fn a_guests_command_has_its_input_its_outputs_and_its_exit_code_to_the_byte() {
    let world = World::new();
    let daemon = world.daemon();
    daemon.has_default_image();
    let input: Vec<u8> = (0..3_000_000_u32).map(|n| (n % 251) as u8).collect();
    let run = ["vm", "run", "--rm", "--", "sh", "-c", "cat; echo err >&2; exit 42"];
    let finished = world.run_with_input(&run, input.clone());
    assert_eq!((finished.code, finished.err.as_str()), (Some(42), "err\n"));
    assert!(finished.out == input, "{} bytes came back of {}", finished.out.len(), input.len());
    assert_eq!(daemon.vm_names(), [""; 0], "the VM was left behind");
}

#[test]
fn a_command_that_does_not_read_its_input_ends_when_it_wants() {
    let world = World::new();
    world.daemon().has_vm(ONE, "dev");
    let finished = world.run_with_input(&["vm", "exec", "-i", "dev", "--", "true"], vec![0; 5_000_000]);
    assert_eq!(finished.code, Some(0), "{}", finished.err);
}

#[test]
fn exec_passes_no_input_unless_asked_and_sets_variables() {
    let world = World::new();
    world.daemon().has_vm(ONE, "dev");
    let line = ["vm", "exec", "-e", "A=x  y", "dev", "--", "sh", "-c", "cat; printf %s \"$A\""];
    let finished = world.run_with_input(&line, b"not wanted".to_vec());
    assert_eq!(finished, Finished { code: Some(0), out: b"x  y".to_vec(), err: String::new() });
}

#[test]
fn a_command_that_cannot_be_started_says_why_with_a_shells_code() {
    let world = World::new();
    world.daemon().has_vm(ONE, "dev");
    let finished = world.run(&["vm", "exec", "dev", "--", "/no/such/program"]);
    assert_eq!(finished.code, Some(127));
    let said = "banger: the command was not run in the guest\n  /no/such/program: ";
    assert!(finished.err.starts_with(said) && finished.err.contains("\nhint: "), "{}", finished.err);
}

#[test]
fn whoever_comes_to_a_daemon_that_is_ending_tries_again() {
    let world = World::new();
    let daemon = world.daemon();
    daemon.has_vm(ONE, "dev");
    for line in [&["vm", "list", "-q"][..], &["ps", "-q"]] {
        daemon.hangs_up(3);
        let finished = world.run(line);
        assert_eq!((finished.code, finished.err.as_str()), (Some(0), ""));
        assert_eq!(finished.out, format!("{ONE}\n").into_bytes());
    }
}

#[test]
fn a_signal_goes_to_the_guests_command() {
    let world = World::new();
    let daemon = world.daemon();
    daemon.has_vm(ONE, "dev");
    let mut child = in_background(&mut world.banger(&[
        "vm",
        "exec",
        "dev",
        "--",
        "sh",
        "-c",
        "trap 'echo caught; exit 7' TERM; echo ready; while :; do sleep 0.05; done",
    ]));
    let mut ready = [0; 6];
    child.stdout.as_mut().unwrap().read_exact(&mut ready).unwrap();
    signal(&child, Signal::TERM);
    let finished = Finished::from(child);
    assert_eq!((finished.code, finished.out), (Some(7), b"caught\n".to_vec()));
}

/// Listens where the daemon should, says so, and prints what it is told.
const IMPOSTOR: &str = r#"use IO::Socket::UNIX; my $s = IO::Socket::UNIX->new(Local => $ARGV[0], Listen => 1) or die $!;
    chmod 0666, $ARGV[0]; $| = 1; print "ready\n"; my $c = $s->accept; print while <$c>;"#;

#[test]
#[expect(clippy::disallowed_methods, reason = "another user's process is started")]
fn another_users_process_at_the_socket_is_told_nothing() {
    let world = World::new();
    let open = std::os::unix::fs::PermissionsExt::from_mode;
    std::fs::create_dir(&world.paths.runtime).unwrap();
    std::fs::set_permissions(world.home(), open(0o755)).unwrap();
    std::fs::set_permissions(&world.paths.runtime, open(0o777)).unwrap();
    let as_another: &[&str] = if rustix::process::geteuid().is_root() {
        &["setpriv", "--reuid=12345", "--regid=12345", "--clear-groups"]
    } else {
        &["unshare", "--map-auto", "--setuid=7", "--setgid=7"]
    };
    let mut impostor = std::process::Command::new(as_another[0]);
    impostor.args(&as_another[1..]).args(["perl", "-e", IMPOSTOR]).arg(&world.paths.socket);
    let mut impostor = in_background(&mut impostor);
    impostor.stdout.as_mut().unwrap().read_exact(&mut [0; 6]).unwrap();
    let finished = world.run(&["vm", "run", "--rm", "--", "true"]);
    assert_eq!(finished.code, Some(125), "{}", finished.err);
    assert!(finished.err.contains("belongs to a process of uid"), "{}", finished.err);
    assert_eq!(Finished::from(impostor).out, b"");
}

#[test]
fn a_command_that_ignores_ctrl_c_is_left_at_the_third() {
    let world = World::new();
    world.daemon().has_vm(ONE, "dev");
    let mut child = in_background(&mut world.banger(&[
        "vm",
        "exec",
        "dev",
        "--",
        "sh",
        "-c",
        "trap '' INT; echo ready; exec sleep 5",
    ]));
    let mut ready = [0; 6];
    child.stdout.as_mut().unwrap().read_exact(&mut ready).unwrap();
    let begun = Instant::now();
    while child.try_wait().unwrap().is_none() && begun.elapsed() < Duration::from_secs(4) {
        signal(&child, Signal::INT);
        std::thread::park_timeout(Duration::from_millis(30));
    }
    assert_eq!(child.wait().unwrap().code(), Some(130));
}

#[test]
fn output_nobody_reads_ends_the_command_as_a_broken_pipe_does() {
    let world = World::new();
    world.daemon().has_vm(ONE, "dev");
    let mut child = in_background(&mut world.banger(&["vm", "exec", "dev", "--", "yes"]));
    drop(child.stdout.take());
    let finished = Finished::from(child);
    assert_eq!((finished.code, finished.err.as_str()), (Some(141), ""));
}

#[test]
fn a_guest_that_dies_under_its_command_is_told_with_its_reason() {
    let world = World::new();
    let daemon = world.daemon();
    daemon.has_default_image();
    let finished = world.run(&["vm", "run", "--rm", "--name", "dev", "--", "vanish"]);
    assert_eq!((finished.code, finished.out.as_slice()), (Some(125), &b"half"[..]));
    assert!(
        finished.err.contains("broke off") && finished.err.contains("the guest powered off"),
        "{}",
        finished.err
    );
    assert_eq!(daemon.vm_names(), [""; 0]);
}

#[test]
fn a_lease_is_kept_when_the_daemon_was_killed_under_the_command() {
    let world = World::new();
    let daemon = world.daemon();
    daemon.has_default_image();
    daemon.leaves_after_connect();
    let finished = world.run(&["vm", "run", "--rm", "--", "echo", "done"]);
    assert_eq!(finished, Finished { code: Some(0), out: b"done\n".to_vec(), err: String::new() });
    assert_eq!(daemon.vm_names(), [""; 0]);
}

#[test]
fn a_vm_that_does_not_come_up_is_kept_and_the_error_says_how_to_go_on() {
    let world = World::new();
    let daemon = world.daemon();
    daemon.has_default_image();
    daemon.starts(Start::Fails);
    let finished = world.run(&["vm", "run", "--rm", "--name", "dev", "--", "true"]);
    assert_eq!(finished.code, Some(125));
    assert!(finished.err.starts_with("banger: VM did not start\n"), "{}", finished.err);
    assert!(
        finished.err.contains("vm logs dev") && finished.err.contains("vm delete dev"),
        "{}",
        finished.err
    );
    assert_eq!(daemon.vm_names(), ["dev"]);
}

#[test]
fn ctrl_c_while_starting_cancels_and_waits() {
    let world = World::new();
    let daemon = world.daemon();
    daemon.has_default_image();
    daemon.starts(Start::Hangs);
    let child = in_background(&mut world.banger(&["vm", "run", "--", "true"]));
    daemon.wait_for("operation.watch");
    signal(&child, Signal::INT);
    assert_eq!(Finished::from(child), Finished { code: Some(130), out: Vec::new(), err: String::new() });
    assert_eq!(daemon.asked(), ["vm.create", "operation.cancel"]);
}

#[test]
fn ctrl_c_before_the_daemon_answered_cancels_what_it_then_begins() {
    let world = World::new();
    let daemon = world.daemon();
    daemon.has_default_image();
    daemon.starts(Start::Hangs);
    daemon.withholds_create(true);
    let child = in_background(&mut world.banger(&["vm", "create"]));
    daemon.wait_for("vm.create");
    signal(&child, Signal::INT);
    std::thread::park_timeout(Duration::from_millis(100));
    daemon.withholds_create(false);
    assert_eq!(Finished::from(child), Finished { code: Some(130), out: Vec::new(), err: String::new() });
    assert_eq!(daemon.asked(), ["vm.create", "operation.cancel"]);
}

#[test]
fn a_second_ctrl_c_does_not_wait_for_a_daemon_that_does_not_answer() {
    let world = World::new();
    let daemon = world.daemon();
    daemon.has_default_image();
    daemon.withholds_create(true);
    let mut child = in_background(&mut world.banger(&["vm", "create"]));
    daemon.wait_for("vm.create");
    let begun = Instant::now();
    while child.try_wait().unwrap().is_none() && begun.elapsed() < Duration::from_secs(4) {
        signal(&child, Signal::INT);
        std::thread::park_timeout(Duration::from_millis(30));
    }
    daemon.withholds_create(false);
    assert_eq!(child.wait().unwrap().signal(), Some(Signal::INT.as_raw()));
}

#[test]
fn what_is_missing_is_built_once_by_two_commands_at_the_same_time() {
    let world = World::new();
    let daemon = world.daemon();
    let count = world.home().join("count");
    world.has_program("mmdebstrap", &format!("echo x >> {}; sleep 0.3; echo archive", count.display()));
    let runs: Vec<_> =
        (0..2).map(|_| in_background(&mut world.banger(&["vm", "run", "--rm", "--", "true"]))).collect();
    for run in runs {
        assert_eq!(Finished::from(run), Finished { code: Some(0), out: Vec::new(), err: String::new() });
    }
    assert_eq!(std::fs::read_to_string(count).unwrap().lines().count(), 2, "one kernel and one image");
    assert_eq!(daemon.ingested(), [b"archive\n", b"archive\n"]);
}

#[test]
fn a_failed_build_shows_what_the_tool_said_and_a_way_out() {
    let world = World::new();
    world.daemon();
    world.has_program("mmdebstrap", "echo 'E: Failed to fetch the index' >&2; exit 25");
    let finished = world.run(&["kernel", "pull", "debian-bookworm-cloud"]);
    assert_eq!(finished.code, Some(1));
    assert!(finished.err.contains("  E: Failed to fetch the index"), "{}", finished.err);
    assert!(finished.err.contains("hint: Debian's mirror cannot be reached"), "{}", finished.err);
}

#[test]
fn ctrl_c_ends_a_build_with_all_its_processes() {
    let world = World::new();
    let daemon = world.daemon();
    let pid = world.home().join("pid");
    world.has_program(
        "mmdebstrap",
        &format!("sleep 60 & echo $! > {0}.new; mv {0}.new {0}; wait", pid.display()),
    );
    let child = in_background(&mut world.banger(&["vm", "run", "--rm", "--", "true"]));
    until("the build was not started", || pid.exists());
    signal(&child, Signal::TERM);
    assert_eq!(Finished::from(child), Finished { code: Some(143), out: Vec::new(), err: String::new() });
    assert_eq!(daemon.asked(), [""; 0], "a VM was made of nothing");
    let sleeper = std::fs::read_to_string(pid).unwrap();
    // It has let go of its files, or the command would not have ended, but the kernel may not be done with it.
    until("a process of the build lives on", || {
        let status = std::fs::read_to_string(format!("/proc/{}/status", sleeper.trim())).unwrap_or_default();
        status.is_empty() || status.contains("State:\tZ")
    });
}

#[test]
fn a_build_whose_command_is_killed_cleans_up_after_itself() {
    let world = World::new();
    world.daemon();
    let made = world.home().join("made");
    let script = "trap 'echo I: cleaning >&2; rm {0}; exit 1' TERM; : > {0}; while :; do sleep 0.05; done";
    world.has_program("mmdebstrap", &script.replace("{0}", made.to_str().unwrap()));
    let mut child = in_background(&mut world.banger(&["vm", "run", "--rm", "--", "true"]));
    until("the build was not started", || made.exists());
    child.kill().unwrap();
    child.wait().unwrap();
    until("what the build had made is still there", || !made.exists());
}

fn until(complaint: &str, is_so: impl Fn() -> bool) {
    let begun = Instant::now();
    while !is_so() {
        assert!(begun.elapsed() < Duration::from_secs(10), "{complaint}");
        std::thread::park_timeout(Duration::from_millis(10));
    }
}

#[test]
fn an_unknown_image_is_answered_with_what_there_is() {
    let world = World::new();
    world.daemon();
    let finished = world.run(&["vm", "run", "--image", "nonesuch", "--", "true"]);
    assert_eq!(finished.code, Some(125));
    assert!(
        finished.err.contains("no image `nonesuch`") && finished.err.contains("debian-bookworm"),
        "{}",
        finished.err
    );
    assert!(finished.err.contains("banger image list"), "{}", finished.err);
}

#[test]
fn several_vms_are_deleted_in_order_and_an_unknown_one_does_not_hold_up_the_others() {
    let world = World::new();
    let daemon = world.daemon();
    daemon.has_vm(ONE, "one");
    daemon.has_vm(TWO, "two");
    let finished = world.run(&["vm", "delete", "two", "nonesuch", "one", "abb"]);
    assert_eq!((finished.code, finished.out.as_slice()), (Some(1), &b"two\none\n"[..]));
    assert!(finished.err.starts_with("banger: there is no VM `nonesuch`\n"), "{}", finished.err);
    assert_eq!(daemon.vm_names(), [""; 0]);
}

#[test]
fn a_list_is_a_table_ids_or_json() {
    let world = World::new();
    world.daemon().has_vm(ONE, "one");
    let table = String::from_utf8(world.run(&["ps"]).out).unwrap();
    let heads: Vec<_> = table.lines().next().unwrap().split_whitespace().collect();
    assert_eq!(heads, ["ID", "NAME", "STATE", "IMAGE", "IP", "VCPU", "MEM", "DISK", "WORKSPACE", "CREATED"]);
    assert_eq!(world.run(&["vm", "list", "-q"]).out, format!("{ONE}\n").into_bytes());
    let json: serde_json::Value = serde_json::from_slice(&world.run(&["vm", "ps", "--json"]).out).unwrap();
    assert_eq!(json[0]["name"], "one");
    assert_eq!(world.run(&["vm", "logs", "one"]).out, b"booting\n");
}

#[test]
fn ssh_reaches_a_guests_port_and_learns_its_key() {
    let world = World::new();
    world.daemon().has_vm(ONE, "dev");
    let echoed = world.run_with_input(&["internal", "connect", "dev.vm", "22"], b"SSH-2.0-x\r\n\0".to_vec());
    assert_eq!(echoed, Finished { code: Some(0), out: b"SSH-2.0-x\r\n\0".to_vec(), err: String::new() });
    let refused = world.run(&["internal", "connect", "dev.vm", "23"]);
    assert!(
        refused.err.contains("port 23 of the guest cannot be reached: connection refused")
            && refused.err.contains("banger vm ports dev"),
        "{}",
        refused.err
    );
    let key = world.run(&["internal", "known-hosts", "[dev.vm]:2222"]);
    assert_eq!(key.out, b"[dev.vm]:2222 ssh-ed25519 AAAA\n");
}

#[test]
fn a_guest_without_an_ssh_server_is_entered_through_the_agent() {
    let world = World::new();
    world.daemon().has_vm(ONE, "dev");
    let finished = world.run(&["vm", "ssh", "dev", "echo", "through"]);
    assert_eq!(finished, Finished { code: Some(0), out: b"through\n".to_vec(), err: String::new() });
}

#[test]
fn a_daemon_of_another_protocol_is_refused_with_a_way_out() {
    let world = World::new();
    world.daemon().speaks_protocol(999);
    let finished = world.run(&["ps"]);
    assert_eq!(finished.code, Some(1));
    assert!(
        finished.err.contains("banger daemon stop") && finished.err.contains("running VMs stay"),
        "{}",
        finished.err
    );
}

#[test]
fn the_ssh_configuration_is_restored_to_the_byte() {
    let world = World::new();
    let config = world.home().join(".ssh/config");
    assert_eq!(world.run(&["ssh-config", "--install"]).code, Some(0));
    assert!(std::fs::read_to_string(&config).unwrap().contains("Include"));
    assert_eq!(world.run(&["ssh-config", "--uninstall"]).code, Some(0));
    assert!(!config.exists(), "a file made for the block stayed without it");
    std::fs::write(&config, "Host a\r\n  User b").unwrap();
    assert_eq!(world.run(&["ssh-config", "--install"]).code, Some(0));
    assert_eq!(world.run(&["ssh-config", "--uninstall"]).code, Some(0));
    assert_eq!(std::fs::read(&config).unwrap(), b"Host a\r\n  User b");
}

#[test]
#[expect(clippy::disallowed_methods, reason = "ssh is asked what it makes of the file")]
fn what_an_ssh_configuration_says_for_every_host_it_still_says_with_the_block_in_it() {
    let world = World::new();
    let config = world.home().join(".ssh/config");
    std::fs::create_dir(world.home().join(".ssh")).unwrap();
    std::fs::write(&config, "User ada\nHost b\n  Port 2222\n").unwrap();
    assert_eq!(world.run(&["ssh-config", "--install"]).code, Some(0));
    let asked = |host: &str, setting: &str| {
        let output = std::process::Command::new("ssh").args(["-G", "-F"]).arg(&config).arg(host).output();
        String::from_utf8(output.unwrap().stdout).unwrap().lines().any(|line| line == setting)
    };
    assert!(asked("a", "user ada") && asked("b", "user ada") && asked("b", "port 2222"));
    assert!(asked("dev.vm", "user root") && asked("dev.vm", "stricthostkeychecking true"));
}

#[test]
fn a_terminal_is_raw_while_the_guest_has_it_and_as_before_afterwards() {
    let world = World::new();
    world.daemon().has_vm(ONE, "dev");
    let terminal = fake::Terminal::open();
    let before = terminal.settings();
    let mut shell = world.banger(&["vm", "exec", "dev"]);
    let child = terminal.attach(&mut shell).spawn().unwrap();
    terminal.wait_until_raw();
    terminal.type_in("echo so$((1+1))\n");
    terminal.wait_for("so2");
    signal(&child, Signal::TERM);
    assert_eq!(Finished::from(child).code, Some(143));
    assert_eq!(terminal.settings(), before);
}

#[test]
fn a_shell_asks_for_a_terminal_of_the_right_size_and_says_that_the_vm_stays() {
    let world = World::new();
    let daemon = world.daemon();
    daemon.has_default_image();
    let terminal = fake::Terminal::open();
    let mut shell = world.banger(&["vm", "run", "--name", "dev"]);
    let child = terminal.attach(shell.env("TERM", "vt220")).spawn().unwrap();
    terminal.wait_for("dev ready in ");
    terminal.wait_until_raw();
    terminal.type_in("exit 3\n");
    assert_eq!(Finished::from(child).code, Some(3));
    terminal.wait_for("dev goes on running");
    assert_eq!(daemon.terminals(), ["vt220 33x99"]);
}

#[test]
fn a_session_is_left_by_its_keys_with_the_terminal_as_it_was() {
    let world = World::new();
    world.daemon().has_vm(ONE, "dev");
    let cooked = fake::Terminal::open().settings();
    let (terminal, child) = world.in_session("tty", &[]);
    terminal.wait_for("in session tty: Ctrl-P Ctrl-Q leaves it");
    terminal.wait_for("ready <33x99>");
    terminal.wait_until_raw();
    // The first key alone is held back, and goes on with the next one.
    terminal.type_in("a\x10");
    terminal.wait_for("\"a\"");
    terminal.type_in("b");
    terminal.wait_for(r#""\u{10}b""#);
    terminal.type_in("\x10\x11");
    assert_eq!(Finished::from(child).code, Some(0));
    terminal.wait_for("detached; `banger vm session attach dev tty` comes back");
    assert_eq!(terminal.settings(), cooked);

    let (terminal, child) = world.in_session("tty", &["--detach-keys", "ctrl-a,d"]);
    terminal.wait_until_raw();
    terminal.type_in("\x10\x11");
    terminal.wait_for(r#""\u{10}\u{11}""#);
    terminal.type_in("\x01d");
    assert_eq!(Finished::from(child).code, Some(0));
    let wrong = world.run(&["vm", "session", "attach", "dev", "tty", "--detach-keys", "escape"]);
    assert_eq!(wrong.code, Some(2));
    assert!(wrong.err.contains("`escape` is no key"), "{}", wrong.err);
}

#[test]
fn a_session_follows_the_window_and_ends_with_its_commands_code() {
    let world = World::new();
    world.daemon().has_vm(ONE, "dev");
    let (terminal, child) = world.in_session("tty", &["--detach-keys", "none"]);
    terminal.wait_until_raw();
    let cooked = fake::Terminal::open().settings();
    terminal.resize(40, 120);
    // The terminal is not the one that controls the command, so nobody else tells it.
    signal(&child, Signal::WINCH);
    terminal.wait_for("<40x120>");
    terminal.type_in("\x10\x11\x03exit");
    assert_eq!(Finished::from(child).code, Some(4));
    assert_eq!(terminal.settings(), cooked);
    for (by, code) in [(Signal::TERM, 143), (Signal::HUP, 129)] {
        let (terminal, child) = world.in_session("tty", &[]);
        terminal.wait_until_raw();
        signal(&child, by);
        assert_eq!(Finished::from(child).code, Some(code));
        assert_eq!(terminal.settings(), cooked);
    }
}

#[test]
fn a_session_without_a_terminal_gets_input_as_it_is_and_leaves_the_users_alone() {
    let world = World::new();
    world.daemon().has_vm(ONE, "dev");
    let input = b"\x10\x11 typed exit".to_vec();
    let finished = world.run_with_input(&["vm", "session", "attach", "dev", "job"], input);
    assert_eq!((finished.code, finished.out.as_slice()), (Some(4), &b"ready "[..]), "{}", finished.err);
    let (terminal, child) = world.in_session("job", &[]);
    assert_eq!(terminal.settings(), fake::Terminal::open().settings());
    signal(&child, Signal::INT);
    assert_eq!(Finished::from(child).code, Some(130));
    terminal.wait_for("detached; `banger vm session attach dev job` comes back");
}

#[test]
fn a_sessions_log_is_harmless_on_a_terminal_and_untouched_in_a_file() {
    let world = World::new();
    world.daemon().has_vm(ONE, "dev");
    let logs = ["vm", "session", "logs", "dev", "job"];
    let finished = world.run(&logs);
    assert_eq!((finished.code, finished.err.as_str()), (Some(0), "… 4711 bytes were dropped\n"));
    assert_eq!(finished.out, "grün\r\n\x1b[31mred".as_bytes());
    let terminal = fake::Terminal::open();
    let child = terminal.attach(&mut world.banger(&logs)).spawn().unwrap();
    terminal.wait_for("grün\r\n\u{fffd}[31mred");
    assert_eq!(Finished::from(child).code, Some(0));
}

#[test]
fn an_agent_of_former_times_is_told_from_a_broken_one_and_how_to_replace_it() {
    let world = World::new();
    world.daemon().has_vm(ONE, "dev");
    let finished = world.run(&["vm", "session", "list", "dev"]);
    assert_eq!(finished.code, Some(1));
    for words in ["knows no sessions", "banger vm restart dev"] {
        assert!(finished.err.contains(words), "{}", finished.err);
    }
}
