//! What a second prepare does with each file: what was laid, what the host has now and what the guest did with it. Pure.

use std::collections::{BTreeMap, BTreeSet};

/// A file's content and kind, as an index has them: mode and object.
pub(crate) type Content = (String, String);

/// What the guest's files are, next to what was laid.
#[derive(Clone, Debug, Default)]
pub(crate) struct Guest {
    pub laid: BTreeMap<Vec<u8>, Content>,
    /// Laid ones that were changed or removed since.
    pub edited: BTreeSet<Vec<u8>>,
    /// Files that were not laid.
    pub own: BTreeSet<Vec<u8>>,
}

/// What is to be done.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Steps {
    pub lay: Vec<Vec<u8>>,
    pub remove: Vec<Vec<u8>>,
    /// Among these, what the guest changed as well, and what force alone overwrites.
    pub conflicts: Vec<Vec<u8>>,
}

/// | laid | host now | guest now | |
/// |---|---|---|---|
/// | a | a | anything | stays |
/// | a | b | a | laid |
/// | a | none | a | removed |
/// | a | b or none | c | conflict |
/// | none | b | none | laid |
/// | none | b | c | conflict |
pub(crate) fn decide(host: &BTreeMap<Vec<u8>, Content>, guest: &Guest) -> Steps {
    let mut steps = Steps::default();
    for (path, content) in host {
        if guest.laid.get(path) == Some(content) {
            continue;
        }
        let in_the_way = guest.edited.contains(path) || is_in_the_way(&guest.own, path);
        steps.lay.push(path.clone());
        steps.conflicts.extend(in_the_way.then(|| path.clone()));
    }
    for path in guest.laid.keys().filter(|path| !host.contains_key(*path)) {
        steps.remove.push(path.clone());
        steps.conflicts.extend(guest.edited.contains(path).then(|| path.clone()));
    }
    steps
}

/// Whether one of these is at a path, where that needs a folder, or below it.
fn is_in_the_way(own: &BTreeSet<Vec<u8>>, path: &[u8]) -> bool {
    let mut ways = path.iter().enumerate().filter(|(_, byte)| **byte == b'/').map(|(at, _)| &path[..at]);
    let below = [path, b"/"].concat();
    let next = own.range(below.clone()..).next();
    own.contains(path) || ways.any(|way| own.contains(way)) || next.is_some_and(|own| own.starts_with(&below))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn content(oid: &str) -> Content {
        ("100644".to_owned(), oid.to_owned())
    }

    /// One file called `f`: what was laid, what the host has, what the guest has.
    fn decided(laid: Option<&str>, host: Option<&str>, guest: Option<&str>) -> (bool, bool, bool) {
        let one = |oid: Option<&str>| oid.map(|oid| (b"f".to_vec(), content(oid))).into_iter().collect();
        let is_edited = laid.is_some() && laid != guest;
        let own = (laid.is_none() && guest.is_some()).then(|| b"f".to_vec()).into_iter().collect();
        let edited = is_edited.then(|| b"f".to_vec()).into_iter().collect();
        let steps = decide(&one(host), &Guest { laid: one(laid), edited, own });
        (!steps.lay.is_empty(), !steps.remove.is_empty(), !steps.conflicts.is_empty())
    }

    #[test]
    fn each_of_three_sides_has_its_say() {
        let (a, b, c) = (Some("a"), Some("b"), Some("c"));
        let (nothing, lay, remove) = ((false, false, false), (true, false, false), (false, true, false));
        let (lay_over, remove_edited) = ((true, false, true), (false, true, true));
        for (laid, host, guest, expected) in [
            (a, a, a, nothing),
            (a, a, c, nothing),
            (a, a, None, nothing),
            (a, b, a, lay),
            (a, b, c, lay_over),
            (a, b, None, lay_over),
            (a, None, a, remove),
            (a, None, c, remove_edited),
            (a, None, None, remove_edited),
            (None, b, None, lay),
            (None, b, c, lay_over),
            (None, None, c, nothing),
            (None, None, None, nothing),
        ] {
            assert_eq!(decided(laid, host, guest), expected, "laid {laid:?}, host {host:?}, guest {guest:?}");
        }
    }

    #[test]
    fn a_file_of_the_guests_own_where_a_folder_must_be_is_a_conflict() {
        let host = [(b"a/b".to_vec(), content("x"))].into();
        for (own, expected) in [(&b"a"[..], 1), (b"a/b/c", 1), (b"a/bc", 0), (b"a/c", 0)] {
            let guest = Guest { own: [own.to_vec()].into(), ..Guest::default() };
            assert_eq!(decide(&host, &guest).conflicts.len(), expected, "{own:?}");
        }
    }
}
