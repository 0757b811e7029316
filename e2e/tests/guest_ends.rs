//! A real guest that is paused, restarted, and ends by itself in every way that it can.

use banger_e2e::{Checks, Sandbox};
use serde_json::Value;

fn dev(sandbox: &Sandbox) -> Value {
    sandbox.json(&["vm", "show", "dev"])
}

fn ok(sandbox: &Sandbox, arguments: &[&str]) {
    let _ = sandbox.banger(arguments).run().expect_success();
}

#[test]
fn a_guest_is_paused_restarted_and_told_apart_by_how_it_ends() {
    let sandbox = Sandbox::with_image();
    ok(&sandbox, &["vm", "create", "--name", "dev"]);
    let mut checks = Checks::new();
    checks.check("a command goes on over a pause, and nobody gets in meanwhile", || {
        let script = "echo ready; read word; echo got $word";
        let talk = sandbox.banger(["vm", "exec", "-i", "dev", "--", "sh", "-c", script]);
        let mut talk = talk.open_stdin().start();
        talk.wait_for("ready");
        let boot = sandbox.boot_id("dev");
        ok(&sandbox, &["vm", "pause", "dev"]);
        let refused = ["paused", "banger vm resume dev"];
        let _ = sandbox.exec("dev", &["true"]).expect_code(125).expect_failure(&refused);
        ok(&sandbox, &["vm", "resume", "dev"]);
        talk.write(b"it\n");
        assert_eq!(talk.finish().expect_success().stdout_text(), "ready\ngot it\n");
        assert_eq!(sandbox.boot_id("dev"), boot);
    });
    checks.check("a reboot comes back with what was written, however it was asked for", || {
        for reboot in [&["systemctl", "reboot"][..], &["systemctl", "reboot", "--force", "--force"]] {
            let before = sandbox.boot_id("dev");
            let _ = sandbox.exec("dev", &["sh", "-c", "echo kept > /root/kept; sync"]).expect_success();
            let _ = sandbox.exec("dev", reboot);
            let is_back = || {
                let now = dev(&sandbox);
                now["state"] == "running" && now["running"]["boot_id"] != before.as_str()
            };
            while !sandbox.becomes(is_back) {
                let now = dev(&sandbox);
                assert!(now["state"] == "running" || now["state"] == "starting", "{now}");
            }
            assert_eq!(sandbox.exec("dev", &["cat", "/root/kept"]).expect_success().stdout_text(), "kept\n");
        }
    });
    checks.check("a panic is told with what the kernel said", || {
        let _ = sandbox.exec("dev", &["sh", "-c", "echo c > /proc/sysrq-trigger"]);
        assert!(sandbox.becomes(|| dev(&sandbox)["state"] == "stopped"), "{}", dev(&sandbox));
        assert_eq!(dev(&sandbox)["reason"], "the guest's kernel panicked: sysrq triggered crash");
    });
    checks.check("restarted when it is down it runs, and a killed VMM is told from a power-off", || {
        ok(&sandbox, &["vm", "restart", "dev"]);
        let firecracker = dev(&sandbox)["running"]["vmm"] == "Firecracker";
        sandbox.kill(if firecracker { "firecracker" } else { "qemu-system-x86_64" });
        assert!(sandbox.becomes(|| dev(&sandbox)["state"] == "stopped"));
        assert_eq!(dev(&sandbox)["reason"], "its VMM was killed");
        ok(&sandbox, &["vm", "start", "dev"]);
        let _ = sandbox.exec("dev", &["systemctl", "poweroff", "--force", "--force"]);
        assert!(sandbox.becomes(|| dev(&sandbox)["state"] == "stopped"));
        assert_eq!(dev(&sandbox)["reason"], "the guest shut down");
    });
    checks.check(
        "nobody using it it is stopped, and not while a command runs in it, whoever the daemon is",
        || {
            sandbox.configure("auto_stop_stale_after = \"3s\"\nstats_poll_interval = \"100ms\"\n");
            ok(&sandbox, &["daemon", "stop"]);
            ok(&sandbox, &["vm", "start", "dev"]);
            let command = ["vm", "exec", "-i", "dev", "--", "sh", "-c", "echo ready; read word"];
            let mut talk = sandbox.banger(command).open_stdin().start();
            talk.wait_for("ready");
            ok(&sandbox, &["daemon", "stop"]);
            ok(&sandbox, &["vm", "list"]);
            let _ = sandbox.tool("sleep", ["6"]).run().expect_success();
            let state = || sandbox.json(&["vm", "list"])[0]["state"].clone();
            assert_eq!(state(), "running");
            talk.close_stdin();
            let _ = talk.finish();
            assert!(sandbox.becomes(|| state() == "stopped"), "its connections are still counted");
        },
    );
    ok(&sandbox, &["vm", "delete", "dev"]);
    checks.finish();
}
