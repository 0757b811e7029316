//! Whether a file can be changed by nobody but root, along its whole path.

use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

/// Who else could put something in a file's place.
#[derive(Debug, thiserror::Error)]
pub enum Untrusted {
    #[error("{} cannot be looked at", .0.display())]
    Look(PathBuf, #[source] io::Error),
    #[error("{} belongs to uid {}, not to root", path.display(), uid)]
    Owner { path: PathBuf, uid: u32 },
    #[error("{} can be written to by others than root: its mode is {mode:04o}", path.display())]
    Mode { path: PathBuf, mode: u32 },
}

/// Makes sure of a file, of the one a link leads to, and of every folder above both.
///
/// # Errors
/// With the first place that is not root's alone.
pub fn check(path: &Path) -> Result<(), Untrusted> {
    let real = std::fs::canonicalize(path).map_err(|source| Untrusted::Look(path.to_owned(), source))?;
    let above_the_link = path.parent().into_iter().flat_map(Path::ancestors);
    for place in real.ancestors().chain(above_the_link) {
        let found = std::fs::metadata(place).map_err(|source| Untrusted::Look(place.to_owned(), source))?;
        judge(place, found.uid(), found.mode() & 0o7777)?;
    }
    Ok(())
}

/// Even a sticky folder lets others put what is not there yet. Pure.
fn judge(place: &Path, uid: u32, mode: u32) -> Result<(), Untrusted> {
    match (uid, mode & 0o022) {
        (0, 0) => Ok(()),
        (0, _) => Err(Untrusted::Mode { path: place.to_owned(), mode }),
        (uid, _) => Err(Untrusted::Owner { path: place.to_owned(), uid }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_root_alone_can_change_is_trusted() {
        for (uid, mode, trusted) in [
            (0, 0o755, true),
            (0, 0o644, true),
            (0, 0o4755, true),
            (0, 0o775, false),
            (0, 0o1777, false),
            (0, 0o757, false),
            (1000, 0o755, false),
        ] {
            assert_eq!(judge(Path::new("/x"), uid, mode).is_ok(), trusted, "{uid} {mode:o}");
        }
    }

    #[test]
    fn a_link_is_trusted_only_where_both_its_ends_are() {
        let folder = tempfile::tempdir().unwrap();
        let link = folder.path().join("sh");
        std::os::unix::fs::symlink("/bin/sh", &link).unwrap();
        assert!(check(Path::new("/bin/sh")).is_ok());
        assert!(check(&link).is_err(), "the folder of the link is anybody's");
        assert!(matches!(check(Path::new("/no/such/file")), Err(Untrusted::Look(..))));
    }
}
