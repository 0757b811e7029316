//! Which file a command's first word means.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

/// Why there is no file to execute.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub(crate) enum FindError {
    #[error("{0}: not found")]
    NotFound(String),
    #[error("{0}: not executable")]
    NotExecutable(String),
}

/// The file that `word` means to a process in `directory` with this `PATH`: itself when it has a slash, the first
/// executable one of that name otherwise.
pub(crate) fn find(word: &str, path: &str, directory: &Path) -> Result<PathBuf, FindError> {
    if word.is_empty() {
        return Err(FindError::NotFound("the empty word".to_owned()));
    }
    let mut candidates: Vec<PathBuf> = Vec::new();
    if word.contains('/') {
        candidates.push(directory.join(word));
    } else {
        // An empty element is the current directory, as POSIX has it.
        candidates.extend(path.split(':').map(|folder| directory.join(folder).join(word)));
    }
    let mut found_unfit = false;
    for candidate in candidates {
        match std::fs::metadata(&candidate) {
            Ok(about) if about.is_file() && about.permissions().mode() & 0o111 != 0 => return Ok(candidate),
            Ok(about) => found_unfit |= about.is_file() || word.contains('/'),
            Err(_) => {}
        }
    }
    let word = word.to_owned();
    Err(if found_unfit { FindError::NotExecutable(word) } else { FindError::NotFound(word) })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(folder: &Path, name: &str, mode: u32) {
        std::fs::write(folder.join(name), "").unwrap();
        std::fs::set_permissions(folder.join(name), std::fs::Permissions::from_mode(mode)).unwrap();
    }

    #[test]
    fn the_first_executable_file_on_the_path_wins() {
        let (first, second) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        file(first.path(), "tool", 0o644);
        file(second.path(), "tool", 0o755);
        let path = format!("/nowhere:{}:{}", first.path().display(), second.path().display());
        assert_eq!(find("tool", &path, Path::new("/")), Ok(second.path().join("tool")));
    }

    #[test]
    fn a_word_with_a_slash_is_looked_for_where_the_command_runs() {
        let folder = tempfile::tempdir().unwrap();
        file(folder.path(), "tool", 0o755);
        assert_eq!(find("./tool", "/bin", folder.path()), Ok(folder.path().join("./tool")));
        assert_eq!(find("./other", "/bin", folder.path()), Err(FindError::NotFound("./other".into())));
        assert_eq!(find("/", "/bin", folder.path()), Err(FindError::NotExecutable("/".into())));
    }

    #[test]
    fn a_file_that_may_not_be_executed_is_not_the_same_as_none() {
        let folder = tempfile::tempdir().unwrap();
        file(folder.path(), "tool", 0o644);
        let path = folder.path().display().to_string();
        assert_eq!(find("tool", &path, Path::new("/")), Err(FindError::NotExecutable("tool".into())));
        assert_eq!(find("lost", &path, Path::new("/")), Err(FindError::NotFound("lost".into())));
        assert!(find("", &path, Path::new("/")).is_err());
    }
}
