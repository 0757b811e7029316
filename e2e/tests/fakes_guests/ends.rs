//! Guests that end by themselves: each way is told from the others, and a reboot comes back.

use banger_e2e::{FakeVmm, Sandbox};
use serde_json::Value;
use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

fn ok(sandbox: &Sandbox, arguments: &[&str]) {
    let _ = sandbox.banger(arguments).run().expect_success();
}

fn dev(sandbox: &Sandbox) -> Value {
    sandbox.json(&["vm", "show", "dev"])
}

fn with_a_running_vm(vmm: FakeVmm) -> Sandbox {
    let sandbox = Sandbox::with_fake_guests_of(vmm);
    ok(&sandbox, &["vm", "create", "--name", "dev"]);
    sandbox
}

fn delete(sandbox: &Sandbox) {
    ok(sandbox, &["vm", "delete", "dev"]);
    sandbox.assert_nothing_left();
}

fn folder(sandbox: &Sandbox) -> PathBuf {
    sandbox.state().join("vms").join(dev(sandbox)["id"].as_str().expect("an id"))
}

/// From its next boot on.
fn behave(sandbox: &Sandbox, behaviour: &str) {
    std::fs::write(folder(sandbox).join("work.img"), behaviour).expect("the sandbox is writable");
}

/// Says something to the agent as its daemon would: the socket's greeting, then one frame.
fn ask_guest(socket: &Path, request: &str) {
    let mut stream = UnixStream::connect(socket).expect("the guest is there");
    stream.write_all(b"CONNECT 52\n").expect("it listens");
    let mut answer = String::new();
    BufReader::new(&stream).read_line(&mut answer).expect("it answers");
    let length = u32::try_from(request.len()).expect("it is short").to_le_bytes();
    stream.write_all(&[&[0], &length[..], request.as_bytes()].concat()).expect("it listens");
}

#[test]
fn a_guest_that_switches_itself_off_or_panics_is_stopped_with_that_reason() {
    for vmm in FakeVmm::ALL {
        let sandbox = with_a_running_vm(vmm);
        for (deed, reason) in
            [("panic", "the guest's kernel panicked: made to"), ("poweroff", "the guest shut down")]
        {
            let _ = sandbox.exec("dev", &[deed]).expect_code(125);
            sandbox.until("it is stopped", || dev(&sandbox)["state"] == "stopped");
            assert_eq!(dev(&sandbox)["reason"], reason);
            ok(&sandbox, &["vm", "start", "dev"]);
        }
        delete(&sandbox);
    }
}

#[test]
fn a_guest_that_reboots_comes_back_as_the_same_vm_with_another_boot() {
    for vmm in FakeVmm::ALL {
        let sandbox = with_a_running_vm(vmm);
        // A panic of a former boot is on the console still and must not be taken for this one's.
        let _ = sandbox.exec("dev", &["panic"]);
        sandbox.until("it is stopped", || dev(&sandbox)["state"] == "stopped");
        ok(&sandbox, &["vm", "start", "dev"]);
        for _ in 0..3 {
            let before = dev(&sandbox);
            let _ = sandbox.exec("dev", &["reboot"]).expect_code(125);
            sandbox.until("it is back", || {
                let now = dev(&sandbox);
                now["state"] == "running" && now["running"]["boot_id"] != before["running"]["boot_id"]
            });
            assert_eq!(dev(&sandbox)["id"], before["id"]);
            let _ = sandbox.exec("dev", &["true"]).expect_success();
        }
        delete(&sandbox);
    }
}

#[test]
fn a_guest_that_reboots_while_no_daemon_is_there_comes_back_with_the_next_one() {
    for vmm in FakeVmm::ALL {
        let sandbox = with_a_running_vm(vmm);
        let before = dev(&sandbox)["running"]["boot_id"].clone();
        let socket = folder(&sandbox).join("v.sock");
        let vmm = sandbox.running(vmm.program())[0].pid;
        sandbox.kill("bangerd");
        ask_guest(&socket, r#"{"exec":{"argv":["reboot"],"stdin":false}}"#);
        assert_eq!(sandbox.outlast(|process| process.pid == vmm), []);
        sandbox.until("it is back", || {
            let now = dev(&sandbox);
            now["state"] == "running" && now["running"]["boot_id"] != before
        });
        delete(&sandbox);
    }
}

#[test]
fn a_reboot_that_does_not_come_up_is_a_failed_vm() {
    let sandbox = with_a_running_vm(FakeVmm::Qemu);
    behave(&sandbox, r#"{"boot":"fails"}"#);
    let _ = sandbox.exec("dev", &["reboot"]).expect_code(125);
    sandbox.until("it has failed", || dev(&sandbox)["state"] == "failed");
    assert!(dev(&sandbox)["reason"].as_str().is_some_and(|why| why.contains("made to fail")));
    delete(&sandbox);
}

#[test]
fn a_vm_that_comes_back_can_be_stopped_and_deleted_on_the_way() {
    for verb in ["stop", "delete", "kill"] {
        let sandbox = with_a_running_vm(FakeVmm::Qemu);
        behave(&sandbox, r#"{"boot":"when_told"}"#);
        let _ = sandbox.exec("dev", &["reboot"]).expect_code(125);
        sandbox.until("it boots again", || dev(&sandbox)["state"] == "starting");
        ok(&sandbox, &["vm", verb, "dev"]);
        if verb != "delete" {
            assert_eq!(dev(&sandbox)["state"], "stopped", "{verb}");
            ok(&sandbox, &["vm", "delete", "dev"]);
        }
        sandbox.assert_nothing_left();
    }
}
