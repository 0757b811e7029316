//! Bundles: finished files of an image or a kernel, with a manifest, in one compressed archive.
//!
//! An archive holds exactly what its kind has, as regular files in its root, and is refused otherwise; holes of sparse
//! files stay holes. Nothing is looked at before the archive has the digest that was promised.

use crate::layer::{Blob, Layer, LayerError, Limits};
use crate::output::Outputs;
use crate::tree::{Content, Kind, Tree};
use crate::{Stage, Watch};
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

/// The file beside the others that says what they are.
pub const MANIFEST: &str = "manifest.json";

const MOST_MANIFEST: u64 = 1 << 20;
const CHUNK: usize = 256 << 10;

/// A bundle that was not unpacked; nothing is left of it.
#[derive(Debug, thiserror::Error)]
pub enum BundleError {
    #[error("cannot use the bundle's archive")]
    Archive { source: LayerError },
    #[error("the bundle has no {0}")]
    Missing(String),
    #[error("the bundle has {0:?}, which does not belong in it")]
    Unexpected(String),
    #[error("{0} of the bundle is not a regular file")]
    NotAFile(String),
    #[error("the bundle's manifest is longer than {MOST_MANIFEST} bytes")]
    LongManifest,
    #[error("{file} of the bundle cannot be written")]
    Write { file: String, source: io::Error },
    #[error("cancelled")]
    Cancelled,
}

/// Writes the `files` of a bundle into `out_dir` and returns its manifest. None of them may exist before, and none does
/// after an error.
pub fn unpack(
    blob: &Blob<'_>,
    files: &[&str],
    out_dir: &Path,
    watch: Watch<'_>,
) -> Result<Vec<u8>, BundleError> {
    let limits = Limits::default();
    let archive_error = |source| match source {
        LayerError::Cancelled => BundleError::Cancelled,
        source => BundleError::Archive { source },
    };
    let layers = [Layer::of_blob(blob, out_dir, &limits, watch).map_err(archive_error)?];
    let tree = Tree::from_layers(&layers, &limits, watch).map_err(archive_error)?;
    let root = tree.node(Tree::ROOT).directory().expect("a tree's root is a directory");
    if let Some((name, _)) = root.iter().find(|(name, _)| *name != MANIFEST && !files.contains(name)) {
        return Err(BundleError::Unexpected(name.to_owned()));
    }
    let content = |name: &str| -> Result<&Content, BundleError> {
        let node = root.get(name).ok_or_else(|| BundleError::Missing(name.to_owned()))?;
        match &tree.node(node).kind {
            Kind::File(content) => Ok(content),
            _ => Err(BundleError::NotAFile(name.to_owned())),
        }
    };
    let manifest = content(MANIFEST)?;
    if manifest.size() > MOST_MANIFEST {
        return Err(BundleError::LongManifest);
    }
    let write_error = |file: &str, source| BundleError::Write { file: file.to_owned(), source };
    let manifest = manifest.read(&layers).map_err(|source| write_error(MANIFEST, source))?;
    let contents = files.iter().map(|&file| Ok((file, content(file)?))).collect::<Result<Vec<_>, _>>()?;
    let total = contents.iter().map(|(_, content)| content.stored()).sum();
    let mut outputs = Outputs::new(out_dir);
    let mut done = 0;
    for (file, content) in contents {
        let out = outputs.create(file).map_err(|source| write_error(file, source))?;
        let mut report = |bytes| {
            done += bytes;
            watch.report(Stage::Write, done, total);
            !watch.is_cancelled()
        };
        if !write(content, &layers[0], &out, &mut report).map_err(|source| write_error(file, source))? {
            return Err(BundleError::Cancelled);
        }
    }
    outputs.keep();
    Ok(manifest)
}

/// Writes what is no hole; false when `go_on` said so.
fn write(
    content: &Content,
    layer: &Layer,
    out: &File,
    go_on: &mut impl FnMut(u64) -> bool,
) -> io::Result<bool> {
    out.set_len(content.size())?;
    let mut buffer = vec![0; CHUNK];
    for segment in content.segments() {
        let mut at = 0;
        while at < segment.len {
            let length = usize::try_from(segment.len - at).map_or(CHUNK, |left| left.min(CHUNK));
            layer.read_exact_at(&mut buffer[..length], segment.offset + at)?;
            out.write_all_at(&buffer[..length], segment.at + at)?;
            at += length as u64;
            if !go_on(length as u64) {
                return Ok(false);
            }
        }
    }
    Ok(true)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Sha256;
    use crate::testing::Archive;

    const FILES: [&str; 2] = ["a", "b"];

    fn whole() -> Archive {
        Archive::new().file("a", b"first").file("b", b"second").file("manifest.json", b"{}")
    }

    fn unpacked(
        archive: Archive,
        digest: Option<Sha256>,
    ) -> (tempfile::TempDir, Result<Vec<u8>, BundleError>) {
        let folder = tempfile::tempdir().unwrap();
        let bytes = zstd::encode_all(archive.bytes().as_slice(), 3).unwrap();
        let file = tempfile::tempfile().unwrap();
        file.write_all_at(&bytes, 0).unwrap();
        let blob = Blob { digest, ..Blob::new("bundle", &file, 0, bytes.len() as u64) };
        let outcome = unpack(&blob, &FILES, folder.path(), Watch::none());
        (folder, outcome)
    }

    #[test]
    fn the_files_of_a_bundle_come_out_as_they_went_in() {
        let (folder, manifest) = unpacked(whole(), None);
        assert_eq!(manifest.unwrap(), b"{}");
        assert_eq!(std::fs::read(folder.path().join("a")).unwrap(), b"first");
        assert_eq!(std::fs::read(folder.path().join("b")).unwrap(), b"second");
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 2);
    }

    #[test]
    fn what_is_not_exactly_a_bundle_is_refused_and_leaves_nothing() {
        let without = |name: &str| {
            let files = [("a", "1"), ("b", "2"), ("manifest.json", "{}")];
            files
                .iter()
                .filter(|(file, _)| *file != name)
                .fold(Archive::new(), |archive, (file, text)| archive.file(file, text.as_bytes()))
        };
        let long = vec![b' '; usize::try_from(MOST_MANIFEST).unwrap() + 1];
        for (archive, reason) in [
            (without("a"), "the bundle has no a"),
            (without("manifest.json"), "the bundle has no manifest.json"),
            (whole().file("c", b""), "has \"c\", which does not belong in it"),
            (whole().file("etc/passwd", b""), "has \"etc\", which does not belong in it"),
            (
                without("a").raw(tar::EntryType::Symlink, b"a", b"/etc/passwd", 0o777, b""),
                "a of the bundle is not a regular file",
            ),
            (whole().file("../a", b""), "cannot use the bundle's archive"),
            (without("manifest.json").file("manifest.json", &long), "manifest is longer"),
        ] {
            let (folder, outcome) = unpacked(archive, None);
            let error = outcome.unwrap_err().to_string();
            assert!(error.contains(reason), "{error}");
            assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0, "{reason}");
        }
        let (folder, outcome) = unpacked(whole(), Some(Sha256([7; 32])));
        assert!(matches!(outcome, Err(BundleError::Archive { source: LayerError::Digest { .. } })));
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
    }
}
