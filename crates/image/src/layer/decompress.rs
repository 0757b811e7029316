//! Compressed layers are unpacked once to an unnamed file, because content is later read at its offset.

use std::cell::RefCell;
use std::fs::File;
use std::io::{self, BufRead, Read, Seek, SeekFrom, Write};
use std::path::Path;

use sha2::Digest as _;

use super::blob::{Blob, Hashing, Seen};
use super::{LayerError, Limits};
use crate::{Sha256, Stage, Watch};

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
    pub(super) fn detect(blob: &Blob<'_>) -> io::Result<Option<Self>> {
        let mut magic = [0; 4];
        let read = blob.read_at(&mut magic, 0)?;
        Ok(match &magic[..read] {
            [0x1f, 0x8b, ..] => Some(Self::Gzip),
            [0x28, 0xb5, 0x2f, 0xfd] => Some(Self::Zstd),
            _ => None,
        })
    }
}

pub(super) fn to_scratch(
    blob: &Blob<'_>,
    compression: Compression,
    scratch: &Path,
    limits: &Limits,
    watch: Watch<'_>,
) -> Result<File, LayerError> {
    let failed = |source| LayerError::Decompress { layer: blob.name.to_owned(), source };
    let limit = limits.expanded_bytes.min(EXPANSION_FREE.max(blob.length.saturating_mul(limits.expansion)));
    let seen = RefCell::new(Seen::default());
    let mut stored = io::BufReader::with_capacity(256 << 10, Hashing::new(blob, &seen));
    let mut reader: Box<dyn Read + '_> = match compression {
        // Some builders concatenate members, and a plain decoder would stop after the first.
        Compression::Gzip => Box::new(flate2::bufread::MultiGzDecoder::new(&mut stored)),
        Compression::Zstd => {
            let mut decoder = zstd::stream::read::Decoder::with_buffer(&mut stored).map_err(failed)?;
            decoder.window_log_max(ZSTD_WINDOW_LOG).map_err(failed)?;
            Box::new(decoder)
        }
    };
    let mut out = tempfile::tempfile_in(scratch).map_err(failed)?;
    let mut inside = blob.diff_id.map(|_| sha2::Sha256::new());
    let mut buffer = vec![0; 256 << 10];
    let mut written = 0;
    // What a decoder makes of damaged bytes says less about them than their digest does.
    let mut broken = None;
    loop {
        if watch.is_cancelled() {
            return Err(LayerError::Cancelled);
        }
        let read = match reader.read(&mut buffer) {
            Ok(read) => read,
            Err(error) => {
                broken = Some(error);
                0
            }
        };
        if read == 0 {
            break;
        }
        written += read as u64;
        if written > limit {
            return Err(LayerError::Expands { layer: blob.name.to_owned(), limit });
        }
        if let Some(inside) = &mut inside {
            inside.update(&buffer[..read]);
        }
        out.write_all(&buffer[..read]).map_err(failed)?;
        watch.report(Stage::Decompress, seen.borrow().bytes, blob.length);
    }
    drop(reader);
    drain(&mut stored).map_err(failed)?;
    drop(stored);
    if let Some(hasher) = seen.into_inner().hasher {
        blob.check_digest(Sha256::finish(hasher))?;
    }
    if let Some(error) = broken {
        return Err(failed(error));
    }
    if let Some(hasher) = inside {
        blob.check_diff_id(Sha256::finish(hasher))?;
    }
    out.seek(SeekFrom::Start(0)).map_err(failed)?;
    Ok(out)
}

/// Reads what the decoder left: it belongs to what the digest is of.
fn drain(reader: &mut impl BufRead) -> io::Result<()> {
    loop {
        let read = reader.fill_buf()?.len();
        if read == 0 {
            return Ok(());
        }
        reader.consume(read);
    }
}
