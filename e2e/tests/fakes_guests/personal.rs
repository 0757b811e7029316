//! What of the user's own every guest is given, on its config drive.

use banger_e2e::Sandbox;
use serde_json::json;
use std::fs;

/// Whether the drive of the only VM has these words on it.
fn is_given(sandbox: &Sandbox, words: &str) -> bool {
    let [id] = &sandbox.vm_folders()[..] else { panic!("there is one VM") };
    let drive = fs::read(sandbox.state().join("vms").join(id).join("config.img")).expect("a drive");
    drive.windows(words.len()).any(|piece| piece == words.as_bytes())
}

#[test]
fn it_is_there_at_every_start_whoever_asks_for_that_and_goes_when_it_is_named_no_longer() {
    let sandbox = Sandbox::with_fake_guests();
    let write = |text: &str| fs::write(sandbox.home().join("secrets"), text).expect("a file");
    let named = "[[file_sync]]\nhost = \"~/secrets\"\nguest = \"~/.netrc\"\n";
    write("the first words\n");
    sandbox.configure(named);
    let git = ["config", "--global", "user.name", "Ada of the drive"];
    let _ = sandbox.tool("git", git).run().expect_success();
    let _ = sandbox.banger(["vm", "create", "--name", "dev"]).run().expect_success();
    assert!(is_given(&sandbox, "the first words") && is_given(&sandbox, "root/.netrc"));
    assert!(is_given(&sandbox, "Ada of the drive"));

    write("the second words\n");
    // Nobody hands anything over on the way.
    let mut rpc = sandbox.rpc();
    for method in ["vm.stop", "vm.start"] {
        let _ = rpc.operate(method, &json!({"vm": "dev"})).expect("it is done");
    }
    assert!(is_given(&sandbox, "the first words"));
    drop(rpc);
    let _ = sandbox.banger(["vm", "restart", "dev"]).run().expect_success();
    assert!(is_given(&sandbox, "the second words") && !is_given(&sandbox, "the first words"));

    sandbox.configure("");
    let _ = sandbox.banger(["vm", "restart", "dev"]).run().expect_success();
    assert!(!is_given(&sandbox, "the second words") && !is_given(&sandbox, "root/.netrc"));
    let _ = sandbox.banger(["vm", "delete", "dev"]).run().expect_success();
    sandbox.assert_nothing_left();
}
