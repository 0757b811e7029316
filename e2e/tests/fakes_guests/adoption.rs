//! Daemons and VMs' processes that are killed while a guest runs.

use banger_e2e::{FakeVmm, Running, Sandbox};
use serde_json::Value;
use std::time::Duration;

fn dev(sandbox: &Sandbox) -> Value {
    sandbox.json(&["vm", "show", "dev"])
}

fn with_a_running_vm(vmm: FakeVmm) -> Sandbox {
    let sandbox = Sandbox::with_fake_guests_of(vmm);
    let _ = sandbox.banger(["vm", "create", "--name", "dev"]).run().expect_success();
    sandbox
}

fn conversation(sandbox: &Sandbox) -> Running {
    let talk = ["vm", "exec", "-i", "dev", "--", "sh", "-c", "echo ready; read word; echo got $word"];
    let mut running = sandbox.banger(talk).open_stdin().start();
    running.wait_for("ready");
    running
}

fn assert_deleted(sandbox: &Sandbox) {
    let _ = sandbox.banger(["vm", "delete", "dev"]).run().expect_success();
    sandbox.assert_nothing_left();
}

#[test]
fn a_guest_and_its_commands_outlive_the_daemon_the_helper_and_both() {
    let daemons =
        [&["bangerd"][..], &["bangerd-root"], &["bangerd", "bangerd-root"], &["bangerd-root", "bangerd"]];
    for (vmm, doomed) in FakeVmm::ALL.into_iter().flat_map(|vmm| daemons.map(|doomed| (vmm, doomed))) {
        let sandbox = with_a_running_vm(vmm);
        let before = dev(&sandbox)["running"].clone();
        let mut talk = conversation(&sandbox);
        for program in doomed {
            sandbox.kill(program);
        }
        assert_eq!(dev(&sandbox)["running"], before, "{doomed:?}");
        talk.write(b"it\n");
        assert_eq!(talk.finish().expect_success().stdout_text(), "ready\ngot it\n");
        assert_eq!(sandbox.exec("dev", &["echo", "again"]).expect_success().stdout_text(), "again\n");

        // A second guest works beside it, on the same bridge.
        let _ = sandbox.banger(["vm", "create", "--name", "other"]).run().expect_success();
        assert_eq!(
            sandbox.leftovers().iter().filter(|line| line.starts_with("tap ")).count(),
            2,
            "{doomed:?}"
        );
        let _ = sandbox.banger(["vm", "delete", "other"]).run().expect_success();
        assert_deleted(&sandbox);
    }
}

/// Listens at its only argument and answers whoever asks as a helper does that knows no protocol of theirs.
const STRANGER: &str = r#"
import json, socket, sys
server = socket.socket(socket.AF_UNIX)
server.bind(sys.argv[1])
server.listen()
print("up", flush=True)
while True:
    client, _ = server.accept()
    asked = client.makefile().readline()
    error = {"code": -32000, "message": "this speaks protocol 0", "data": {"kind": "bad_version"}}
    answer = {"jsonrpc": "2.0", "id": json.loads(asked)["id"] if asked else 0, "error": error}
    client.sendall(json.dumps(answer).encode() + b"\n")
    client.close()
"#;

#[test]
fn a_helper_of_another_version_ends_with_the_daemon_and_the_guests_do_not() {
    let sandbox = with_a_running_vm(FakeVmm::Qemu);
    let before = dev(&sandbox)["running"].clone();
    let mut talk = conversation(&sandbox);
    let socket = sandbox.socket("bangerd-root.sock");
    sandbox.kill("bangerd-root");
    std::fs::remove_file(&socket).expect("its helper is gone");
    let stranger = sandbox.tool("python3", ["-c", STRANGER, &socket.display().to_string()]);
    let mut stranger = stranger.limit(Duration::from_secs(60)).start();
    stranger.wait_for("up");

    let create = ["vm", "create", "--name", "other"];
    let refused = sandbox.banger(create).run();
    let _ = refused.expect_failure(&["the helper is of another version", "`banger daemon stop`"]);
    let _ = sandbox.banger(["daemon", "stop"]).run().expect_success();
    assert_ne!(stranger.finish().code(), Some(0), "it ended by itself");
    let _ = sandbox.banger(["vm", "start", "other"]).run().expect_success();
    assert_eq!(dev(&sandbox)["running"], before);
    talk.write(b"it\n");
    assert_eq!(talk.finish().expect_success().stdout_text(), "ready\ngot it\n");
    let _ = sandbox.banger(["vm", "delete", "other"]).run().expect_success();
    assert_deleted(&sandbox);
}

#[test]
fn what_was_adopted_can_be_stopped_and_started() {
    for vmm in FakeVmm::ALL {
        let sandbox = with_a_running_vm(vmm);
        let before = dev(&sandbox)["running"]["boot_id"].clone();
        sandbox.kill("bangerd");
        sandbox.kill("bangerd-root");
        for verb in ["stop", "start"] {
            let _ = sandbox.banger(["vm", verb, "dev"]).run().expect_success();
        }
        assert_ne!(dev(&sandbox)["running"]["boot_id"], before, "it is not another boot");
        assert_deleted(&sandbox);
    }
}

#[test]
fn the_death_of_a_vmm_or_of_its_backend_is_noticed_and_takes_the_rest_with_it() {
    for (vmm, program, reason) in [
        (FakeVmm::Qemu, "fake-qemu", "its VMM was killed"),
        (FakeVmm::Qemu, "fake-vsock-backend", "its vsock backend ended"),
        (FakeVmm::Firecracker, "fake-firecracker", "its VMM was killed"),
    ] {
        let sandbox = with_a_running_vm(vmm);
        sandbox.kill(program);
        sandbox.until("it is stopped", || dev(&sandbox)["state"] == "stopped");
        let view = dev(&sandbox);
        assert!(view["reason"].as_str().is_some_and(|why| why.contains(reason)), "{view}");
        let id = view["id"].as_str().expect("an id");
        assert_eq!(sandbox.leftovers(), [format!("folder vms/{id}")]);
        let _ = sandbox.banger(["vm", "start", "dev"]).run().expect_success();
        assert_deleted(&sandbox);
    }
}

#[test]
fn the_death_of_an_adopted_vm_is_noticed_too() {
    for vmm in FakeVmm::ALL {
        let sandbox = with_a_running_vm(vmm);
        sandbox.kill("bangerd");
        assert_eq!(dev(&sandbox)["state"], "running");
        sandbox.kill(vmm.program());
        sandbox.until("it is stopped", || dev(&sandbox)["state"] == "stopped");
        assert_deleted(&sandbox);
    }
}

#[test]
fn the_death_of_a_vmm_or_backend_that_nobody_saw_is_found_by_the_next_daemon() {
    for (vmm, program) in
        FakeVmm::ALL.into_iter().flat_map(|vmm| vmm.programs().iter().map(move |p| (vmm, p)))
    {
        let sandbox = with_a_running_vm(vmm);
        sandbox.kill("bangerd");
        sandbox.kill(program);
        let view = dev(&sandbox);
        assert_eq!(view["state"], "stopped", "{program}: {view}");
        let id = view["id"].as_str().expect("an id");
        assert_eq!(sandbox.leftovers(), [format!("folder vms/{id}")], "{program}");
        assert_deleted(&sandbox);
    }
}

#[test]
fn all_of_it_killed_at_once_is_a_stopped_vm_that_starts_again() {
    for vmm in FakeVmm::ALL {
        let sandbox = with_a_running_vm(vmm);
        for program in ["bangerd", "bangerd-root", vmm.program()] {
            sandbox.kill(program);
        }
        assert_eq!(dev(&sandbox)["state"], "stopped");
        let _ = sandbox.banger(["vm", "start", "dev"]).run().expect_success();
        assert_deleted(&sandbox);
    }
}

#[test]
fn a_vm_dies_while_the_helper_is_dead_and_is_released_all_the_same() {
    for vmm in FakeVmm::ALL {
        let sandbox = with_a_running_vm(vmm);
        sandbox.kill("bangerd-root");
        sandbox.kill(vmm.program());
        sandbox.until("it is stopped", || dev(&sandbox)["state"] == "stopped");
        let _ = sandbox.banger(["vm", "start", "dev"]).run().expect_success();
        assert_deleted(&sandbox);
    }
}

#[test]
fn a_stopped_daemon_leaves_guests_alone() {
    let sandbox = with_a_running_vm(FakeVmm::Qemu);
    let before = dev(&sandbox)["running"].clone();
    let _ = sandbox.banger(["daemon", "stop"]).run().expect_success();
    sandbox.until("both are gone", || {
        sandbox.running("bangerd").is_empty() && sandbox.running("bangerd-root").is_empty()
    });
    assert_eq!(dev(&sandbox)["running"], before);
    assert_deleted(&sandbox);
}

#[test]
fn a_folder_nobody_knows_of_is_removed_by_the_next_daemon() {
    let sandbox = with_a_running_vm(FakeVmm::Qemu);
    sandbox.kill("bangerd");
    let stray = sandbox.state().join("vms/0123456789ab");
    std::fs::create_dir(&stray).expect("the sandbox is writable");
    let _ = sandbox.vm_ids();
    assert!(!stray.exists());
    assert_deleted(&sandbox);
}
