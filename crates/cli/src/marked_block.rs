//! A few lines of ours at the front of a file that is the user's, and the file without them again.
//!
//! Everything around the lines stays as it is, to the byte, whatever it is; who made the file is written in the block
//! itself. A link is followed and stays a link. The new file is complete when it takes the old one's place.

use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

/// How the first and the last line of the block begin.
const BEGIN: &str = "# >>> banger";
const END: &str = "# <<< banger";
/// A line of the block in a file that would not be there without it.
const MADE: &str = "# The file was made for these lines and goes with them.\n";
const NEW_FILE: u32 = 0o600;
/// As many as the kernel follows (`MAXSYMLINKS`).
const MOST_LINKS: usize = 40;

#[derive(Debug, thiserror::Error)]
pub(crate) enum MarkedBlockError {
    #[error("{} cannot be read", path.display())]
    Read {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("{} was not changed", path.display())]
    Write {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("{} was not changed: the end of banger's block is missing", .0.display())]
    Unended(PathBuf),
}

/// Puts the lines at the front of the file, in place of those that are there; says whether that changed anything.
pub(crate) fn put(path: &Path, lines: &str) -> Result<bool, MarkedBlockError> {
    rewrite(path, |before| with(before, lines))
}

/// Takes the lines out of the file; says whether that changed anything.
pub(crate) fn take_out(path: &Path) -> Result<bool, MarkedBlockError> {
    rewrite(path, |before| before.map_or(Ok(None), without))
}

/// The block's end is missing.
#[derive(Debug, PartialEq, Eq)]
struct Unended;

/// The file with these lines in its front.
fn with(before: Option<&[u8]>, lines: &str) -> Result<Option<Vec<u8>>, Unended> {
    let rest = before.map(without).transpose()?;
    // Nothing is left of a file that was made for the block, as nothing was there before one that is.
    let (rest, made) = rest.flatten().map_or((Vec::new(), MADE), |rest| (rest, ""));
    let block = format!("{BEGIN}: written by `banger ssh-config --install`\n{made}{lines}{END}\n");
    Ok(Some([block.as_bytes(), &rest].concat()))
}

/// The file without the block; `None` if it would not be there.
fn without(before: &[u8]) -> Result<Option<Vec<u8>>, Unended> {
    let (mut rest, mut inside, mut made) = (Vec::with_capacity(before.len()), false, false);
    for line in before.split_inclusive(|byte| *byte == b'\n') {
        if inside {
            made |= line == MADE.as_bytes();
            inside = !line.starts_with(END.as_bytes());
        } else if line.starts_with(BEGIN.as_bytes()) {
            inside = true;
        } else {
            rest.extend_from_slice(line);
        }
    }
    if inside {
        return Err(Unended);
    }
    Ok((!(made && rest.is_empty())).then_some(rest))
}

/// Gives the file the content that follows from what it has; none is no file.
fn rewrite(
    path: &Path,
    change: impl Fn(Option<&[u8]>) -> Result<Option<Vec<u8>>, Unended>,
) -> Result<bool, MarkedBlockError> {
    let read = |source| MarkedBlockError::Read { path: path.to_owned(), source };
    let path = &behind_links(path).map_err(read)?;
    let before = match fs::read(path) {
        Ok(text) => Some(text),
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        Err(source) => return Err(read(source)),
    };
    let after = change(before.as_deref()).map_err(|Unended| MarkedBlockError::Unended(path.clone()))?;
    if after == before {
        return Ok(false);
    }
    let written = match after {
        Some(text) => write(path, &text),
        None => fs::remove_file(path),
    };
    written.map_err(|source| MarkedBlockError::Write { path: path.clone(), source })?;
    Ok(true)
}

/// What a path means, be it there or not: a link into a folder of dotfiles may be there before its target is.
fn behind_links(path: &Path) -> io::Result<PathBuf> {
    let mut path = path.to_owned();
    for _ in 0..MOST_LINKS {
        match fs::read_link(&path) {
            Ok(target) => path = path.parent().unwrap_or(Path::new("/")).join(target),
            // EINVAL: it is there and no link (readlink(2)).
            Err(error) if matches!(error.kind(), io::ErrorKind::InvalidInput | io::ErrorKind::NotFound) => {
                return Ok(path);
            }
            Err(error) => return Err(error),
        }
    }
    Err(rustix::io::Errno::LOOP.into())
}

/// Replaces a file as a whole, or makes it and the folders that it needs; one that was there keeps its owner and mode.
pub(crate) fn write(path: &Path, text: &[u8]) -> io::Result<()> {
    let folder = path.parent().unwrap_or(Path::new("/"));
    fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
    let mut new = tempfile::NamedTempFile::new_in(folder)?;
    new.write_all(text)?;
    let own = new.as_file().metadata()?;
    let mode = match fs::metadata(path) {
        Ok(old) => {
            if (old.uid(), old.gid()) != (own.uid(), own.gid()) {
                std::os::unix::fs::fchown(new.as_file(), Some(old.uid()), Some(old.gid()))?;
            }
            old.permissions()
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => fs::Permissions::from_mode(NEW_FILE),
        Err(error) => return Err(error),
    };
    new.as_file().set_permissions(mode)?;
    new.as_file().sync_all()?;
    new.persist(path)?;
    File::open(folder)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    const LINES: &str = "Include \"/x\"\n";

    fn place() -> (tempfile::TempDir, PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("config");
        (folder, path)
    }

    #[test]
    fn a_file_comes_back_to_the_byte_and_twice_is_once() {
        let whatever: [&[u8]; 7] = [
            b"",
            b"\n",
            b"Host a\n  User b\n",
            b"no newline at the end",
            b"\n\n# comment\r\nHost b\r\n",
            b"\xff\xfe\0 not text",
            b"# >> banger is not the mark\n",
        ];
        for before in whatever {
            let (_folder, path) = place();
            fs::write(&path, before).unwrap();
            assert!(put(&path, LINES).unwrap());
            let with = fs::read(&path).unwrap();
            assert!(with.starts_with(BEGIN.as_bytes()) && with.ends_with(before));
            assert!(!put(&path, LINES).unwrap(), "a second time changed it");
            assert!(put(&path, "Include \"/y\"\n").unwrap(), "other lines did not replace these");
            assert!(take_out(&path).unwrap());
            assert_eq!(fs::read(&path).unwrap(), before);
            assert!(!take_out(&path).unwrap(), "there was something left to take out");
        }
    }

    #[test]
    fn a_file_that_was_made_for_the_lines_goes_with_them_unless_it_was_used() {
        let (_folder, path) = place();
        put(&path, LINES).unwrap();
        put(&path, "Include \"/y\"\n").unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o7777, 0o600);
        take_out(&path).unwrap();
        assert!(!path.exists());
        assert!(!take_out(&path).unwrap());

        put(&path, LINES).unwrap();
        let with = fs::read_to_string(&path).unwrap();
        fs::write(&path, with + "Host later\n").unwrap();
        take_out(&path).unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "Host later\n");
    }

    #[test]
    fn lines_that_do_not_end_are_left_alone() {
        let (_folder, path) = place();
        let text = format!("Host a\n{BEGIN}\nInclude \"/x\"\nHost b\n");
        fs::write(&path, &text).unwrap();
        assert!(matches!(put(&path, LINES), Err(MarkedBlockError::Unended(_))));
        assert!(matches!(take_out(&path), Err(MarkedBlockError::Unended(_))));
        assert_eq!(fs::read_to_string(&path).unwrap(), text);
    }

    #[test]
    fn a_link_stays_a_link_to_what_it_led_to_with_its_mode() {
        let (folder, path) = place();
        fs::create_dir(folder.path().join("dotfiles")).unwrap();
        let target = folder.path().join("dotfiles/ssh");
        symlink("second", &path).unwrap();
        symlink("dotfiles/ssh", folder.path().join("second")).unwrap();
        for existed in [false, true] {
            if existed {
                fs::write(&target, "Host a\n").unwrap();
                fs::set_permissions(&target, fs::Permissions::from_mode(0o640)).unwrap();
            }
            assert!(put(&path, LINES).unwrap());
            assert!(fs::symlink_metadata(&path).unwrap().is_symlink());
            assert!(fs::read_to_string(&target).unwrap().contains(LINES));
            take_out(&path).unwrap();
            assert!(fs::symlink_metadata(&path).unwrap().is_symlink());
            assert_eq!(target.exists(), existed);
        }
        assert_eq!(fs::metadata(&target).unwrap().permissions().mode() & 0o7777, 0o640);
        assert_eq!(fs::read_dir(folder.path().join("dotfiles")).unwrap().count(), 1, "something beside it");
    }

    #[test]
    fn links_in_a_circle_are_an_error() {
        let (_folder, path) = place();
        symlink("config", &path).unwrap();
        assert!(matches!(put(&path, LINES), Err(MarkedBlockError::Read { .. })));
    }
}
