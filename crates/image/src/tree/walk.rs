//! Walking a tree without recursion, since a hostile layer chooses the depth.

use super::{Kind, NodeId, Tree};

/// One name on the way. A node with several names comes up once for each.
#[derive(Debug, Clone, Copy)]
pub struct Step<'a> {
    pub parent: NodeId,
    pub name: &'a str,
    pub node: NodeId,
}

/// Depth first, parents before children, names in order; the start itself is not a step.
#[derive(Debug)]
pub struct Walk<'a> {
    tree: &'a Tree,
    /// In reverse, so that the next step is the last.
    pending: Vec<Step<'a>>,
}

impl Tree {
    pub fn walk(&self, from: NodeId) -> Walk<'_> {
        let mut walk = Walk { tree: self, pending: Vec::new() };
        walk.enter(from);
        walk
    }

    /// One path from a directory to a node below it, for messages.
    pub fn path_to(&self, from: NodeId, node: NodeId) -> Option<String> {
        let mut parents = std::collections::HashMap::new();
        let found = self.walk(from).find(|step| {
            parents.insert(step.node, *step);
            step.node == node
        })?;
        let mut names = vec![found.name];
        let mut at = found.parent;
        while let Some(step) = parents.get(&at) {
            names.push(step.name);
            at = step.parent;
        }
        names.reverse();
        Some(names.join("/"))
    }
}

impl<'a> Walk<'a> {
    /// Leaves out one name of the directory the walk starts in, and all below it.
    pub fn without(mut self, name: &str) -> Self {
        self.pending.retain(|step| step.name != name);
        self
    }

    fn enter(&mut self, parent: NodeId) {
        if let Kind::Directory(directory) = &self.tree.node(parent).kind {
            self.pending.extend(directory.iter().rev().map(|(name, node)| Step { parent, name, node }));
        }
    }
}

impl<'a> Iterator for Walk<'a> {
    type Item = Step<'a>;

    fn next(&mut self) -> Option<Step<'a>> {
        let step = self.pending.pop()?;
        self.enter(step.node);
        Some(step)
    }
}
