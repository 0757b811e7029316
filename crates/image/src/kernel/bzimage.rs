//! Takes the ELF kernel out of a bzImage.
//!
//! Firecracker boots nothing else, and QEMU starts it faster. The real-mode header says where the compressed
//! kernel is (Documentation/arch/x86/boot.rst, "payload_offset", since protocol 2.08).

use std::io;

use super::compressed::Compression;

const SETUP_SECTORS: usize = 0x1f1;
const MAGIC: usize = 0x202;
const PROTOCOL: usize = 0x206;
const PAYLOAD_OFFSET: usize = 0x248;
const PAYLOAD_LENGTH: usize = 0x24c;
const SECTOR: usize = 512;
const FIRST_PROTOCOL_WITH_PAYLOAD: u16 = 0x0208;

#[derive(Debug, thiserror::Error)]
pub enum ExtractError {
    #[error("neither an ELF file nor a bzImage")]
    UnknownFormat,
    #[error("its boot protocol {0:#06x} is too old to say where the kernel is")]
    TooOld(u16),
    #[error("it is cut short")]
    Truncated,
    #[error("its kernel is compressed in a way that is not supported (it starts with {0:02x?})")]
    UnknownCompression(Vec<u8>),
    #[error("cannot unpack its kernel")]
    Decompress { source: io::Error },
    #[error("what it contains is not an ELF kernel")]
    NotElf,
}

/// The ELF image in `bytes`, which may be one already.
pub fn extract_vmlinux(bytes: &[u8]) -> Result<Vec<u8>, ExtractError> {
    if bytes.starts_with(super::elf::MAGIC) {
        return Ok(bytes.to_vec());
    }
    if bytes.get(MAGIC..MAGIC + 4) != Some(b"HdrS") {
        return Err(ExtractError::UnknownFormat);
    }
    let protocol = u16::from_le_bytes(array(bytes, PROTOCOL)?);
    if protocol < FIRST_PROTOCOL_WITH_PAYLOAD {
        return Err(ExtractError::TooOld(protocol));
    }
    // Zero means four, for the sake of very old kernels.
    let setup_sectors = match bytes[SETUP_SECTORS] {
        0 => 4,
        sectors => usize::from(sectors),
    };
    let offset = u32::from_le_bytes(array(bytes, PAYLOAD_OFFSET)?) as usize;
    let length = u32::from_le_bytes(array(bytes, PAYLOAD_LENGTH)?) as usize;
    let start = (setup_sectors + 1) * SECTOR + offset;
    let payload = bytes.get(start..start + length).ok_or(ExtractError::Truncated)?;
    let compression = Compression::detect(payload)
        .ok_or_else(|| ExtractError::UnknownCompression(payload.iter().take(6).copied().collect()))?;
    let kernel = compression.decompress(payload).map_err(|source| ExtractError::Decompress { source })?;
    if !kernel.starts_with(super::elf::MAGIC) {
        return Err(ExtractError::NotElf);
    }
    Ok(kernel)
}

fn array<const N: usize>(bytes: &[u8], at: usize) -> Result<[u8; N], ExtractError> {
    bytes.get(at..).and_then(|rest| rest.first_chunk()).copied().ok_or(ExtractError::Truncated)
}

/// A bzImage around a payload, for tests of this and of the import.
#[cfg(test)]
pub(super) fn wrap(payload: &[u8]) -> Vec<u8> {
    let mut image = vec![0; 3 * SECTOR];
    image[SETUP_SECTORS] = 2;
    image[MAGIC..MAGIC + 4].copy_from_slice(b"HdrS");
    image[PROTOCOL..PROTOCOL + 2].copy_from_slice(&0x020f_u16.to_le_bytes());
    image[PAYLOAD_OFFSET..PAYLOAD_OFFSET + 4].copy_from_slice(&100u32.to_le_bytes());
    let length = u32::try_from(payload.len()).unwrap();
    image[PAYLOAD_LENGTH..PAYLOAD_LENGTH + 4].copy_from_slice(&length.to_le_bytes());
    image.extend([0xcc; 100]);
    image.extend(payload);
    image.extend([0xcc; 77]);
    image
}

#[cfg(test)]
mod tests {
    use super::super::compressed::compress;
    use super::*;

    fn kernel() -> Vec<u8> {
        let mut kernel = b"\x7fELF\x02\x01\x01".to_vec();
        kernel.extend((0..9_000_000u32).map(|i| (i / 1000).to_le_bytes()[0]));
        kernel
    }

    #[test]
    fn every_compression_a_kernel_is_built_with_is_understood() {
        let kernel = kernel();
        for compression in [Compression::Gzip, Compression::Xz, Compression::Zstd, Compression::Lz4Legacy] {
            let mut payload = compress(compression, &kernel);
            // The kernel's build appends the unpacked size.
            payload.extend(u32::try_from(kernel.len()).unwrap().to_le_bytes());
            assert!(extract_vmlinux(&wrap(&payload)).unwrap() == kernel, "{compression:?}");
        }
    }

    #[test]
    fn an_elf_kernel_is_taken_as_it_is() {
        assert_eq!(extract_vmlinux(b"\x7fELFrest").unwrap(), b"\x7fELFrest");
    }

    #[test]
    fn what_is_no_kernel_is_an_error_that_says_why() {
        let good = wrap(&compress(Compression::Gzip, b"\x7fELF"));
        let mut old = good.clone();
        old[PROTOCOL] = 7;
        let bzip2 = wrap(b"BZh91AY&SY");
        let not_elf = wrap(&compress(Compression::Gzip, b"#!/bin/sh"));
        let cases = [
            (b"".to_vec(), "neither"),
            (vec![0; 10_000], "neither"),
            (old, "0x0207"),
            (good[..good.len() - 100].to_vec(), "cut short"),
            (good[..0x249].to_vec(), "cut short"),
            (bzip2, "[42, 5a, 68"),
            (not_elf, "not an ELF"),
            (wrap(&[0x1f, 0x8b, 0, 0]), "cannot unpack"),
            (wrap(&[0x02, 0x21, 0x4c, 0x18, 0xff, 0xff, 0xff, 0xff, 1]), "cannot unpack"),
        ];
        for (bytes, message) in cases {
            let error = extract_vmlinux(&bytes).unwrap_err();
            assert!(error.to_string().contains(message), "{error}");
        }
    }
}
