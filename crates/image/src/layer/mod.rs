//! One tar layer: where its bytes are, and the entries its headers declare.
//!
//! Reading a layer is a pass over headers only. Content stays in the file and is read when an image is written,
//! and then only for the entries that won; so flattening a hundred layers reads no byte twice.
//!
//! What an entry *means* for the tree (replacing, hiding, linking) is decided in [`crate::tree`]. Here an entry is
//! only made sane: a path of checked components, numbers in range, a kind we know.

mod blob;
mod decompress;
mod entry;
mod headers;
mod path;
mod pax;

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

use crate::{Sha256, Watch};

pub use blob::Blob;
pub(crate) use entry::{Entry, EntryKind};
pub use path::BadPath;
pub(crate) use path::TreePath;

/// How much of a layer, and of all layers together, is too much.
///
/// The defaults let every image pass that people are known to publish; they exist so that a hostile one ends in an
/// error instead of a full disk or a dead process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// Entries over all layers.
    pub entries: u64,
    /// File content over all layers, holes of sparse files not counted.
    pub content_bytes: u64,
    /// Size of one file, holes counted.
    pub file_bytes: u64,
    /// What one compressed layer may grow to.
    pub expanded_bytes: u64,
    /// How many times its compressed size a layer may grow to, once it is over 64 MiB.
    pub expansion: u64,
    /// Names, link targets and extended attributes of all layers together, which are held in memory.
    pub metadata_bytes: u64,
}

impl Default for Limits {
    fn default() -> Self {
        const GIB: u64 = 1 << 30;
        Self {
            entries: 4_000_000,
            content_bytes: 256 * GIB,
            file_bytes: 1024 * GIB,
            expanded_bytes: 256 * GIB,
            expansion: 1_000,
            metadata_bytes: GIB,
        }
    }
}

/// A layer could not be used, or must not be.
#[derive(Debug, thiserror::Error)]
pub enum LayerError {
    #[error("cannot read layer {layer}")]
    Read { layer: String, source: io::Error },
    #[error("cannot unpack layer {layer} to a scratch file")]
    Decompress { layer: String, source: io::Error },
    #[error("layer {layer} unpacks to more than {limit} bytes")]
    Expands { layer: String, limit: u64 },
    #[error("layer {layer} should have {expected} bytes and its file has {found}")]
    Length { layer: String, expected: u64, found: u64 },
    #[error("layer {layer} is damaged: it hashes to {found} and not to {expected}")]
    Digest { layer: String, expected: Sha256, found: Sha256 },
    #[error("layer {layer} is not the image's: it unpacks to what hashes to {found} and not to {expected}")]
    DiffId { layer: String, expected: Sha256, found: Sha256 },
    #[error("layer {layer} is not a tar archive at byte {offset}")]
    Malformed { layer: String, offset: u64, source: MalformedTar },
    #[error("layer {layer} ends in the middle of {path:?}")]
    Truncated { layer: String, path: String },
    #[error("refused {path:?} in layer {layer}")]
    Refused { layer: String, path: String, source: Refusal },
    #[error("cancelled")]
    Cancelled,
}

/// Why a header block could not be understood.
#[derive(Debug, thiserror::Error)]
pub enum MalformedTar {
    #[error(transparent)]
    Header(tar_core::parse::ParseError),
    #[error("extended header record is damaged")]
    Record,
    #[error("extended header has an unusable value for `{key}`")]
    Value { key: &'static str },
    #[error("header is longer than {0} bytes")]
    Endless(usize),
    #[error("ends inside a header")]
    Ends,
}

/// Why a well-formed entry is not let into the tree.
#[derive(Debug, thiserror::Error)]
pub enum Refusal {
    #[error(transparent)]
    Path(BadPath),
    #[error("its parent {parent:?} is not a directory")]
    BelowNonDirectory { parent: String },
    #[error("it is the root and not a directory")]
    RootNotDirectory,
    #[error("it is a hard link to {target:?}, which is not in the tree")]
    LinkTargetMissing { target: String },
    #[error("it is a hard link to the directory {target:?}")]
    LinkToDirectory { target: String },
    #[error("its link target cannot be represented")]
    LinkTarget { source: BadPath },
    #[error("it is a link without a target")]
    NoLinkTarget,
    #[error("device numbers {major}:{minor} are out of range")]
    Device { major: u32, minor: u32 },
    #[error("owner {id} is out of range")]
    Owner { id: u64 },
    #[error("entries of type {0:?} are not supported")]
    UnknownType(char),
    #[error("its map of holes is damaged")]
    SparseMap,
    #[error("its extended attributes are larger than a file system block")]
    AttributesTooLarge,
    #[error("the value of {0:?} is not an access control list")]
    AccessControlList(String),
    #[error("it is larger than {limit} bytes")]
    FileTooLarge { limit: u64 },
    #[error("all layers together have more than {limit} entries")]
    TooManyEntries { limit: u64 },
    #[error("all layers together have more than {limit} bytes of content")]
    TooMuchContent { limit: u64 },
    #[error("all layers together have more than {limit} bytes of names and attributes")]
    TooMuchMetadata { limit: u64 },
}

/// An opened layer, uncompressed and seekable.
#[derive(Debug)]
pub struct Layer {
    name: String,
    file: File,
    /// Where in the file it begins.
    start: u64,
    len: u64,
}

impl Layer {
    /// A whole file; see [`Layer::of_blob`].
    pub fn open(
        name: &str,
        file: &File,
        scratch: &Path,
        limits: &Limits,
        watch: Watch<'_>,
    ) -> Result<Self, LayerError> {
        let length = file.metadata().map(|about| about.len());
        let length = length.map_err(|source| LayerError::Read { layer: name.to_owned(), source })?;
        Self::of_blob(&Blob::new(name, file, 0, length), scratch, limits, watch)
    }

    /// Takes a tar as it is, or unpacks gzip or zstd into an unnamed file in `scratch`. One that is not what its
    /// digests say is refused.
    pub fn of_blob(
        blob: &Blob<'_>,
        scratch: &Path,
        limits: &Limits,
        watch: Watch<'_>,
    ) -> Result<Self, LayerError> {
        let name = blob.name.to_owned();
        let read_error = |source| LayerError::Read { layer: blob.name.to_owned(), source };
        blob.check_length()?;
        match decompress::Compression::detect(blob).map_err(read_error)? {
            None => {
                blob.check_in_place(watch)?;
                let file = blob.file.try_clone().map_err(read_error)?;
                Ok(Self { name, file, start: blob.offset, len: blob.length })
            }
            Some(compression) => {
                let file = decompress::to_scratch(blob, compression, scratch, limits, watch)?;
                let len = file.metadata().map_err(read_error)?.len();
                Ok(Self { name, file, start: 0, len })
            }
        }
    }

    pub fn name(&self) -> &str {
        &self.name
    }

    /// Uncompressed size of the archive.
    pub fn len(&self) -> u64 {
        self.len
    }

    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    pub(crate) fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        self.file.read_exact_at(buffer, self.start + offset)
    }

    /// As read(2) does; nothing at the layer's end, even where its file goes on.
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        let left = usize::try_from(self.len.saturating_sub(offset)).unwrap_or(usize::MAX);
        let length = buffer.len().min(left);
        self.file.read_at(&mut buffer[..length], self.start + offset)
    }

    /// Every entry in archive order. `budget` is shared by all layers of an image.
    pub(crate) fn entries(
        &self,
        index: usize,
        budget: &mut Budget,
        watch: Watch<'_>,
        done_before: u64,
        total: u64,
    ) -> Result<Vec<Entry>, LayerError> {
        let mut headers = headers::Headers::new(self);
        let mut entries = Vec::new();
        while let Some(entry) = headers.next_entry(index, budget)? {
            if watch.is_cancelled() {
                return Err(LayerError::Cancelled);
            }
            entries.push(entry);
            if entries.len() % 1024 == 0 {
                watch.report(crate::Stage::Index, done_before + headers.position(), total);
            }
        }
        Ok(entries)
    }
}

/// What is left of [`Limits`].
#[derive(Debug)]
pub(crate) struct Budget {
    limits: Limits,
    entries: u64,
    content: u64,
    metadata: u64,
}

impl Budget {
    pub(crate) fn new(limits: &Limits) -> Self {
        Self { limits: limits.clone(), entries: 0, content: 0, metadata: 0 }
    }

    fn spend(&mut self, size: u64, content: u64, metadata: usize) -> Result<(), Refusal> {
        let limits = &self.limits;
        self.entries += 1;
        self.content = self.content.saturating_add(content);
        self.metadata = self.metadata.saturating_add(metadata as u64);
        if size > limits.file_bytes {
            return Err(Refusal::FileTooLarge { limit: limits.file_bytes });
        }
        if self.entries > limits.entries {
            return Err(Refusal::TooManyEntries { limit: limits.entries });
        }
        if self.content > limits.content_bytes {
            return Err(Refusal::TooMuchContent { limit: limits.content_bytes });
        }
        if self.metadata > limits.metadata_bytes {
            return Err(Refusal::TooMuchMetadata { limit: limits.metadata_bytes });
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
