//! Files that no git looks after: compared by what they hold, laid and taken away by the guest's agent.
//!
//! What was laid is a list in the guest, in the form in which git lists an index: `mode SP digest SP stage TAB path NUL`, the
//! digest a SHA-256 of the bytes and the stage 1 of what no commit has. A guest that changes it has its own files taken for something they are not, and no more.

use super::PrepareError;
use super::decide::{Content, Guest, Steps, decide};
use super::inside::Inside;
use crate::git::inspect::Kind;
use crate::git::{index, path_of};
use banger_copy::{Found, Looking};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::path::Path;

/// Longest list, in bytes.
pub(crate) const LONGEST_LIST: usize = 256 << 20;

pub(super) type Contents = BTreeMap<Vec<u8>, Content>;

/// What these files of the host hold; those that are gone since they were listed are not among them.
pub(super) fn contents<'p>(
    root: &Path,
    paths: impl IntoIterator<Item = &'p [u8]>,
) -> Result<Contents, PrepareError> {
    let unreadable = |path: &[u8], source| PrepareError::Read { path: root.join(path_of(path)), source };
    let looking = Looking::into(root).map_err(|source| unreadable(b"", source))?;
    let mut contents = Contents::new();
    for path in paths {
        if let Some(content) = content(looking.at(path).map_err(|source| unreadable(path, source))?) {
            contents.insert(path.to_vec(), content);
        }
    }
    Ok(contents)
}

fn content(found: Found) -> Option<Content> {
    let (kind, sha256) = match found {
        Found::Nothing | Found::InTheWay => return None,
        Found::File { runs: false, sha256 } => (Kind::File, sha256),
        Found::File { runs: true, sha256 } => (Kind::Executable, sha256),
        Found::Link { sha256 } => (Kind::Link, sha256),
    };
    let mut digest = String::new();
    for byte in sha256 {
        let _ = write!(digest, "{byte:02x}");
    }
    Some((kind.mode().to_owned(), digest))
}

/// What has to be done so that the guest has what the host has, where it was left as it was laid. Only what the host changed
/// is looked at there.
pub(super) fn compare(
    inside: &mut Inside<'_>,
    host: &Contents,
    laid: &Contents,
) -> Result<Steps, PrepareError> {
    let changed: BTreeSet<&[u8]> = host
        .keys()
        .chain(laid.keys())
        .filter(|path| host.get(*path) != laid.get(*path))
        .map(Vec::as_slice)
        .collect();
    let changed: Vec<&[u8]> = changed.into_iter().collect();
    let found = inside.look(&changed)?;
    Ok(decide(host, &guest(host, laid, changed.into_iter().zip(found))))
}

/// What the guest did. What both sides made alike counts as laid: there is nothing to do about it.
fn guest<'p>(host: &Contents, laid: &Contents, found: impl Iterator<Item = (&'p [u8], Found)>) -> Guest {
    let mut guest = Guest { laid: laid.clone(), ..Guest::default() };
    for (path, found) in found {
        let now = content(found);
        match (host.get(path), &now) {
            (Some(here), Some(there)) if here == there => {
                guest.laid.insert(path.to_vec(), here.clone());
            }
            (None, None) if found == Found::Nothing => {
                guest.laid.remove(path);
            }
            _ if laid.get(path) == now.as_ref() && found != Found::InTheWay => {}
            // Laid there itself: a folder with files that are to go, or a file where a folder is to be.
            _ if found == Found::InTheWay && is_laid_around(laid, path) => {}
            _ if laid.contains_key(path) => {
                guest.edited.insert(path.to_vec());
            }
            _ => {
                guest.own.insert(path.to_vec());
            }
        }
    }
    guest
}

/// Whether something was laid below a path, or at one that leads to it.
pub(super) fn is_laid_around(laid: &Contents, path: &[u8]) -> bool {
    let below = [path, b"/"].concat();
    let mut ways = path.iter().enumerate().filter(|(_, byte)| **byte == b'/').map(|(at, _)| &path[..at]);
    let next = laid.range(below.clone()..).next();
    next.is_some_and(|(laid, _)| laid.starts_with(&below)) || ways.any(|way| laid.contains_key(way))
}

/// Does it.
pub(super) fn apply(inside: &mut Inside<'_>, root: &Path, steps: &Steps) -> Result<(), PrepareError> {
    if !steps.remove.is_empty() {
        inside.remove(&steps.remove.iter().map(Vec::as_slice).collect::<Vec<_>>())?;
    }
    if !steps.lay.is_empty() {
        inside.lay(root, steps.lay.iter().map(Vec::as_slice))?;
    }
    Ok(())
}

/// A list of what was laid, and what of it is as no commit has it.
pub(super) fn list(contents: &Contents, over: &BTreeSet<Vec<u8>>) -> Vec<u8> {
    let line = |(path, (mode, digest)): (&Vec<u8>, &Content)| {
        let stage = u8::from(over.contains(path));
        [format!("{mode} {digest} {stage}\t").as_bytes(), path, b"\0"].concat()
    };
    contents.iter().flat_map(line).collect()
}

/// The list at a path in the guest; nothing where there is none, or none that could be read.
pub(super) fn listed(inside: &mut Inside<'_>, at: &str) -> Result<Option<Contents>, PrepareError> {
    let Some(bytes) = inside.read_file(at, LONGEST_LIST)? else { return Ok(None) };
    let entries = index(&bytes).map_err(|_| PrepareError::GuestList { at: at.to_owned() })?;
    Ok(Some(
        entries.into_iter().map(|entry| (entry.path, (entry.kind.mode().to_owned(), entry.oid))).collect(),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(byte: u8) -> Found {
        Found::File { runs: false, sha256: [byte; 32] }
    }

    fn of(files: &[(&str, u8)]) -> Contents {
        files.iter().map(|(path, byte)| (path.as_bytes().to_vec(), content(file(*byte)).unwrap())).collect()
    }

    fn decided(host: &[(&str, u8)], laid: &[(&str, u8)], found: &[(&str, Found)]) -> (usize, usize, usize) {
        let found = found.iter().map(|(path, found)| (path.as_bytes(), *found));
        let steps = decide(&of(host), &guest(&of(host), &of(laid), found));
        (steps.lay.len(), steps.remove.len(), steps.conflicts.len())
    }

    #[test]
    fn where_one_side_changed_a_file_it_is_followed_and_where_both_did_it_is_a_conflict() {
        assert_eq!(decided(&[("f", 2)], &[("f", 1)], &[("f", file(1))]), (1, 0, 0));
        assert_eq!(decided(&[("f", 2)], &[("f", 1)], &[("f", file(3))]), (1, 0, 1));
        assert_eq!(decided(&[("f", 2)], &[("f", 1)], &[("f", Found::Nothing)]), (1, 0, 1));
        assert_eq!(decided(&[("f", 2)], &[], &[("f", Found::Nothing)]), (1, 0, 0));
        assert_eq!(decided(&[("f", 2)], &[], &[("f", file(3))]), (1, 0, 1));
        assert_eq!(decided(&[], &[("f", 1)], &[("f", file(1))]), (0, 1, 0));
        assert_eq!(decided(&[], &[("f", 1)], &[("f", file(3))]), (0, 1, 1));
    }

    #[test]
    fn what_both_sides_made_alike_is_nothing_to_do() {
        assert_eq!(decided(&[("f", 2)], &[("f", 1)], &[("f", file(2))]), (0, 0, 0));
        assert_eq!(decided(&[("f", 2)], &[], &[("f", file(2))]), (0, 0, 0));
        assert_eq!(decided(&[], &[("f", 1)], &[("f", Found::Nothing)]), (0, 0, 0));
    }

    #[test]
    fn a_folder_that_was_laid_makes_room_for_a_file_and_one_of_the_guests_own_does_not() {
        let found = [("f", Found::InTheWay), ("f/a", file(1))];
        assert_eq!(decided(&[("f", 2)], &[("f/a", 1)], &found), (1, 1, 0));
        assert_eq!(decided(&[("f", 2)], &[], &[("f", Found::InTheWay)]), (1, 0, 1));
        let found = [("f", file(1)), ("f/a", Found::InTheWay)];
        assert_eq!(decided(&[("f/a", 2)], &[("f", 1)], &found), (1, 1, 0));
    }

    #[test]
    fn a_list_comes_back_as_it_was() {
        let contents = of(&[("a\tb\nc", 1), ("d e", 2)]);
        let entries = index(&list(&contents, &[b"d e".to_vec()].into())).unwrap();
        assert_eq!(entries.iter().map(|entry| entry.stage).collect::<Vec<_>>(), [0, 1]);
        assert!(entries.iter().all(|entry| contents[&entry.path].1 == entry.oid));
    }
}
