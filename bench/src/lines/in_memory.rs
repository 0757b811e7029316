//! A place for what is ours alone to be timed in, without the disk of the machine.
//!
//! A create makes files and a delete removes them. What a file system takes for one depends on what was done
//! to it before: ext4 without a journal looks at each inode that was freed a moment ago before it takes another
//! (`recently_deleted` in the kernel's `fs/ext4/ialloc.c`), so that the same line came to 15 ms and, measured again at
//! once, to 28 ms. What the disk adds on this machine is a line of its own.

use banger_e2e::Sandbox;
use rustix::fs::{Mode, mkdir, statvfs};
use rustix::process::geteuid;
use std::fs::symlink_metadata;
use std::os::unix::fs::MetadataExt as _;
use std::path::PathBuf;

/// Bytes that a hundred VMs find room in: containers often have 64 MiB there.
const ENOUGH: u64 = 2 << 30;

/// A machine with fake guests whose files are in memory, or on the disk where there is no place for them.
pub(super) fn sandbox() -> Sandbox {
    place().map_or_else(Sandbox::with_fake_guests, |place| Sandbox::with_fake_guests_in(&place))
}

/// A folder of our own that nobody else can write to.
fn place() -> Option<PathBuf> {
    let place = PathBuf::from(format!("/dev/shm/banger-bench-{}", geteuid().as_raw()));
    let _ = mkdir(&place, Mode::RWXU);
    let found = symlink_metadata(&place).ok()?;
    let room = statvfs(&place).ok().map(|there| there.f_bavail.saturating_mul(there.f_frsize))?;
    let is_ours = found.uid() == geteuid().as_raw() && found.mode() & 0o777 == 0o700;
    (found.is_dir() && is_ours && room >= ENOUGH).then_some(place)
}
