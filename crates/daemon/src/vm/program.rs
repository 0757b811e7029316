//! Programs that VMs need: the one that the settings name, else one that is found.
//!
//! What the settings name is used or complained about, never replaced by another.

use banger_config::{Config, Setting};
use rustix::fs::{Access, access};
use std::path::{Path, PathBuf};

/// Why a program that the settings name cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{key}` in {place} names {}, which {why}", path.display())]
pub(crate) struct WrongProgram {
    key: &'static str,
    /// The line that names it.
    place: String,
    path: PathBuf,
    why: &'static str,
}

/// A program's place on this host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Program {
    Absent,
    Found(PathBuf),
    /// By the settings, in this line.
    Named {
        path: PathBuf,
        place: String,
    },
    Wrong(WrongProgram),
}

impl Program {
    /// The one that the settings name under `key`, or else the first of this name that is found.
    pub(super) fn look(
        config: &Config,
        key: &'static str,
        named: Option<&Setting<PathBuf>>,
        name: &str,
    ) -> Self {
        let Some(Setting { value: path, source }) = named else {
            return find(name).map_or(Self::Absent, Self::Found);
        };
        let (path, place) = (path.clone(), config.place(*source));
        match cannot_be_run(&path) {
            None => Self::Named { path, place },
            Some(why) => Self::Wrong(WrongProgram { key, place, path, why }),
        }
    }

    pub(crate) fn path(&self) -> Option<&Path> {
        match self {
            Self::Found(path) | Self::Named { path, .. } => Some(path),
            Self::Absent | Self::Wrong(_) => None,
        }
    }

    pub(crate) fn wrong(&self) -> Option<&WrongProgram> {
        match self {
            Self::Wrong(wrong) => Some(wrong),
            Self::Absent | Self::Found(_) | Self::Named { .. } => None,
        }
    }
}

fn cannot_be_run(path: &Path) -> Option<&'static str> {
    match std::fs::metadata(path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Some("does not exist"),
        Err(_) => Some("cannot be read"),
        Ok(found) if !found.is_file() => Some("is not a file"),
        Ok(_) => access(path, Access::EXEC_OK).is_err().then_some("is not executable"),
    }
}

/// A program beside this one, in banger's own folder, or in the PATH.
pub(crate) fn find(program: &str) -> Option<PathBuf> {
    let beside = std::env::current_exe().ok().and_then(|own| Some(own.parent()?.to_owned()));
    let path = std::env::var_os("PATH").unwrap_or_default();
    beside
        .into_iter()
        .chain(std::iter::once(PathBuf::from("/usr/lib/banger")))
        .chain(std::env::split_paths(&path))
        .chain(["/usr/sbin", "/usr/bin", "/usr/local/bin"].map(PathBuf::from))
        .filter(|folder| folder.is_absolute())
        .map(|folder| folder.join(program))
        .find(|path| path.is_file())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn only_a_file_that_may_be_run_is_a_program() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("qemu");
        assert_eq!(cannot_be_run(&file), Some("does not exist"));
        assert_eq!(cannot_be_run(folder.path()), Some("is not a file"));
        for (mode, verdict) in [(0o600, Some("is not executable")), (0o700, None)] {
            std::fs::write(&file, "").unwrap();
            std::fs::set_permissions(&file, std::fs::Permissions::from_mode(mode)).unwrap();
            assert_eq!(cannot_be_run(&file), verdict);
        }
        assert_eq!(cannot_be_run(&file.join("below")), Some("cannot be read"));
    }
}
