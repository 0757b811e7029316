//! From a tree to the calls that declare it, and to the digest of all that is not content.

use std::collections::HashMap;

use mkext4::{FsBuilder, InodeHandle, SpecialKind};
use sha2::Digest as _;

use super::WriteError;
use super::content::Plan;
use crate::Sha256;
use crate::tree::{Kind, Meta, Node, NodeId, Step, Tree};

/// Every ext4 has this directory; one that an image brings is what some earlier file system left.
const LOST_AND_FOUND: &str = "lost+found";

/// A file that has bytes to be written.
pub(super) struct Declared<'a> {
    pub(super) handle: InodeHandle,
    pub(super) node: NodeId,
    pub(super) plan: Plan<'a>,
}

/// What a tree holds, content aside.
pub(super) struct Listing {
    pub(super) digest: Sha256,
    pub(super) entries: u64,
}

/// Hashes names and metadata. Content comes later, in the same order, so nothing is read twice.
pub(super) fn list(tree: &Tree, root: NodeId) -> Listing {
    let mut hasher = sha2::Sha256::new();
    let mut order: HashMap<NodeId, u64> = HashMap::from([(root, 0)]);
    let mut entries = 0u64;
    hash_node(&mut hasher, tree.node(root));
    for step in steps(tree, root) {
        entries += 1;
        hasher.update(order[&step.parent].to_le_bytes());
        field(&mut hasher, step.name.as_bytes());
        let earlier = order.len() as u64;
        let number = *order.entry(step.node).or_insert(earlier);
        hasher.update(number.to_le_bytes());
        if number == earlier {
            hash_node(&mut hasher, tree.node(step.node));
        }
    }
    Listing { digest: Sha256::finish(hasher), entries }
}

/// Declares everything below `root`; gives back the files to fill, in order.
pub(super) fn declare<'a>(
    tree: &'a Tree,
    root: NodeId,
    builder: &mut FsBuilder,
) -> Result<Vec<Declared<'a>>, WriteError> {
    let mut declaring =
        Declaring { builder, handles: HashMap::from([(root, mkext4::ROOT)]), files: Vec::new() };
    declaring.root(tree.node(root)).map_err(|source| WriteError::Declare { path: "/".to_owned(), source })?;
    for step in steps(tree, root) {
        declaring.name(tree, &step).map_err(|source| {
            let parent = tree.path_to(root, step.parent).unwrap_or_default();
            WriteError::Declare { path: format!("{parent}/{}", step.name), source }
        })?;
    }
    Ok(declaring.files)
}

fn steps(tree: &Tree, root: NodeId) -> impl Iterator<Item = Step<'_>> {
    tree.walk(root).without(LOST_AND_FOUND)
}

struct Declaring<'a, 'b> {
    builder: &'b mut FsBuilder,
    handles: HashMap<NodeId, InodeHandle>,
    files: Vec<Declared<'a>>,
}

impl<'a> Declaring<'a, '_> {
    fn root(&mut self, node: &Node) -> mkext4::Result<()> {
        self.builder.set_meta(mkext4::ROOT, meta(&node.meta))?;
        self.attributes(mkext4::ROOT, &node.meta)
    }

    fn name(&mut self, tree: &'a Tree, step: &Step<'a>) -> mkext4::Result<()> {
        let parent = self.handles[&step.parent];
        if let Some(&known) = self.handles.get(&step.node) {
            return self.builder.hardlink(parent, step.name, known);
        }
        let node = tree.node(step.node);
        let meta = meta(&node.meta);
        let builder = &mut *self.builder;
        let handle = match &node.kind {
            Kind::Directory(_) => builder.mkdir(parent, step.name, meta)?,
            Kind::File(content) => {
                let plan = Plan::new(content);
                let handle = match plan.holes() {
                    Some(segments) => builder.file_sparse(parent, step.name, meta, segments)?,
                    None => builder.file(parent, step.name, meta, content.size())?,
                };
                if plan.stored() > 0 {
                    self.files.push(Declared { handle, node: step.node, plan });
                }
                handle
            }
            Kind::Symlink(target) => builder.symlink(parent, step.name, target, meta)?,
            Kind::CharDevice { major, minor } => {
                builder.mknod(parent, step.name, meta, SpecialKind::Char { major: *major, minor: *minor })?
            }
            Kind::BlockDevice { major, minor } => {
                builder.mknod(parent, step.name, meta, SpecialKind::Block { major: *major, minor: *minor })?
            }
            Kind::Fifo => builder.mknod(parent, step.name, meta, SpecialKind::Fifo)?,
        };
        self.handles.insert(step.node, handle);
        self.attributes(handle, &node.meta)
    }

    fn attributes(&mut self, handle: InodeHandle, meta: &Meta) -> mkext4::Result<()> {
        for attribute in &meta.attributes {
            let value = attribute.disk_value().expect("checked when the attribute was read");
            self.builder.set_xattr(handle, attribute.name(), &value)?;
        }
        Ok(())
    }
}

fn meta(meta: &Meta) -> mkext4::Meta {
    mkext4::Meta::new(meta.mode, meta.uid, meta.gid, (meta.mtime.seconds, meta.mtime.nanos))
}

fn hash_node(hasher: &mut sha2::Sha256, node: &Node) {
    let Meta { mode, uid, gid, mtime, attributes } = &node.meta;
    hasher.update(mode.to_le_bytes());
    hasher.update(uid.to_le_bytes());
    hasher.update(gid.to_le_bytes());
    hasher.update(mtime.seconds.to_le_bytes());
    hasher.update(mtime.nanos.to_le_bytes());
    hasher.update((attributes.len() as u64).to_le_bytes());
    for attribute in attributes {
        field(hasher, attribute.name().as_bytes());
        field(hasher, attribute.value());
    }
    match &node.kind {
        Kind::Directory(_) => hasher.update([b'd']),
        Kind::File(content) => {
            hasher.update([b'f']);
            hasher.update(content.size().to_le_bytes());
            let segments = content.segments();
            hasher.update((segments.len() as u64).to_le_bytes());
            for segment in segments {
                hasher.update(segment.at.to_le_bytes());
                hasher.update(segment.len.to_le_bytes());
            }
        }
        Kind::Symlink(target) => {
            hasher.update([b'l']);
            field(hasher, target.as_bytes());
        }
        Kind::CharDevice { major, minor } => device(hasher, b'c', *major, *minor),
        Kind::BlockDevice { major, minor } => device(hasher, b'b', *major, *minor),
        Kind::Fifo => hasher.update([b'p']),
    }
}

fn device(hasher: &mut sha2::Sha256, tag: u8, major: u32, minor: u32) {
    hasher.update([tag]);
    hasher.update(major.to_le_bytes());
    hasher.update(minor.to_le_bytes());
}

/// With its length, so that no two lists of fields hash alike.
fn field(hasher: &mut sha2::Sha256, bytes: &[u8]) {
    hasher.update((bytes.len() as u64).to_le_bytes());
    hasher.update(bytes);
}
