//! What a builder changes in a flattened tree: taking names out, putting files and mount points in.
//!
//! Paths given here are the builder's, so symlinks on the way to a name are followed as the guest would follow
//! them, inside the tree: `/lib/systemd` means the same file whether or not `/lib` is a link.

use super::{Content, Directory, Kind, Meta, NodeId, Tree};

/// As many as the kernel follows before it says ELOOP.
const MAX_SYMLINKS: u32 = 40;

/// A path could not be made in the tree.
#[derive(Debug, thiserror::Error)]
#[error("cannot put {path:?} into the image")]
pub struct EditError {
    path: String,
    source: Obstacle,
}

#[derive(Debug, thiserror::Error)]
pub enum Obstacle {
    #[error("a name on the way is not a directory")]
    NotADirectory,
    #[error("too many symlinks on the way")]
    SymlinkLoop,
    #[error("it is not the path of a file")]
    NotAFile,
}

/// Where following a path ended.
enum Reached {
    Node(NodeId),
    /// The last directory that exists, and the names that do not.
    Missing(NodeId, Vec<String>),
    NotADirectory,
    Loop,
}

impl Tree {
    /// The node a program in the guest would open at `path`.
    pub fn resolve(&self, path: &str) -> Option<NodeId> {
        match self.follow(path) {
            Reached::Node(node) => Some(node),
            _ => None,
        }
    }

    /// Puts a file where a program in the guest would create it, making missing directories. What had the name,
    /// symlinks included, is replaced.
    pub fn insert_file(
        &mut self,
        path: &str,
        meta: Meta,
        content: impl Into<Box<[u8]>>,
    ) -> Result<(), EditError> {
        self.insert(path, meta, Kind::File(Content::bytes(content)))
    }

    /// Puts a symlink in, as [`Tree::insert_file`] does a file.
    pub fn insert_symlink(&mut self, path: &str, meta: Meta, target: &str) -> Result<(), EditError> {
        self.insert(path, meta, Kind::Symlink(target.into()))
    }

    fn insert(&mut self, path: &str, meta: Meta, kind: Kind) -> Result<(), EditError> {
        let error = |source| EditError { path: path.to_owned(), source };
        let (parent, name) = split(path).ok_or_else(|| error(Obstacle::NotAFile))?;
        let parent = self.directory(parent, &Meta::root_owned(0o755)).map_err(error)?;
        if self.child(parent, name).is_some_and(|node| self.node(node).directory().is_some()) {
            return Err(error(Obstacle::NotAFile));
        }
        let node = self.add(meta, kind);
        self.put(parent, name, node);
        Ok(())
    }

    /// Makes a directory and those above it, unless it is there.
    pub fn make_directory(&mut self, path: &str, meta: &Meta) -> Result<NodeId, EditError> {
        self.directory(path, meta).map_err(|source| EditError { path: path.to_owned(), source })
    }

    fn directory(&mut self, path: &str, meta: &Meta) -> Result<NodeId, Obstacle> {
        match self.follow(path) {
            Reached::Node(node) if self.node(node).directory().is_some() => Ok(node),
            Reached::Node(_) | Reached::NotADirectory => Err(Obstacle::NotADirectory),
            Reached::Loop => Err(Obstacle::SymlinkLoop),
            // The target of some symlink goes up from a directory that is not there.
            Reached::Missing(_, names) if names.iter().any(|name| name == "..") => {
                Err(Obstacle::NotADirectory)
            }
            Reached::Missing(mut at, names) => {
                for name in names {
                    let node = self.add(meta.clone(), Kind::Directory(Directory::default()));
                    self.put(at, &name, node);
                    at = node;
                }
                Ok(at)
            }
        }
    }

    /// Takes a name out, with all below it. The last component may end in `*`. Nothing there is nothing to do.
    pub fn remove(&mut self, pattern: &str) {
        let Some((parent, name)) = split(pattern) else { return };
        let Some(parent) = self.resolve(parent) else { return };
        let Kind::Directory(directory) = &mut self.node_mut(parent).kind else { return };
        match name.strip_suffix('*') {
            Some(prefix) => directory.entries.retain(|name, _| !name.starts_with(prefix)),
            None => drop(directory.entries.remove(name)),
        }
    }

    /// Takes all other names out of a directory.
    pub(crate) fn keep_only(&mut self, directory: &str, name: &str) {
        let Some(node) = self.resolve(directory) else { return };
        if let Kind::Directory(directory) = &mut self.node_mut(node).kind {
            directory.entries.retain(|other, _| &**other == name);
        }
    }

    /// Puts an empty directory in the place of a directory and gives back the full one, as a tree's root that no
    /// name leads to any more.
    pub(crate) fn take_directory(&mut self, path: &str, default: Meta) -> Result<NodeId, EditError> {
        let at = self.make_directory(path, &default)?;
        let meta = self.node(at).meta.clone();
        let children = match &mut self.node_mut(at).kind {
            Kind::Directory(directory) => std::mem::take(directory),
            _ => unreachable!("just made or found as a directory"),
        };
        Ok(self.add(meta, Kind::Directory(children)))
    }

    fn child(&self, directory: NodeId, name: &str) -> Option<NodeId> {
        self.node(directory).directory()?.get(name)
    }

    fn put(&mut self, parent: NodeId, name: &str, node: NodeId) {
        if let Kind::Directory(directory) = &mut self.node_mut(parent).kind {
            directory.entries.insert(name.into(), node);
        }
    }

    fn follow(&self, path: &str) -> Reached {
        let mut pending: Vec<String> = components(path).rev().map(str::to_owned).collect();
        let mut above: Vec<NodeId> = vec![Self::ROOT];
        let mut links = 0;
        while let Some(name) = pending.pop() {
            if name == ".." {
                // The root's parent is the root.
                if above.len() > 1 {
                    above.pop();
                }
                continue;
            }
            let at = *above.last().expect("the root is never popped");
            let Some(directory) = self.node(at).directory() else { return Reached::NotADirectory };
            let Some(next) = directory.get(&name) else {
                pending.push(name);
                pending.reverse();
                return Reached::Missing(at, pending);
            };
            match &self.node(next).kind {
                Kind::Symlink(target) => {
                    links += 1;
                    if links > MAX_SYMLINKS {
                        return Reached::Loop;
                    }
                    if target.starts_with('/') {
                        above.truncate(1);
                    }
                    pending.extend(components(target).rev().map(str::to_owned));
                }
                _ => above.push(next),
            }
        }
        Reached::Node(*above.last().expect("the root is never popped"))
    }
}

fn components(path: &str) -> impl DoubleEndedIterator<Item = &str> {
    path.split('/').filter(|name| !name.is_empty() && *name != ".")
}

fn split(path: &str) -> Option<(&str, &str)> {
    let path = path.trim_end_matches('/');
    let (parent, name) = path.rsplit_once('/').unwrap_or(("", path));
    (!matches!(name, "" | "." | "..")).then_some((parent, name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_leads_above_the_root() {
        let mut tree = Tree::empty();
        tree.insert_symlink("a/up", Meta::root_owned(0o777), "../../../b").unwrap();
        tree.insert_file("../../b/file", Meta::root_owned(0o644), *b"x").unwrap();
        let file = tree.get("b/file");
        assert!(file.is_some());
        for path in ["/../b/file", "a/up/file", "a/up/../../b/file", "b/../../../b/./file"] {
            assert_eq!(tree.resolve(path), file, "{path}");
        }
        assert_eq!(tree.resolve("../.."), Some(Tree::ROOT));
    }
    #[test]
    fn a_link_that_goes_up_from_what_is_not_there_leads_nowhere() {
        let mut tree = Tree::empty();
        tree.insert_symlink("link", Meta::root_owned(0o777), "missing/../elsewhere").unwrap();
        let refused = tree.insert_file("link/file", Meta::root_owned(0o644), *b"x").unwrap_err();
        assert!(matches!(refused.source, Obstacle::NotADirectory));
        assert!(tree.get("missing").is_none() && tree.get("elsewhere").is_none());
    }
}
