//! Makes a file system as large as the disk it is on, which the host may have made larger.
//!
//! The guest's own kernel does it, mounted and journaled, so a crash on the way loses nothing and the host never
//! parses what a guest wrote.

use crate::sys::ext4;
use rustix::fs::{Mode, OFlags};
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

/// Where an ext4 superblock begins on its disk, in bytes; this and the offsets in it are from the kernel's
/// `Documentation/filesystems/ext4/super.rst`.
const SUPERBLOCK: u64 = 1024;

/// Grows the file system of `disk`, which is mounted on `place`, by as many whole blocks as there is room for. One that
/// does not grow is as good as it was, so that is told and no more.
pub(super) fn fill(disk: &Path, place: &Path) {
    if let Err(error) = try_fill(disk, place) {
        super::kernel_log(&format!(
            "the file system on {} stays smaller than its disk: {error}",
            disk.display()
        ));
    }
}

fn try_fill(disk: &Path, place: &Path) -> io::Result<()> {
    let device = File::open(disk)?;
    let mut superblock = [0; 1024];
    device.read_exact_at(&mut superblock, SUPERBLOCK)?;
    let sectors = std::fs::read_to_string(size_of(disk))?.trim().parse().map_err(io::Error::other)?;
    let Some(blocks) = wanted(&superblock, sectors) else { return Ok(()) };
    let place = rustix::fs::open(place, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
    ext4::resize(&place, blocks)
}

fn size_of(disk: &Path) -> std::path::PathBuf {
    Path::new("/sys/class/block").join(disk.file_name().unwrap_or_default()).join("size")
}

/// How many blocks the file system shall have, if that is more than it has. Pure.
fn wanted(superblock: &[u8; 1024], sectors: u64) -> Option<u64> {
    let word = |at: usize| {
        let bytes = superblock[at..at + 4].try_into().expect("a slice of four bytes");
        u64::from(u32::from_le_bytes(bytes))
    };
    const BIT64: u64 = 0x80;
    let high = if word(0x60) & BIT64 == 0 { 0 } else { word(0x150) };
    let has = (high << 32) | word(0x4);
    // s_log_block_size: 1 KiB shifted by it. The kernel mounts none above 64 KiB.
    let sectors_per_block = 2_u64 << word(0x18).min(6);
    let room = sectors / sectors_per_block;
    (room > has).then_some(room)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn superblock(blocks: u64, log_block_size: u32, bit64: bool) -> [u8; 1024] {
        let mut bytes = [0; 1024];
        let mut put = |at: usize, value: u32| bytes[at..at + 4].copy_from_slice(&value.to_le_bytes());
        put(0x4, (blocks & 0xffff_ffff).try_into().unwrap());
        put(0x18, log_block_size);
        put(0x60, if bit64 { 0x80 } else { 0 });
        // Without the feature this is somebody else's field.
        put(0x150, if bit64 { (blocks >> 32).try_into().unwrap() } else { 7 });
        bytes
    }

    #[test]
    fn a_file_system_grows_to_whole_blocks_of_its_disk_and_never_shrinks() {
        for (blocks, log, bit64, sectors, grows_to) in [
            (2048, 2, false, 2048 * 8, None),
            (2048, 2, false, 2048 * 8 + 7, None),
            (2048, 2, false, 2049 * 8, Some(2049)),
            (2048, 2, false, 1024 * 8, None),
            (2048, 0, false, 4096 * 2, Some(4096)),
            (5 << 32, 2, true, 5 << 35, None),
            (5 << 32, 2, true, 6 << 35, Some(6 << 32)),
        ] {
            let grown = wanted(&superblock(blocks, log, bit64), sectors);
            assert_eq!(grown, grows_to, "{blocks} blocks of {} KiB on {sectors} sectors", 1 << log);
        }
    }
}
