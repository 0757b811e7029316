//! Images and kernels that are made on the way.

use super::fake::{Finished, World, in_background, signal};
use rustix::process::Signal;
use std::time::{Duration, Instant};

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
    assert!(finished.err.contains("hint: the Debian mirror cannot be reached"), "{}", finished.err);
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
