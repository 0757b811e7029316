//! A VM on its way up, and what becomes of it when it does not get there.

use super::fake::{Finished, Start, World, in_background, signal};
use rustix::process::Signal;
use std::os::unix::process::ExitStatusExt;
use std::time::{Duration, Instant};

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
fn an_unknown_image_is_answered_with_what_there_is() {
    let world = World::new();
    world.daemon();
    let finished = world.run(&["vm", "run", "--image", "nonesuch", "--", "true"]);
    assert_eq!(finished.code, Some(125));
    assert!(
        finished.err.contains("image `nonesuch` not found") && finished.err.contains("debian-bookworm"),
        "{}",
        finished.err
    );
    assert!(finished.err.contains("banger image list"), "{}", finished.err);
}
