//! The daemon killed right before and right after every effect: whatever it was doing, the next command finds things
//! as they are, and what is deleted then leaves nothing.

use banger_e2e::{FakeVmm, Sandbox};

fn ok(sandbox: &Sandbox, arguments: &[&str]) {
    let _ = sandbox.banger(arguments).run().expect_success();
}

/// Ends the daemon at each of the `steps` of `tried`, and looks after each with `look_after`, which a new daemon
/// answers.
fn crash_at_every_step(before: &[&[&str]], tried: &[&str], steps: u32, look_after: impl Fn(&Sandbox, &str)) {
    let both = ["abort", "abort-before"].map(|kind| FakeVmm::ALL.map(|vmm| (vmm, kind)));
    for (vmm, kind) in both.into_iter().flatten() {
        let sandbox = Sandbox::with_fake_guests_of(vmm);
        for index in 0..=steps {
            for arguments in before {
                ok(&sandbox, arguments);
            }
            // What counts the steps is the daemon, so each round has one of its own.
            ok(&sandbox, &["daemon", "stop"]);
            let fault = format!("{kind}:{index}");
            let tried = sandbox.banger(tried).env("BANGER_FAULT", &fault).run();
            let crashed = sandbox.running("bangerd").is_empty();
            assert_eq!(
                crashed,
                index < steps,
                "{fault}: another number of steps than known\n{}",
                tried.stderr_text()
            );
            if crashed {
                assert!(!tried.stderr.is_empty(), "{fault}: an end without a word");
                look_after(&sandbox, &fault);
            } else {
                let _ = tried.expect_success();
                ok(&sandbox, &["daemon", "stop"]);
            }
            for id in sandbox.vm_ids() {
                ok(&sandbox, &["vm", "delete", &id]);
            }
            sandbox.assert_nothing_left();
        }
    }
}

fn only_folders(sandbox: &Sandbox, fault: &str) {
    let mut left = sandbox.leftovers();
    left.retain(|line| !line.starts_with("folder"));
    assert_eq!(left, [""; 0], "{fault}: the next daemon neither adopted nor removed it");
}

#[test]
fn a_create_that_was_cut_off_anywhere_is_failed_and_owns_nothing_but_its_folder() {
    crash_at_every_step(&[], &["vm", "create", "--name", "dev"], 9, |sandbox, fault| {
        let view = sandbox.json(&["vm", "show", "dev"]);
        assert_eq!(view["state"], "failed", "{fault}: {view}");
        assert!(view["reason"].as_str().is_some_and(|why| why.contains("the daemon ended")), "{view}");
        only_folders(sandbox, fault);
        // And it is as good as any other that is not running.
        ok(sandbox, &["vm", "start", "dev"]);
        assert_eq!(sandbox.exec("dev", &["echo", "hello"]).expect_success().stdout_text(), "hello\n");
    });
}

#[test]
fn a_create_with_nat_that_was_cut_off_anywhere_leaves_no_way_out() {
    crash_at_every_step(&[], &["vm", "create", "--name", "dev", "--nat"], 10, |sandbox, fault| {
        assert_eq!(sandbox.json(&["vm", "show", "dev"])["state"], "failed", "{fault}");
        only_folders(sandbox, fault);
    });
}

#[test]
fn a_stop_of_the_last_guest_with_nat_that_was_cut_off_anywhere_closes_the_way_out() {
    crash_at_every_step(
        &[&["vm", "create", "--name", "dev", "--nat"]],
        &["vm", "stop", "dev"],
        4,
        |sandbox, fault| {
            assert_eq!(sandbox.json(&["vm", "show", "dev"])["state"], "stopped", "{fault}");
            only_folders(sandbox, fault);
        },
    );
}

#[test]
fn a_start_that_was_cut_off_anywhere_keeps_the_disks_and_can_be_repeated() {
    let before: &[&[&str]] = &[&["vm", "create", "--name", "dev"], &["vm", "stop", "dev"]];
    crash_at_every_step(before, &["vm", "start", "dev"], 9, |sandbox, fault| {
        assert_eq!(sandbox.json(&["vm", "show", "dev"])["state"], "failed", "{fault}");
        only_folders(sandbox, fault);
        ok(sandbox, &["vm", "start", "dev"]);
        assert_eq!(sandbox.exec("dev", &["echo", "hello"]).expect_success().stdout_text(), "hello\n");
    });
}

#[test]
fn a_change_of_nat_that_was_cut_off_anywhere_leaves_a_guest_that_runs_and_the_way_out_that_is_told() {
    for (flags, nat) in [(&[][..], "on"), (&["--nat"], "off")] {
        let create = [&["vm", "create", "--name", "dev"], flags].concat();
        crash_at_every_step(&[&create], &["vm", "set", "dev", "--nat", nat], 4, |sandbox, fault| {
            let view = sandbox.json(&["vm", "show", "dev"]);
            assert_eq!(view["state"], "running", "{fault}: {view}");
            let _ = sandbox.exec("dev", &["true"]).expect_success();
            let is_out = view["nat"].as_bool().expect("on or off");
            let ways_out =
                || sandbox.processes().iter().filter(|it| it.program().starts_with("pasta")).count();
            sandbox.until("the way out is as it is told", || ways_out() == usize::from(is_out));
            ok(sandbox, &["vm", "set", "dev", "--nat", nat]);
            assert_eq!(ways_out(), usize::from(nat == "on"), "{fault}");
        });
    }
}

#[test]
fn a_change_of_settings_that_was_cut_off_anywhere_is_made_or_is_not() {
    let before: &[&[&str]] = &[&["vm", "create", "--name", "dev", "--no-start", "--memory", "256M"]];
    let set = ["vm", "set", "dev", "--vcpu", "1", "--memory", "300M", "--disk-size", "3G"];
    crash_at_every_step(before, &set, 1, |sandbox, fault| {
        let view = sandbox.json(&["vm", "show", "dev"]);
        let is_made = !fault.starts_with("abort-before");
        let memory = if is_made { 300_u64 << 20 } else { 256 << 20 };
        assert_eq!((&view["state"], &view["memory"]), (&"created".into(), &memory.into()), "{fault}: {view}");
        assert_eq!(view["disk_size"] == 3_u64 << 30, is_made, "{fault}: {view}");
        ok(sandbox, &set);
    });
}

#[test]
fn a_run_that_was_cut_off_anywhere_is_removed_by_the_next_daemon() {
    crash_at_every_step(&[], &["vm", "run", "--rm", "--", "true"], 14, |sandbox, _| {
        sandbox.until("the next daemon has removed it", || sandbox.vm_ids().is_empty());
        sandbox.assert_nothing_left();
    });
}

#[test]
fn a_stop_that_was_cut_off_anywhere_is_finished_by_the_next_daemon() {
    crash_at_every_step(
        &[&["vm", "create", "--name", "dev"]],
        &["vm", "stop", "dev"],
        4,
        |sandbox, fault| {
            assert_eq!(sandbox.json(&["vm", "show", "dev"])["state"], "stopped", "{fault}");
            only_folders(sandbox, fault);
            ok(sandbox, &["vm", "start", "dev"]);
        },
    );
}

#[test]
fn a_delete_that_was_cut_off_anywhere_can_be_repeated() {
    crash_at_every_step(
        &[&["vm", "create", "--name", "dev"]],
        &["vm", "delete", "dev"],
        5,
        |sandbox, fault| {
            // Whatever it has become, it can be asked about and it can be deleted.
            let view = sandbox.json(&["vm", "show", "dev"]);
            assert!(["running", "stopped"].iter().any(|state| view["state"] == *state), "{fault}: {view}");
        },
    );
}
