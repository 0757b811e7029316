//! A file system of the test's own that shares blocks between files: XFS, on a file, in the test host, where an
//! ordinary user may have one mounted.

use crate::images;
use crate::installed::{insist_on_test_host, sudo};
use std::fs::File;
use std::path::{Path, PathBuf};

/// What it can hold; of the disk below it takes what is written to it.
const SIZE: u64 = 12 << 30;

/// Mounted for as long as this lives.
#[derive(Debug)]
pub struct Volume {
    file: PathBuf,
    /// A short name: sockets lie deep below, and a socket's path has 107 bytes.
    place: PathBuf,
}

impl Volume {
    /// Makes one that belongs to whoever runs the test.
    ///
    /// # Panics
    /// When this is no test host, or it cannot be made.
    #[must_use]
    pub fn that_shares_blocks() -> Self {
        insist_on_test_host();
        let (file, place) = (images::cache().join("x.img"), images::cache().join("x"));
        File::create(&file).and_then(|file| file.set_len(SIZE)).expect("the cache of the tests is writable");
        std::fs::create_dir_all(&place).expect("the cache of the tests is writable");
        let [shown_file, shown_place] = [&file, &place].map(|path| path.display().to_string());
        let volume = Self { file, place };
        // In the version of Debian's mkfs it is the default; what it is here for is better said.
        let _ = sudo(&["mkfs.xfs", "-q", "-f", "-m", "reflink=1", &shown_file]).expect_success();
        let _ = sudo(&["mount", "-o", "loop,noatime", &shown_file, &shown_place]).expect_success();
        let owner = rustix::process::geteuid().as_raw().to_string();
        let _ = sudo(&["chown", &owner, &shown_place]).expect_success();
        volume
    }

    #[must_use]
    pub fn place(&self) -> &Path {
        &self.place
    }

    /// Bytes that are taken, once what was removed has been given back.
    ///
    /// # Panics
    /// When it cannot be asked.
    #[must_use]
    pub fn used(&self) -> u64 {
        let about = rustix::fs::statvfs(&self.place).expect("it is mounted");
        (about.f_blocks - about.f_bfree) * about.f_frsize
    }
}

impl Drop for Volume {
    fn drop(&mut self) {
        let gone = sudo(&["umount", &self.place.display().to_string()]);
        if gone.code() != Some(0) {
            eprintln!("the volume is still mounted: {}", gone.stderr_text());
            return;
        }
        drop(std::fs::remove_file(&self.file));
    }
}
