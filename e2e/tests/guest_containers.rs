//! Containers in a guest: what its kernel has for them, by the judgement of Docker's own script, and one that runs.

use banger_e2e::{Checks, Debian, LayerTar, Sandbox, docker_archive};
use serde_json::json;
use std::fs;
use std::time::Duration;

/// The kernel's configuration lies beside its modules.
const CHECK: &str = "bash /usr/share/docker.io/contrib/check-config.sh /lib/modules/$(uname -r)/config";

/// What the script calls necessary and did not find; it tells so in its words and colours alone.
fn missing(told: &str) -> Vec<&str> {
    let necessary = told.lines().skip_while(|line| !line.contains("Generally Necessary"));
    let necessary = necessary.take_while(|line| !line.contains("Optional Features"));
    necessary.filter(|line| line.contains("missing")).collect()
}

#[test]
fn a_guest_has_all_that_docker_asks_for_and_runs_a_container_from_a_file() {
    let sandbox = Sandbox::with_image();
    let image = format!("oci:{}:v1", Debian::WithDocker.layout(&sandbox).display());
    let pull = ["image", "pull", &image, "--name", "docker"];
    let _ = sandbox.banger(pull).limit(Duration::from_secs(300)).run().expect_success();
    let create = ["vm", "create", "--name", "dev", "--image", "docker"];
    let _ = sandbox.banger(create).limit(Duration::from_secs(300)).run().expect_success();
    let busybox = fs::read("/bin/busybox").expect("`busybox` is missing: `cargo xtask setup` installs it");
    let layer = LayerTar::new().folder("bin").program("bin/busybox", &busybox).symlink("bin/sh", "busybox");
    let config = json!({"Env": ["PATH=/bin"], "Cmd": ["/bin/sh", "-c", "echo inside as $(busybox id -u)"]});
    docker_archive(&sandbox.home().join("box.tar"), "box:v1", &config, &[layer.bytes()]);
    let guest = |script: &str| {
        let exec = ["vm", "exec", "--user", "root", "dev", "--", "sh", "-c", script];
        sandbox.banger(exec).limit(Duration::from_secs(240)).run()
    };
    let mut checks = Checks::new();

    checks.check("Docker's script misses nothing that it calls necessary", || {
        let told = guest(CHECK);
        let told = told.stdout_text();
        assert!(told.contains("Generally Necessary") && told.contains("CONFIG_VETH"), "{told}");
        assert!(missing(told).is_empty(), "{told}");
    });
    checks.check("a container runs from an image that came as a file", || {
        let _ = sandbox.banger(["vm", "cp", "box.tar", "dev:/var/tmp/box.tar"]).run().expect_success();
        let started = guest("systemctl start docker || journalctl --no-pager -u docker -u containerd >&2");
        let said = started.stderr_text();
        let loaded = guest("docker load -q -i /var/tmp/box.tar");
        assert_eq!(loaded.code(), Some(0), "{}\n{said}", loaded.stderr_text());
        let ran = guest("docker run --rm box:v1");
        assert_eq!(ran.stdout_text(), "inside as 0\n", "{}", ran.stderr_text());
    });
    checks.check("it is on a bridge of its own, behind the guest's address", || {
        let ran = guest("docker run --rm box:v1 busybox ip -4 -o address show dev eth0");
        assert!(ran.stdout_text().contains("172.17."), "{}{}", ran.stdout_text(), ran.stderr_text());
        assert!(guest("docker info --format '{{.Driver}}'").stdout_text().contains("overlay2"));
    });
    let _ = sandbox.banger(["vm", "delete", "dev"]).run();
    checks.finish();
}
