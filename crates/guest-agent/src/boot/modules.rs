//! The kernel modules the guest needs before it has a root.
//!
//! `modules.list` names files of the `modules` folder beside it, one a line, in the order in which they load. The
//! list serves every VMM, so a module for hardware that is not there may fail; whether something needed is
//! missing shows in the next step, when its device does not appear.

use std::ffi::OsStr;
use std::io;
use std::path::{Path, PathBuf};

/// Why the modules were not loaded.
#[derive(Debug, thiserror::Error)]
pub(super) enum LoadError {
    #[error("the module list {path} cannot be read", path = path.display())]
    ReadList { path: PathBuf, source: io::Error },
    #[error("{0:?} in the module list is not a plain file name")]
    BadName(String),
    #[error("the module {0} is not in the initrd")]
    NotThere(String, #[source] io::Error),
}

/// Loads what `folder/modules.list` names; no list is no modules.
pub(super) fn load(folder: &Path) -> Result<(), LoadError> {
    let path = folder.join("modules.list");
    let list = match std::fs::read_to_string(&path) {
        Ok(list) => list,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(source) => return Err(LoadError::ReadList { path, source }),
    };
    for name in names(&list)? {
        let file = std::fs::File::open(folder.join("modules").join(name))
            .map_err(|source| LoadError::NotThere(name.to_owned(), source))?;
        match rustix::system::finit_module(&file, c"", 0) {
            Ok(()) | Err(rustix::io::Errno::EXIST | rustix::io::Errno::NODEV) => {}
            Err(e) => super::kernel_log(&format!("module {name} not loaded: {e}")),
        }
    }
    Ok(())
}

fn names(list: &str) -> Result<Vec<&str>, LoadError> {
    let lines = list.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
    lines
        .map(|name| match Path::new(name).file_name() {
            Some(plain) if plain == OsStr::new(name) => Ok(name),
            _ => Err(LoadError::BadName(name.to_owned())),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_list_is_read_in_order_without_blanks_and_comments() {
        let list = "virtio_ring.ko\n\n# disks\n virtio_blk.ko \nvsock.ko";
        assert_eq!(names(list).unwrap(), ["virtio_ring.ko", "virtio_blk.ko", "vsock.ko"]);
    }

    #[test]
    fn a_name_that_leads_elsewhere_is_refused() {
        for name in ["../evil.ko", "a/b.ko", "/b.ko", ".."] {
            assert!(matches!(names(name), Err(LoadError::BadName(_))), "{name}");
        }
    }

    #[test]
    fn a_kernel_with_everything_built_in_has_no_list() {
        assert!(load(tempfile::tempdir().unwrap().path()).is_ok());
    }
}
