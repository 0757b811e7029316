//! Guests of images without an init, which get one when they first come up.

use banger_e2e::{Checks, Debian, LayerTar, Layout, Place, Sandbox};
use serde_json::json;
use std::fs;
use std::time::Duration;

const TOOLS: [&str; 12] =
    ["sh", "cat", "echo", "env", "id", "ln", "ls", "mkdir", "poweroff", "chmod", "mount", "true"];

/// In the place of Alpine's: it writes down what it is told, and what it brings boots.
const APK: &str = "#!/bin/sh
echo \"apk $*\" >> /var/called
echo installing openrc
ln -s /bin/busybox /sbin/init
echo '#!/bin/sh' > /sbin/openrc
chmod 755 /sbin/openrc
echo '::sysinit:/bin/sh -c \"echo booted >> /var/called\"' > /etc/inittab
";

/// One that has no network.
const BROKEN_APK: &str = "#!/bin/sh
echo fetching the index
echo 'ERROR: unable to select packages: no such mirror' >&2
exit 3
";

fn alpine(sandbox: &Sandbox, name: &str, apk: &str) -> String {
    let busybox = fs::read("/bin/busybox").expect("`busybox` is missing: `cargo xtask setup` installs it");
    let mut layer =
        LayerTar::new().folder("bin").folder("sbin").folder("var").program("bin/busybox", &busybox);
    for tool in TOOLS {
        layer = layer.symlink(&format!("bin/{tool}"), "busybox");
    }
    let layer = layer
        .file("etc/os-release", b"NAME=\"Alpine Linux\"\nID=alpine\n")
        .file("etc/passwd", b"root:x:0:0:root:/root:/bin/sh\napp:x:1000:1000::/:/bin/sh\n")
        .program("sbin/apk", apk.as_bytes())
        .program("sbin/rc-update", b"#!/bin/sh\necho \"rc-update $*\" >> /var/called\n");
    // The image's user is not who installs.
    let config = json!({"User": "app", "Env": ["PATH=/bin:/sbin"]});
    let _ = Layout::new(&sandbox.home().join(name)).add("v1", "amd64", &config, &[layer.bytes()]);
    format!("oci:{name}:v1")
}

#[test]
fn an_init_is_installed_by_the_images_own_package_manager_once() {
    let sandbox = Sandbox::with_image();
    let image = alpine(&sandbox, "box", APK);
    let mut checks = Checks::new();
    let read = |file: &str| sandbox.exec("dev", &["cat", file]).expect_success().stdout_text().to_owned();
    let called = "apk add --no-cache openrc openssh\nrc-update add sshd default\nbooted\n";

    checks.check("without a network it is refused before anything is made", || {
        let run = ["vm", "run", "-d", "--image", &image, "--install-init"];
        let _ = sandbox.banger(run).run().expect_failure(&["without network access", "use `--nat`"]);
        assert_eq!(sandbox.json(&["vm", "list"]), json!([]));
    });
    checks.check("the guest comes up with what was installed", || {
        let create = ["vm", "create", "--name", "dev", "--image", &image, "--install-init", "--nat"];
        assert_eq!(sandbox.banger(create).run().expect_success().stdout_text(), "dev\n");
        assert_eq!(read("/proc/1/comm"), "init\n");
        // It does so when it has come to it; the agent was there before.
        sandbox.until("its init has begun", || read("/var/called") == called);
    });
    checks.check("what was said is kept", || {
        let log = read("/var/log/banger-install-init.log");
        assert_eq!(
            log,
            "+ apk add --no-cache openrc openssh\ninstalling openrc\n+ rc-update add sshd default\n"
        );
    });
    checks.check("another boot installs nothing", || {
        for verb in ["stop", "start"] {
            let _ = sandbox.banger(["vm", verb, "dev"]).run().expect_success();
        }
        sandbox.until("its init has begun", || read("/var/called") == format!("{called}booted\n"));
    });
    let _ = sandbox.banger(["vm", "delete", "dev"]).run().expect_success();

    checks.check("what goes wrong is told with its last words, and can be looked at", || {
        let image = alpine(&sandbox, "broken", BROKEN_APK);
        let create = ["vm", "create", "--name", "dev", "--image", &image, "--install-init", "--nat"];
        let told = sandbox.banger(create).run().expect_failure(&[
            "an init and an ssh server were not installed in VM `dev`",
            "`apk add --no-cache openrc openssh` ended with 3",
            "ERROR: unable to select packages: no such mirror",
            "cat /var/log/banger-install-init.log` shows the full log",
        ]);
        drop(told);
        assert!(read("/var/log/banger-install-init.log").contains("fetching the index\n"));
        let _ = sandbox.banger(["vm", "delete", "dev"]).run().expect_success();
    });
    checks.check("a VM that was not to be kept is not", || {
        let run = ["vm", "run", "--rm", "--image", "broken-v1", "--install-init", "--nat", "--", "true"];
        let told = sandbox.banger(run).limit(Duration::from_secs(120)).run().expect_code(125);
        assert!(told.stderr_text().contains("ended with 3"), "{}", told.stderr_text());
        assert_eq!(sandbox.json(&["vm", "list"]), json!([]));
    });
    checks.finish();
}

#[test]
fn a_debian_without_systemd_gets_systemd_and_sshd_of_its_own_packages() {
    let mut sandbox = Sandbox::with_image();
    let image = format!("oci:{}:v1", Debian::WithoutInit.layout(&sandbox).display());
    sandbox.move_into(Place::with_a_world());
    let pull = ["image", "pull", &image, "--name", "bare"];
    let _ = sandbox.banger(pull).limit(Duration::from_secs(300)).run().expect_success();
    assert_eq!(sandbox.json(&["image", "show", "bare"])["has_init"], false);
    let create = ["vm", "create", "--name", "dev", "--image", "bare", "--install-init", "--nat"];
    let _ = sandbox.banger(create).limit(Duration::from_secs(900)).run().expect_success();
    let mut checks = Checks::new();
    checks.check("systemd is its init, and its services are up", || {
        assert_eq!(sandbox.exec("dev", &["cat", "/proc/1/comm"]).expect_success().stdout_text(), "systemd\n");
        let _ = sandbox.exec("dev", &["dpkg", "--audit"]).expect_success();
    });
    checks.check("ssh lets in, with the key that banger gave the guest", || {
        sandbox.until("sshd listens", || {
            let ports = sandbox.json(&["vm", "ports", "dev"]);
            ports.as_array().is_some_and(|ports| ports.iter().any(|port| port["port"] == 22))
        });
        // From inside: this host's ssh wants to change groups, which who is root in this place only may not.
        let key = sandbox.state().join("ssh/id_ed25519").display().to_string();
        let _ = sandbox.banger(["vm", "cp", &key, "dev:/root/key"]).run().expect_success();
        let ssh = "ssh -i /root/key -o BatchMode=yes -o StrictHostKeyChecking=no 127.0.0.1 echo inside";
        let enter = sandbox.banger(["vm", "exec", "dev", "--", "sh", "-c", ssh]);
        let entered = enter.limit(Duration::from_secs(120)).run().expect_success();
        assert_eq!(entered.stdout_text(), "inside\n");
    });
    let _ = sandbox.banger(["vm", "delete", "dev"]).run().expect_success();
    checks.finish();
}
