//! Restart, kill, pause, resume: alone, on many VMs at once, and under daemons that die.

use banger_e2e::{Checks, FakeVmm, Sandbox, operation_of};
use serde_json::Value;

fn ok(sandbox: &Sandbox, arguments: &[&str]) {
    let _ = sandbox.banger(arguments).run().expect_success();
}

fn dev(sandbox: &Sandbox) -> Value {
    sandbox.json(&["vm", "show", "dev"])
}

fn with_a_running_vm() -> Sandbox {
    let sandbox = Sandbox::with_fake_guests();
    ok(&sandbox, &["vm", "create", "--name", "dev"]);
    sandbox
}

fn delete(sandbox: &Sandbox) {
    ok(sandbox, &["vm", "delete", "dev"]);
    sandbox.assert_nothing_left();
}

/// Whether the VMM was stopped by a signal (proc_pid_stat(5)).
fn stands_still(sandbox: &Sandbox, vmm: FakeVmm) -> bool {
    let vmm = &sandbox.running(vmm.program())[0];
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", vmm.pid)).expect("it is there");
    stat.rsplit(')').next().is_some_and(|rest| rest.starts_with(" T "))
}

fn vmm_log(sandbox: &Sandbox) -> String {
    let id = dev(sandbox)["id"].as_str().expect("an id").to_owned();
    std::fs::read_to_string(sandbox.state().join("vms").join(id).join("vmm.log")).expect("a log")
}

#[test]
fn a_restart_is_another_boot_that_was_flushed_before() {
    let sandbox = with_a_running_vm();
    let before = dev(&sandbox)["running"].clone();
    let restarted = sandbox.banger(["vm", "restart", "dev"]).run().expect_success();
    assert_eq!(restarted.stdout_text(), "dev\n");
    let after = dev(&sandbox);
    assert_eq!(after["state"], "running");
    assert_ne!(after["running"]["boot_id"], before["boot_id"]);
    assert_ne!(after["running"]["pid"], before["pid"]);
    assert!(vmm_log(&sandbox).contains("synced"));
    ok(&sandbox, &["vm", "stop", "dev"]);
    ok(&sandbox, &["vm", "restart", "dev"]);
    assert_eq!(dev(&sandbox)["state"], "running", "one that is stopped is started");
    ok(&sandbox, &["vm", "pause", "dev"]);
    ok(&sandbox, &["vm", "restart", "dev"]);
    let _ = sandbox.exec("dev", &["true"]).expect_success();
    delete(&sandbox);
}

#[test]
fn a_restart_is_called_off_by_a_stop_as_a_start_is() {
    let sandbox = Sandbox::with_fake_guests();
    ok(&sandbox, &["vm", "create", "--no-start", "--name", "dev", "--image", "held"]);
    let restart = sandbox.banger(["vm", "restart", "dev"]).start();
    sandbox.until("it boots", || !sandbox.running("fake-qemu").is_empty());
    ok(&sandbox, &["vm", "stop", "dev"]);
    let _ = restart.finish().expect_failure(&["cancelled"]);
    assert_eq!(dev(&sandbox)["state"], "stopped");
    delete(&sandbox);
}

#[test]
fn a_kill_flushes_nothing_and_the_vm_starts_again() {
    for arguments in [&["vm", "kill", "dev"][..], &["vm", "kill", "--signal", "term", "dev"]] {
        let sandbox = with_a_running_vm();
        ok(&sandbox, arguments);
        let view = dev(&sandbox);
        assert_eq!((&view["state"], &view["reason"]), (&"stopped".into(), &"killed on request".into()));
        assert!(!vmm_log(&sandbox).contains("synced"), "{}", vmm_log(&sandbox));
        assert_eq!(sandbox.leftovers(), [format!("folder vms/{}", view["id"].as_str().expect("an id"))]);
        ok(&sandbox, arguments);
        ok(&sandbox, &["vm", "start", "dev"]);
        delete(&sandbox);
    }
}

#[test]
fn a_start_under_way_can_be_killed_and_a_paused_vm_too() {
    let sandbox = Sandbox::with_fake_guests();
    ok(&sandbox, &["vm", "create", "--no-start", "--name", "dev", "--image", "held"]);
    let start = sandbox.banger(["vm", "start", "dev"]).start();
    sandbox.until("it boots", || !sandbox.running("fake-qemu").is_empty());
    ok(&sandbox, &["vm", "kill", "dev"]);
    let _ = start.finish().expect_failure(&["cancelled"]);
    assert_eq!(dev(&sandbox)["state"], "stopped");
    for signal in ["KILL", "TERM"] {
        sandbox.let_go();
        ok(&sandbox, &["vm", "start", "dev"]);
        ok(&sandbox, &["vm", "pause", "dev"]);
        ok(&sandbox, &["vm", "kill", "--signal", signal, "dev"]);
        assert_eq!(dev(&sandbox)["state"], "stopped", "{signal}");
    }
    delete(&sandbox);
}

#[test]
fn a_paused_vm_stands_still_is_talked_to_by_nobody_and_goes_on() {
    let sandbox = with_a_running_vm();
    let boot = dev(&sandbox)["running"]["boot_id"].clone();
    let mut checks = Checks::new();
    let talk = ["vm", "exec", "-i", "dev", "--", "sh", "-c", "echo ready; read word; echo got $word"];
    let mut talk = sandbox.banger(talk).open_stdin().start();
    talk.wait_for("ready");
    checks.check("its VMM is stopped and it keeps its boot", || {
        ok(&sandbox, &["vm", "pause", "dev"]);
        sandbox.until("its VMM stands still", || stands_still(&sandbox, FakeVmm::Qemu));
        let view = dev(&sandbox);
        assert_eq!((&view["state"], &view["running"]["boot_id"]), (&"paused".into(), &boot));
        ok(&sandbox, &["vm", "pause", "dev"]);
    });
    checks.check("what would talk to it is refused with the way out", || {
        let refused = ["paused", "banger vm resume dev"];
        let _ = sandbox.exec("dev", &["true"]).expect_code(125).expect_failure(&refused);
        let _ = sandbox.banger(["internal", "connect", "dev", "22"]).run().expect_failure(&refused);
        let _ = sandbox.banger(["vm", "start", "dev"]).run().expect_failure(&refused);
        assert!(!vmm_log(&sandbox).contains("deaf"), "somebody talked to it");
    });
    checks.check("resumed it is the same boot, and its commands go on", || {
        ok(&sandbox, &["vm", "resume", "dev"]);
        sandbox.until("its VMM goes on", || !stands_still(&sandbox, FakeVmm::Qemu));
        assert_eq!(
            (&dev(&sandbox)["state"], &dev(&sandbox)["running"]["boot_id"]),
            (&"running".into(), &boot)
        );
        ok(&sandbox, &["vm", "resume", "dev"]);
        let _ = sandbox.exec("dev", &["true"]).expect_success();
    });
    talk.write(b"it\n");
    assert_eq!(talk.finish().expect_success().stdout_text(), "ready\ngot it\n");
    checks.check("a stop of a paused one resumes it, so that it can flush", || {
        ok(&sandbox, &["vm", "pause", "dev"]);
        ok(&sandbox, &["vm", "stop", "dev"]);
        assert_eq!(dev(&sandbox)["state"], "stopped");
        assert!(vmm_log(&sandbox).contains("synced") && !vmm_log(&sandbox).contains("deaf"));
    });
    checks.check("one that does not run cannot be paused or resumed", || {
        for verb in ["pause", "resume"] {
            let refused = sandbox.banger(["vm", verb, "dev"]).run().expect_code(1);
            let _ = refused.expect_failure(&["stopped", "banger vm start dev"]);
        }
    });
    checks.check("deleted while it is paused nothing is left", || {
        ok(&sandbox, &["vm", "start", "dev"]);
        ok(&sandbox, &["vm", "pause", "dev"]);
        delete(&sandbox);
    });
    checks.finish();
}

#[test]
fn a_vm_of_firecracker_is_paused_under_any_daemon_and_goes_on() {
    let sandbox = Sandbox::with_fake_guests_of(FakeVmm::Firecracker);
    ok(&sandbox, &["vm", "create", "--name", "dev"]);
    for _ in 0..2 {
        ok(&sandbox, &["vm", "pause", "dev"]);
        sandbox.until("its VMM stands still", || stands_still(&sandbox, FakeVmm::Firecracker));
    }
    let _ =
        sandbox.exec("dev", &["true"]).expect_code(125).expect_failure(&["paused", "banger vm resume dev"]);
    sandbox.kill("bangerd");
    assert_eq!(dev(&sandbox)["state"], "paused");
    assert!(stands_still(&sandbox, FakeVmm::Firecracker));
    for _ in 0..2 {
        ok(&sandbox, &["vm", "resume", "dev"]);
        sandbox.until("its VMM goes on", || !stands_still(&sandbox, FakeVmm::Firecracker));
    }
    let _ = sandbox.exec("dev", &["true"]).expect_success();
    ok(&sandbox, &["vm", "pause", "dev"]);
    ok(&sandbox, &["vm", "stop", "dev"]);
    let console = sandbox.banger(["vm", "logs", "dev"]).run().expect_success();
    assert!(console.stdout_text().contains("synced"), "{}", console.stdout_text());
    delete(&sandbox);
}

#[test]
fn a_start_under_way_is_not_waited_for_by_a_pause() {
    let sandbox = Sandbox::with_fake_guests();
    let created = sandbox.banger(["vm", "create", "--name", "dev", "--image", "held"]).start();
    sandbox.until("it boots", || !sandbox.running("fake-qemu").is_empty());
    let refused = sandbox.banger(["vm", "pause", "dev"]).run().expect_failure(&["starting"]);
    assert!(refused.took.as_secs() < 10);
    sandbox.let_go();
    let _ = created.finish().expect_success();
    delete(&sandbox);
}

#[test]
fn a_paused_vm_stays_paused_under_another_daemon() {
    let sandbox = with_a_running_vm();
    let before = dev(&sandbox)["running"].clone();
    ok(&sandbox, &["vm", "pause", "dev"]);
    sandbox.until("its VMM stands still", || stands_still(&sandbox, FakeVmm::Qemu));
    sandbox.kill("bangerd");
    sandbox.kill("bangerd-root");
    let view = dev(&sandbox);
    assert_eq!((&view["state"], &view["running"]), (&"paused".into(), &before));
    assert!(stands_still(&sandbox, FakeVmm::Qemu));
    assert!(!vmm_log(&sandbox).contains("deaf"), "the new daemon talked to it");
    ok(&sandbox, &["vm", "resume", "dev"]);
    let _ = sandbox.exec("dev", &["true"]).expect_success();

    ok(&sandbox, &["vm", "pause", "dev"]);
    sandbox.kill("fake-qemu");
    sandbox.until("its end is noticed", || dev(&sandbox)["state"] == "stopped");
    delete(&sandbox);
}

#[test]
fn a_daemon_that_dies_in_the_middle_of_a_pause_leaves_a_vm_that_is_paused_wholly() {
    for fault in ["abort-before:0", "abort:0"] {
        let sandbox = with_a_running_vm();
        ok(&sandbox, &["daemon", "stop"]);
        let _ = sandbox.banger(["vm", "pause", "dev"]).env("BANGER_FAULT", fault).run().expect_failure(&[]);
        assert_eq!(dev(&sandbox)["state"], "paused", "{fault}");
        sandbox.until("its VMM stands still", || stands_still(&sandbox, FakeVmm::Qemu));
        ok(&sandbox, &["vm", "resume", "dev"]);
        let _ = sandbox.exec("dev", &["true"]).expect_success();
        delete(&sandbox);
    }
}

#[test]
fn of_several_vms_each_is_done_once_in_the_order_given_and_one_that_fails_holds_up_none() {
    let sandbox = Sandbox::with_fake_guests();
    for name in ["one", "two", "three"] {
        ok(&sandbox, &["vm", "create", "--name", name]);
    }
    let id = sandbox.json(&["vm", "show", "one"])["id"].as_str().expect("an id").to_owned();
    let states = || {
        let listed = sandbox.json(&["vm", "list"]);
        let vms = listed.as_array().expect("a list").iter();
        vms.map(|vm| vm["state"].as_str().expect("a state").to_owned()).collect::<Vec<_>>()
    };
    let all = ["three", "nosuch", &id[..6], "two", "one"];
    for (verb, state) in [
        ("pause", "paused"),
        ("resume", "running"),
        ("restart", "running"),
        ("stop", "stopped"),
        ("start", "running"),
        ("kill", "stopped"),
    ] {
        let done = sandbox.banger(["vm", verb].iter().chain(&all)).run().expect_code(1);
        let done = done.expect_failure(&["VM `nosuch` not found"]);
        assert_eq!(done.stdout_text(), "three\none\ntwo\n", "{verb}");
        assert_eq!(states(), [state; 3], "{verb}");
    }
    ok(&sandbox, &["vm", "start", "two"]);
    let resumed = sandbox.banger(["vm", "resume", "one", "two"]).run().expect_code(1);
    assert_eq!(resumed.expect_failure(&["VM `one` is stopped"]).stdout_text(), "two\n");
    let done = sandbox.banger(["vm", "delete"].iter().chain(&all)).run().expect_code(1);
    assert_eq!(done.stdout_text(), "three\none\ntwo\n");
    sandbox.assert_nothing_left();
}

#[test]
fn a_prune_removes_what_does_not_run_after_showing_it_and_asks_first() {
    let sandbox = Sandbox::with_fake_guests();
    for name in ["up", "still", "down"] {
        ok(&sandbox, &["vm", "create", "--name", name]);
    }
    ok(&sandbox, &["vm", "create", "--no-start", "--name", "new"]);
    let broken = sandbox.banger(["vm", "create", "--name", "broken", "--image", "boot-fails"]).run();
    let _ = broken.expect_code(1);
    ok(&sandbox, &["vm", "pause", "still"]);
    ok(&sandbox, &["vm", "stop", "down"]);
    let refused = sandbox.banger(["vm", "prune"]).run().expect_code(2);
    let shown = ["down (", "is stopped: stopped on request", "new (", "broken (", "banger vm prune -f"];
    let _ = refused.expect_failure(&shown);
    assert_eq!(sandbox.vm_ids().len(), 5, "it did not ask");
    let pruned = sandbox.banger(["vm", "prune", "-f"]).run().expect_success();
    assert_eq!(pruned.stdout_text(), "down\nnew\nbroken\n");
    assert!(pruned.stderr_text().contains("down (") && !pruned.stderr_text().contains("still ("));
    assert_eq!(sandbox.vm_ids().len(), 2);
    let again = sandbox.banger(["vm", "prune", "-f"]).run().expect_success();
    assert_eq!(again.stdout_text(), "");
    ok(&sandbox, &["vm", "delete", "up", "still"]);
    sandbox.assert_nothing_left();
}

#[test]
fn what_was_started_meanwhile_is_not_deleted_unless_running() {
    let sandbox = with_a_running_vm();
    let mut rpc = sandbox.rpc();
    let mut delete_unless_running = || {
        let params = serde_json::json!({"vm": "dev", "unless_running": true});
        let begun = rpc.call("vm.delete", &params).expect("an operation");
        let operation = operation_of(&begun);
        let watched = rpc.call("operation.watch", &serde_json::json!({"operation": operation}));
        watched.expect("an outcome")["state"].clone()
    };
    assert_eq!(delete_unless_running()["failed"]["kind"], "refused");
    ok(&sandbox, &["vm", "pause", "dev"]);
    assert_eq!(delete_unless_running()["failed"]["kind"], "refused");
    ok(&sandbox, &["vm", "stop", "dev"]);
    assert!(!delete_unless_running()["succeeded"].is_null());
    sandbox.assert_nothing_left();
}

#[test]
fn processors_memory_and_disk_are_changed_while_a_vm_is_down_and_hold_from_its_next_start() {
    let sandbox = with_a_running_vm();
    let refused = sandbox.banger(["vm", "set", "dev", "--memory", "256M"]).run().expect_code(1);
    let _ = refused.expect_failure(&["running", "cannot be changed", "banger vm stop dev"]);
    ok(&sandbox, &["vm", "stop", "dev"]);
    let _ = sandbox.banger(["vm", "set", "dev"]).run().expect_code(2);
    for (flags, words) in [(["--vcpu", "0"], "--vcpu takes 1 to"), (["--memory", "1"], "--memory takes")] {
        let _ = sandbox.banger(["vm", "set", "dev"].iter().chain(&flags)).run().expect_failure(&[words]);
    }
    let memory = dev(&sandbox)["memory"].clone();
    ok(&sandbox, &["vm", "set", "dev", "--vcpu", "1"]);
    assert_eq!((&dev(&sandbox)["vcpu"], &dev(&sandbox)["memory"]), (&1.into(), &memory));
    ok(&sandbox, &["vm", "set", "dev", "--memory", "256M"]);
    assert_eq!(dev(&sandbox)["memory"], 256 << 20);
    ok(&sandbox, &["vm", "set", "dev", "--disk-size", "9G"]);
    assert_eq!(dev(&sandbox)["disk_size"], 9_u64 << 30);
    let smaller = sandbox.banger(["vm", "set", "dev", "--disk-size", "8G"]).run();
    let _ = smaller.expect_failure(&["9 GiB", "cannot be shrunk", "hint: --disk-size must be 9 GiB or more"]);
    ok(&sandbox, &["vm", "start", "dev"]);
    let id = dev(&sandbox)["id"].as_str().expect("an id").to_owned();
    let disk = sandbox.state().join("vms").join(id).join("work.img");
    assert_eq!(std::fs::metadata(disk).expect("a work disk").len(), 9 << 30);
    let vmm = &sandbox.running("fake-qemu")[0].command;
    assert!(vmm.contains("-m 256M -smp 1"), "{vmm}");
    delete(&sandbox);
}
