//! How much a guest is listened to, and what git may use while it reads what came.

use std::time::Duration;

/// Bounds for one export. Honest work stays far below; a hostile guest meets them instead of the end of the disk.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    /// Bytes that are taken from the guest.
    pub received: u64,
    /// New commits, trees and files.
    pub objects: u64,
    /// Bytes of one file.
    pub file: u64,
    /// Bytes of all that is new, as it would be unpacked.
    pub unpacked: u64,
    /// Bytes of the patch.
    pub patch: u64,
    /// How long a guest may say nothing.
    pub silence: Duration,
    /// Address space of one git, in bytes: deltas and compressed files can be much larger than they look.
    pub memory: u64,
    /// Processor time of one git, in seconds.
    pub processor: u64,
}

const GIB: u64 = 1 << 30;

impl Default for Limits {
    fn default() -> Self {
        Self {
            received: 4 * GIB,
            objects: 1_000_000,
            file: 2 * GIB,
            unpacked: 16 * GIB,
            patch: 8 * GIB,
            silence: Duration::from_secs(300),
            memory: 12 * GIB,
            processor: 1800,
        }
    }
}
