//! Commands in a guest: their input, outputs, signals and codes.

use super::ONE;
use super::fake::{Finished, World, in_background, signal};
use rustix::process::Signal;
use std::io::Read;
use std::time::{Duration, Instant};

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
        finished.err.contains("was lost") && finished.err.contains("the guest powered off"),
        "{}",
        finished.err
    );
    assert_eq!(daemon.vm_names(), [""; 0]);
}
