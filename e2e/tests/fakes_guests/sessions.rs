//! Commands that go on without whoever started them.

use banger_e2e::{Checks, FakeVmm, Finished, Running, Sandbox};
use rustix::process::Signal;

fn session(sandbox: &Sandbox, arguments: &[&str]) -> Finished {
    sandbox.banger(["vm", "session"].iter().chain(arguments)).run()
}

fn ok(sandbox: &Sandbox, arguments: &[&str]) -> String {
    session(sandbox, arguments).expect_success().stdout_text().to_owned()
}

fn attached(sandbox: &Sandbox, name: &str) -> Running {
    sandbox.banger(["vm", "session", "attach", "dev", name]).open_stdin().start()
}

fn state_of(sandbox: &Sandbox, name: &str) -> String {
    let view = sandbox.json(&["vm", "session", "show", "dev", name]);
    view["state"].as_str().expect("a state").to_owned()
}

fn made(vmm: FakeVmm) -> Sandbox {
    let sandbox = Sandbox::with_fake_guests_of(vmm);
    let _ = sandbox.banger(["vm", "create", "--name", "dev"]).run().expect_success();
    sandbox
}

fn delete(sandbox: &Sandbox) {
    let _ = sandbox.banger(["vm", "delete", "dev"]).run().expect_success();
    sandbox.assert_nothing_left();
}

#[test]
fn a_session_goes_through_its_life_with_its_output_and_its_end_told() {
    let sandbox = made(FakeVmm::Firecracker);
    let mut checks = Checks::new();
    checks.check("started it prints its name and returns", || {
        let script = "read word; echo got $word; echo err >&2; exit 7";
        assert_eq!(ok(&sandbox, &["start", "dev", "job", "--env", "A=1", "--", "sh", "-c", script]), "job\n");
    });
    checks.check("it is listed and shown as running, with its command", || {
        assert_eq!(ok(&sandbox, &["list", "-q", "dev"]), "job\n");
        let listed = sandbox.json(&["vm", "session", "list", "dev"]);
        assert_eq!((&listed[0]["name"], &listed[0]["state"]), (&"job".into(), &"running".into()), "{listed}");
        assert_eq!(listed[0]["command"][0], "sh");
        let table = ok(&sandbox, &["ls", "dev"]);
        for word in ["NAME", "job", "running", "read word"] {
            assert!(table.contains(word), "{table}");
        }
    });
    checks.check("its name is taken while it runs, and it is not forgotten", || {
        let again = session(&sandbox, &["start", "dev", "job", "--", "true"]).expect_code(125);
        let _ = again.expect_failure(&["session `job` is running", "banger vm session attach dev job"]);
        let _ = session(&sandbox, &["rm", "dev", "job"]).expect_failure(&["running", "session stop dev job"]);
    });
    checks.check("it gets a line, and its end is told with its code", || {
        let _ = session(&sandbox, &["send", "dev", "job", "a", "word"]).expect_success();
        sandbox.until("it ends", || state_of(&sandbox, "job") == "ended");
        let view = sandbox.json(&["vm", "session", "show", "dev", "job"]);
        assert_eq!((&view["exit_code"], &view["signal"]), (&7.into(), &().into()), "{view}");
        assert!(ok(&sandbox, &["show", "dev", "job"]).contains("exited with 7"));
    });
    checks.check("what it wrote is kept, its outputs apart", || {
        let logs = session(&sandbox, &["logs", "dev", "job"]).expect_success();
        assert_eq!((logs.stdout_text(), logs.stderr_text().as_str()), ("got a word\n", "err\n"));
        let _ = session(&sandbox, &["attach", "dev", "job"]).expect_code(7);
    });
    checks.check("what cannot be done with an ended one is told with how it ended", || {
        for verb in
            [&["send", "dev", "job", "x"][..], &["signal", "dev", "job", "TERM"], &["stop", "dev", "job"]]
        {
            let _ = session(&sandbox, verb).expect_failure(&["not running", "exited with 7", "session logs"]);
        }
    });
    checks.check("its name goes to another one, and removed it is gone", || {
        let _ = ok(&sandbox, &["start", "dev", "job", "--no-input", "--", "cat"]);
        sandbox.until("it ends", || state_of(&sandbox, "job") == "ended");
        assert_eq!(ok(&sandbox, &["rm", "--ended", "dev"]), "job\n");
        let gone = session(&sandbox, &["show", "dev", "job"]);
        let _ = gone.expect_failure(&["session `job` not found in VM `dev`", "banger vm session start dev"]);
    });
    checks.check("one that nobody named is named after its command", || {
        let exec = ["vm", "exec", "-d", "dev", "--", "sh", "-c", "cat; echo done"];
        assert_eq!(sandbox.banger(exec).run().expect_success().stdout_text(), "sh-1\n");
        assert_eq!(ok(&sandbox, &["logs", "-f", "dev", "sh-1"]), "done\n");
        let missing = session(&sandbox, &["logs", "dev", "sh-2"]);
        let _ = missing.expect_failure(&["session `sh-2` not found", "it has `sh-1`"]);
    });
    checks.check("a command that is not there is told with a shell's code", || {
        let nothing = session(&sandbox, &["start", "dev", "x", "--", "no-such-program"]).expect_code(127);
        let _ = nothing.expect_failure(&["no-such-program: not found"]);
    });
    checks.check("names and signals that are none are refused as usage", || {
        let _ = session(&sandbox, &["start", "dev", "No Name", "--", "true"]).expect_code(2);
        let _ = session(&sandbox, &["signal", "dev", "job", "NOPE"]).expect_code(2);
    });
    checks.finish();
    delete(&sandbox);
}

#[test]
fn a_session_is_unharmed_by_the_death_of_its_clients_and_of_the_daemon() {
    for vmm in FakeVmm::ALL {
        let sandbox = made(vmm);
        let script = "trap 'echo hung up' HUP; echo up; while read line; do echo \"got $line\"; done; exit 3";
        let _ = ok(&sandbox, &["start", "dev", "talk", "--", "sh", "-c", script]);
        let (mut one, mut two) = (attached(&sandbox, "talk"), attached(&sandbox, "talk"));
        for client in [&mut one, &mut two] {
            client.wait_for("up");
        }
        one.write(b"first\n");
        two.wait_for("got first");

        one.signal(Signal::KILL);
        let _ = one.finish();
        sandbox.kill("bangerd");

        two.write(b"second\n");
        two.wait_for("got second");
        // The next daemon finds the VM, and in it the session.
        let _ = session(&sandbox, &["send", "dev", "talk", "third"]).expect_success();
        two.wait_for("got third");
        let view = sandbox.json(&["vm", "session", "show", "dev", "talk"]);
        assert_eq!((&view["state"], &view["attached"]), (&"running".into(), &1.into()), "{view}");

        // The end of a client's input is not that of the command's.
        two.close_stdin();
        let _ = session(&sandbox, &["send", "dev", "talk", "fourth"]).expect_success();
        two.wait_for("got fourth");
        let _ = session(&sandbox, &["send", "dev", "talk", "--eof"]).expect_success();
        let seen = two.finish().expect_code(3);
        assert!(!seen.stdout_text().contains("hung up"), "{}", seen.stdout_text());
        delete(&sandbox);
    }
}

#[test]
fn ctrl_c_leaves_a_session_and_says_how_to_come_back() {
    let sandbox = made(FakeVmm::Qemu);
    let _ = ok(&sandbox, &["start", "dev", "web", "--", "sh", "-c", "echo up; exec sleep 600"]);
    let mut client = attached(&sandbox, "web");
    client.wait_for("up");
    client.signal(Signal::INT);
    let left = client.finish().expect_code(130);
    assert!(left.stderr_text().contains("detached; `banger vm session attach dev web` attaches again"));
    assert_eq!(state_of(&sandbox, "web"), "running");
    let _ = session(&sandbox, &["signal", "dev", "web", "INT"]).expect_success();
    sandbox.until("it ends", || state_of(&sandbox, "web") == "ended");
    assert!(ok(&sandbox, &["show", "dev", "web"]).contains("killed by SIGINT"));
    delete(&sandbox);
}

#[test]
fn a_hundred_mebibytes_pass_by_who_never_reads_and_leave_their_end() {
    const TOTAL: u64 = 100 << 20;
    let sandbox = made(FakeVmm::Qemu);
    let script = format!("read go; seq 1 100000000 | head -c {TOTAL}; echo; echo the end");
    let _ = ok(&sandbox, &["start", "dev", "flood", "--", "sh", "-c", &script]);
    // Stopped, it reads nothing, from the first byte on.
    let deaf = sandbox.banger(["vm", "session", "logs", "-f", "dev", "flood"]).start();
    deaf.signal(Signal::STOP);
    let _ = session(&sandbox, &["send", "dev", "flood", "go"]).expect_success();
    sandbox.until("it ends", || state_of(&sandbox, "flood") == "ended");
    for guest in sandbox.running("fake-vsock-backend") {
        let status = std::fs::read_to_string(format!("/proc/{}/status", guest.pid)).expect("it runs");
        let anonymous = status.lines().find_map(|line| line.strip_prefix("RssAnon:")).expect("a figure");
        let kib: u64 = anonymous.trim().trim_end_matches(" kB").parse().expect("a number");
        assert!(kib < 16 << 10, "the agent has taken {kib} KiB");
    }
    let logs = session(&sandbox, &["logs", "dev", "flood"]).expect_success();
    assert!(logs.stdout.ends_with(b"\nthe end\n"));
    assert!(logs.stdout.len() > 8_000_000 && logs.stdout.len() <= 8 << 20, "{}", logs.stdout.len());
    let dropped = TOTAL + 9 - logs.stdout.len() as u64;
    assert_eq!(logs.stderr_text(), format!("… {dropped} bytes were dropped\n"));
    deaf.signal(Signal::CONT);
    let late = deaf.finish().expect_success();
    assert!(late.stdout.ends_with(b"\nthe end\n") && late.stderr_text().contains("bytes were dropped"));
    delete(&sandbox);
}

#[test]
fn stopping_a_session_takes_along_what_its_command_left_behind() {
    let sandbox = made(FakeVmm::Qemu);
    // Times that nobody else sleeps for, by which they are known: in their own namespace they have other numbers.
    let [leader, orphan] = [1, 2].map(|digit| format!("sleep {}{digit}", std::process::id()));
    // An orphan that does not listen to requests.
    let script = format!("(trap '' TERM; {orphan} & echo up); exec {leader}");
    let _ = ok(&sandbox, &["start", "dev", "tree", "--", "sh", "-c", &script]);
    attached(&sandbox, "tree").wait_for("up");
    sandbox.until("both run", || runs_here(&leader) && runs_here(&orphan));
    let _ = session(&sandbox, &["stop", "dev", "tree"]).expect_success();
    sandbox.until("both are gone", || !runs_here(&leader) && !runs_here(&orphan));
    delete(&sandbox);
}

/// Whether any process of this machine, as a fake guest's are, has this command line. A zombie has none.
fn runs_here(command: &str) -> bool {
    let line = command.replace(' ', "\0") + "\0";
    let processes = std::fs::read_dir("/proc").expect("Linux has /proc").filter_map(Result::ok);
    let mut lines = processes.filter_map(|process| std::fs::read(process.path().join("cmdline")).ok());
    lines.any(|found| found == line.as_bytes())
}

#[test]
fn sessions_end_with_their_vm() {
    for vmm in FakeVmm::ALL {
        let sandbox = made(vmm);
        let _ = ok(&sandbox, &["start", "dev", "web", "--", "sh", "-c", "echo up; sleep 600"]);
        let mut client = attached(&sandbox, "web");
        client.wait_for("up");
        let _ = sandbox.banger(["vm", "stop", "dev"]).run().expect_success();
        let _ = client.finish().expect_code(125).expect_failure(&["was lost", "banger vm show dev"]);
        let stopped = session(&sandbox, &["list", "dev"]);
        let _ = stopped.expect_failure(&["stopped", "banger vm start dev"]);
        let _ = sandbox.banger(["vm", "start", "dev"]).run().expect_success();
        assert_eq!(ok(&sandbox, &["list", "-q", "dev"]), "");
        let _ = ok(&sandbox, &["start", "dev", "web", "--", "sleep", "600"]);
        delete(&sandbox);
    }
}

#[test]
fn a_guest_that_answers_nonsense_about_sessions_is_told_as_such() {
    let sandbox = Sandbox::with_fake_guests();
    let _ = sandbox.banger(["vm", "create", "--name", "dev", "--image", "liar"]).run().expect_success();
    for arguments in [&["list", "dev"][..], &["logs", "dev", "x"], &["start", "dev", "x", "--", "true"]] {
        let _ = session(&sandbox, arguments).expect_failure(&["the connection to the guest was lost"]);
    }
    delete(&sandbox);
}
