//! Images in files: a layout in a folder, a layout in an archive, and what `docker save` writes.
//!
//! All three are blobs under names. A folder has them as files, an archive as parts of its own ([`parts`]): nothing
//! is copied out, the layers are read where they lie.

mod docker;
mod layout;
mod parts;

use crate::config::ConfigError;
use crate::manifest::ManifestError;
use crate::metadata::{self, MAX_METADATA, MetadataError};
use crate::{DiskKind, DiskReference, Image, Platform};
use banger_protocol::digest::Digest;
use parts::Parts;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

/// An image on disk cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    #[error("{path} cannot be read")]
    Read { path: String, source: io::Error },
    #[error("{path} is not an OCI image layout: it has no `oci-layout`")]
    NotALayout { path: String },
    #[error("{path} is not an image archive: it has neither `manifest.json` nor `oci-layout`")]
    NotAnArchive { path: String },
    #[error("{path} is compressed; image archives must not be compressed")]
    Compressed { path: String },
    #[error("{path} is not a tar archive")]
    BadArchive { path: String, source: io::Error },
    #[error("{path} has more than {} entries", parts::MAX_PARTS)]
    TooManyParts { path: String },
    #[error("{path} ends in the middle of {part}")]
    Truncated { path: String, part: String },
    #[error("{part} is missing")]
    Missing { part: String },
    #[error("{part} should have {expected} bytes and has {found}")]
    Length { part: String, expected: u64, found: u64 },
    #[error("it has no image named `{wanted}`; it has {there}")]
    NoName { wanted: String, there: String },
    #[error("it has {count} images, and the reference does not say which; it has {there}")]
    Ambiguous { count: usize, there: String },
    #[error(transparent)]
    Metadata(#[from] MetadataError),
    #[error(transparent)]
    Manifest(#[from] ManifestError),
    #[error(transparent)]
    Config(#[from] ConfigError),
}

impl OpenError {
    /// What its user can do about it.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Compressed { path } => Some(format!("unpack it first: `gunzip {path}` or `unzstd {path}`")),
            Self::Ambiguous { .. } | Self::Manifest(ManifestError::Ambiguous { .. }) => {
                Some("add `:TAG` to the path to choose one".to_owned())
            }
            Self::Manifest(ManifestError::NoPlatform { .. })
            | Self::Config(ConfigError::OtherPlatform { .. }) => Some(
                "use `--platform` for another one; only images for this host's platform can run".to_owned(),
            ),
            _ => None,
        }
    }
}

/// Opens the image that a reference means.
///
/// # Errors
/// With the reason, when there is none or it is not what its digests say.
pub fn open(reference: &DiskReference, platform: &Platform) -> Result<Image, OpenError> {
    let DiskReference { kind, path, tag } = reference;
    let tag = tag.as_deref();
    match kind {
        DiskKind::Layout => layout::open(&Blobs::Folder(path), tag, platform),
        DiskKind::LayoutArchive => layout::open(&Blobs::Archive(Parts::of(path)?), tag, platform),
        DiskKind::DockerArchive => docker::open(&Parts::of(path)?, tag, platform),
    }
}

/// Bytes in a file that somebody may be given.
#[derive(Debug)]
struct Region {
    file: File,
    offset: u64,
    length: u64,
}

impl Region {
    /// All of it, for what is small.
    fn read(&self, what: &str) -> Result<Vec<u8>, MetadataError> {
        if self.length > MAX_METADATA {
            return Err(MetadataError::TooLong { what: what.to_owned() });
        }
        let mut bytes = vec![0; usize::try_from(self.length).unwrap_or(0)];
        let read = self.file.read_exact_at(&mut bytes, self.offset);
        read.map_err(|source| MetadataError::Read { what: what.to_owned(), source })?;
        Ok(bytes)
    }
}

/// Where the files of a layout are.
#[derive(Debug)]
enum Blobs<'a> {
    Folder(&'a Path),
    Archive(Parts),
}

impl Blobs<'_> {
    fn shown(&self) -> String {
        match self {
            Self::Folder(path) => path.display().to_string(),
            Self::Archive(parts) => parts.shown(),
        }
    }

    /// A file of the layout; none if it is not there.
    fn get(&self, name: &str) -> Result<Option<Region>, OpenError> {
        match self {
            Self::Folder(folder) => {
                let path = folder.join(name);
                let failed = |source| OpenError::Read { path: path.display().to_string(), source };
                match std::fs::metadata(&path) {
                    // Opening a pipe would wait for somebody to write to it.
                    Ok(about) if !about.is_file() => {
                        Err(failed(io::Error::other("it is not a regular file")))
                    }
                    Ok(about) => {
                        let file = File::open(&path).map_err(failed)?;
                        Ok(Some(Region { file, offset: 0, length: about.len() }))
                    }
                    Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
                    Err(error) => Err(failed(error)),
                }
            }
            Self::Archive(parts) => parts.get(name),
        }
    }

    /// The blob of a digest, as long as it should be.
    fn blob(&self, digest: Digest, size: u64) -> Result<Region, OpenError> {
        let part = format!("blobs/sha256/{}", digest.hex());
        let found = self.get(&part)?.ok_or_else(|| OpenError::Missing { part: part.clone() })?;
        if found.length != size {
            return Err(OpenError::Length { part, expected: size, found: found.length });
        }
        Ok(found)
    }

    /// The content of a small blob, which is what its digest says.
    fn document(&self, digest: Digest, size: u64) -> Result<Vec<u8>, OpenError> {
        let what = format!("blobs/sha256/{}", digest.hex());
        let bytes = self.blob(digest, size)?.read(&what)?;
        metadata::check(&what, &bytes, digest)?;
        Ok(bytes)
    }
}

#[cfg(test)]
mod tests;
