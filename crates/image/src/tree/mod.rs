//! The file tree of an image, as an index.
//!
//! Nodes live in one arena and names in directories point into it, so a hard link is simply a second name for the
//! same node. Content is described by where it is (bytes of a layer, or bytes given by the caller), never held.
//! Directories are ordered by name: the same layers give the same tree, and the same tree the same image.
//!
//! [`Tree::from_layers`] flattens; [`edit`] holds what a builder changes afterwards.

mod apply;
mod attribute;
pub mod edit;
mod walk;

use std::collections::BTreeMap;

pub use attribute::Attribute;
pub use walk::{Step, Walk};

use crate::layer::{Budget, Layer, LayerError, Limits};
use crate::{Stage, Watch};

/// More than any kernel; a sparse file can claim terabytes at no cost.
const MAX_IN_MEMORY: u64 = 512 << 20;

/// Names a node of one [`Tree`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct NodeId(u32);

/// A whole file tree; it always has a root directory.
#[derive(Debug)]
pub struct Tree {
    nodes: Vec<Node>,
}

/// A file of any kind, without a name.
#[derive(Debug)]
pub struct Node {
    pub meta: Meta,
    pub kind: Kind,
}

#[derive(Debug)]
pub enum Kind {
    Directory(Directory),
    File(Content),
    /// The target is data and is never followed while building.
    Symlink(Box<str>),
    CharDevice {
        major: u32,
        minor: u32,
    },
    BlockDevice {
        major: u32,
        minor: u32,
    },
    Fifo,
}

/// Names and what they point to.
#[derive(Debug, Default)]
pub struct Directory {
    entries: BTreeMap<Box<str>, NodeId>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Meta {
    /// Permission bits with setuid, setgid and sticky.
    pub mode: u16,
    pub uid: u32,
    pub gid: u32,
    pub mtime: Mtime,
    pub attributes: Box<[Attribute]>,
}

/// A time since 1970; nanoseconds count forward also before it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Mtime {
    pub seconds: i64,
    pub nanos: u32,
}

/// Where the bytes of a file are.
#[derive(Debug)]
pub struct Content {
    size: u64,
    source: Source,
}

#[derive(Debug)]
pub enum Source {
    /// Regions that are not holes, ascending.
    Layer {
        layer: usize,
        segments: Vec<Segment>,
    },
    Bytes(Box<[u8]>),
}

/// `len` bytes of the file from `at`, found at `offset` in the layer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Segment {
    pub at: u64,
    pub offset: u64,
    pub len: u64,
}

impl Content {
    pub(crate) fn in_layer(layer: usize, size: u64, segments: Vec<Segment>) -> Self {
        Self { size, source: Source::Layer { layer, segments } }
    }

    pub(crate) fn bytes(bytes: impl Into<Box<[u8]>>) -> Self {
        let bytes = bytes.into();
        Self { size: bytes.len() as u64, source: Source::Bytes(bytes) }
    }

    /// Length of the file, holes included.
    pub fn size(&self) -> u64 {
        self.size
    }

    pub fn source(&self) -> &Source {
        &self.source
    }

    pub(crate) fn segments(&self) -> &[Segment] {
        match &self.source {
            Source::Layer { segments, .. } => segments,
            Source::Bytes(_) => &[],
        }
    }

    /// Bytes that have to be written.
    pub fn stored(&self) -> u64 {
        match &self.source {
            Source::Layer { segments, .. } => segments.iter().map(|segment| segment.len).sum(),
            Source::Bytes(bytes) => bytes.len() as u64,
        }
    }

    /// The whole content of a file that has no business being large, such as a kernel module.
    pub(crate) fn read(&self, layers: &[Layer]) -> std::io::Result<Vec<u8>> {
        if self.size > MAX_IN_MEMORY {
            return Err(std::io::Error::other(format!("it is larger than {MAX_IN_MEMORY} bytes")));
        }
        match &self.source {
            Source::Bytes(bytes) => Ok(bytes.to_vec()),
            Source::Layer { layer, segments } => {
                let size = usize::try_from(self.size).map_err(std::io::Error::other)?;
                let mut content = vec![0; size];
                for segment in segments {
                    // In range: the layer refused a segment that ends behind its file's size.
                    let at = usize::try_from(segment.at).map_err(std::io::Error::other)?;
                    let len = usize::try_from(segment.len).map_err(std::io::Error::other)?;
                    layers[*layer].read_exact_at(&mut content[at..at + len], segment.offset)?;
                }
                Ok(content)
            }
        }
    }
}

impl Meta {
    /// Owned by root, from 1970.
    pub fn root_owned(mode: u16) -> Self {
        Self { mode, uid: 0, gid: 0, mtime: Mtime::default(), attributes: Box::default() }
    }
}

impl Node {
    pub fn directory(&self) -> Option<&Directory> {
        match &self.kind {
            Kind::Directory(directory) => Some(directory),
            _ => None,
        }
    }
}

impl Directory {
    pub fn get(&self, name: &str) -> Option<NodeId> {
        self.entries.get(name).copied()
    }

    /// In the order of their bytes.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = (&str, NodeId)> {
        self.entries.iter().map(|(name, node)| (&**name, *node))
    }

    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }
}

impl Tree {
    pub const ROOT: NodeId = NodeId(0);

    /// An empty root directory.
    pub fn empty() -> Self {
        Self {
            nodes: vec![Node { meta: Meta::root_owned(0o755), kind: Kind::Directory(Directory::default()) }],
        }
    }

    /// Flattens layers, lowest first.
    pub fn from_layers(layers: &[Layer], limits: &Limits, watch: Watch<'_>) -> Result<Self, LayerError> {
        let total = layers.iter().map(Layer::len).sum();
        let mut budget = Budget::new(limits);
        let mut tree = Self::empty();
        let mut done = 0;
        for (index, layer) in layers.iter().enumerate() {
            let entries = layer.entries(index, &mut budget, watch, done, total)?;
            apply::layer(&mut tree, layer.name(), entries)?;
            done += layer.len();
            watch.report(Stage::Index, done, total);
        }
        Ok(tree)
    }

    pub fn node(&self, id: NodeId) -> &Node {
        &self.nodes[id.0 as usize]
    }

    pub(crate) fn node_mut(&mut self, id: NodeId) -> &mut Node {
        &mut self.nodes[id.0 as usize]
    }

    fn add(&mut self, meta: Meta, kind: Kind) -> NodeId {
        let id = u32::try_from(self.nodes.len()).expect("limits keep trees far below 2^32 nodes");
        self.nodes.push(Node { meta, kind });
        NodeId(id)
    }

    /// The node at exactly this path; symlinks on the way are not followed.
    pub fn get(&self, path: &str) -> Option<NodeId> {
        path.split('/')
            .filter(|name| !name.is_empty())
            .try_fold(Self::ROOT, |at, name| self.node(at).directory()?.get(name))
    }
}

#[cfg(test)]
mod corpus;
#[cfg(test)]
mod fuzz;
#[cfg(test)]
mod tests;
