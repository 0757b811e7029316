//! What git prints, as values. Pure.

use super::inspect::{IndexEntry, Kind};
use std::collections::BTreeMap;

/// Output that no git prints.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum MalformedOutput {
    #[error("\"{0}\" is not an object name")]
    Oid(String),
    #[error("\"{0}\" is not an index line")]
    IndexEntry(String),
    #[error("\"{0}\" is not a file change")]
    Change(String),
    #[error("\"{0}\" is not a commit with its parents")]
    Commit(String),
}

/// An object's name in full, of either kind of repository.
pub(crate) fn oid(bytes: &[u8]) -> Result<String, MalformedOutput> {
    let is_oid = matches!(bytes.len(), 40 | 64)
        && bytes.iter().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(b));
    let text = String::from_utf8_lossy(bytes);
    if is_oid { Ok(text.into_owned()) } else { Err(MalformedOutput::Oid(shown(bytes))) }
}

/// `ls-files --stage -z`: `mode SP oid SP stage TAB path NUL`.
pub(crate) fn index(output: &[u8]) -> Result<Vec<IndexEntry>, MalformedOutput> {
    records(output)
        .map(|record| index_entry(record).ok_or_else(|| MalformedOutput::IndexEntry(shown(record))))
        .collect()
}

fn index_entry(record: &[u8]) -> Option<IndexEntry> {
    let tab = record.iter().position(|byte| *byte == b'\t')?;
    let mut fields = record[..tab].split(|byte| *byte == b' ');
    let kind = Kind::of_mode(fields.next()?)?;
    let oid = oid(fields.next()?).ok()?;
    let stage = match fields.next()? {
        [digit @ b'0'..=b'3'] => digit - b'0',
        _ => return None,
    };
    let path = record[tab + 1..].to_vec();
    (fields.next().is_none() && !path.is_empty()).then_some(IndexEntry { kind, oid, stage, path })
}

/// What `ls-tree -r -t -z` lists: the folders with their trees, and everything else.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Listed {
    pub folders: BTreeMap<Vec<u8>, String>,
    pub entries: Vec<IndexEntry>,
}

/// `ls-tree -r -t -z`: `mode SP type SP oid TAB path NUL`.
pub(super) fn tree(output: &[u8]) -> Result<Listed, MalformedOutput> {
    let mut listed = Listed::default();
    for record in records(output) {
        tree_entry(record, &mut listed).ok_or_else(|| MalformedOutput::IndexEntry(shown(record)))?;
    }
    Ok(listed)
}

fn tree_entry(record: &[u8], listed: &mut Listed) -> Option<()> {
    let tab = record.iter().position(|byte| *byte == b'\t')?;
    let fields: Vec<&[u8]> = record[..tab].split(|byte| *byte == b' ').collect();
    let [mode, kind, name] = fields[..] else { return None };
    let (oid, path) = (oid(name).ok()?, record[tab + 1..].to_vec());
    if kind == b"tree" {
        listed.folders.insert(path, oid);
    } else {
        // Old repositories have files that a group may write.
        let kind = if mode == b"100664" { Kind::File } else { Kind::of_mode(mode)? };
        listed.entries.push(IndexEntry { kind, oid, stage: 0, path });
    }
    Some(())
}

/// `diff-files --raw -z --no-renames` and its like: `:mode mode oid oid letter NUL path NUL`, as paths with their letters.
pub(crate) fn changes(output: &[u8]) -> Result<Vec<(u8, Vec<u8>)>, MalformedOutput> {
    let mut fields = records(output);
    let mut changes = Vec::new();
    while let Some(about) = fields.next() {
        let letter = about.rsplit(|byte| *byte == b' ').next().unwrap_or_default();
        match (about.first(), letter, fields.next()) {
            (Some(b':'), [letter @ (b'A' | b'D' | b'M' | b'T' | b'U')], Some(path)) if !path.is_empty() => {
                changes.push((*letter, path.to_vec()));
            }
            _ => return Err(MalformedOutput::Change(shown(about))),
        }
    }
    Ok(changes)
}

/// `rev-list --parents`: on each line a commit and its parents.
pub(super) fn parents(output: &[u8]) -> Result<Vec<(String, Vec<String>)>, MalformedOutput> {
    let lines = output.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
    lines
        .map(|line| {
            let mut oids = line.split(|byte| *byte == b' ').map(oid);
            let commit = oids.next().ok_or_else(|| MalformedOutput::Commit(shown(line)))??;
            Ok((commit, oids.collect::<Result<_, _>>()?))
        })
        .collect()
}

/// Paths, each with a NUL behind it.
pub(crate) fn paths(output: &[u8]) -> Vec<Vec<u8>> {
    records(output).filter(|path| !path.is_empty()).map(<[u8]>::to_vec).collect()
}

/// What lies between NULs; the last has one behind it too.
fn records(output: &[u8]) -> impl Iterator<Item = &[u8]> {
    let output = output.strip_suffix(b"\0").unwrap_or(output);
    output.split(|byte| *byte == 0).filter(move |_| !output.is_empty())
}

fn shown(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).chars().take(100).flat_map(char::escape_debug).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const OID: &str = "e69de29bb2d1d6434b8b29ae775ad8c2e48c5391";

    #[test]
    fn an_index_is_read_whatever_its_files_are_called() {
        let lines = format!("100644 {OID} 0\ta\tb\nc\0120000 {OID} 2\t-x\0160000 {OID} 0\tsub\0");
        let entries = index(lines.as_bytes()).unwrap();
        let paths: Vec<&[u8]> = entries.iter().map(|entry| entry.path.as_slice()).collect();
        assert_eq!(paths, [&b"a\tb\nc"[..], b"-x", b"sub"]);
        assert_eq!(entries.iter().map(|entry| entry.stage).collect::<Vec<_>>(), [0, 2, 0]);
        assert_eq!(entries[2].kind, Kind::Submodule);
        assert_eq!(index(b"").unwrap(), []);
        for wrong in
            ["100644", "100644 x 0\ta\0", &format!("100644 {OID} 4\ta\0"), &format!("100644 {OID} 0\t\0")]
        {
            assert!(matches!(index(wrong.as_bytes()), Err(MalformedOutput::IndexEntry(_))), "{wrong}");
        }
    }

    #[test]
    fn changes_are_paths_with_letters() {
        let lines = format!(":100644 100755 {OID} {OID} M\0a b\0:100644 000000 {OID} {OID} D\0\u{fc}\n\0");
        let found = changes(lines.as_bytes()).unwrap();
        assert_eq!(found, [(b'M', b"a b".to_vec()), (b'D', "\u{fc}\n".as_bytes().to_vec())]);
        for wrong in [&b":1 2 3 4 M\0"[..], b"x M\0a\0", b":1 2 3 4 R100\0a\0b\0"] {
            assert!(changes(wrong).is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn parents_are_those_of_the_line() {
        let line = format!("{OID} {OID} {OID}\n{OID}\n");
        let found = parents(line.as_bytes()).unwrap();
        assert_eq!(found.iter().map(|(_, parents)| parents.len()).collect::<Vec<_>>(), [2, 0]);
        assert!(parents(b"commit x\n").is_err());
    }

    #[test]
    fn a_name_of_an_object_is_one_in_full() {
        assert!(oid(OID.as_bytes()).is_ok() && oid(&[b'a'; 64]).is_ok());
        for wrong in [&b""[..], b"HEAD", &[b'A'; 40], &[b'a'; 41]] {
            assert!(oid(wrong).is_err());
        }
    }

    proptest::proptest! {
        #[test]
        fn no_output_makes_a_parser_panic(output: Vec<u8>) {
            let _ = (index(&output), tree(&output), changes(&output), parents(&output), paths(&output));
        }
    }
}
