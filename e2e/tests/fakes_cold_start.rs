//! What needs no guest: the first command on a machine, and commands that are refused.

use banger_e2e::{Checks, Host, Sandbox};
use std::fs;
use std::time::Duration;

#[test]
fn the_first_command_returns_although_it_leaves_a_daemon_behind() {
    let before = Host::look();
    let sandbox = Sandbox::empty();
    // An `Invocation` fails when somebody keeps its output open, as `banger vm list | cat` would hang.
    let listed = sandbox.banger(["vm", "list", "-q"]).run().expect_success();
    assert_eq!(listed.stdout_text(), "");
    let pid = sandbox.json(&["daemon", "status"])["pid"].as_u64().expect("the daemon has a pid");
    assert!(sandbox.processes().iter().any(|process| u64::from(process.pid) == pid));
    Host::look().assert_same_as(&before);
}

#[test]
fn many_first_commands_yield_one_daemon() {
    let sandbox = Sandbox::empty();
    let started: Vec<_> = (0..6).map(|_| sandbox.banger(["vm", "list", "-q"]).start()).collect();
    for running in started {
        let _ = running.finish().expect_success();
    }
    let daemons: Vec<_> = sandbox.processes().into_iter().filter(|p| p.program() == "bangerd").collect();
    assert_eq!(daemons.len(), 1, "{daemons:?}");
}

#[test]
fn a_daemon_that_was_killed_is_followed_by_another_one() {
    let sandbox = Sandbox::empty();
    let pid = || sandbox.json(&["daemon", "status"])["pid"].as_u64().expect("the daemon has a pid");
    let _ = sandbox.banger(["vm", "list"]).run().expect_success();
    let first = pid();
    sandbox.kill("bangerd");
    let _ = sandbox.banger(["vm", "list"]).run().expect_success();
    assert_ne!(pid(), first);
}

#[test]
fn what_cannot_be_is_refused_with_a_hint_and_leaves_nothing() {
    // With an image, so that none is built before the request is looked at.
    let sandbox = Sandbox::with_fake_guests();
    let mut checks = Checks::new();
    for (sentence, arguments) in [
        ("no processor", &["vm", "create", "--vcpu", "0"][..]),
        ("next to no memory", &["vm", "create", "--memory", "1"]),
        ("an image nobody has", &["vm", "create", "--image", "nosuch"]),
        ("a name that is none", &["vm", "create", "--name", "No Name"]),
        ("a VM nobody has", &["vm", "start", "nosuch"]),
        ("a flag nobody knows", &["vm", "create", "--nosuch"]),
    ] {
        checks.check(sentence, || {
            let finished = sandbox.banger(arguments).run();
            assert!(matches!(finished.code(), Some(1 | 2)), "{finished:?}");
            assert_eq!(finished.stdout, b"", "talk belongs to stderr");
            assert!(!finished.stderr.is_empty());
        });
    }
    checks.check("a run that cannot begin is not mistaken for its command's failure", || {
        let _ = sandbox.banger(["vm", "run", "--image", "nosuch", "--", "true"]).run().expect_code(125);
    });
    checks.check("none of them left a row", || assert_eq!(sandbox.vm_ids(), [""; 0]));
    checks.check("none of them left a folder", || assert_eq!(sandbox.vm_folders(), [""; 0]));
    checks.finish();
}

#[test]
fn an_impossible_wish_is_refused_before_an_image_is_built_for_it() {
    let sandbox = Sandbox::empty();
    for (flag, value) in [("--memory", "1"), ("--vcpu", "100000"), ("--disk-size", "1M")] {
        // A build takes a minute and a mirror.
        let created = sandbox.banger(["vm", "create", flag, value]).limit(Duration::from_secs(20));
        let _ = created.run().expect_failure(&[&format!("{flag} takes")]);
    }
    assert_eq!(sandbox.json(&["image", "list"]), serde_json::json!([]));
}

#[test]
fn a_configuration_that_cannot_be_read_is_named_with_its_line() {
    let sandbox = Sandbox::empty();
    sandbox.configure("log_level = \"info\"\nvmn = \"auto\"\n");
    let _ = sandbox.banger(["vm", "list"]).run().expect_failure(&["config.toml", "2", "vmn", "vmm"]);
    sandbox.configure("");
    let _ = sandbox.banger(["vm", "list"]).run().expect_success();
}

#[test]
fn a_state_folder_that_cannot_be_made_is_an_error_and_no_wait() {
    let sandbox = Sandbox::empty();
    let in_the_way = sandbox.home().join("file");
    fs::write(&in_the_way, "").expect("the sandbox is writable");
    let finished = sandbox.banger(["vm", "list"]).env("XDG_STATE_HOME", &in_the_way).run();
    let _ = finished.expect_failure(&["banger: "]);
}

#[test]
fn a_state_folder_that_cannot_be_written_is_an_error_with_a_way_out() {
    let sandbox = Sandbox::empty();
    // Nobody, root included, makes a folder in there.
    let finished = sandbox.banger(["vm", "list"]).env("XDG_STATE_HOME", "/proc/self").run();
    let _ = finished.expect_failure(&["cannot create /proc/self/banger", "hint: ", "XDG_STATE_HOME"]);
}
