//! What users ask about VMs that run: what they take, how they are, where they listen, what they write.

use banger_e2e::{Checks, FakeVmm, Sandbox};

fn ok(sandbox: &Sandbox, arguments: &[&str]) {
    let _ = sandbox.banger(arguments).run().expect_success();
}

fn with_a_running_vm() -> Sandbox {
    let sandbox = Sandbox::with_fake_guests();
    ok(&sandbox, &["vm", "create", "--name", "dev"]);
    sandbox
}

fn delete(sandbox: &Sandbox) {
    ok(sandbox, &["vm", "delete", "dev"]);
    sandbox.assert_nothing_left();
}

#[test]
fn what_vms_take_is_told_of_those_that_are_up_or_of_those_that_are_named() {
    let sandbox = with_a_running_vm();
    ok(&sandbox, &["vm", "create", "--no-start", "--name", "down"]);
    let up = sandbox.json(&["vm", "stats"]);
    assert_eq!(up.as_array().map(Vec::len), Some(1), "{up}");
    assert_eq!((&up[0]["name"], &up[0]["state"]), (&"dev".into(), &"running".into()));
    for of in ["cpu_ms", "memory", "uptime_ms"] {
        assert!(up[0]["running"][of].is_u64(), "{up}");
    }
    assert!(up[0]["disk"].as_u64().is_some_and(|bytes| bytes > 0), "{up}");
    let named = sandbox.banger(["vm", "stats", "down", "nosuch", "dev", "down"]).run().expect_code(1);
    let named = named.expect_failure(&["VM `nosuch` not found"]);
    let rows: Vec<_> = named.stdout_text().lines().map(|line| line.split_whitespace().nth(1)).collect();
    assert_eq!(rows, [Some("NAME"), Some("down"), Some("dev")]);
    ok(&sandbox, &["vm", "pause", "dev"]);
    assert_eq!(sandbox.json(&["vm", "stats"])[0]["state"], "paused");
    ok(&sandbox, &["vm", "delete", "down"]);
    delete(&sandbox);
}

#[test]
fn a_healthy_guest_is_told_from_one_that_is_not_usable_or_does_not_answer() {
    let sandbox = with_a_running_vm();
    let mut checks = Checks::new();
    checks.check("one that is up is healthy", || {
        let health = sandbox.json(&["vm", "health", "dev"]);
        assert_eq!(health["healthy"], true, "{health}");
        let view = sandbox.json(&["vm", "show", "dev"]);
        assert_eq!(health["agent"]["boot_id"], view["running"]["boot_id"]);
        let told = sandbox.banger(["vm", "health", "dev"]).run().expect_success();
        assert!(told.stdout_text().contains("health   good"), "{}", told.stdout_text());
    });
    checks.check("one that is paused or stopped is an error with a way out", || {
        ok(&sandbox, &["vm", "pause", "dev"]);
        let paused = sandbox.banger(["vm", "health", "dev"]).run().expect_code(1);
        let _ = paused.expect_failure(&["paused", "banger vm resume dev"]);
        ok(&sandbox, &["vm", "stop", "dev"]);
        let stopped = sandbox.banger(["vm", "health", "dev"]).run().expect_code(1);
        let _ = stopped.expect_failure(&["stopped", "banger vm start dev"]);
    });
    checks.check("one that has its agent only is not healthy yet", || {
        ok(&sandbox, &["vm", "create", "--early", "--name", "early", "--image", "agent-only"]);
        let told = sandbox.banger(["vm", "health", "early"]).run().expect_code(1);
        assert!(told.stdout_text().contains("has not finished booting"), "{}", told.stdout_text());
        ok(&sandbox, &["vm", "delete", "early"]);
    });
    checks.check("one that lies is not healthy, and its ports are an error", || {
        ok(&sandbox, &["vm", "create", "--name", "liar", "--image", "liar"]);
        let told = sandbox.banger(["vm", "health", "liar"]).run().expect_code(1);
        assert!(told.stdout_text().contains("does not answer"), "{}", told.stdout_text());
        let _ = sandbox.banger(["vm", "ports", "liar"]).run().expect_code(1).expect_failure(&["liar"]);
        ok(&sandbox, &["vm", "delete", "liar"]);
    });
    checks.finish();
    delete(&sandbox);
}

#[test]
fn ports_are_told_once_with_a_link_where_a_web_server_answers() {
    let sandbox = with_a_running_vm();
    let ports = sandbox.json(&["vm", "ports", "dev"]);
    assert_eq!(ports.as_array().map(Vec::len), Some(2), "{ports}");
    assert_eq!((&ports[0]["endpoint"], &ports[0]["url"]), (&"dev.vm:7".into(), &serde_json::Value::Null));
    assert_eq!(ports[0]["process"], "echo[2J", "what a terminal would obey got through");
    assert_eq!((&ports[1]["process"], &ports[1]["url"]), (&"webserver".into(), &"http://dev.vm:80/".into()));
    assert_eq!(ports[1]["addresses"], serde_json::json!(["0.0.0.0", "::"]));
    let table = sandbox.banger(["vm", "ports", "dev"]).run().expect_success();
    assert!(table.stdout_text().contains("dev.vm:80"), "{}", table.stdout_text());
    ok(&sandbox, &["vm", "pause", "dev"]);
    let _ = sandbox.banger(["vm", "ports", "dev"]).run().expect_failure(&["paused"]);
    delete(&sandbox);
}

#[test]
fn followed_logs_go_on_over_stops_daemons_and_starts_and_end_with_the_vm() {
    let sandbox = with_a_running_vm();
    let mut logs = sandbox.banger(["vm", "logs", "-f", "dev"]).start();
    logs.wait_for("fake guest:");
    ok(&sandbox, &["vm", "stop", "dev"]);
    sandbox.kill("bangerd");
    ok(&sandbox, &["vm", "start", "dev"]);
    let _ = sandbox.exec("dev", &["panic"]);
    logs.wait_for("Kernel panic");
    ok(&sandbox, &["vm", "delete", "dev"]);
    let told = logs.finish().expect_success();
    assert_eq!(told.stdout_text().matches("fake guest:").count(), 2, "{}", told.stdout_text());
    sandbox.assert_nothing_left();
}

#[test]
fn a_run_that_is_detached_prints_the_name_and_runs_nothing() {
    let sandbox = Sandbox::with_fake_guests();
    let run = sandbox.banger(["vm", "run", "-d", "--name", "dev"]).run().expect_success();
    assert_eq!(run.stdout_text(), "dev\n");
    assert_eq!(sandbox.json(&["vm", "show", "dev"])["state"], "running");
    for refused in [&["-d", "--rm"][..], &["-d", "--", "true"], &["-d", "-t"], &["-d", "-e", "A=B"]] {
        let _ = sandbox.banger(["vm", "run"].iter().chain(refused)).run().expect_code(2);
    }
    assert_eq!(sandbox.vm_ids().len(), 1);
    delete(&sandbox);
}

#[test]
fn files_are_copied_through_the_daemons_connection_and_a_lying_guest_gets_nothing_out() {
    let sandbox = with_a_running_vm();
    let home = sandbox.home();
    let content: Vec<u8> = (0..3_000_000_u32).map(|n| (n % 251) as u8).collect();
    std::fs::write(home.join("file"), &content).expect("the sandbox is writable");
    ok(&sandbox, &["vm", "cp", "file", "dev:copied"]);
    ok(&sandbox, &["vm", "cp", "dev:copied", "back"]);
    assert!(std::fs::read(home.join("back")).expect("it came back") == content, "other bytes came back");

    let typed = sandbox.banger(["vm", "cp", "-", "dev:typed"]).stdin(b"as typed\n").run();
    assert_eq!(typed.expect_success().stdout_text(), "");
    let shown = sandbox.banger(["vm", "cp", "dev:typed", "-"]).run().expect_success();
    assert_eq!(shown.stdout_text(), "as typed\n");
    let refused = sandbox.banger(["vm", "cp", "dev:.", "-"]).run().expect_code(1);
    let _ = refused.expect_failure(&["only a file", "tar c"]);
    let _ = sandbox.banger(["vm", "cp", "-", "-"]).run().expect_code(2);
    ok(&sandbox, &["vm", "pause", "dev"]);
    let refused = sandbox.banger(["vm", "cp", "dev:copied", "again"]).run().expect_code(1);
    let _ = refused.expect_failure(&["paused", "banger vm resume dev"]);
    delete(&sandbox);

    ok(&sandbox, &["vm", "create", "--name", "dev", "--image", "liar"]);
    std::fs::create_dir(home.join("into")).expect("the sandbox is writable");
    let refused = sandbox.banger(["vm", "cp", "dev:tree", "into"]).run().expect_code(1);
    let _ = refused.expect_failure(&["could not be written", "way/planted"]);
    assert!(!home.join("planted").exists() && !home.join("into/planted").exists());
    delete(&sandbox);
}

#[test]
fn what_goes_through_the_devices_of_a_firecracker_is_told_from_the_second_of_its_lines_on() {
    let sandbox = Sandbox::with_fake_guests_of(FakeVmm::Firecracker);
    let _ = sandbox.banger(["vm", "create", "--name", "dev"]).run().expect_success();
    let id = sandbox.json(&["vm", "show", "dev"])["id"].as_str().expect("an id").to_owned();
    let metrics = sandbox.state().join("vms").join(id).join("metrics.log");
    let first = std::fs::read_to_string(&metrics).expect("its first line is there");
    let io = || sandbox.json(&["vm", "stats", "dev"])[0]["running"]["io"].clone();
    assert!(io().is_null(), "{first}");
    let mut minute: serde_json::Value = serde_json::from_str(&first).expect("a line is an object");
    let at = minute["utc_timestamp_ms"].as_u64().expect("a time");
    minute["utc_timestamp_ms"] = (at + 60_000).into();
    minute["block"]["read_bytes"] = 6_000_000.into();
    minute["net"]["tx_bytes_count"] = 60_000.into();
    std::fs::write(&metrics, format!("{first}{minute}\n")).expect("the test's own");
    assert_eq!(
        io(),
        serde_json::json!({"disk_read": 100_000, "disk_written": 0, "net_received": 0, "net_sent": 1000})
    );
    let table = sandbox.banger(["vm", "stats", "dev"]).run().expect_success();
    assert!(table.stdout_text().contains("97.6 KiB/0 B"), "{}", table.stdout_text());
    let _ = sandbox.banger(["vm", "delete", "dev"]).run().expect_success();
}
