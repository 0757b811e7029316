//! Root disks on a file system that shares blocks, with real guests: made in an instant, and the image never written.
//!
//! Nothing is installed for it: this is the local mode of an ordinary user whose state lies on an XFS.

use banger_e2e::{Checks, Sandbox, Volume, fill_root_disk};

/// What a boot writes, and what a file system's own tables may grow by; a copy of the image takes some times as much.
const SLACK: u64 = 96 << 20;
const WRITTEN: u64 = 32 << 20;

#[test]
fn a_guest_that_fills_a_disk_sharing_blocks_with_its_image_is_told_so_and_lives() {
    let volume = Volume::that_shares_blocks();
    fill_root_disk(&Sandbox::with_image_in(volume.place()), "reflink", "root.img");
}

#[test]
fn where_blocks_can_be_shared_a_root_disk_takes_what_its_guest_writes_and_gives_it_back() {
    let volume = Volume::that_shares_blocks();
    let sandbox = Sandbox::with_image_in(volume.place());
    let mut checks = Checks::new();
    let empty = volume.used();

    checks.check("the doctor says so", || {
        let told = sandbox.banger(["doctor"]).run();
        assert!(
            told.stdout_text().contains("root disks: reflink: share blocks with the image"),
            "{}",
            told.stdout_text()
        );
    });
    checks.check("it is chosen by itself, and costs what the boot wrote", || {
        let _ = sandbox.banger(["vm", "create", "--name", "dev"]).run().expect_success();
        let id = sandbox.json(&["vm", "show", "dev"])["id"].as_str().expect("an id").to_owned();
        assert!(sandbox.state().join("vms").join(id).join("root.img").exists(), "another way was chosen");
        let grown = volume.used().saturating_sub(empty);
        assert!(grown < SLACK, "a fresh disk takes {grown} bytes");
    });
    checks.check("what its guest writes it takes", || {
        let before = volume.used();
        let write = format!("head -c {WRITTEN} /dev/urandom > /blob && sync");
        let _ = sandbox.exec("dev", &["sh", "-c", &write]).expect_success();
        let grown = volume.used().saturating_sub(before);
        assert!(grown >= WRITTEN, "{WRITTEN} bytes more take {grown}");
    });
    checks.check("deleting it gives that back", || {
        let _ = sandbox.banger(["vm", "delete", "dev"]).run().expect_success();
        sandbox.assert_nothing_left();
        // XFS gives back what was removed a moment later.
        let back = || volume.used().saturating_sub(empty) < 8 << 20;
        assert!(sandbox.becomes(back), "{} bytes are still taken", volume.used().saturating_sub(empty));
    });
    checks.finish();
}
