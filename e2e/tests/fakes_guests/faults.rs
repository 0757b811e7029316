//! Every effect on the host made to go wrong, one by one, until a flow has none left: the error says which step it
//! was, and afterwards deleting the VM leaves nothing.

use banger_e2e::Sandbox;

/// What is tried, and how a VM gets to where that can be tried.
struct Flow {
    before: &'static [&'static [&'static str]],
    tried: &'static [&'static str],
    /// What the daemon says it could not do, in the order it is done.
    steps: &'static [&'static str],
}

const CREATE: Flow = Flow {
    before: &[],
    tried: &["vm", "create", "--name", "dev"],
    steps: &[
        "make the VM's folder",
        "start the vsock backend",
        "write the config drive",
        "make the root disk",
        "make the work disk",
        "make the bridge",
        "make the tap",
        "start the VMM",
    ],
};
const START: Flow = Flow {
    before: &[&["vm", "create", "--name", "dev"], &["vm", "stop", "dev"]],
    tried: &["vm", "start", "dev"],
    steps: CREATE.steps,
};
const STOP: Flow = Flow {
    before: &[&["vm", "create", "--name", "dev"]],
    tried: &["vm", "stop", "dev"],
    steps: &["end the VM's processes", "remove the tap", "remove the VM's sockets"],
};
const DELETE: Flow = Flow {
    before: &[&["vm", "create", "--name", "dev"]],
    tried: &["vm", "delete", "dev"],
    steps: &["end the VM's processes", "remove the tap", "remove the VM's sockets", "remove the VM's folder"],
};

fn ok(sandbox: &Sandbox, arguments: &[&str]) {
    let _ = sandbox.banger(arguments).run().expect_success();
}

/// Lets the step with each index fail, until the flow has no step of that index.
fn fail_every_step(flow: &Flow, kind: &str) {
    let sandbox = Sandbox::with_fake_guests();
    for index in 0.. {
        for arguments in flow.before {
            ok(&sandbox, arguments);
        }
        // What counts the steps is the daemon, so each round has one of its own.
        ok(&sandbox, &["daemon", "stop"]);
        let fault = format!("{kind}:{index}");
        let tried = sandbox.banger(flow.tried).env("BANGER_FAULT", &fault).run();
        let failed = tried.code() != Some(0);
        match flow.steps.get(index) {
            Some(step) => drop(tried.expect_failure(&[&format!("could not {step}"), "BANGER_FAULT"])),
            None => drop(tried.expect_success()),
        }
        if failed && flow.tried[1] != "stop" && flow.tried[1] != "delete" {
            let running: Vec<_> =
                sandbox.leftovers().into_iter().filter(|line| !line.starts_with("folder")).collect();
            assert_eq!(running, [""; 0], "{fault}: a failed start released nothing");
            assert_eq!(sandbox.json(&["vm", "show", "dev"])["state"], "failed");
        }
        ok(&sandbox, &["daemon", "stop"]);
        if !sandbox.vm_ids().is_empty() {
            ok(&sandbox, &["vm", "delete", "dev"]);
        }
        sandbox.assert_nothing_left();
        if !failed {
            return;
        }
    }
}

#[test]
fn every_step_of_a_create_can_fail_and_nothing_is_left() {
    fail_every_step(&CREATE, "fail");
}

#[test]
fn every_step_of_a_create_can_fail_after_it_happened_and_nothing_is_left() {
    fail_every_step(&CREATE, "after");
}

#[test]
fn every_step_of_a_start_can_fail_and_nothing_is_left() {
    fail_every_step(&START, "fail");
    fail_every_step(&START, "after");
}

#[test]
fn every_step_of_a_stop_can_fail_and_nothing_is_left() {
    fail_every_step(&STOP, "fail");
    fail_every_step(&STOP, "after");
}

#[test]
fn every_step_of_a_delete_can_fail_and_nothing_is_left() {
    fail_every_step(&DELETE, "fail");
    fail_every_step(&DELETE, "after");
}

#[test]
fn a_release_that_fails_after_a_failed_start_is_told_and_made_good_by_delete() {
    let sandbox = Sandbox::with_fake_guests();
    // The eight steps of a start that fails by itself, then the release's first.
    let made = sandbox
        .banger(["vm", "create", "--name", "dev", "--image", "boot-fails"])
        .env("BANGER_FAULT", "fail:9");
    let _ =
        made.run().expect_failure(&["made to fail", "something was left behind", "could not remove the tap"]);
    assert!(sandbox.leftovers().iter().any(|line| line.starts_with("tap ")), "{:?}", sandbox.leftovers());
    ok(&sandbox, &["vm", "delete", "dev"]);
    sandbox.assert_nothing_left();
}
