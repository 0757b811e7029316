//! Every effect on the host made to go wrong, one by one, until a flow has none left: the error says which step it
//! was, and afterwards deleting the VM leaves nothing.

use banger_e2e::{FakeVmm, Sandbox};

/// What is tried, and how a VM gets to where that can be tried.
struct Flow {
    before: &'static [&'static [&'static str]],
    tried: &'static [&'static str],
    /// What the daemon says it could not do, in the order it is done.
    steps: &'static [&'static str],
}

/// What a VM is ended without when it cannot be done.
const FORGIVEN: &str = "resume the VM";

const WRITE_DOWN: &str = "write down the VM's settings";

/// Stands for what a VMM begins with as soon as there is a folder, and for what it does when all is there.
const BEGIN: &str = "begin";
const LAUNCH: &str = "launch";

/// What the steps are called that are a VMM's own; as many for each of them.
const fn own_steps(vmm: FakeVmm, place: &str) -> &'static [&'static str] {
    match (vmm, place.as_bytes()) {
        (FakeVmm::Qemu, b"begin") => &["start the vsock backend"],
        (FakeVmm::Qemu, _) => &["start the VMM"],
        (FakeVmm::Firecracker, b"begin") => &[],
        (FakeVmm::Firecracker, _) => &["start the VMM", "boot the machine"],
    }
}

impl Flow {
    /// What the daemon says it could not do, under this VMM.
    fn steps(&self, vmm: FakeVmm) -> Vec<&'static str> {
        let own = |step| match step {
            BEGIN | LAUNCH => own_steps(vmm, step).to_vec(),
            _ => vec![step],
        };
        self.steps.iter().copied().flat_map(own).collect()
    }
}

const CREATE: Flow = Flow {
    before: &[],
    tried: &["vm", "create", "--name", "dev"],
    steps: &[
        "create the VM's directory",
        BEGIN,
        "write the config drive",
        "create the root disk",
        "create the work disk",
        "set up the network",
        "start the DNS server",
        "create the tap device",
        LAUNCH,
    ],
};
const START: Flow = Flow {
    before: &[&["vm", "create", "--name", "dev"], &["vm", "stop", "dev"]],
    tried: &["vm", "start", "dev"],
    steps: CREATE.steps,
};
const CREATE_WITH_NAT: Flow = Flow {
    before: &[],
    tried: &["vm", "create", "--name", "dev", "--nat"],
    steps: &[
        "create the VM's directory",
        BEGIN,
        "write the config drive",
        "create the root disk",
        "create the work disk",
        "set up the network",
        "start the DNS server",
        "create the tap device",
        "set up NAT",
        LAUNCH,
    ],
};
const STOP_WITH_NAT: Flow =
    Flow { before: &[CREATE_WITH_NAT.tried], tried: &["vm", "stop", "dev"], steps: STOP.steps };
const NAT_ON: Flow = Flow {
    before: STOP.before,
    tried: &["vm", "set", "dev", "--nat", "on"],
    steps: &["set up the network", "create the tap device", "set up NAT", WRITE_DOWN],
};
const NAT_OFF: Flow = Flow {
    before: &[CREATE_WITH_NAT.tried],
    tried: &["vm", "set", "dev", "--nat", "off"],
    steps: &["set up the network", "create the tap device", "remove NAT", WRITE_DOWN],
};
const SET: Flow = Flow {
    before: &[&["vm", "create", "--name", "dev", "--no-start", "--memory", "256M"]],
    tried: &["vm", "set", "dev", "--vcpu", "1", "--memory", "300M", "--disk-size", "3G"],
    steps: &[WRITE_DOWN],
};
const STOP: Flow = Flow {
    before: &[&["vm", "create", "--name", "dev"]],
    tried: &["vm", "stop", "dev"],
    steps: &["end the VM's processes", "remove the tap device", "remove NAT", "remove the VM's sockets"],
};
const DELETE: Flow = Flow {
    before: &[&["vm", "create", "--name", "dev"]],
    tried: &["vm", "delete", "dev"],
    steps: &[
        "end the VM's processes",
        "remove the tap device",
        "remove NAT",
        "remove the VM's sockets",
        "remove the VM's directory",
    ],
};
const RESTART: Flow = Flow {
    before: &[&["vm", "create", "--name", "dev"]],
    tried: &["vm", "restart", "dev"],
    steps: &[
        "end the VM's processes",
        "remove the tap device",
        "remove NAT",
        "remove the VM's sockets",
        "create the VM's directory",
        BEGIN,
        "write the config drive",
        "create the root disk",
        "create the work disk",
        "set up the network",
        "start the DNS server",
        "create the tap device",
        LAUNCH,
    ],
};
const KILL: Flow = Flow { before: STOP.before, tried: &["vm", "kill", "dev"], steps: STOP.steps };
const KILL_POLITELY: Flow = Flow {
    before: &[&["vm", "create", "--name", "dev"], &["vm", "pause", "dev"]],
    tried: &["vm", "kill", "--signal", "TERM", "dev"],
    steps: &[
        "resume the VM",
        "tell the VMM to exit",
        "end the VM's processes",
        "remove the tap device",
        "remove NAT",
        "remove the VM's sockets",
    ],
};
const PAUSE: Flow = Flow { before: STOP.before, tried: &["vm", "pause", "dev"], steps: &["pause the VM"] };
const RESUME: Flow = Flow {
    before: &[&["vm", "create", "--name", "dev"], &["vm", "pause", "dev"]],
    tried: &["vm", "resume", "dev"],
    steps: &["resume the VM"],
};
const STOP_PAUSED: Flow = Flow {
    before: RESUME.before,
    tried: &["vm", "stop", "dev"],
    steps: &[
        "resume the VM",
        "end the VM's processes",
        "remove the tap device",
        "remove NAT",
        "remove the VM's sockets",
    ],
};

fn ok(sandbox: &Sandbox, arguments: &[&str]) {
    let _ = sandbox.banger(arguments).run().expect_success();
}

/// Lets the step with each index fail, until the flow has no step of that index; under each VMM.
fn fail_every_step(flow: &Flow, kind: &str) {
    for vmm in FakeVmm::ALL {
        fail_every_step_under(vmm, flow, kind);
    }
}

fn fail_every_step_under(vmm: FakeVmm, flow: &Flow, kind: &str) {
    let sandbox = Sandbox::with_fake_guests_of(vmm);
    let steps = flow.steps(vmm);
    for index in 0.. {
        for arguments in flow.before {
            ok(&sandbox, arguments);
        }
        // What counts the steps is the daemon, so each round has one of its own.
        ok(&sandbox, &["daemon", "stop"]);
        let fault = format!("{kind}:{index}");
        let tried = sandbox.banger(flow.tried).env("BANGER_FAULT", &fault).run();
        let failed = tried.code() != Some(0);
        match steps.get(index).copied() {
            Some(FORGIVEN) if flow.tried[1] != "resume" => drop(tried.expect_success()),
            Some(step) => drop(tried.expect_failure(&[&format!("could not {step}"), "BANGER_FAULT"])),
            None => drop(tried.expect_success()),
        }
        let start = flow.steps.iter().position(|step| *step == CREATE.steps[0]);
        if failed && start.is_some_and(|start| index >= start) {
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
        if index >= steps.len() {
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
fn every_step_of_a_restart_can_fail_and_nothing_is_left() {
    fail_every_step(&RESTART, "fail");
    fail_every_step(&RESTART, "after");
}

#[test]
fn every_step_of_a_kill_can_fail_and_nothing_is_left() {
    for kind in ["fail", "after"] {
        fail_every_step(&KILL, kind);
        fail_every_step(&KILL_POLITELY, kind);
    }
}

#[test]
fn every_step_of_pausing_resuming_and_stopping_what_is_paused_can_fail_and_nothing_is_left() {
    for kind in ["fail", "after"] {
        for flow in [&PAUSE, &RESUME, &STOP_PAUSED] {
            fail_every_step(flow, kind);
        }
    }
}

#[test]
fn every_step_of_nat_can_fail_and_nothing_is_left() {
    for kind in ["fail", "after"] {
        for flow in [&CREATE_WITH_NAT, &STOP_WITH_NAT, &NAT_ON, &NAT_OFF] {
            fail_every_step(flow, kind);
        }
    }
}

#[test]
fn every_step_of_a_change_of_settings_can_fail_and_nothing_is_left() {
    for kind in ["fail", "after"] {
        fail_every_step(&SET, kind);
    }
}

#[test]
fn a_vm_whose_settings_could_not_be_changed_has_what_it_had() {
    let sandbox = Sandbox::with_fake_guests();
    for arguments in SET.before {
        ok(&sandbox, arguments);
    }
    ok(&sandbox, &["daemon", "stop"]);
    let before = sandbox.json(&["vm", "show", "dev"]);
    ok(&sandbox, &["daemon", "stop"]);
    let changed = sandbox.banger(SET.tried).env("BANGER_FAULT", "fail:0").run();
    let _ = changed.expect_failure(&["VM `dev` was not changed", WRITE_DOWN]);
    assert_eq!(sandbox.json(&["vm", "show", "dev"]), before);
    ok(&sandbox, &["vm", "delete", "dev"]);
    sandbox.assert_nothing_left();
}

#[test]
fn a_vm_whose_nat_could_not_be_changed_has_what_it_had() {
    for (flow, nat) in [(&NAT_ON, false), (&NAT_OFF, true)] {
        for fault in ["fail:0", "after:1", "fail:2", "after:2", "fail:3"] {
            let sandbox = Sandbox::with_fake_guests();
            for arguments in flow.before {
                ok(&sandbox, arguments);
            }
            ok(&sandbox, &["daemon", "stop"]);
            let changed = sandbox.banger(flow.tried).env("BANGER_FAULT", fault).run();
            let _ = changed.expect_failure(&["VM `dev` was not changed", "BANGER_FAULT"]);
            let view = sandbox.json(&["vm", "show", "dev"]);
            assert_eq!((&view["state"], &view["nat"]), (&"running".into(), &nat.into()), "{fault}");
            let ways_out = sandbox.processes().iter().filter(|it| it.program().starts_with("pasta")).count();
            assert_eq!(ways_out, usize::from(nat), "{fault}");
            ok(&sandbox, &["vm", "delete", "dev"]);
            sandbox.assert_nothing_left();
        }
    }
}

#[test]
fn a_vm_that_could_not_be_paused_goes_on() {
    for fault in ["fail:0", "after:0"] {
        let sandbox = Sandbox::with_fake_guests();
        ok(&sandbox, &["vm", "create", "--name", "dev"]);
        ok(&sandbox, &["daemon", "stop"]);
        let paused = sandbox.banger(["vm", "pause", "dev"]).env("BANGER_FAULT", fault).run();
        let _ = paused.expect_failure(&["VM `dev` was not paused", "could not pause the VM"]);
        assert_eq!(sandbox.json(&["vm", "show", "dev"])["state"], "running", "{fault}");
        let _ = sandbox.exec("dev", &["true"]).expect_success();
        ok(&sandbox, &["vm", "delete", "dev"]);
        sandbox.assert_nothing_left();
    }
}

#[test]
fn a_release_that_fails_after_a_failed_start_is_told_and_made_good_by_delete() {
    let sandbox = Sandbox::with_fake_guests();
    // The nine steps of a start that fails by itself, then the release's first.
    let made = sandbox
        .banger(["vm", "create", "--name", "dev", "--image", "boot-fails"])
        .env("BANGER_FAULT", "fail:10");
    let _ =
        made.run().expect_failure(&["made to fail", "something was left behind", "could not remove the tap"]);
    assert!(sandbox.leftovers().iter().any(|line| line.starts_with("tap ")), "{:?}", sandbox.leftovers());
    ok(&sandbox, &["vm", "delete", "dev"]);
    sandbox.assert_nothing_left();
}
