//! Laying one layer over a tree.
//!
//! First what the layer hides, then what it brings, whatever their order in the archive: a whiteout never touches
//! a name that its own layer writes. A later entry of the same name replaces an earlier one; a directory over a
//! directory keeps the children and takes the new owner and mode.

use super::{Directory, Kind, Meta, NodeId, Tree};
use crate::layer::{Entry, EntryKind, LayerError, Refusal, TreePath};

/// `.wh.name` hides `name`.
const WHITEOUT: &str = ".wh.";
/// Hides all the directory has from lower layers. Other names with this doubled prefix are left-overs of aufs, and hide
/// what is never in a tree.
const OPAQUE: &str = ".wh..wh..opq";

pub(super) fn layer(tree: &mut Tree, name: &str, entries: Vec<Entry>) -> Result<(), LayerError> {
    let mut applying = Applying { tree };
    for entry in &entries {
        applying.hide(&entry.path);
    }
    for entry in entries {
        if entry.path.split().is_some_and(|(_, name)| name.starts_with(WHITEOUT)) {
            continue;
        }
        let path = if entry.path.is_root() { "/" } else { entry.path.as_str() }.to_owned();
        applying.bring(entry).map_err(|source| LayerError::Refused {
            layer: name.to_owned(),
            path,
            source,
        })?;
    }
    Ok(())
}

struct Applying<'a> {
    tree: &'a mut Tree,
}

impl Applying<'_> {
    /// A whiteout below something that is not a directory hides nothing, so it needs no refusal.
    fn hide(&mut self, path: &TreePath) {
        let Some((parent, name)) = path.split() else { return };
        let Some(hidden) = name.strip_prefix(WHITEOUT) else { return };
        let Some(parent) = self.tree.get(parent.as_str()) else { return };
        let Kind::Directory(directory) = &mut self.tree.node_mut(parent).kind else { return };
        if name == OPAQUE {
            directory.entries.clear();
        } else {
            directory.entries.remove(hidden);
        }
    }

    fn bring(&mut self, entry: Entry) -> Result<(), Refusal> {
        let Entry { path, meta, kind } = entry;
        let Some((parent, name)) = path.split() else {
            let EntryKind::Directory = kind else { return Err(Refusal::RootNotDirectory) };
            self.tree.node_mut(Tree::ROOT).meta = meta;
            return Ok(());
        };
        let parent = self.directory(&parent)?;
        let node = match kind {
            EntryKind::Directory => return self.bring_directory(parent, name, meta),
            EntryKind::HardLink(target) => self.link_target(&path, &target)?,
            EntryKind::File(content) => self.tree.add(meta, Kind::File(content)),
            EntryKind::Symlink(target) => self.tree.add(meta, Kind::Symlink(target)),
            EntryKind::CharDevice { major, minor } => self.tree.add(meta, Kind::CharDevice { major, minor }),
            EntryKind::BlockDevice { major, minor } => {
                self.tree.add(meta, Kind::BlockDevice { major, minor })
            }
            EntryKind::Fifo => self.tree.add(meta, Kind::Fifo),
        };
        self.put(parent, name, node);
        Ok(())
    }

    fn bring_directory(&mut self, parent: NodeId, name: &str, meta: Meta) -> Result<(), Refusal> {
        let existing = self.entries(parent).get(name).copied();
        let node = match existing {
            Some(node) if self.tree.node(node).directory().is_some() => {
                self.tree.node_mut(node).meta = meta;
                node
            }
            _ => self.tree.add(meta, Kind::Directory(Directory::default())),
        };
        self.put(parent, name, node);
        Ok(())
    }

    /// The directory at `path`, made if the archive did not mention it.
    fn directory(&mut self, path: &TreePath) -> Result<NodeId, Refusal> {
        let mut at = Tree::ROOT;
        for name in path.components() {
            at = match self.entries(at).get(name).copied() {
                Some(next) => next,
                None => {
                    let node = self.tree.add(Meta::root_owned(0o755), Kind::Directory(Directory::default()));
                    self.put(at, name, node);
                    node
                }
            };
            if self.tree.node(at).directory().is_none() {
                return Err(Refusal::BelowNonDirectory { parent: path.as_str().to_owned() });
            }
        }
        Ok(at)
    }

    fn link_target(&mut self, path: &TreePath, target: &TreePath) -> Result<NodeId, Refusal> {
        let text = || target.as_str().to_owned();
        let node = match self.tree.get(target.as_str()) {
            Some(node) if path != target => node,
            _ => return Err(Refusal::LinkTargetMissing { target: text() }),
        };
        if self.tree.node(node).directory().is_some() {
            return Err(Refusal::LinkToDirectory { target: text() });
        }
        Ok(node)
    }

    fn put(&mut self, parent: NodeId, name: &str, node: NodeId) {
        self.entries(parent).insert(name.into(), node);
    }

    fn entries(&mut self, directory: NodeId) -> &mut std::collections::BTreeMap<Box<str>, NodeId> {
        match &mut self.tree.node_mut(directory).kind {
            Kind::Directory(directory) => &mut directory.entries,
            _ => unreachable!("only called with what `directory` returned"),
        }
    }
}
