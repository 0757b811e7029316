//! Writes a tree as an ext4 file system, in one pass over a sparse file.
//!
//! This is the only module that knows which library does it: [`Ext4Writer`] is the seam. What it promises:
//! - the same tree, layers and options give the same bytes, on any machine;
//! - no privilege is needed, because owners and devices are only bytes in an inode;
//! - room costs nothing: free space, the journal and runs of zeros are holes of the file, so that an image can be
//!   made as large as anybody will want it and never has to grow;
//! - access control lists are stored in the form the kernel reads back ([`crate::tree::Attribute`]).

mod content;
mod declare;
mod sink;

use std::collections::HashSet;
use std::fs::File;
use std::io;

use mkext4::{FsBuilder, InodeCount};

use crate::layer::Layer;
use crate::tree::{Kind, NodeId, Tree};
use crate::{Sha256, Watch};

/// ext4 with 4 KiB blocks.
const BLOCK: u64 = 4096;
/// mke2fs's default: one inode for this many bytes.
const BYTES_PER_INODE: u64 = 16_384;
/// The least left over for new files, in an image that is nearly full.
const SPARE_INODES: u64 = 4_096;

/// What the file system is like, apart from its files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Options {
    /// Bytes; a multiple of 4096.
    pub size: u64,
    /// At most 16 bytes.
    pub label: Option<String>,
    /// None: derived from what is in the tree.
    pub uuid: Option<[u8; 16]>,
    pub inodes: Inodes,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Inodes {
    /// Enough to go on creating files.
    Growing,
    /// Only what is there, for a file system nobody writes to.
    ReadOnly,
}

/// What was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Written {
    /// Over everything a program in the guest can see: names, metadata and content. Size and label are not in it.
    pub digest: Sha256,
    /// Names, the root not counted.
    pub entries: u64,
    /// Content of all files.
    pub content_bytes: u64,
}

/// The file system could not be written.
#[derive(Debug, thiserror::Error)]
pub enum WriteError {
    #[error("cannot put {path:?} into the file system")]
    Declare { path: String, source: mkext4::Error },
    #[error("{bytes} bytes in {entries} files do not fit into a file system of {size} bytes")]
    DoesNotFit { bytes: u64, entries: u64, size: u64, source: mkext4::Error },
    #[error("cannot make a file system of {size} bytes")]
    Geometry { size: u64, source: mkext4::Error },
    #[error("cannot write the content of {path:?}")]
    Content { path: String, source: mkext4::Error },
    #[error("cannot write the file system")]
    Write { source: io::Error },
    #[error("cancelled")]
    Cancelled,
}

/// Writes one file system.
#[derive(Debug)]
pub struct Ext4Writer<'a> {
    tree: &'a Tree,
    layers: &'a [Layer],
    root: NodeId,
}

impl<'a> Ext4Writer<'a> {
    /// `layers` are those the tree was made from. `root` becomes the root of the file system.
    pub fn new(tree: &'a Tree, layers: &'a [Layer], root: NodeId) -> Self {
        Self { tree, layers, root }
    }

    /// Writes to an empty file and leaves it with the size of the file system. On an error its content is undefined.
    pub fn write(&self, file: &File, options: &Options, watch: Watch<'_>) -> Result<Written, WriteError> {
        let listing = declare::list(self.tree, self.root);
        let uuid = options.uuid.unwrap_or_else(|| listing.digest.first_half());
        let mut builder = FsBuilder::new(mkext4_options(options, uuid, listing.entries))
            .map_err(|source| WriteError::Geometry { size: options.size, source })?;
        let files = declare::declare(self.tree, self.root, &mut builder)?;
        let stored = files.iter().map(|file| file.plan.stored()).sum();
        let layout = builder.seal().map_err(|source| WriteError::DoesNotFit {
            bytes: stored,
            entries: listing.entries,
            size: options.size,
            source,
        })?;
        let write_error = |source| WriteError::Write { source: io::Error::other(source) };
        file.set_len(options.size).map_err(|source| WriteError::Write { source })?;
        let mut writer = layout.writer(sink::SparseFile::new(file)).map_err(write_error)?;
        let mut reader = content::Reader::new(self.layers, watch, stored, &listing.digest);
        for declared in &files {
            writer.fill(declared.handle, &mut reader.of(&declared.plan)).map_err(|source| {
                if watch.is_cancelled() {
                    return WriteError::Cancelled;
                }
                let path = self.tree.path_to(self.root, declared.node).unwrap_or_default();
                WriteError::Content { path, source }
            })?;
        }
        writer.finish().map_err(write_error)?;
        if watch.is_cancelled() {
            return Err(WriteError::Cancelled);
        }
        Ok(Written { digest: reader.digest(), entries: listing.entries, content_bytes: stored })
    }
}

fn mkext4_options(options: &Options, uuid: [u8; 16], entries: u64) -> mkext4::Options {
    let wanted = match options.inodes {
        Inodes::Growing => (options.size / BYTES_PER_INODE).max(entries + entries / 4 + SPARE_INODES),
        Inodes::ReadOnly => entries + 16,
    };
    // The epoch only dates the superblock and lost+found: any constant does, and this one is never in the future.
    let mut wished = mkext4::Options::new(options.size, uuid, 0);
    wished.inodes = InodeCount::Exact(u32::try_from(wanted).unwrap_or(u32::MAX));
    wished.label.clone_from(&options.label);
    // Room kept back for root helps nobody where everybody is root.
    wished.reserved_percent = 0;
    if options.inodes == Inodes::ReadOnly {
        wished.journal_blocks = Some(1024);
    }
    wished
}

/// The smallest sensible size for a file system that is only read: content, names and the library's own needs.
pub(crate) fn read_only_size(tree: &Tree, root: NodeId) -> u64 {
    let mut seen = HashSet::new();
    let mut bytes = 0;
    let mut entries = 0u64;
    for step in tree.walk(root) {
        entries += 1;
        if let Kind::File(content) = &tree.node(step.node).kind
            && seen.insert(step.node)
        {
            bytes += content.stored().next_multiple_of(BLOCK);
        }
    }
    // An inode each, a directory block now and then, one bitmap pair per group, and the journal.
    let metadata = entries * (256 + 128) + bytes / 256;
    (bytes + metadata + (16 << 20)).next_multiple_of(1 << 20)
}

#[cfg(test)]
mod tests;
