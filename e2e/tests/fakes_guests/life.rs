//! What users do with VMs, and what they are told when it cannot be done.

use banger_e2e::{Checks, FakeVmm, Host, Sandbox};
use serde_json::Value;
use std::collections::BTreeSet;

fn ok(sandbox: &Sandbox, arguments: &[&str]) {
    let _ = sandbox.banger(arguments).run().expect_success();
}

fn state_of(sandbox: &Sandbox, vm: &str) -> Value {
    sandbox.json(&["vm", "show", vm])["state"].clone()
}

#[test]
fn a_vm_of_qemu_goes_through_its_states_and_leaves_no_trace() {
    goes_through_its_states(FakeVmm::Qemu);
}

#[test]
fn a_vm_of_firecracker_goes_through_its_states_and_leaves_no_trace() {
    goes_through_its_states(FakeVmm::Firecracker);
}

fn goes_through_its_states(vmm: FakeVmm) {
    let before = Host::look();
    let sandbox = Sandbox::with_fake_guests_of(vmm);
    let mut checks = Checks::new();
    checks.check("made without being started it is created and owns nothing on the host", || {
        let made = sandbox.banger(["vm", "create", "--no-start", "--name", "dev"]).run().expect_success();
        assert_eq!(made.stdout_text(), "dev\n");
        assert_eq!(state_of(&sandbox, "dev"), "created");
        assert_eq!(sandbox.leftovers(), [""; 0]);
    });
    checks.check("started it runs, with its processes and a tap", || {
        ok(&sandbox, &["vm", "start", "dev"]);
        let view = sandbox.json(&["vm", "show", "dev"]);
        assert_eq!(view["state"], "running");
        assert_eq!(view["address"], "172.16.0.2");
        assert!(view["running"]["boot_id"].as_str().is_some_and(|id| id.len() == 36), "{view}");
        let stages: Vec<_> =
            view["stages"].as_array().expect("stages").iter().map(|stage| &stage["name"]).collect();
        assert_eq!(stages, ["preflight", "disks", "network", "vmm", "agent", "usable"]);
        let id = view["id"].as_str().expect("an id");
        let left = sandbox.leftovers();
        let parts = [format!("tap bt{id}"), format!("folder vms/{id}"), "socket ".to_owned()];
        let processes = vmm.programs().iter().map(|program| format!("process {program}"));
        for part in parts.into_iter().chain(processes) {
            assert!(
                left.iter().any(|line| line.starts_with(&part)),
                "the inventory does not see {part}: {left:?}"
            );
        }
    });
    checks.check("starting it again changes nothing", || {
        let boot = sandbox.json(&["vm", "show", "dev"])["running"]["boot_id"].clone();
        ok(&sandbox, &["vm", "start", "dev"]);
        assert_eq!(sandbox.json(&["vm", "show", "dev"])["running"]["boot_id"], boot);
    });
    checks.check("it is listed, by name and by the beginning of its id", || {
        let listed = sandbox.json(&["vm", "list"]);
        assert_eq!(listed.as_array().map(Vec::len), Some(1));
        let id = listed[0]["id"].as_str().expect("an id").to_owned();
        assert_eq!(sandbox.vm_ids(), [id.as_str()]);
        assert_eq!(sandbox.json(&["vm", "show", &id[..4]])["name"], "dev");
        let table = sandbox.banger(["vm", "list"]).run().expect_success();
        for word in ["NAME", "dev", "running", "172.16.0.2"] {
            assert!(table.stdout_text().contains(word), "{}", table.stdout_text());
        }
    });
    checks.check("stopped it has flushed its disks, keeps its folder, and says why it is stopped", || {
        ok(&sandbox, &["vm", "stop", "dev"]);
        let view = sandbox.json(&["vm", "show", "dev"]);
        assert_eq!((&view["state"], &view["reason"]), (&"stopped".into(), &"stopped on request".into()));
        let id = view["id"].as_str().expect("an id");
        let folder = sandbox.state().join("vms").join(id);
        let logs = ["vmm.log", "console.log"].map(|log| std::fs::read_to_string(folder.join(log)));
        let said = logs.map(|log| log.expect("a log")).concat();
        assert!(said.contains("synced"), "{said}");
        assert_eq!(sandbox.leftovers(), [format!("folder vms/{id}")]);
    });
    checks.check("stopping it again is no error, and its console can be read", || {
        ok(&sandbox, &["vm", "stop", "dev"]);
        let logs = sandbox.banger(["vm", "logs", "dev"]).run().expect_success();
        assert!(
            logs.stdout_text().contains("banger.disks=base,cow,work,modules,config"),
            "{}",
            logs.stdout_text()
        );
    });
    checks.check("no command runs in it then", || {
        let _ = sandbox
            .exec("dev", &["true"])
            .expect_code(125)
            .expect_failure(&["stopped", "banger vm start dev"]);
    });
    checks.check("started and deleted while it runs, nothing is left", || {
        ok(&sandbox, &["vm", "start", "dev"]);
        ok(&sandbox, &["vm", "delete", "dev"]);
        sandbox.assert_nothing_left();
        Host::look().assert_same_as(&before);
    });
    checks.finish();
}

#[test]
fn what_cannot_be_made_is_refused_with_a_hint_and_leaves_nothing() {
    let sandbox = Sandbox::with_fake_guests();
    let cases: [(&[&str], &[&str]); 13] = [
        (&["--name", "No Name"], &["No Name"]),
        (&["--name", "-x"], &["-x"]),
        (&["--name", &"x".repeat(64)], &["63"]),
        (&["--vcpu", "0"], &["--vcpu takes 1 to"]),
        (&["--vcpu", "100000"], &["--vcpu takes 1 to"]),
        (&["--memory", "1"], &["--memory takes"]),
        (&["--memory", "900000G"], &["--memory takes"]),
        (&["--memory", "much"], &["much"]),
        (&["--disk-size", "1M"], &["--disk-size takes 256 MiB to"]),
        (&["--disk-size", "900000G"], &["--disk-size takes"]),
        (&["--memory", "1", "--image", "nosuch"], &["--memory takes"]),
        (&["--image", "nosuch"], &["nosuch", "banger image list"]),
        (&["--kernel", "nosuch"], &["nosuch", "banger kernel list"]),
    ];
    for (flags, words) in cases {
        let finished = sandbox.banger(["vm", "create"].iter().chain(flags)).run();
        assert_eq!(finished.stdout, b"", "talk belongs to stderr");
        let _ = finished.expect_failure(words);
    }
    for verb in ["start", "stop", "delete", "show", "logs"] {
        let _ = sandbox.banger(["vm", verb, "nosuch"]).run().expect_failure(&["nosuch", "banger vm list"]);
    }
    sandbox.assert_nothing_left();
}

#[test]
fn a_name_is_taken_until_its_vm_is_deleted() {
    let sandbox = Sandbox::with_fake_guests();
    ok(&sandbox, &["vm", "create", "--name", "dev"]);
    let again = sandbox.banger(["vm", "create", "--name", "dev"]).run();
    let _ = again.expect_failure(&["a VM named `dev` already exists", "banger vm delete dev"]);
    assert_eq!(sandbox.vm_ids().len(), 1);
    ok(&sandbox, &["vm", "delete", "dev"]);
    ok(&sandbox, &["vm", "create", "--name", "dev"]);
    ok(&sandbox, &["vm", "delete", "dev"]);
    sandbox.assert_nothing_left();
}

#[test]
fn a_command_in_a_guest_has_its_own_input_outputs_and_code() {
    let sandbox = Sandbox::with_fake_guests();
    ok(&sandbox, &["vm", "create", "--name", "dev"]);
    let mut checks = Checks::new();
    checks.check("codes arrive as they are", || {
        for code in [0, 1, 7, 255] {
            let _ = sandbox.exec("dev", &["sh", "-c", &format!("exit {code}")]).expect_code(code);
        }
        let _ = sandbox.exec("dev", &["sh", "-c", "kill -TERM $$"]).expect_code(128 + 15);
        let _ = sandbox.exec("dev", &["no-such-program"]).expect_code(127);
    });
    checks.check("outputs are kept apart and arguments are not interpreted", || {
        let finished = sandbox
            .exec("dev", &["sh", "-c", "printf '%s|' \"$@\"; echo err >&2", "sh", "a  b", "*", "$HOME"]);
        let finished = finished.expect_success();
        assert_eq!(finished.stdout_text(), "a  b|*|$HOME|");
        assert_eq!(finished.stderr_text(), "err\n");
    });
    checks.check("input arrives whole, many times the window of it", || {
        let input: Vec<u8> = (0..3_000_000_u32).map(|n| (n % 251) as u8).collect();
        let cat = sandbox.banger(["vm", "exec", "-i", "dev", "--", "cat"]).stdin(input.clone());
        assert!(cat.run().expect_success().stdout == input, "other bytes came back");
    });
    checks.check("input that nobody wants is no error", || {
        let input = vec![b'x'; 1_000_000];
        let _ = sandbox.banger(["vm", "exec", "-i", "dev", "--", "true"]).stdin(input).run().expect_success();
    });
    ok(&sandbox, &["vm", "delete", "dev"]);
    checks.check("a command that still ran when its VM was deleted is gone with it", || {
        ok(&sandbox, &["vm", "create", "--name", "dev"]);
        let mut running =
            sandbox.banger(["vm", "exec", "dev", "--", "sh", "-c", "echo up; sleep 600"]).start();
        running.wait_for("up");
        ok(&sandbox, &["vm", "delete", "dev"]);
        assert_eq!(running.finish().code(), Some(125));
    });
    checks.finish();
    sandbox.assert_nothing_left();
}

#[test]
fn ten_vms_made_at_once_all_run_with_addresses_of_their_own() {
    let sandbox = Sandbox::with_fake_guests();
    let started: Vec<_> = (0..10).map(|_| sandbox.banger(["vm", "create"]).start()).collect();
    let names: BTreeSet<String> = started
        .into_iter()
        .map(|running| running.finish().expect_success().stdout_text().to_owned())
        .collect();
    assert_eq!(names.len(), 10);
    let listed = sandbox.json(&["vm", "list"]);
    let vms = listed.as_array().expect("a list");
    assert!(vms.iter().all(|vm| vm["state"] == "running"), "{listed}");
    let addresses: BTreeSet<&str> = vms.iter().filter_map(|vm| vm["address"].as_str()).collect();
    assert_eq!(addresses.len(), 10, "{addresses:?}");
    assert_eq!(sandbox.leftovers().iter().filter(|line| line.starts_with("tap ")).count(), 10);
    ok(
        &sandbox,
        &["vm", "delete"]
            .iter()
            .copied()
            .chain(sandbox.vm_ids().iter().map(String::as_str))
            .collect::<Vec<_>>(),
    );
    sandbox.assert_nothing_left();
}

#[test]
fn a_vm_that_does_not_come_up_is_kept_with_its_reason_its_console_and_a_hint() {
    let sandbox = Sandbox::with_fake_guests();
    for (image, words) in [
        (
            "boot-fails",
            &["the guest gave up at root: made to fail", "banger vm logs dev", "banger vm delete dev"][..],
        ),
        ("no-machine", &["the VMM ended", "banger vm logs dev"]),
        ("short-lived", &["the VMM ended", "banger vm logs dev"]),
    ] {
        let made = sandbox.banger(["vm", "create", "--name", "dev", "--image", image]).run();
        let _ = made.expect_code(1).expect_failure(words);
        let view = sandbox.json(&["vm", "show", "dev"]);
        assert_eq!(view["state"], "failed", "{image}");
        assert!(view["reason"].as_str().is_some_and(|reason| reason.contains(&words[0][4..])), "{view}");
        let id = view["id"].as_str().expect("an id");
        assert_eq!(sandbox.leftovers(), [format!("folder vms/{id}")], "{image}");
        ok(&sandbox, &["vm", "logs", "dev"]);
        ok(&sandbox, &["vm", "delete", "dev"]);
        sandbox.assert_nothing_left();
    }
}

#[test]
fn a_vmm_or_backend_that_fails_at_once_is_an_error_and_no_wait() {
    for (program, words) in
        [("fake-vsock-backend", &["the vsock backend did not listen"][..]), ("fake-qemu", &["the VMM ended"])]
    {
        let sandbox = Sandbox::with_fake_guests();
        sandbox.break_fake(program);
        let made = sandbox.banger(["vm", "create", "--name", "dev"]).run().expect_failure(words);
        assert!(made.took.as_secs() < 10, "{:?}", made.took);
        ok(&sandbox, &["vm", "delete", "dev"]);
        sandbox.assert_nothing_left();
    }
}

#[test]
fn a_guest_that_turns_itself_off_is_stopped_and_can_be_started_again() {
    let sandbox = Sandbox::with_fake_guests();
    ok(&sandbox, &["vm", "create", "--name", "dev"]);
    let _ = sandbox.exec("dev", &["poweroff"]);
    sandbox.until("it is stopped", || state_of(&sandbox, "dev") == "stopped");
    assert!(
        sandbox.json(&["vm", "show", "dev"])["reason"].as_str().is_some_and(|why| why.contains("shut down"))
    );
    ok(&sandbox, &["vm", "start", "dev"]);
    ok(&sandbox, &["vm", "delete", "dev"]);
    sandbox.assert_nothing_left();
}

#[test]
fn a_guest_that_ignores_the_flush_is_stopped_all_the_same() {
    let sandbox = Sandbox::with_fake_guests();
    ok(&sandbox, &["vm", "create", "--name", "dev", "--image", "never-syncs"]);
    let stopped = sandbox.banger(["vm", "stop", "dev"]).run().expect_success();
    assert!(stopped.took.as_millis() < 5000, "{:?}", stopped.took);
    assert_eq!(state_of(&sandbox, "dev"), "stopped");
    ok(&sandbox, &["vm", "delete", "dev"]);
    sandbox.assert_nothing_left();
}

#[test]
fn a_guest_that_lies_harms_nobody() {
    let sandbox = Sandbox::with_fake_guests();
    let mut checks = Checks::new();
    checks.check("nonsense among its notices is not taken for its end", || {
        ok(&sandbox, &["vm", "create", "--name", "noisy", "--image", "babbler"]);
        assert_eq!(state_of(&sandbox, "noisy"), "running");
        ok(&sandbox, &["vm", "delete", "noisy"]);
    });
    ok(&sandbox, &["vm", "create", "--name", "dev", "--image", "liar"]);
    checks.check("a frame of four gigabytes is an error and no memory", || {
        let _ = sandbox.exec("dev", &["true"]).expect_code(125).expect_failure(&["4294967295"]);
    });
    checks.check("a wrong answer to the flush does not keep it from being stopped", || {
        ok(&sandbox, &["vm", "stop", "dev"]);
        assert_eq!(state_of(&sandbox, "dev"), "stopped");
    });
    ok(&sandbox, &["vm", "delete", "dev"]);
    checks.finish();
    sandbox.assert_nothing_left();
}

#[test]
fn early_means_with_the_agent_and_otherwise_the_guest_is_usable_first() {
    let sandbox = Sandbox::with_fake_guests();
    ok(&sandbox, &["vm", "create", "--early", "--name", "early", "--image", "agent-only"]);
    assert_eq!(state_of(&sandbox, "early"), "running");
    let late = sandbox.banger(["vm", "create", "--name", "late", "--image", "agent-only"]).start();
    sandbox.until("it has got to the last stage", || {
        let operations = sandbox.rpc().call("operation.list", &serde_json::json!({})).expect("a list");
        let running =
            operations.as_array().is_some_and(|all| all.iter().any(|one| one["state"] == "running"));
        running && sandbox.running("fake-qemu").len() == 2
    });
    assert_eq!(state_of(&sandbox, "late"), "starting");
    sandbox.let_go();
    let _ = late.finish().expect_success();
    assert_eq!(state_of(&sandbox, "late"), "running");
    ok(&sandbox, &["vm", "delete", "early", "late"]);
    sandbox.assert_nothing_left();
}
