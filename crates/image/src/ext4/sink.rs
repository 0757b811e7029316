//! Where the image goes: a file whose zeros are never written.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

/// A hole the host's file system can keep.
const BLOCK: usize = 4096;

/// The file has its full size before the first byte, so that whatever is not written reads as zero.
pub(super) struct SparseFile<'a> {
    file: &'a File,
}

impl<'a> SparseFile<'a> {
    pub(super) fn new(file: &'a File) -> Self {
        Self { file }
    }
}

impl mkext4::RegionSink for SparseFile<'_> {
    fn data(&mut self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        let mut start = None;
        let mut at = 0;
        for block in bytes.chunks(BLOCK) {
            match (is_zero(block), start) {
                (true, Some(from)) => {
                    self.file.write_all_at(&bytes[from..at], offset + from as u64)?;
                    start = None;
                }
                (false, None) => start = Some(at),
                _ => {}
            }
            at += block.len();
        }
        match start {
            Some(from) => self.file.write_all_at(&bytes[from..], offset + from as u64),
            None => Ok(()),
        }
    }

    fn zeros(&mut self, _offset: u64, _len: u64) -> io::Result<()> {
        Ok(())
    }
}

fn is_zero(block: &[u8]) -> bool {
    // Real data shows a set bit in its first bytes; the rest is a comparison the compiler makes wide.
    block.iter().take(16).all(|&byte| byte == 0) && block.iter().fold(0, |any, &byte| any | byte) == 0
}
