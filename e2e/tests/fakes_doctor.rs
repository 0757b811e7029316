//! What is told about settings and about what is wrong, with a daemon and without one.

use banger_e2e::Sandbox;
use serde_json::Value;
use std::fs;

/// The report, whatever the verdict.
fn examine(sandbox: &Sandbox) -> (Option<i32>, Value) {
    let finished = sandbox.banger(["doctor", "--json"]).run();
    let report = serde_json::from_slice(&finished.stdout);
    (finished.code(), report.unwrap_or_else(|error| panic!("{error}: {}", finished.stderr_text())))
}

/// `VERDICT finding hint` of each row about a subject.
fn rows(report: &Value, subject: &str) -> Vec<String> {
    let rows = report["rows"].as_array().expect("there are rows").iter();
    let about = rows.filter(|row| row["subject"] == subject);
    about
        .map(|row| ["verdict", "finding", "hint"].map(|key| row[key].as_str().unwrap_or_default()).join(" "))
        .collect()
}

fn setting(report: &Value, key: &str) -> Value {
    let mut settings = report["settings"].as_array().expect("there are settings").iter();
    let found = settings.find(|setting| setting["key"] == key);
    found.unwrap_or_else(|| panic!("{key} is not listed")).clone()
}

#[track_caller]
fn assert_row(report: &Value, subject: &str, words: &[&str]) {
    let found = rows(report, subject);
    assert!(
        found.iter().any(|row| words.iter().all(|word| row.contains(word))),
        "no row about {subject} has {words:?}: {found:#?}"
    );
}

fn entries(folder: &std::path::Path) -> Vec<String> {
    let entries = fs::read_dir(folder).expect("it is readable").flatten();
    entries.map(|entry| entry.path().display().to_string()).collect()
}

#[test]
fn looking_starts_no_daemon_and_leaves_nothing() {
    let sandbox = Sandbox::empty();
    let before = entries(&sandbox.state());
    let (_, report) = examine(&sandbox);
    assert_row(&report, "daemon", &["PASS", "not running"]);
    assert_row(&report, "user namespaces", &["PASS"]);
    assert_eq!(sandbox.processes(), []);
    assert_eq!((entries(&sandbox.state()), entries(&sandbox.runtime())), (before, Vec::new()));
}

#[test]
fn every_setting_is_told_with_who_chose_it() {
    let sandbox = Sandbox::empty();
    sandbox.configure(
        "log_level = \"debug\"\n\nauto_stop_stale_after = \"2h\"\n[vm_defaults]\nmemory = \"700M\"\n",
    );
    for serving in [false, true] {
        if serving {
            let _ = sandbox.banger(["vm", "list"]).run().expect_success();
        }
        let (_, report) = examine(&sandbox);
        let config = |key: &str, value: &str, line: u64| serde_json::json!({"key": key, "value": value, "source": "config", "line": line});
        assert_eq!(setting(&report, "auto_stop_stale_after"), config("auto_stop_stale_after", "2h", 3));
        assert_eq!(setting(&report, "vm_defaults.memory"), config("vm_defaults.memory", "700 MiB", 5));
        assert_eq!(setting(&report, "vm_defaults.vcpu")["source"], "host");
        assert_eq!(setting(&report, "default_image")["source"], "built_in");
        assert_eq!(setting(&report, "debian_mirror")["value"], Value::Null);
        let text = sandbox.banger(["doctor"]).run();
        for words in [["auto_stop_stale_after", "2h", "config, line 3"], ["vmm ", "auto", "built in"]] {
            let found = text.stdout_text().lines().any(|line| words.iter().all(|word| line.contains(word)));
            assert!(found, "{words:?}: {}", text.stdout_text());
        }
    }
}

#[test]
fn settings_that_cannot_be_used_are_told_although_no_daemon_starts_with_them() {
    let sandbox = Sandbox::empty();
    sandbox.configure("\nvmn = \"auto\"\n");
    let (code, report) = examine(&sandbox);
    assert_eq!(code, Some(1));
    assert_row(&report, "settings", &["FAIL", "config.toml:2", "did you mean `vmm`?"]);
    let refused = sandbox.banger(["vm", "list"]).run();
    let _ = refused.expect_failure(&["config.toml:2", "did you mean `vmm`?", "hint: "]);
    assert_eq!(sandbox.processes(), [], "a daemon was started");
}

#[test]
fn a_program_that_the_settings_name_and_that_is_not_there_is_an_error_and_not_replaced() {
    for (key, vmm) in [
        ("qemu_bin", "qemu"),
        ("firecracker_bin", "firecracker"),
        ("qemu_bin", "auto"),
        ("firecracker_bin", "auto"),
    ] {
        let sandbox = Sandbox::with_fake_guests();
        let folder = sandbox.home().join("../config/banger/config.toml");
        fs::write(folder, format!("vmm = \"{vmm}\"\n\n{key} = \"/no/such/program\"\n"))
            .expect("it is writable");
        let words = [key, "config.toml:3", "/no/such/program, which does not exist"];
        let _ = sandbox.banger(["vm", "create", "--name", "dev"]).run().expect_failure(&words);
        let (code, report) = examine(&sandbox);
        assert_eq!(code, Some(1));
        assert_row(&report, "settings", &[&["FAIL"][..], &words].concat());
        assert_row(&report, "VMM", &["FAIL", key]);
        let _ = sandbox.banger(["vm", "delete", "dev"]).run().expect_success();
    }
}

#[test]
fn a_daemon_that_does_not_know_the_latest_settings_is_told() {
    let sandbox = Sandbox::with_fake_guests();
    let _ = sandbox.banger(["vm", "list"]).run().expect_success();
    assert_row(&examine(&sandbox).1, "daemon", &["PASS", "listening at"]);
    sandbox.configure("default_image = \"held\"\n");
    assert_row(&examine(&sandbox).1, "daemon", &["WARN", "the settings changed", "banger daemon stop"]);
    let _ = sandbox.banger(["daemon", "stop"]).run().expect_success();
    let _ = sandbox.banger(["vm", "list"]).run().expect_success();
    let (_, report) = examine(&sandbox);
    assert_row(&report, "daemon", &["PASS"]);
    assert_row(&report, "default image", &["PASS", "held"]);
}

#[test]
fn a_damaged_database_is_told_before_a_daemon_sets_it_aside_and_afterwards() {
    let sandbox = Sandbox::with_fake_guests();
    let database = sandbox.state().join("banger.db");
    fs::write(&database, [0xa5; 8192]).expect("it is writable");
    let (code, report) = examine(&sandbox);
    assert_eq!(code, Some(1));
    assert_row(&report, "database", &["FAIL", "banger.db", "not a database"]);
    assert_eq!(fs::read(&database).expect("it is readable"), [0xa5; 8192], "looking changed it");

    let _ = sandbox.banger(["vm", "list"]).run().expect_success();
    for serving in [true, false] {
        if !serving {
            let _ = sandbox.banger(["daemon", "stop"]).run().expect_success();
        }
        let (_, report) = examine(&sandbox);
        assert_row(&report, "database", &["PASS", "0 VMs"]);
        assert_row(&report, "set aside", &["WARN", "banger.db.damaged-"]);
    }
}

#[test]
fn a_damaged_manifest_and_what_nobody_owns_are_told_with_and_without_a_daemon() {
    let sandbox = Sandbox::with_fake_guests();
    let _ = sandbox.banger(["vm", "create", "--name", "dev"]).run().expect_success();
    fs::write(sandbox.state().join("images/held/manifest.json"), "{").expect("it is writable");
    let planted = sandbox.state().join("vms/0123456789ab");
    fs::create_dir(&planted).expect("it is writable");
    for serving in [true, false] {
        if !serving {
            let _ = sandbox.banger(["daemon", "stop"]).run().expect_success();
        }
        let (_, report) = examine(&sandbox);
        assert_row(&report, "set aside", &["FAIL", "images/held"]);
        assert_row(&report, "database", &["PASS", "1 VMs"]);
        assert_eq!(rows(&report, "leftovers").len(), 1);
        assert_row(&report, "leftovers", &["WARN directory vms/0123456789ab", "removes them"]);
    }
    // The next command does remove it, and the running VM is nobody's leftover.
    let _ = sandbox.banger(["vm", "list"]).run().expect_success();
    assert_row(&examine(&sandbox).1, "leftovers", &["PASS", "none"]);
    let _ = sandbox.banger(["vm", "delete", "dev"]).run().expect_success();
}

#[test]
fn a_process_of_a_vm_that_is_down_is_a_leftover() {
    let sandbox = Sandbox::with_fake_guests();
    let _ = sandbox.banger(["vm", "create", "--name", "dev"]).run().expect_success();
    let id = sandbox.vm_ids().remove(0);
    sandbox.kill("bangerd");
    let database = rusqlite::Connection::open(sandbox.state().join("banger.db")).expect("it opens");
    let down = r#"{"stopped":{"reason":"planted"}}"#;
    database.execute("UPDATE vms SET state = ?1", [down]).expect("it is writable");
    drop(database);
    assert_row(&examine(&sandbox).1, "leftovers", &["WARN", "process ", &format!("of VM {id}")]);
    let _ = sandbox.banger(["vm", "delete", "dev"]).run().expect_success();
    sandbox.assert_nothing_left();
}

#[test]
fn a_missing_tool_is_told_with_the_package_that_brings_it() {
    let sandbox = Sandbox::empty();
    // Tools are found in the system's folders too, so only what no system has can be missing for sure.
    let (_, report) = examine(&sandbox);
    for tool in ["mmdebstrap", "ssh", "git", "resize2fs"] {
        let found = rows(&report, tool);
        assert_eq!(found.len(), 1, "{tool}");
        assert!(found[0].starts_with("PASS /") || found[0].contains("install it: `sudo "), "{found:?}");
    }
}
