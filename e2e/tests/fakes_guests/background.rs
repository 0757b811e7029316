//! What happens while nobody types: VMs that nobody uses are stopped, and a daemon that nobody needs ends.

use banger_e2e::{FakeVmm, Finished, Invocation, Sandbox};
use std::fs;

const STALE: &str = "auto_stop_stale_after = \"500ms\"\nstats_poll_interval = \"20ms\"\n";

fn create(sandbox: &Sandbox, name: &str) {
    let _ = sandbox.banger(["vm", "create", "--name", name]).run().expect_success();
}

fn state_of(sandbox: &Sandbox, name: &str) -> String {
    // Not by name, which would be using it.
    let all = sandbox.json(&["vm", "list"]);
    let found = all.as_array().into_iter().flatten().find(|vm| vm["name"] == name);
    found.map_or_else(String::new, |vm| vm["state"].as_str().unwrap_or_default().to_owned())
}

fn wait_for(sandbox: &Sandbox, name: &str, state: &str) {
    sandbox.until(&format!("{name} is {state}"), || state_of(sandbox, name) == state);
}

#[test]
fn a_vm_that_nobody_uses_is_stopped_and_one_that_somebody_is_in_is_not() {
    for vmm in FakeVmm::ALL {
        let sandbox = Sandbox::with_fake_guests_of(vmm);
        sandbox.configure(STALE);
        create(&sandbox, "used");
        let command = ["vm", "exec", "-i", "used", "--", "sh", "-c", "echo up; read line"];
        let mut running = sandbox.banger(command).open_stdin().start();
        running.wait_for("up");
        create(&sandbox, "paused");
        let _ = sandbox.banger(["vm", "pause", "paused"]).run().expect_success();
        // One after the other, so that the first would have had its time twice over.
        for name in ["one", "two"] {
            create(&sandbox, name);
            wait_for(&sandbox, name, "stopped");
        }
        for (name, state) in [("used", "running"), ("paused", "paused")] {
            assert_eq!(state_of(&sandbox, name), state, "{}", sandbox.json(&["vm", "show", name]));
        }
        let shown = sandbox.json(&["vm", "show", "one"]);
        let reason = shown["reason"].as_str().expect("it says why");
        assert!(reason.contains("unused for 500ms") && reason.contains("config.toml:"), "{reason}");

        running.close_stdin();
        let _ = running.finish();
        wait_for(&sandbox, "used", "stopped");
        let _ = sandbox.banger(["vm", "start", "one"]).run().expect_success();
        wait_for(&sandbox, "one", "stopped");
        let _ = sandbox.banger(["vm", "delete", "used", "paused", "one", "two"]).run().expect_success();
        sandbox.assert_nothing_left();
    }
}

#[test]
fn a_vm_of_a_run_is_not_taken_from_it() {
    let sandbox = Sandbox::with_fake_guests();
    sandbox.configure("auto_stop_stale_after = \"100ms\"\nstats_poll_interval = \"5ms\"\n");
    for _ in 0..5 {
        let _ = sandbox.banger(["vm", "run", "--rm", "--", "sleep", "0.4"]).run().expect_success();
    }
    sandbox.assert_nothing_left();
}

#[test]
fn commands_that_come_while_their_vm_is_about_to_be_stopped_either_work_or_are_told_so() {
    let sandbox = Sandbox::with_fake_guests();
    sandbox.configure("auto_stop_stale_after = \"20ms\"\nstats_poll_interval = \"1ms\"\n");
    create(&sandbox, "dev");
    for _ in 0..20 {
        let started = sandbox.banger(["vm", "start", "dev"]).run();
        assert!(matches!(started.code(), Some(0 | 1)), "{started:?}");
        let done = sandbox.exec("dev", &["echo", "in"]);
        match done.code() {
            Some(0) => assert_eq!(done.stdout_text(), "in\n"),
            _ => drop(done.expect_code(125).expect_failure(&["hint: ", "vm start dev"])),
        }
    }
    let _ = sandbox.banger(["vm", "delete", "dev"]).run().expect_success();
    sandbox.assert_nothing_left();
}

#[test]
fn how_busy_a_vm_is_can_be_told_after_two_looks() {
    let sandbox = Sandbox::with_fake_guests();
    sandbox.configure("stats_poll_interval = \"20ms\"\n");
    create(&sandbox, "dev");
    let percent = || sandbox.json(&["vm", "stats", "dev"])[0]["running"]["cpu_percent"].as_u64();
    sandbox.until("it was looked at twice", || percent().is_some());
    let table = sandbox.banger(["vm", "stats"]).run().expect_success();
    assert!(table.stdout_text().contains('%'), "{}", table.stdout_text());
    let _ = sandbox.banger(["vm", "delete", "dev"]).run().expect_success();
}

/// A command whose daemon, should it start one, ends after so long without being needed.
fn idle(sandbox: &Sandbox, after: &str, arguments: &[&str]) -> Invocation {
    sandbox.banger(arguments).env("BANGER_IDLE_EXIT", after)
}

fn entries_of_runtime(sandbox: &Sandbox) -> Vec<String> {
    let mut found = Vec::new();
    for folder in fs::read_dir(sandbox.runtime()).expect("it is there").flatten() {
        let entries = fs::read_dir(folder.path()).expect("it is readable").flatten();
        found.extend(entries.map(|entry| entry.file_name().to_string_lossy().into_owned()));
    }
    found
}

fn assert_all_ended(sandbox: &Sandbox) {
    assert_eq!(sandbox.outlast(|_| true), [], "still there");
    assert_eq!(entries_of_runtime(sandbox), [""; 0], "left beside the socket");
}

#[test]
fn a_daemon_that_nobody_needs_ends_with_its_helper_and_leaves_neither_socket_nor_lock() {
    for vmm in FakeVmm::ALL {
        let sandbox = Sandbox::with_fake_guests_of(vmm);
        let _ = idle(&sandbox, "200ms", &["vm", "create", "--name", "dev"]).run().expect_success();
        let pids = || sandbox.running("bangerd").iter().map(|process| process.pid).collect::<Vec<_>>();
        let daemon = pids();
        assert_eq!((daemon.len(), sandbox.running("bangerd-root").len()), (1, 1));
        let _ = sandbox.tool("sleep", ["1"]).run().expect_success();
        assert_eq!(pids(), daemon, "a VM was up");

        let _ = sandbox.banger(["vm", "stop", "dev"]).run().expect_success();
        assert_all_ended(&sandbox);
        let _ = sandbox.banger(["daemon", "status"]).run().expect_code(1);
        // The next command finds everything as it was.
        let _ = idle(&sandbox, "200ms", &["vm", "start", "dev"]).run().expect_success();
        let _ = sandbox.exec("dev", &["true"]).expect_success();
        let _ = sandbox.banger(["vm", "delete", "dev"]).run().expect_success();
        assert_all_ended(&sandbox);
    }
}

#[test]
fn a_daemon_stays_while_somebody_is_connected_or_an_operation_is_under_way() {
    let sandbox = Sandbox::with_fake_guests();
    let running = idle(&sandbox, "50ms", &["vm", "create", "--name", "dev", "--image", "held"]).start();
    sandbox.until("it boots", || !sandbox.running("fake-qemu").is_empty());
    let daemon = sandbox.running("bangerd");
    running.signal(rustix::process::Signal::KILL);
    assert_eq!(running.finish().code(), None);
    let _ = sandbox.tool("sleep", ["0.5"]).run().expect_success();
    assert_eq!(sandbox.running("bangerd"), daemon, "somebody's VM was coming up");

    let mut rpc = sandbox.rpc();
    let _ = sandbox.banger(["vm", "delete", "dev"]).run().expect_success();
    let _ = sandbox.tool("sleep", ["0.5"]).run().expect_success();
    assert_eq!(rpc.call("ping", &serde_json::json!({})), Ok(serde_json::json!({})));
    drop(rpc);
    assert_all_ended(&sandbox);
}

#[test]
fn whoever_comes_just_as_the_daemon_ends_is_served_by_the_next_one() {
    let sandbox = Sandbox::with_fake_guests();
    let ask = |after: &str| -> Finished { idle(&sandbox, after, &["vm", "list", "-q"]).run() };
    std::thread::scope(|scope| {
        for after in ["1ms", "2ms", "3ms"] {
            let ask = &ask;
            scope.spawn(move || {
                for _ in 0..40 {
                    let _ = ask(after).expect_success();
                }
            });
        }
    });
    assert_all_ended(&sandbox);
}

#[test]
fn looking_whether_the_daemon_runs_never_starts_one_and_never_fails_because_one_ends() {
    let sandbox = Sandbox::with_fake_guests();
    for _ in 0..20 {
        let _ = idle(&sandbox, "1ms", &["vm", "list", "-q"]).run().expect_success();
        let status = sandbox.banger(["daemon", "status"]).run();
        assert!(matches!(status.code(), Some(0 | 1)) && status.stderr.is_empty(), "{status:?}");
    }
    assert_all_ended(&sandbox);
}
