//! Whose turn it is to change what of the user's files is in a VM, and what is remembered of it.

use banger_e2e::{Rpc, Sandbox};
use serde_json::{Value, json};

fn made() -> Sandbox {
    let sandbox = Sandbox::with_fake_guests();
    let _ = sandbox.banger(["vm", "create", "--name", "dev"]).run().expect_success();
    sandbox
}

fn workspace() -> Value {
    json!({
        "host_path": "/home/me/repo", "guest_path": "/root/repo", "head": "0".repeat(40), "branch": "main",
        "mode": "shallow", "prepared": ""
    })
}

fn record(rpc: &mut Rpc) -> Result<Value, Value> {
    rpc.call("vm.workspace.record", &json!({"vm": "dev", "workspace": workspace()}))
}

fn is_busy(rpc: &mut Rpc) -> bool {
    rpc.call("vm.workspace.status", &json!({"vm": "dev"})).expect("a status")["busy"] == true
}

#[test]
fn a_workspace_is_remembered_by_who_has_the_turn_and_goes_with_its_vm() {
    let sandbox = made();
    let mut rpc = sandbox.rpc();
    assert_eq!(record(&mut rpc).expect_err("nobody gave it the turn")["kind"], "refused");
    let turn = rpc.call("vm.workspace.prepare", &json!({"vm": "dev"})).expect("the turn");
    assert_eq!((&turn["name"], turn.get("workspace")), (&json!("dev"), None));
    assert!(is_busy(&mut rpc));
    let recorded = record(&mut rpc).expect("it has the turn");
    assert_ne!(recorded["prepared"], "", "the daemon says when");
    assert!(!is_busy(&mut rpc) && record(&mut rpc).is_err(), "the turn was not given back");

    let again = rpc.call("vm.workspace.prepare", &json!({"vm": "dev"})).expect("the turn");
    assert_eq!(again["workspace"], recorded);
    assert_eq!(sandbox.json(&["vm", "show", "dev"])["workspace"]["guest_path"], "/root/repo");
    for (line, word) in
        [(&["ps"][..], "/home/me/repo"), (&["vm", "show", "dev"], "/root/repo on main at 000000000000")]
    {
        let shown = sandbox.banger(line).run().expect_success();
        assert!(shown.stdout_text().contains(word), "{}", shown.stdout_text());
    }
    let _ = sandbox.banger(["daemon", "stop"]).run().expect_success();
    assert_eq!(sandbox.json(&["vm", "show", "dev"])["workspace"], recorded, "a new daemon does not know it");

    let _ = sandbox.banger(["vm", "delete", "dev"]).run().expect_success();
    let _ = sandbox.banger(["vm", "create", "--name", "dev", "--no-start"]).run().expect_success();
    assert_eq!(sandbox.json(&["vm", "show", "dev"]).get("workspace"), None);
    let mut rpc = sandbox.rpc();
    let refused = rpc.call("vm.workspace.prepare", &json!({"vm": "dev"})).expect_err("it does not run");
    assert_eq!(refused["kind"], "not_running");
    let _ = sandbox.banger(["vm", "delete", "dev"]).run().expect_success();
    sandbox.assert_nothing_left();
}

#[test]
fn a_turn_keeps_the_next_one_waiting_and_nobody_else_and_ends_with_its_connection() {
    let sandbox = made();
    let mut first = sandbox.rpc();
    first.call("vm.workspace.prepare", &json!({"vm": "dev"})).expect("the turn");
    // Again is the same as once.
    first.call("vm.workspace.prepare", &json!({"vm": "dev"})).expect("the same turn");
    let mut second = sandbox.rpc();
    let waiting = second.send("vm.workspace.prepare", &json!({"vm": "dev"}));
    let mut third = sandbox.rpc();
    third.send("vm.workspace.prepare", &json!({"vm": "dev"}));
    // Who goes away while it waits is not waited for.
    drop(third);
    for line in [
        &["vm", "list"][..],
        &["vm", "exec", "dev", "--", "true"],
        &["vm", "pause", "dev"],
        &["vm", "resume", "dev"],
    ] {
        let _ = sandbox.banger(line).run().expect_success();
    }
    drop(first);
    assert_eq!(second.read_line().expect("an answer")["id"], waiting);
    let _ = sandbox.banger(["vm", "stop", "dev"]).run().expect_success();
    // What was laid is on its disk.
    record(&mut second).expect("it still has the turn");
    let _ = sandbox.banger(["vm", "delete", "dev"]).run().expect_success();
    assert_eq!(record(&mut second).expect_err("it is gone")["kind"], "not_found");
    sandbox.assert_nothing_left();
}
