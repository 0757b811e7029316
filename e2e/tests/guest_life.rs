//! A VM through its life: stopped and started, abandoned by its daemons, deleted.

use banger_e2e::{Checks, Host, Sandbox};

#[test]
fn a_vm_keeps_its_files_over_stop_and_start_and_leaves_no_trace_when_deleted() {
    let before = Host::look();
    let sandbox = Sandbox::with_image();
    let _ = sandbox.banger(["vm", "create", "--name", "dev", "--disk-size", "3G"]).run().expect_success();
    let id = sandbox.json(&["vm", "show", "dev"])["id"].as_str().expect("a VM has an id").to_owned();
    let first_boot = sandbox.boot_id("dev");
    let mut checks = Checks::new();

    checks.check("a taken name is refused", || {
        let _ = sandbox.banger(["vm", "create", "--name", "dev"]).run().expect_failure(&["dev"]);
        assert_eq!(sandbox.vm_ids(), [id.as_str()]);
    });
    checks.check("files can be written everywhere", || {
        let write = "for at in /root /etc /var; do echo $at > $at/kept; done";
        let _ = sandbox.exec("dev", &["sh", "-c", write]).expect_success();
    });
    // In KiB, less what the file system needs for itself.
    let room = || -> u64 {
        let told = sandbox.exec("dev", &["df", "--output=size", "/root"]).expect_success();
        told.stdout_text().lines().nth(1).and_then(|line| line.trim().parse().ok()).expect("a size")
    };
    checks.check("its own disk is as large as was wished", || {
        assert!(((28 << 20) / 10..=3 << 20).contains(&room()), "{} KiB", room());
    });
    checks.check("a stopped VM answers no command and says why", || {
        let _ = sandbox.banger(["vm", "stop", "dev"]).run().expect_success();
        assert_eq!(sandbox.json(&["vm", "show", "dev"])["state"], "stopped");
        let _ = sandbox.exec("dev", &["true"]).expect_code(125).expect_failure(&["hint: "]);
    });
    checks.check("its console can be read while it is stopped", || {
        let logs = sandbox.banger(["vm", "logs", "dev"]).run().expect_success();
        assert!(!logs.stdout.is_empty());
    });
    checks.check("its disk grows and does not shrink", || {
        let smaller = sandbox.banger(["vm", "set", "dev", "--disk-size", "2G"]).run();
        let _ = smaller.expect_failure(&["cannot be shrunk", "hint: --disk-size must be 3 GiB or more"]);
        // So large that its table of block groups needs more blocks than it has.
        let _ = sandbox.banger(["vm", "set", "dev", "--disk-size", "40G"]).run().expect_success();
    });
    let processors = std::thread::available_parallelism().map_or(1, |number| number.get().min(4)).to_string();
    checks.check(
        "started again it is another boot with the same files, and as many processors as were set",
        || {
            let _ = sandbox.banger(["vm", "set", "dev", "--vcpu", &processors]).run().expect_success();
            let _ = sandbox.banger(["vm", "start", "dev"]).run().expect_success();
            assert_ne!(sandbox.boot_id("dev"), first_boot);
            assert_eq!(sandbox.exec("dev", &["nproc"]).expect_success().stdout_text().trim(), processors);
            let kept = sandbox.exec("dev", &["cat", "/root/kept", "/etc/kept", "/var/kept"]).expect_success();
            assert_eq!(kept.stdout_text(), "/root\n/etc\n/var\n");
            assert!(((38 << 20)..=40 << 20).contains(&room()), "{} KiB", room());
        },
    );
    checks.check("a guest that turns itself off is noticed", || {
        let off = sandbox.exec("dev", &["systemctl", "poweroff", "--force", "--force"]);
        assert_ne!(off.code(), Some(127));
        let _ = sandbox.outlast(|process| process.program() == "qemu-system-x86_64");
        assert!(sandbox.becomes(|| sandbox.json(&["vm", "show", "dev"])["state"] == "stopped"));
        let view = sandbox.json(&["vm", "show", "dev"]);
        assert!(view["reason"].is_string(), "no reason is given: {view}");
    });
    checks.check("the disk that grew is sound", || {
        let disk = sandbox.state().join("vms").join(&id).join("work.img").display().to_string();
        // -p and not -n: the guest was switched off without unmounting, so its journal is to be read first.
        let _ = sandbox.tool("e2fsck", ["-p", "--", &disk]).run();
        let _ = sandbox.tool("e2fsck", ["-fn", "--", &disk]).run().expect_success();
    });
    checks.check("deleted it leaves no process, file, row or change", || {
        let _ = sandbox.banger(["vm", "delete", "dev"]).run().expect_success();
        assert_eq!(sandbox.outlast(|process| process.command.contains(&id)), []);
        assert_eq!(sandbox.files_named(&id), [""; 0].map(std::path::PathBuf::from));
        assert_eq!(sandbox.vm_ids(), [""; 0]);
        Host::look().assert_same_as(&before);
    });
    checks.finish();
}

#[test]
fn a_guest_outlives_both_daemons() {
    let sandbox = Sandbox::with_image();
    let _ = sandbox.banger(["vm", "create", "--name", "dev"]).run().expect_success();
    let boot = sandbox.boot_id("dev");
    let mut checks = Checks::new();
    for (sentence, program) in [
        ("a guest and a running command survive the daemon's death", "bangerd"),
        ("a guest and a running command survive the helper's death", "bangerd-root"),
    ] {
        checks.check(sentence, || {
            let script = "echo ready; read word; echo got $word";
            let talk = sandbox.banger(["vm", "exec", "-i", "dev", "--", "sh", "-c", script]);
            let mut talk = talk.open_stdin().start();
            talk.wait_for("ready");

            sandbox.kill(program);

            let view = sandbox.json(&["vm", "show", "dev"]);
            assert_eq!(view["running"]["boot_id"], boot.as_str(), "{view}");
            assert_eq!(sandbox.boot_id("dev"), boot);
            talk.write(b"it\n");
            assert_eq!(talk.finish().expect_success().stdout_text(), "ready\ngot it\n");
        });
    }
    checks.check("what was adopted can be stopped, started and deleted", || {
        for verb in ["stop", "start", "delete"] {
            let _ = sandbox.banger(["vm", verb, "dev"]).run().expect_success();
        }
    });
    checks.finish();
}

#[test]
fn a_run_whose_client_is_killed_is_removed() {
    let sandbox = Sandbox::with_image();
    let mut running = sandbox.banger(["vm", "run", "--rm", "--", "sh", "-c", "echo up; sleep 600"]).start();
    running.wait_for("up");
    running.signal(rustix::process::Signal::KILL);
    let _ = running.finish();
    assert_eq!(sandbox.outlast(|process| process.program() == "qemu-system-x86_64"), []);
    // The row goes last, after everything it names.
    assert!(sandbox.becomes(|| sandbox.vm_ids().is_empty()));
    assert!(sandbox.vm_folders().is_empty());
}
