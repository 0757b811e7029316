//! Guests of images that were made for containers: no init, no ssh server, no package, perhaps not even a shell.

use banger_e2e::{Checks, LayerTar, Layout, Sandbox};
use serde_json::json;
use std::fs;
use std::path::Path;

const TOOLS: [&str; 14] =
    ["sh", "id", "env", "pwd", "cat", "echo", "sleep", "kill", "ls", "nc", "poweroff", "true", "ip", "mount"];

/// The host's, which needs no library.
fn busybox() -> Vec<u8> {
    let places = ["/bin/busybox", "/usr/bin/busybox", "/sbin/busybox"];
    let found = places.into_iter().find(|path| Path::new(path).exists());
    fs::read(found.expect("`busybox` is missing: `cargo xtask setup` installs it"))
        .expect("everybody may read it")
}

/// Two layers: a busybox with links to it, and what an application would bring.
fn layers() -> Vec<Vec<u8>> {
    let mut system = LayerTar::new().folder("bin").program("bin/busybox", &busybox());
    for tool in TOOLS {
        system = system.symlink(&format!("bin/{tool}"), "busybox");
    }
    let passwd = "root:x:0:0:root:/root:/bin/sh\napp:x:1000:1000::/home/app:/bin/sh\n";
    let app = LayerTar::new()
        .file("etc/passwd", passwd.as_bytes())
        .file("etc/group", b"app:x:1000:\nextra:x:77:app\n");
    vec![system.bytes(), app.bytes()]
}

#[test]
fn an_image_with_nothing_but_busybox_is_a_whole_machine() {
    let sandbox = Sandbox::with_image();
    let config = json!({
        "Env": ["PATH=/bin", "GREETING=hello there"], "User": "app", "WorkingDir": "/srv/app",
        "Cmd": ["/bin/sh", "-c", "echo $GREETING from $(pwd)"]
    });
    let _ = Layout::new(&sandbox.home().join("box")).add("v1", "amd64", &config, &layers());
    let mut checks = Checks::new();

    checks.check("it is made on the way, and its own command runs in it", || {
        let run = sandbox.banger(["vm", "run", "--name", "dev", "--image", "oci:box:v1"]).run();
        assert_eq!(run.expect_success().stdout_text(), "hello there from /srv/app\n");
    });
    checks.check("a command has the image's user and variables", || {
        let told = sandbox.exec("dev", &["/bin/sh", "-c", "id; env"]).expect_success();
        let told = told.stdout_text();
        for expected in [
            "uid=1000(app) gid=1000(app)",
            "77(extra)",
            "GREETING=hello there",
            "PATH=/bin\n",
            "HOME=/home/app",
        ] {
            assert!(told.contains(expected), "{expected}: {told}");
        }
    });
    checks.check("and what it was explicitly given instead", || {
        let root = [
            "vm",
            "exec",
            "--user",
            "root",
            "-e",
            "GREETING=bye",
            "dev",
            "--",
            "sh",
            "-c",
            "id -u; echo $GREETING",
        ];
        assert_eq!(sandbox.banger(root).run().expect_success().stdout_text(), "0\nbye\n");
    });
    checks.check("it knows its name, its address and itself", || {
        let root = |script: &str| {
            let run = ["vm", "exec", "--user", "root", "dev", "--", "sh", "-c", script];
            sandbox.banger(run).run().expect_success().stdout_text().to_owned()
        };
        assert_eq!(root("cat /etc/hostname"), "dev\n");
        let links = root("ip address");
        assert!(links.contains("127.0.0.1/8") && links.contains("eth0") && links.contains("172."), "{links}");
        assert!(root("cat /etc/hosts /etc/resolv.conf").contains("nameserver"));
    });
    checks.check("files go in and come out", || {
        fs::write(sandbox.home().join("in"), "carried").expect("it is writable");
        let _ = sandbox.banger(["vm", "cp", "in", "dev:/tmp/in"]).run().expect_success();
        let _ = sandbox.banger(["vm", "cp", "dev:/tmp/in", "out"]).run().expect_success();
        assert_eq!(fs::read_to_string(sandbox.home().join("out")).expect("it came out"), "carried");
    });
    checks.check("what listens in it is told", || {
        let listening = sandbox.banger(["vm", "exec", "dev", "--", "nc", "-l", "-p", "8080"]).start();
        sandbox
            .until("the port is told", || sandbox.json(&["vm", "ports", "dev"]).to_string().contains("8080"));
        drop(listening);
    });
    checks.check("without an ssh server the agent lets in", || {
        let entered = sandbox.banger(["vm", "ssh", "dev", "echo", "inside"]).run().expect_success();
        assert_eq!(entered.stdout_text(), "inside\n");
        let shell = sandbox.banger(["vm", "ssh", "dev"]).stdin("id -un\n").run().expect_success();
        assert_eq!(shell.stdout_text(), "app\n");
    });
    checks.check("orphans are collected", || {
        let script = "(sh -c 'sleep 0.2 &' ); sleep 1; ls /proc | while read p; do cat /proc/$p/stat 2>/dev/null; done";
        let processes = sandbox.exec("dev", &["sh", "-c", script]);
        let processes = processes.stdout_text();
        assert!(!processes.contains(") Z "), "{processes}");
    });
    checks.check("it stops, starts and keeps what was written", || {
        let write = ["vm", "exec", "--user", "root", "dev", "--", "sh", "-c", "echo kept > /etc/kept"];
        let _ = sandbox.banger(write).run().expect_success();
        for verb in ["stop", "start"] {
            let _ = sandbox.banger(["vm", verb, "dev"]).run().expect_success();
        }
        assert_eq!(sandbox.exec("dev", &["cat", "/etc/kept"]).expect_success().stdout_text(), "kept\n");
    });
    checks.check("it switches itself off when it is told to", || {
        let _ = sandbox.banger(["vm", "exec", "--user", "root", "dev", "--", "poweroff"]).run();
        sandbox.until("it is stopped", || sandbox.json(&["vm", "show", "dev"])["state"] == "stopped");
        let _ = sandbox.banger(["vm", "delete", "dev"]).run().expect_success();
    });
    checks.finish();
}

#[test]
fn an_image_without_a_shell_runs_its_program_and_says_that_there_is_no_shell() {
    let sandbox = Sandbox::with_image();
    // Busybox under another name looks for an applet of that name, and finds one.
    let layer = LayerTar::new().program("echo", &busybox()).bytes();
    let config = json!({"Entrypoint": ["/echo"], "Cmd": ["alone"]});
    let _ = Layout::new(&sandbox.home().join("bare")).add("v1", "amd64", &config, &[layer]);
    let run = sandbox.banger(["vm", "run", "--name", "dev", "--image", "oci:bare"]).run().expect_success();
    assert_eq!(run.stdout_text(), "alone\n");
    for shell in [vec!["vm", "ssh", "dev"], vec!["vm", "exec", "dev"]] {
        let refused = sandbox.banger(shell).run().expect_code(127);
        assert!(refused.stderr_text().contains("/bin/sh: not found"), "{}", refused.stderr_text());
    }
    let _ = sandbox.banger(["vm", "delete", "dev"]).run().expect_success();
}
