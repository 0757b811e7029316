//! Root disks: each way of keeping what a guest writes, filled to the brim, and the image under it never written.

use banger_e2e::{Sandbox, fill_root_disk};

#[test]
fn a_guest_that_fills_a_snapshot_of_its_image_is_told_so_and_lives() {
    fill_root_disk(&Sandbox::with_image(), "guest-snapshot", "cow.img");
}

#[test]
fn a_guest_that_fills_a_copy_of_its_image_is_told_so_and_lives() {
    fill_root_disk(&Sandbox::with_image(), "copy", "root.img");
}
