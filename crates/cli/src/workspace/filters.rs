//! Files that git keeps otherwise than they lie there.
//!
//! A filter is a program that the repository names, and none is run. One there is whose outcome is known without it: git-lfs
//! keeps a file as a pointer, three lines of text that its content decides. So a file that was touched and is the same to
//! git is told from one that was changed, and stays what it is in every other guest, a pointer. What was changed goes in as
//! it lies here. See `docs/decisions/0028-filters-are-not-run.md`.

use super::PrepareError;
use crate::git::inspect::{IndexEntry, Kind, Repository};
use crate::git::path_of;
use banger_copy::{Found, Looking};
use std::collections::BTreeMap;
use std::fmt::Write as _;

/// Those of these paths whose files git would keep as the objects with these names.
pub(super) fn unchanged(
    repository: &Repository,
    named: &BTreeMap<&[u8], &IndexEntry>,
) -> Result<Vec<Vec<u8>>, PrepareError> {
    let mut unchanged = Vec::new();
    let paths: Vec<&[u8]> = named.keys().copied().collect();
    let looking = Looking::into(&repository.root)
        .map_err(|source| PrepareError::Read { path: repository.root.clone(), source })?;
    for (path, _) in repository.filtered(&paths)?.into_iter().filter(|(_, filter)| filter == "lfs") {
        let file = repository.root.join(path_of(&path));
        let unreadable = |source| PrepareError::Read { path: file.clone(), source };
        let Found::File { runs, sha256 } = looking.at(&path).map_err(unreadable)? else { continue };
        let size = file.symlink_metadata().map_err(unreadable)?.len();
        let kept = repository.hash("blob", pointer(sha256, size).as_bytes())?;
        let kind = if runs { Kind::Executable } else { Kind::File };
        if named.get(&*path).is_some_and(|entry| entry.oid == kept && entry.kind == kind) {
            unchanged.push(path);
        }
    }
    Ok(unchanged)
}

/// What git-lfs keeps of a file: <https://github.com/git-lfs/git-lfs/blob/main/docs/spec.md>.
fn pointer(sha256: [u8; 32], size: u64) -> String {
    let mut text = "version https://git-lfs.github.com/spec/v1\noid sha256:".to_owned();
    for byte in sha256 {
        let _ = write!(text, "{byte:02x}");
    }
    let _ = writeln!(text, "\nsize {size}");
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pointer_is_the_one_that_git_lfs_writes() {
        let sha256 = std::array::from_fn(|number| u8::try_from(number).unwrap());
        let expected = "version https://git-lfs.github.com/spec/v1\n\
             oid sha256:000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f\nsize 12345\n";
        assert_eq!(pointer(sha256, 12345), expected);
    }
}
