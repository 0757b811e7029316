//! A place for what is ours alone to be timed in, without the disk of the machine.
//!
//! A create makes some thirty files and a delete removes them. What a file system takes for one depends on what was done
//! to it before: ext4 without a journal looks at each inode that was freed in the last minute before it takes another
//! (`recently_deleted` in the kernel's `fs/ext4/ialloc.c`), so the same line came to 15 ms and, measured again at once, to
//! 28 ms. Where VMs' folders lie on a host is memory too: `/run`.

use banger_e2e::Sandbox;
use rustix::fs::{Mode, mkdir};
use rustix::process::geteuid;
use std::fs::metadata;
use std::os::unix::fs::MetadataExt as _;
use std::path::PathBuf;

/// A machine with fake guests whose files are in memory, where there is such a place.
pub(super) fn sandbox() -> Sandbox {
    place().map_or_else(Sandbox::with_fake_guests, |place| Sandbox::with_fake_guests_in(&place))
}

/// A folder that nobody else can write to.
fn place() -> Option<PathBuf> {
    let place = PathBuf::from(format!("/dev/shm/banger-bench-{}", geteuid().as_raw()));
    let _ = mkdir(&place, Mode::RWXU);
    let found = metadata(&place).ok()?;
    (found.uid() == geteuid().as_raw() && found.mode() & 0o777 == 0o700).then_some(place)
}
