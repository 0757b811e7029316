//! Sessions as a user meets them.

use super::ONE;
use super::fake;
use super::fake::{Finished, World, signal};
use rustix::process::Signal;

#[test]
fn a_session_is_left_by_its_keys_with_the_terminal_as_it_was() {
    let world = World::new();
    world.daemon().has_vm(ONE, "dev");
    let cooked = fake::Terminal::open().settings();
    let (terminal, child) = world.in_session("tty", &[]);
    terminal.wait_for("attached to session tty: Ctrl-P Ctrl-Q detaches");
    terminal.wait_for("ready <33x99>");
    terminal.wait_until_raw();
    // The first key alone is held back, and goes on with the next one.
    terminal.type_in("a\x10");
    terminal.wait_for("\"a\"");
    terminal.type_in("b");
    terminal.wait_for(r#""\u{10}b""#);
    terminal.type_in("\x10\x11");
    assert_eq!(Finished::from(child).code, Some(0));
    terminal.wait_for("detached; `banger vm session attach dev tty` attaches again");
    assert_eq!(terminal.settings(), cooked);

    let (terminal, child) = world.in_session("tty", &["--detach-keys", "ctrl-a,d"]);
    terminal.wait_until_raw();
    terminal.type_in("\x10\x11");
    terminal.wait_for(r#""\u{10}\u{11}""#);
    terminal.type_in("\x01d");
    assert_eq!(Finished::from(child).code, Some(0));
    let wrong = world.run(&["vm", "session", "attach", "dev", "tty", "--detach-keys", "escape"]);
    assert_eq!(wrong.code, Some(2));
    assert!(wrong.err.contains("`escape` is not a valid key sequence"), "{}", wrong.err);
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
    terminal.wait_for("detached; `banger vm session attach dev job` attaches again");
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
    for words in ["does not support sessions", "banger vm restart dev"] {
        assert!(finished.err.contains(words), "{}", finished.err);
    }
}
