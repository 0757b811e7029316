//! The bytes of a layer as they are stored, and the digests they have to have.
//!
//! Nothing that a digest was given for is used before it was compared: a layer is hashed in the same pass that
//! unpacks it, or in one of its own where there is nothing to unpack.

use std::cell::RefCell;
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::FileExt;

use sha2::Digest as _;

use super::LayerError;
use crate::{Sha256, Stage, Watch};

const CHUNK: usize = 256 << 10;

/// A layer where it lies: a whole file, or a part of one such as an archive of layers.
#[derive(Debug)]
pub struct Blob<'a> {
    /// What errors call it.
    pub name: &'a str,
    pub file: &'a File,
    pub offset: u64,
    pub length: u64,
    /// Of these bytes.
    pub digest: Option<Sha256>,
    /// Of the archive inside.
    pub diff_id: Option<Sha256>,
}

impl<'a> Blob<'a> {
    /// Bytes that nobody promised anything about.
    pub fn new(name: &'a str, file: &'a File, offset: u64, length: u64) -> Self {
        Self { name, file, offset, length, digest: None, diff_id: None }
    }

    /// Everything is there.
    pub(super) fn check_length(&self) -> Result<(), LayerError> {
        let about = self.file.metadata().map_err(|source| self.read_error(source))?;
        let found = about.len().saturating_sub(self.offset);
        if self.offset.checked_add(self.length).is_some_and(|end| end <= about.len()) {
            return Ok(());
        }
        Err(LayerError::Length { layer: self.name.to_owned(), expected: self.length, found })
    }

    /// Hashes an archive that is not compressed.
    pub(super) fn check_in_place(&self, watch: Watch<'_>) -> Result<(), LayerError> {
        if self.digest.is_none() && self.diff_id.is_none() {
            return Ok(());
        }
        let (mut reader, mut hasher) = (Reader::new(self), sha2::Sha256::new());
        let mut buffer = vec![0; CHUNK];
        let mut done = 0;
        loop {
            if watch.is_cancelled() {
                return Err(LayerError::Cancelled);
            }
            let read = reader.read(&mut buffer).map_err(|source| self.read_error(source))?;
            if read == 0 {
                break;
            }
            hasher.update(&buffer[..read]);
            done += read as u64;
            watch.report(Stage::Decompress, done, self.length);
        }
        let found = Sha256::finish(hasher);
        self.check_digest(found)?;
        self.check_diff_id(found)
    }

    pub(super) fn check_digest(&self, found: Sha256) -> Result<(), LayerError> {
        match self.digest {
            Some(expected) if expected != found => {
                Err(LayerError::Digest { layer: self.name.to_owned(), expected, found })
            }
            _ => Ok(()),
        }
    }

    pub(super) fn check_diff_id(&self, found: Sha256) -> Result<(), LayerError> {
        match self.diff_id {
            Some(expected) if expected != found => {
                Err(LayerError::DiffId { layer: self.name.to_owned(), expected, found })
            }
            _ => Ok(()),
        }
    }

    pub(super) fn read_at(&self, buffer: &mut [u8], at: u64) -> io::Result<usize> {
        let left = usize::try_from(self.length.saturating_sub(at)).unwrap_or(usize::MAX);
        let length = buffer.len().min(left);
        self.file.read_at(&mut buffer[..length], self.offset + at)
    }

    fn read_error(&self, source: io::Error) -> LayerError {
        LayerError::Read { layer: self.name.to_owned(), source }
    }
}

/// Reads a blob by offset, so that a descriptor shared with others keeps its own position.
pub(super) struct Reader<'a> {
    blob: &'a Blob<'a>,
    position: u64,
}

impl<'a> Reader<'a> {
    pub(super) fn new(blob: &'a Blob<'a>) -> Self {
        Self { blob, position: 0 }
    }
}

impl Read for Reader<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.blob.read_at(buffer, self.position)?;
        self.position += read as u64;
        Ok(read)
    }
}

/// What passes through a decoder on its way in, hashed and counted; shared, because the decoder owns the reader.
pub(super) struct Hashing<'a> {
    reader: Reader<'a>,
    seen: &'a RefCell<Seen>,
}

#[derive(Default)]
pub(super) struct Seen {
    pub(super) bytes: u64,
    pub(super) hasher: Option<sha2::Sha256>,
}

impl<'a> Hashing<'a> {
    /// Hashes only where there is something to compare with.
    pub(super) fn new(blob: &'a Blob<'a>, seen: &'a RefCell<Seen>) -> Self {
        seen.borrow_mut().hasher = blob.digest.map(|_| sha2::Sha256::new());
        Self { reader: Reader::new(blob), seen }
    }
}

impl Read for Hashing<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.reader.read(buffer)?;
        let mut seen = self.seen.borrow_mut();
        seen.bytes += read as u64;
        if let Some(hasher) = &mut seen.hasher {
            hasher.update(&buffer[..read]);
        }
        Ok(read)
    }
}
