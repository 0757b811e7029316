//! Two things asked of one VM at once, and a daemon that is told to end in the middle of something.

use banger_e2e::{Invocation, Running, Sandbox, operation_of};
use serde_json::{Value, json};
use std::time::Duration;

fn ok(sandbox: &Sandbox, arguments: &[&str]) {
    let _ = sandbox.banger(arguments).run().expect_success();
}

/// What must not wait for a guest that never comes up.
fn soon(invocation: Invocation) -> Invocation {
    invocation.limit(Duration::from_secs(20))
}

fn state_of(sandbox: &Sandbox, vm: &str) -> Value {
    sandbox.json(&["vm", "show", vm])["state"].clone()
}

/// A VM `dev` whose guest does not come up until it is let go on, and the command that waits for it.
fn held(sandbox: &Sandbox) -> Running {
    let created = sandbox.banger(["vm", "create", "--name", "dev", "--image", "held"]).start();
    sandbox.until("it boots", || !sandbox.running("fake-qemu").is_empty());
    created
}

/// The same, stopped once and being started again.
fn held_again(sandbox: &Sandbox) -> Running {
    ok(sandbox, &["vm", "create", "--no-start", "--name", "dev", "--image", "held"]);
    let started = sandbox.banger(["vm", "start", "dev"]).start();
    sandbox.until("it boots", || !sandbox.running("fake-qemu").is_empty());
    started
}

/// Waits until the daemon works on this many requests at once.
fn until_busy_with(sandbox: &Sandbox, count: usize) {
    let mut rpc = sandbox.rpc();
    let running = |list: Value| {
        let all = list.as_array().cloned().unwrap_or_default();
        all.iter().filter(|one| one["state"] == "running").count()
    };
    let rpc = std::cell::RefCell::new(&mut rpc);
    let ask = || running(rpc.borrow_mut().call("operation.list", &json!({})).expect("a list"));
    sandbox.until("the daemon has got the request", || ask() == count);
}

#[test]
fn a_vm_deleted_while_it_starts_is_gone_and_whoever_waited_for_it_is_told() {
    for begin in [held, held_again] {
        let sandbox = Sandbox::with_fake_guests();
        let waiting = begin(&sandbox);
        let _ = soon(sandbox.banger(["vm", "delete", "dev"])).run().expect_success();
        let _ = waiting.finish().expect_failure(&["cancelled"]);
        sandbox.assert_nothing_left();
    }
}

#[test]
fn a_vm_stopped_while_it_starts_is_stopped_and_stays() {
    for begin in [held, held_again] {
        let sandbox = Sandbox::with_fake_guests();
        let waiting = begin(&sandbox);
        let _ = soon(sandbox.banger(["vm", "stop", "dev"])).run().expect_success();
        let _ = waiting.finish().expect_failure(&["cancelled"]);
        assert_eq!(state_of(&sandbox, "dev"), "stopped");
        let mut left = sandbox.leftovers();
        left.retain(|line| !line.starts_with("folder"));
        assert_eq!(left, [""; 0]);
        ok(&sandbox, &["vm", "delete", "dev"]);
        sandbox.assert_nothing_left();
    }
}

#[test]
fn starting_what_is_starting_waits_for_the_same_boot() {
    let sandbox = Sandbox::with_fake_guests();
    let first = held(&sandbox);
    let second = sandbox.banger(["vm", "start", "dev"]).start();
    until_busy_with(&sandbox, 2);
    sandbox.let_go();
    let _ = first.finish().expect_success();
    let _ = second.finish().expect_success();
    assert_eq!(sandbox.running("fake-qemu").len(), 1);
    ok(&sandbox, &["vm", "delete", "dev"]);
    sandbox.assert_nothing_left();
}

#[test]
fn a_start_that_two_wait_for_can_be_called_off() {
    for verb in ["stop", "delete"] {
        let sandbox = Sandbox::with_fake_guests();
        let first = held(&sandbox);
        let second = sandbox.banger(["vm", "start", "dev"]).start();
        until_busy_with(&sandbox, 2);
        let _ = soon(sandbox.banger(["vm", verb, "dev"])).run().expect_success();
        let _ = first.finish().expect_failure(&["cancelled"]);
        let _ = second.finish().expect_failure(&["cancelled"]);
        if verb == "stop" {
            assert_eq!(state_of(&sandbox, "dev"), "stopped");
            ok(&sandbox, &["vm", "delete", "dev"]);
        }
        sandbox.assert_nothing_left();
    }
}

#[test]
fn one_of_two_who_wait_for_a_start_can_give_up_and_the_other_still_gets_it() {
    let sandbox = Sandbox::with_fake_guests();
    let first = held(&sandbox);
    let second = soon(sandbox.banger(["vm", "start", "dev"])).start();
    until_busy_with(&sandbox, 2);
    second.signal(rustix::process::Signal::INT);
    let _ = second.finish().expect_code(130);
    sandbox.let_go();
    let _ = first.finish().expect_success();
    ok(&sandbox, &["vm", "delete", "dev"]);
    sandbox.assert_nothing_left();
}

#[test]
fn deletes_at_once_all_succeed_or_find_nothing() {
    let sandbox = Sandbox::with_fake_guests();
    ok(&sandbox, &["vm", "create", "--name", "dev"]);
    let started: Vec<_> = (0..6).map(|_| sandbox.banger(["vm", "delete", "dev"]).start()).collect();
    let codes: Vec<_> = started.into_iter().map(|running| running.finish().code()).collect();
    assert!(codes.contains(&Some(0)) && codes.iter().all(|code| matches!(code, Some(0 | 1))), "{codes:?}");
    sandbox.assert_nothing_left();
}

#[test]
fn a_leased_vm_can_be_deleted_under_its_command() {
    let sandbox = Sandbox::with_fake_guests();
    let mut running = sandbox
        .banger(["vm", "run", "--rm", "--name", "dev", "--", "sh", "-c", "echo up; sleep 600"])
        .start();
    running.wait_for("up");
    ok(&sandbox, &["vm", "delete", "dev"]);
    assert_eq!(running.finish().code(), Some(125));
    sandbox.assert_nothing_left();
}

#[test]
fn a_stop_a_start_and_a_delete_at_once_leave_a_vm_or_nothing_but_no_half() {
    let sandbox = Sandbox::with_fake_guests();
    for _ in 0..5 {
        ok(&sandbox, &["vm", "create", "--name", "dev"]);
        let verbs = ["stop", "start", "stop", "delete", "start"];
        let started: Vec<_> = verbs.map(|verb| soon(sandbox.banger(["vm", verb, "dev"])).start()).into();
        for running in started {
            assert!(matches!(running.finish().code(), Some(0 | 1)));
        }
        sandbox.assert_nothing_left();
    }
}

#[test]
fn a_daemon_told_to_end_while_a_vm_starts_takes_the_start_back_and_its_helper_along() {
    let sandbox = Sandbox::with_fake_guests();
    let waiting = held(&sandbox);
    let _ = soon(sandbox.banger(["daemon", "stop"])).run().expect_success();
    assert_eq!(waiting.finish().code(), Some(1));
    assert_eq!(sandbox.outlast(|_| true), [], "it outlived the daemon");
    assert_eq!(state_of(&sandbox, "dev"), "stopped");
    ok(&sandbox, &["vm", "delete", "dev"]);
    sandbox.assert_nothing_left();
}

#[test]
fn daemons_that_end_and_begin_again_and_again_lose_no_command() {
    let sandbox = Sandbox::with_fake_guests();
    ok(&sandbox, &["vm", "create", "--name", "dev"]);
    for _ in 0..5 {
        let stopping = sandbox.banger(["daemon", "stop"]).start();
        let asked: Vec<_> = (0..4).map(|_| sandbox.banger(["vm", "list"]).start()).collect();
        let _ = stopping.finish().expect_success();
        for running in asked {
            let _ = running.finish();
        }
        // After it has returned, nobody notices that there was one.
        ok(&sandbox, &["vm", "list"]);
    }
    ok(&sandbox, &["vm", "delete", "dev"]);
    sandbox.assert_nothing_left();
}

#[test]
fn an_operation_goes_on_when_the_one_who_watched_it_is_gone() {
    let sandbox = Sandbox::with_fake_guests();
    let mut rpc = sandbox.rpc();
    let created = rpc.call("vm.create", &json!({"name": "dev", "image": "held"})).expect("it is made");
    let operation = operation_of(&created).clone();
    rpc.send("operation.watch", &json!({ "operation": operation }));
    drop(rpc);

    let mut other = sandbox.rpc();
    let status = other.call("operation.status", &json!({ "operation": operation })).expect("it is known");
    assert_eq!(status["state"], "running");
    sandbox.until("it boots", || !sandbox.running("fake-qemu").is_empty());
    sandbox.let_go();
    assert_eq!(other.watch(&operation).expect("it succeeds")["name"], "dev");
    other.operate("vm.delete", &json!({"vm": "dev"})).expect("it is deleted");
    sandbox.assert_nothing_left();
}

#[test]
fn a_create_that_is_cancelled_is_released_before_the_cancel_is_answered() {
    let sandbox = Sandbox::with_fake_guests();
    let mut rpc = sandbox.rpc();
    let created = rpc.call("vm.create", &json!({"name": "dev", "image": "held"})).expect("it is made");
    sandbox.until("it boots", || !sandbox.running("fake-qemu").is_empty());
    let view =
        rpc.call("operation.cancel", &json!({"operation": operation_of(&created)})).expect("an answer");
    assert_eq!(view["state"], "cancelled");
    sandbox.assert_nothing_left();
}

#[test]
fn a_caller_that_leases_a_vm_and_leaves_at_once_leaves_nothing() {
    let sandbox = Sandbox::with_fake_guests();
    let creates = || {
        let list = sandbox.rpc().call("operation.list", &json!({})).expect("a list");
        list.as_array().map_or(0, |all| all.iter().filter(|one| one["method"] == "vm.create").count())
    };
    for image in ["debian-bookworm", "held"] {
        for _ in 0..5 {
            let before = creates();
            let mut rpc = sandbox.rpc();
            rpc.send("vm.create", &json!({"image": image, "lease": true}));
            drop(rpc);
            sandbox.until("the daemon has got the request", || creates() > before);
            sandbox.until("it is gone", || sandbox.vm_ids().is_empty() && sandbox.leftovers().is_empty());
        }
    }
}

#[test]
fn a_shell_that_works_in_a_vm_s_folder_is_in_nobodys_way() {
    let sandbox = Sandbox::with_fake_guests();
    ok(&sandbox, &["vm", "create", "--name", "dev"]);
    ok(&sandbox, &["vm", "stop", "dev"]);
    let id = sandbox.vm_ids().remove(0);
    let folder = sandbox.state().join("vms").join(id);
    let mut shell =
        sandbox.tool("sh", ["-c", "echo up; read forever"]).open_stdin().current_dir(&folder).start();
    shell.wait_for("up");
    sandbox.kill("bangerd-root");
    ok(&sandbox, &["vm", "start", "dev"]);
    ok(&sandbox, &["vm", "delete", "dev"]);
    drop(shell);
    sandbox.assert_nothing_left();
}

#[test]
fn a_helper_that_hangs_keeps_the_daemon_neither_from_answering_nor_from_ending() {
    let sandbox = Sandbox::with_fake_guests();
    ok(&sandbox, &["vm", "create", "--name", "dev"]);
    let helper = sandbox.running("bangerd-root").remove(0).pid.to_string();
    sandbox.halt("bangerd-root");
    let refused = soon(sandbox.banger(["vm", "delete", "dev"])).start();
    let asked: Vec<_> = (0..4).map(|_| sandbox.banger(["daemon", "status"]).start()).collect();
    assert_eq!(state_of(&sandbox, "dev"), "running");
    let _ = refused.finish().expect_failure(&["does not answer", &format!("kill -9 {helper}")]);
    for running in asked {
        let _ = running.finish().expect_success();
    }
    let _ = soon(sandbox.banger(["daemon", "stop"])).run().expect_success();

    sandbox.kill("bangerd-root");
    ok(&sandbox, &["vm", "delete", "dev"]);
    sandbox.assert_nothing_left();
}
