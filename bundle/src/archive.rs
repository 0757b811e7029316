//! The archive: compressed, sparse files as such, nothing in it that depends on when or by whom it was made.

use anyhow::{Context as _, Result};
use rustix::fs::{SeekFrom, seek};
use rustix::io::Errno;
use serde_json::Value;
use sha2::{Digest as _, Sha256};
use std::fs::File;
use std::io::{self, Read, Seek as _, Write};
use std::path::{Path, PathBuf};

const LEVEL: i32 = 10;
const BLOCK: usize = 512;

/// What a catalog says about an archive.
#[derive(Debug)]
pub(crate) struct Written {
    pub sha256: String,
    pub size: u64,
}

/// Counts and hashes what passes.
struct Hashing<W> {
    inner: W,
    hasher: Sha256,
    size: u64,
}

impl<W: Write> Write for Hashing<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.inner.write(bytes)?;
        self.hasher.update(&bytes[..written]);
        self.size += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

/// Writes the manifest, then the files under their names.
pub(crate) fn write(to: &Path, manifest: &Value, files: &[(&str, PathBuf)]) -> Result<Written> {
    let out = File::create(to).with_context(|| format!("making {}", to.display()))?;
    let out = Hashing { inner: out, hasher: Sha256::new(), size: 0 };
    let out = zstd::Encoder::new(out, LEVEL).context("starting the compression")?;
    let mut archive = tar::Builder::new(out);
    let text = serde_json::to_vec_pretty(manifest).context("writing the manifest")?;
    archive.append_data(&mut header(text.len() as u64), "manifest.json", text.as_slice())?;
    for (name, path) in files {
        append(&mut archive, name, path).with_context(|| format!("bundling {}", path.display()))?;
    }
    let out = archive.into_inner().and_then(zstd::Encoder::finish).context("finishing the archive")?;
    out.inner.sync_all().context("writing the archive")?;
    Ok(Written { sha256: hex::encode(out.hasher.finalize()), size: out.size })
}

fn header(size: u64) -> tar::Header {
    let mut header = tar::Header::new_ustar();
    header.set_entry_type(tar::EntryType::Regular);
    header.set_mode(0o644);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(0);
    header.set_size(size);
    header
}

/// A file with its holes left out: PAX's sparse format 1.0 (GNU tar's manual, "Storing Sparse Files").
fn append<W: Write>(archive: &mut tar::Builder<W>, name: &str, path: &Path) -> Result<()> {
    let file = File::open(path)?;
    let size = file.metadata()?.len();
    let regions = regions(&file, size)?;
    let mut map = format!("{}\n", regions.len());
    for (at, length) in &regions {
        map.push_str(&format!("{at}\n{length}\n"));
    }
    let mut map = map.into_bytes();
    map.resize(map.len().next_multiple_of(BLOCK), 0);
    let stored = map.len() as u64 + regions.iter().map(|(_, length)| length).sum::<u64>();
    let real = size.to_string();
    archive.append_pax_extensions([
        ("GNU.sparse.major", b"1".as_slice()),
        ("GNU.sparse.minor", b"0"),
        ("GNU.sparse.name", name.as_bytes()),
        ("GNU.sparse.realsize", real.as_bytes()),
    ])?;
    let data = io::Cursor::new(map).chain(Regions { file: &file, left: regions.into(), position: 0 });
    archive.append_data(&mut header(stored), format!("GNUSparseFile.0/{name}"), data)?;
    Ok(())
}

/// Where a file has data: start and length.
fn regions(file: &File, size: u64) -> Result<Vec<(u64, u64)>> {
    let mut regions = Vec::new();
    let mut at = 0;
    while at < size {
        let start = match seek(file, SeekFrom::Data(at)) {
            Ok(start) => start,
            Err(Errno::NXIO) => break,
            Err(errno) => return Err(errno.into()),
        };
        let end = seek(file, SeekFrom::Hole(start))?.min(size);
        regions.push((start, end - start));
        at = end;
    }
    Ok(regions)
}

/// The bytes of all regions, one after the other.
struct Regions<'a> {
    file: &'a File,
    left: std::collections::VecDeque<(u64, u64)>,
    /// In the first that is left.
    position: u64,
}

impl Read for Regions<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while let Some(&(start, length)) = self.left.front() {
            if self.position == length {
                self.left.pop_front();
                self.position = 0;
                continue;
            }
            let mut file = self.file;
            file.seek(io::SeekFrom::Start(start + self.position))?;
            let left = usize::try_from(length - self.position).unwrap_or(usize::MAX).min(buffer.len());
            let read = file.read(&mut buffer[..left])?;
            if read == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            self.position += read as u64;
            return Ok(read);
        }
        Ok(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use banger_image::Watch;
    use banger_image::bundle::unpack;
    use banger_image::layer::Blob;
    use std::os::unix::fs::{FileExt as _, MetadataExt as _};

    #[test]
    fn what_is_bundled_comes_out_the_same_holes_included_and_twice_is_the_same_archive() {
        let folder = tempfile::tempdir().unwrap();
        let sparse = folder.path().join("sparse");
        let file = File::create(&sparse).unwrap();
        file.set_len(64 << 20).unwrap();
        file.write_all_at(b"start", 0).unwrap();
        file.write_all_at(b"middle", 32 << 20).unwrap();
        std::fs::write(folder.path().join("plain"), "text").unwrap();
        let files = [("a", sparse.clone()), ("b", folder.path().join("plain"))];
        let to = folder.path().join("x.tar.zst");
        let first = write(&to, &serde_json::json!({"kind": "image"}), &files).unwrap();
        let second = write(&to, &serde_json::json!({"kind": "image"}), &files).unwrap();
        assert_eq!((&first.sha256, first.size), (&second.sha256, second.size));

        let out = tempfile::tempdir().unwrap();
        let archive = File::open(&to).unwrap();
        let blob = Blob::new("bundle", &archive, 0, first.size);
        let manifest = unpack(&blob, &["a", "b"], out.path(), Watch::none()).unwrap();
        assert_eq!(serde_json::from_slice::<Value>(&manifest).unwrap()["kind"], "image");
        assert!(std::fs::read(out.path().join("a")).unwrap() == std::fs::read(&sparse).unwrap());
        assert_eq!(std::fs::read(out.path().join("b")).unwrap(), b"text");
        let about = std::fs::metadata(out.path().join("a")).unwrap();
        assert!(about.blocks() * 512 < 1 << 20, "{} bytes on disk", about.blocks() * 512);
    }
}
