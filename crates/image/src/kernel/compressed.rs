//! Whole files in memory that a kernel package compresses: the kernel itself and its modules.

use std::io::{self, Read};

/// The largest known kernel is a tenth of this.
const LIMIT: u64 = 512 << 20;
/// `lz4 -l`: blocks of at most this size, each after its compressed length (lib/decompress_unlz4.c).
const LZ4_LEGACY_BLOCK: usize = 8 << 20;
const LZ4_LEGACY_MAGIC: [u8; 4] = [0x02, 0x21, 0x4c, 0x18];
/// What `zstd --ultra -22` may use, which kernels are built with.
const ZSTD_WINDOW_LOG: u32 = 27;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Compression {
    Gzip,
    Xz,
    Zstd,
    Lz4Legacy,
}

impl Compression {
    pub(super) fn detect(bytes: &[u8]) -> Option<Self> {
        match bytes {
            [0x1f, 0x8b, ..] => Some(Self::Gzip),
            [0xfd, b'7', b'z', b'X', b'Z', 0, ..] => Some(Self::Xz),
            [0x28, 0xb5, 0x2f, 0xfd, ..] => Some(Self::Zstd),
            _ if bytes.starts_with(&LZ4_LEGACY_MAGIC) => Some(Self::Lz4Legacy),
            _ => None,
        }
    }

    /// The first stream of `bytes`; what follows it is ignored, because kernels append their unpacked size.
    pub(super) fn decompress(self, bytes: &[u8]) -> io::Result<Vec<u8>> {
        let reader: Box<dyn Read + '_> = match self {
            Self::Gzip => Box::new(flate2::bufread::GzDecoder::new(bytes)),
            Self::Xz => Box::new(lzma_rust2::XzReader::new(bytes, false)),
            Self::Zstd => {
                let mut decoder = zstd::stream::read::Decoder::with_buffer(bytes)?.single_frame();
                decoder.window_log_max(ZSTD_WINDOW_LOG)?;
                Box::new(decoder)
            }
            Self::Lz4Legacy => return lz4_legacy(bytes),
        };
        let mut out = Vec::new();
        reader.take(LIMIT + 1).read_to_end(&mut out)?;
        if out.len() as u64 > LIMIT { Err(too_large()) } else { Ok(out) }
    }
}

fn lz4_legacy(bytes: &[u8]) -> io::Result<Vec<u8>> {
    let mut rest = &bytes[LZ4_LEGACY_MAGIC.len()..];
    let mut out = Vec::new();
    let mut block = vec![0; LZ4_LEGACY_BLOCK];
    // Less than a length and one byte of data is what a kernel appends.
    while rest.len() > 4 {
        let (length, after) = rest.split_at(4);
        let length = u32::from_le_bytes([length[0], length[1], length[2], length[3]]) as usize;
        let (packed, after) = after
            .split_at_checked(length)
            .ok_or_else(|| io::Error::new(io::ErrorKind::UnexpectedEof, "lz4 block is cut short"))?;
        let size = lz4_flex::block::decompress_into(packed, &mut block)
            .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
        out.extend_from_slice(&block[..size]);
        if out.len() as u64 > LIMIT {
            return Err(too_large());
        }
        rest = after;
    }
    Ok(out)
}

fn too_large() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("unpacks to more than {LIMIT} bytes"))
}

#[cfg(test)]
pub(super) fn compress(compression: Compression, bytes: &[u8]) -> Vec<u8> {
    use std::io::Write as _;
    match compression {
        Compression::Gzip => {
            let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
            encoder.write_all(bytes).unwrap();
            encoder.finish().unwrap()
        }
        Compression::Xz => {
            let mut encoder =
                lzma_rust2::XzWriter::new(Vec::new(), lzma_rust2::XzOptions::with_preset(1)).unwrap();
            encoder.write_all(bytes).unwrap();
            encoder.finish().unwrap()
        }
        Compression::Zstd => zstd::encode_all(bytes, 1).unwrap(),
        Compression::Lz4Legacy => {
            let mut out = LZ4_LEGACY_MAGIC.to_vec();
            for block in bytes.chunks(LZ4_LEGACY_BLOCK) {
                let packed = lz4_flex::block::compress(block);
                out.extend(u32::try_from(packed.len()).unwrap().to_le_bytes());
                out.extend(packed);
            }
            out
        }
    }
}
