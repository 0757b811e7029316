//! VMs that go with the command that asked for them, however it ends.

use banger_e2e::{Running, Sandbox};
use rustix::process::Signal;

fn run<'a>(sandbox: &Sandbox, image: &'a str, command: impl IntoIterator<Item = &'a str>) -> Running {
    let words = ["vm", "run", "--rm", "--image", image, "--"].into_iter().chain(command);
    sandbox.banger(words.collect::<Vec<_>>()).start()
}

/// The leased VM goes while nobody watches; what it left is looked at when its row is gone too.
fn assert_gone(sandbox: &Sandbox) {
    sandbox.until("the leased VM is gone", || sandbox.vm_ids().is_empty());
    sandbox.assert_nothing_left();
}

#[test]
fn a_run_has_the_code_of_its_command_and_is_gone_when_it_returns() {
    let sandbox = Sandbox::with_fake_guests();
    let finished = run(&sandbox, "debian-bookworm", ["sh", "-c", "echo out; exit 7"]).finish().expect_code(7);
    assert_eq!(finished.stdout_text(), "out\n");
    sandbox.assert_nothing_left();
}

#[test]
fn a_run_that_is_killed_takes_its_vm_with_it() {
    for (image, waits_for_command) in [("debian-bookworm", true), ("held", false)] {
        let sandbox = Sandbox::with_fake_guests();
        let mut running = run(&sandbox, image, ["sh", "-c", "echo up; sleep 600"]);
        if waits_for_command {
            running.wait_for("up");
        } else {
            sandbox.until("it boots", || !sandbox.running("fake-qemu").is_empty());
        }
        running.signal(Signal::KILL);
        assert_eq!(running.finish().code(), None);
        assert_gone(&sandbox);
    }
}

#[test]
fn a_run_that_is_interrupted_while_its_guest_boots_leaves_nothing_when_it_returns() {
    for signal in [Signal::INT, Signal::TERM] {
        let sandbox = Sandbox::with_fake_guests();
        let running = run(&sandbox, "held", ["true"]);
        sandbox.until("it boots", || !sandbox.running("fake-qemu").is_empty());
        running.signal(signal);
        let _ = running.finish().expect_code(128 + signal.as_raw());
        sandbox.assert_nothing_left();
    }
}

#[test]
fn a_create_that_is_interrupted_leaves_nothing_when_it_returns() {
    let sandbox = Sandbox::with_fake_guests();
    let running = sandbox.banger(["vm", "create", "--image", "held"]).start();
    sandbox.until("it boots", || !sandbox.running("fake-qemu").is_empty());
    running.signal(Signal::INT);
    let _ = running.finish().expect_code(130);
    sandbox.assert_nothing_left();
}

#[test]
fn a_create_whose_command_is_killed_goes_on() {
    let sandbox = Sandbox::with_fake_guests();
    let running = sandbox.banger(["vm", "create", "--name", "dev", "--image", "held"]).start();
    sandbox.until("it boots", || !sandbox.running("fake-qemu").is_empty());
    running.signal(Signal::KILL);
    assert_eq!(running.finish().code(), None);
    sandbox.let_go();
    sandbox.until("it runs", || sandbox.json(&["vm", "show", "dev"])["state"] == "running");
    let _ = sandbox.banger(["vm", "delete", "dev"]).run().expect_success();
    sandbox.assert_nothing_left();
}

#[test]
fn a_run_that_does_not_come_up_is_kept_with_its_console_and_says_how_to_read_and_delete_it() {
    let sandbox = Sandbox::with_fake_guests();
    let finished = run(&sandbox, "boot-fails", ["true"]).finish().expect_code(125);
    let _ = finished.expect_failure(&["made to fail", "banger vm logs", "banger vm delete"]);
    let listed = sandbox.json(&["vm", "list"]);
    assert_eq!(listed[0]["state"], "failed", "{listed}");
    let name = listed[0]["name"].as_str().expect("a name");
    let logs = sandbox.banger(["vm", "logs", name]).run().expect_success();
    assert!(logs.stdout_text().contains("fake guest"), "{}", logs.stdout_text());
    let _ = sandbox.banger(["vm", "delete", name]).run().expect_success();
    sandbox.assert_nothing_left();
}

#[test]
fn a_run_outlives_the_daemon_and_its_vm_still_goes_with_it() {
    let sandbox = Sandbox::with_fake_guests();
    let mut running = run(&sandbox, "debian-bookworm", ["sh", "-c", "echo up; sleep 600"]);
    running.wait_for("up");
    sandbox.kill("bangerd");
    // The next command starts a daemon, which finds the VM and who holds it.
    assert_eq!(sandbox.vm_ids().len(), 1);
    running.signal(Signal::KILL);
    assert_eq!(running.finish().code(), None);
    assert_gone(&sandbox);
}

#[test]
fn a_leased_vm_whose_holder_and_daemon_are_both_killed_is_removed_by_the_next_daemon() {
    let sandbox = Sandbox::with_fake_guests();
    let mut running = run(&sandbox, "debian-bookworm", ["sh", "-c", "echo up; sleep 600"]);
    running.wait_for("up");
    sandbox.kill("bangerd");
    running.signal(Signal::KILL);
    assert_eq!(running.finish().code(), None);
    assert_gone(&sandbox);
}

#[test]
fn a_run_that_was_kept_because_it_failed_is_nobodys_when_it_is_started_again() {
    let sandbox = Sandbox::with_fake_guests();
    let _ = run(&sandbox, "boot-fails", ["true"]).finish().expect_code(125);
    let id = sandbox.vm_ids().remove(0);
    sandbox.until("its lease has ended", || sandbox.json(&["vm", "show", &id])["lease"] == false);
    std::fs::write(sandbox.state().join("vms").join(&id).join("work.img"), "{}").expect("it is writable");
    let _ = sandbox.banger(["vm", "start", &id]).run().expect_success();
    sandbox.kill("bangerd");
    assert_eq!(sandbox.json(&["vm", "show", &id])["state"], "running");
    let _ = sandbox.exec(&id, &["true"]).expect_success();
    let _ = sandbox.banger(["vm", "delete", &id]).run().expect_success();
    sandbox.assert_nothing_left();
}
