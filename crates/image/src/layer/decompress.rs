//! Compressed layers are unpacked once to an unnamed file, because content is later read at its offset.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::FileExt;
use std::path::Path;

use super::{LayerError, Limits};
use crate::{Stage, Watch};

/// Below this a layer may expand as much as it likes: small ones full of zeros are common and harmless.
const EXPANSION_FREE: u64 = 64 << 20;
/// zstd's `--long=27`, the largest window its own tool accepts unasked.
const ZSTD_WINDOW_LOG: u32 = 27;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Compression {
    Gzip,
    Zstd,
}

impl Compression {
    /// By magic number, since media types lie.
    pub(super) fn detect(file: &File) -> io::Result<Option<Self>> {
        let mut magic = [0; 4];
        let read = file.read_at(&mut magic, 0)?;
        Ok(match &magic[..read] {
            [0x1f, 0x8b, ..] => Some(Self::Gzip),
            [0x28, 0xb5, 0x2f, 0xfd] => Some(Self::Zstd),
            _ => None,
        })
    }
}

pub(super) fn to_scratch(
    name: &str,
    file: &File,
    compression: Compression,
    scratch: &Path,
    limits: &Limits,
    watch: Watch<'_>,
) -> Result<File, LayerError> {
    let failed = |source| LayerError::Decompress { layer: name.to_owned(), source };
    let compressed_len = file.metadata().map_err(failed)?.len();
    let limit =
        limits.expanded_bytes.min(EXPANSION_FREE.max(compressed_len.saturating_mul(limits.expansion)));
    let consumed = std::cell::Cell::new(0);
    let source = io::BufReader::with_capacity(256 << 10, At { file, position: &consumed });
    let mut reader: Box<dyn Read + '_> = match compression {
        // Some builders concatenate members, and a plain decoder would stop after the first.
        Compression::Gzip => Box::new(flate2::bufread::MultiGzDecoder::new(source)),
        Compression::Zstd => {
            let mut decoder = zstd::stream::read::Decoder::with_buffer(source).map_err(failed)?;
            decoder.window_log_max(ZSTD_WINDOW_LOG).map_err(failed)?;
            Box::new(decoder)
        }
    };
    let mut out = tempfile::tempfile_in(scratch).map_err(failed)?;
    let mut buffer = vec![0; 256 << 10];
    let mut written = 0;
    loop {
        if watch.is_cancelled() {
            return Err(LayerError::Cancelled);
        }
        let read = reader.read(&mut buffer).map_err(failed)?;
        if read == 0 {
            break;
        }
        written += read as u64;
        if written > limit {
            return Err(LayerError::Expands { layer: name.to_owned(), limit });
        }
        out.write_all(&buffer[..read]).map_err(failed)?;
        watch.report(Stage::Decompress, consumed.get(), compressed_len);
    }
    out.seek(SeekFrom::Start(0)).map_err(failed)?;
    Ok(out)
}

/// Reads by offset, so that a descriptor shared with others keeps its own position.
struct At<'a> {
    file: &'a File,
    position: &'a std::cell::Cell<u64>,
}

impl Read for At<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.file.read_at(buffer, self.position.get())?;
        self.position.set(self.position.get() + read as u64);
        Ok(read)
    }
}
