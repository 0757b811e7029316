//! The user's terminal under a guest's shell.

use super::ONE;
use super::fake;
use super::fake::{Finished, World, signal};
use rustix::process::Signal;

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
    terminal.wait_for("dev keeps running");
    assert_eq!(daemon.terminals(), ["vt220 33x99"]);
}
