//! A guest that fills its root disk, whatever keeps what it writes: the same promises for every way.

use crate::{Checks, Sandbox};
use std::time::Duration;

const IMAGE: &str = "small";
/// What a boot writes and some; an emulated processor fills a MiB or two a second.
const FREE: u64 = 96 << 20;
const LIMIT: Duration = Duration::from_secs(900);

/// Filling takes everything ordinary users may take and then what is kept for root.
const FILL: &str = "dd if=/dev/zero of=/fill bs=1M 2>&1; dd if=/dev/zero of=/fill2 bs=4k 2>&1; sync; df /";

/// Boots a guest whose changes go to the file `own_disk` by this way of `root_disk`, and fills its root.
///
/// # Panics
/// When something is not as it was promised.
pub fn fill_root_disk(sandbox: &Sandbox, way: &str, own_disk: &str) {
    sandbox.configure(&format!("root_disk = \"{way}\"\n"));
    let rootfs = sandbox.add_small_image(IMAGE, FREE);
    let before = rootfs.with_extension("before").display().to_string();
    let rootfs = rootfs.display().to_string();
    let tool = |name, arguments: &[&str]| drop(sandbox.tool(name, arguments).run().expect_success());
    tool("cp", &["--sparse=always", "--", &rootfs, &before]);
    let _ = sandbox.banger(["vm", "create", "--name", "dev", "--image", IMAGE]).run().expect_success();
    let id = sandbox.json(&["vm", "show", "dev"])["id"].as_str().expect("an id").to_owned();
    assert!(sandbox.state().join("vms").join(id).join(own_disk).exists(), "{way} was not chosen");
    let mut checks = Checks::new();

    checks.check("a full disk is an error of the command that filled it", || {
        let fill = ["vm", "exec", "dev", "--", "sh", "-c", FILL];
        let filled = sandbox.banger(fill).limit(LIMIT).run().expect_success();
        let text = filled.stdout_text();
        assert!(text.contains("No space left on device"), "{text}");
        assert!(text.contains("100%"), "{text}");
    });
    checks.check("the root file system is none the worse for it", || {
        let log = sandbox.exec("dev", &["dmesg"]).expect_success();
        for complaint in ["I/O error", "EXT4-fs error", "Remounting filesystem read-only", "snapshot"] {
            assert!(!log.stdout_text().contains(complaint), "{complaint}: {}", log.stdout_text());
        }
        let write = "rm /fill /fill2 && sync && echo room > /etc/room && sync";
        let _ = sandbox.exec("dev", &["sh", "-c", write]).expect_success();
    });
    checks.check("and it is the same after a stop and a start", || {
        for verb in ["stop", "start"] {
            let _ = sandbox.banger(["vm", verb, "dev"]).run().expect_success();
        }
        assert_eq!(sandbox.exec("dev", &["cat", "/etc/room"]).expect_success().stdout_text(), "room\n");
    });
    checks.check("the image was never written", || tool("cmp", &["--", &rootfs, &before]));
    checks.check("deleting it takes everything", || {
        let _ = sandbox.banger(["vm", "delete", "dev"]).run().expect_success();
        sandbox.assert_nothing_left();
    });
    checks.finish();
}
