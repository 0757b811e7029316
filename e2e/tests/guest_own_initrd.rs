//! Guests that boot with an initrd of somebody else's: it finds the root in its own way, and banger's agent is one of
//! the services of the image.

use banger_e2e::{Checks, Sandbox};
use std::fs;
use std::path::{Path, PathBuf};

/// What such an initrd mostly does. One without an init behind it waits for ever, as a machine that nobody can reach.
const INIT: &str = "#!/bin/busybox sh
/bin/busybox mount -t devtmpfs none /dev
for module in virtio_ring virtio virtio_mmio virtio_pci_modern_dev virtio_pci_legacy_dev virtio_pci virtio_blk; do
    /bin/busybox insmod /banger/modules/??-$module.ko
done
until [ -b /dev/vda ]; do /bin/busybox sleep 0.1; done
/bin/busybox mount -t ext4 /dev/vda /root
[ -e /root/etc ] || exec /bin/busybox sleep 100000
exec /bin/busybox switch_root /root /sbin/init
";

/// The drivers of the default kernel, a busybox, and the script.
fn write_initrd(sandbox: &Sandbox, drivers: &Path) -> PathBuf {
    let tree = sandbox.home().join("initrd");
    for folder in ["bin", "dev", "root"] {
        fs::create_dir_all(tree.join(folder)).expect("the home is writable");
    }
    fs::write(tree.join("init"), INIT).expect("the home is writable");
    let script = "cp \"$(command -v busybox)\" \"$1/bin/busybox\" && chmod 755 \"$1/init\" && cp \"$2\" \"$1.img\" && \
                  cd \"$1\" && find . | busybox cpio -o -H newc >> \"$1.img\"";
    let [tree_text, drivers] = [&tree, drivers].map(|path| path.display().to_string());
    let _ = sandbox.tool("sh", ["-ec", script, "sh", &tree_text, &drivers]).run().expect_success();
    tree.with_extension("img")
}

/// The folder with the modules that lie on the default kernel's disk.
fn modules(sandbox: &Sandbox, disk: &Path) -> PathBuf {
    let folder = sandbox.home().join("modules");
    fs::create_dir(&folder).expect("the home is writable");
    let request = format!("rdump / {}", folder.display());
    let _ = sandbox.tool("debugfs", ["-R", &request, &disk.display().to_string()]).run().expect_success();
    fs::remove_dir(folder.join("lost+found")).expect("every such disk has one");
    folder
}

#[test]
fn an_image_with_an_initrd_of_its_own_is_reached_through_the_agent_that_it_carries() {
    let sandbox = Sandbox::with_image();
    let kernel = sandbox.state().join("kernels/debian-bookworm-cloud");
    let image = sandbox.state().join("images/debian-bookworm");
    let initrd = write_initrd(&sandbox, &kernel.join("boot-modules.cpio"));
    let modules = modules(&sandbox, &kernel.join("modules.ext4"));
    let register = |name: &str, rootfs: &str, more: &[&str]| {
        let [rootfs, kernel] = [image.join(rootfs), kernel.join("vmlinux")].map(|p| p.display().to_string());
        let [initrd, modules] = [&initrd, &modules].map(|path| path.display().to_string());
        let arguments = ["image", "register", "--name", name, "--rootfs", &rootfs, "--kernel", &kernel];
        let own = ["--initrd", &initrd, "--modules", &modules];
        let words = arguments.iter().chain(&own).chain(more).copied();
        let _ = sandbox.banger(words).run().expect_success();
    };
    let mut checks = Checks::new();

    checks.check("a command runs in it", || {
        register("mine", "rootfs.ext4", &[]);
        let run = ["vm", "run", "--name", "dev", "--image", "mine", "--", "cat", "/proc/1/comm"];
        assert_eq!(sandbox.banger(run).run().expect_success().stdout_text(), "systemd\n");
    });
    let root =
        |script: &str| sandbox.exec("dev", &["sh", "-c", script]).expect_success().stdout_text().to_owned();
    checks.check("it was told its root in the kernel's words", || {
        assert!(root("cat /proc/cmdline").contains(" root=/dev/vda "));
    });
    checks.check("it has its address, its name and its own keys", || {
        let address =
            sandbox.json(&["vm", "show", "dev"])["address"].as_str().expect("it has one").to_owned();
        assert!(root("ip -4 -o address show dev eth0").contains(&format!("{address}/")));
        assert!(root("ip route").contains("default via "));
        assert_eq!(root("hostname; cat /etc/hostname"), "dev\ndev\n");
        let _ = sandbox.banger(["vm", "ssh", "dev", "true"]).run().expect_success();
    });
    checks.check("its work disk and the modules of its kernel are mounted", || {
        assert!(root("findmnt -n -o SOURCE /root").starts_with("/dev/vd"));
        assert_eq!(root("modprobe overlay && echo loaded"), "loaded\n");
    });
    checks.check("it stops in its own time", || {
        let _ = sandbox.banger(["vm", "stop", "dev"]).run().expect_success();
        let _ = sandbox.banger(["vm", "delete", "dev"]).run().expect_success();
    });
    checks.check("one without an agent starts and stops, and is not waited for", || {
        register("deaf", "work-seed.ext4", &["--no-agent"]);
        let _ = sandbox.banger(["vm", "create", "--name", "deaf", "--image", "deaf"]).run().expect_success();
        assert_eq!(sandbox.json(&["vm", "show", "deaf"])["state"], "running");
        let _ = sandbox.banger(["vm", "stop", "deaf"]).run().expect_success();
        assert_eq!(sandbox.json(&["vm", "show", "deaf"])["state"], "stopped");
        let _ = sandbox.banger(["vm", "delete", "deaf"]).run().expect_success();
    });
    checks.finish();
}
