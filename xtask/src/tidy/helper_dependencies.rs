//! What runs as root beside our own code, written down.
//!
//! The list holds every package that the helper links, at any depth, with no version: an update is no decision,
//! a new package is one.

use super::Complaint;
use std::collections::BTreeSet;

pub(super) const LIST: &str = "crates/root-helper/dependencies.txt";
pub(super) const MANIFEST: &str = "crates/root-helper/Cargo.toml";

/// What the helper links, one package a line.
pub(super) const TREE: &[&str] = &[
    "tree",
    "--quiet",
    "--package",
    "banger-root-helper",
    "--edges",
    "normal,build",
    "--target",
    "x86_64-unknown-linux-gnu",
    "--prefix",
    "none",
    "--format",
    "{p}",
];

/// Compares the list with the tree.
pub(super) fn check(list: &str, tree: &str) -> Vec<Complaint> {
    let written: BTreeSet<&str> =
        list.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#')).collect();
    let linked: BTreeSet<&str> = tree
        .lines()
        .skip(1)
        .filter_map(|line| line.split(' ').next())
        .filter(|name| !name.is_empty())
        .collect();
    let new = linked
        .difference(&written)
        .map(|name| (name, "is linked into the program that runs as root: decide, and add it"));
    let gone = written.difference(&linked).map(|name| (name, "is no longer linked: remove it"));
    new.chain(gone)
        .map(|(name, what)| Complaint { at: LIST.to_owned(), what: format!("`{name}` {what}") })
        .collect()
}

pub(super) fn list_is_missing() -> Complaint {
    Complaint { at: LIST.to_owned(), what: "the helper's dependencies are written down nowhere".to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TREE: &str = "banger-root-helper v0.1.0 (/src/a/crates/root-helper)\nrustix v1.1.6\nlibc v0.2.1\nlibc v0.2.1 (*)\n";

    #[test]
    fn the_written_list_is_compared_by_name_and_may_have_comments() {
        assert_eq!(check("# What runs as root.\nlibc\nrustix\n", TREE), []);
    }

    #[test]
    fn a_new_dependency_and_a_stale_line_are_both_found() {
        let complaints = check("libc\nnix\n", TREE);
        let whats: Vec<_> = complaints.iter().map(|c| c.what.as_str()).collect();
        assert_eq!(
            whats,
            [
                "`rustix` is linked into the program that runs as root: decide, and add it",
                "`nix` is no longer linked: remove it"
            ]
        );
    }
}
