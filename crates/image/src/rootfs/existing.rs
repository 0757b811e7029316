//! Root file systems that are there already: what is in them, and the seed of a work disk for them.
//!
//! They are read as files, never mounted. What reads them is memory-safe and refuses what it does not understand; it
//! replays no journal, so a file system that is in use somewhere is seen as it was last written out.

use super::{Look, SSHD, WORK_SEED, find_init};
use crate::Watch;
use crate::ext4::{self, Ext4Writer, Inodes, WriteError};
use crate::output::Outputs;
use crate::tree::edit::EditError;
use crate::tree::{Meta, Tree};
use ext4_view::{Ext4, Ext4Error, Metadata};
use std::io;
use std::path::{Path, PathBuf};

/// All files below `/root` together; they are held in memory.
const MOST_SEED: u64 = 256 << 20;

/// What a root file system turned out to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// The program that becomes process 1, where there is one.
    pub init: Option<String>,
    pub sshd: bool,
    /// Whether the program asked about is in it.
    pub agent: bool,
}

#[derive(Debug, thiserror::Error)]
pub enum InspectError {
    #[error("{} is not an ext4 file system that can be read", path.display())]
    Load { path: PathBuf, source: Ext4Error },
}

/// A seed that was not made; nothing is left of it.
#[derive(Debug, thiserror::Error)]
pub enum SeedError {
    #[error(transparent)]
    Inspect(InspectError),
    #[error("{path} of the root file system cannot be read")]
    Read { path: String, source: Ext4Error },
    #[error("{path} of the root file system has a name that is not UTF-8")]
    Name { path: String },
    #[error("it has more than {} MiB below /root", MOST_SEED >> 20)]
    TooLarge,
    #[error("cannot build the seed's tree")]
    Edit { source: EditError },
    #[error("cannot create {WORK_SEED}")]
    Create { source: io::Error },
    #[error("cannot build {WORK_SEED}")]
    Write { source: WriteError },
    #[error("cancelled")]
    Cancelled,
}

impl Look for Ext4 {
    fn is_program(&self, path: &str) -> bool {
        self.metadata(path)
            .is_ok_and(|about| about.file_type().is_regular_file() && about.mode() & 0o111 != 0)
    }

    fn real_path(&self, path: &str) -> Option<String> {
        self.canonicalize(path).ok()?.to_str().ok().map(str::to_owned)
    }
}

fn load(rootfs: &Path) -> Result<Ext4, InspectError> {
    Ext4::load_from_path(rootfs).map_err(|source| InspectError::Load { path: rootfs.to_owned(), source })
}

/// Looks into a root file system; `agent` is a path in it.
pub fn inspect(rootfs: &Path, agent: &str) -> Result<Found, InspectError> {
    let image = load(rootfs)?;
    Ok(Found {
        init: find_init(&image),
        sshd: image.is_program(SSHD),
        agent: image.is_program(&format!("/{agent}")),
    })
}

/// Writes [`WORK_SEED`] in `out_dir`, with what the root file system has in `/root`. It may not exist before, and does
/// not after an error. Times and extended attributes are not carried over.
pub fn seed_of(rootfs: &Path, size: u64, out_dir: &Path, watch: Watch<'_>) -> Result<(), SeedError> {
    let image = load(rootfs).map_err(SeedError::Inspect)?;
    let mut tree = Tree::empty();
    let mut left = MOST_SEED;
    let home = match image.symlink_metadata("/root") {
        Ok(about) if about.is_dir() => {
            let home =
                tree.make_directory("root", &meta(&about)).map_err(|source| SeedError::Edit { source })?;
            copy_folder(&image, "/root", &mut tree, &mut left, watch)?;
            home
        }
        // An image without one gets an empty one.
        _ => tree
            .make_directory("root", &Meta::root_owned(0o700))
            .map_err(|source| SeedError::Edit { source })?,
    };
    let mut outputs = Outputs::new(out_dir);
    let out = outputs.create(WORK_SEED).map_err(|source| SeedError::Create { source })?;
    let options =
        ext4::Options { size, label: Some("banger-work".to_owned()), uuid: None, inodes: Inodes::Growing };
    Ext4Writer::new(&tree, &[], home).write(&out, &options, watch).map_err(|source| match source {
        WriteError::Cancelled => SeedError::Cancelled,
        source => SeedError::Write { source },
    })?;
    outputs.keep();
    Ok(())
}

fn copy_folder(
    image: &Ext4,
    folder: &str,
    tree: &mut Tree,
    left: &mut u64,
    watch: Watch<'_>,
) -> Result<(), SeedError> {
    let unreadable = |path: &str| {
        let path = path.to_owned();
        move |source| SeedError::Read { path, source }
    };
    for entry in image.read_dir(folder).map_err(unreadable(folder))? {
        if watch.is_cancelled() {
            return Err(SeedError::Cancelled);
        }
        let entry = entry.map_err(unreadable(folder))?;
        let name = entry.file_name();
        let name =
            name.as_str().map_err(|_| SeedError::Name { path: format!("{folder}/{}", name.display()) })?;
        if matches!(name, "." | "..") {
            continue;
        }
        let path = format!("{folder}/{name}");
        let about = image.symlink_metadata(path.as_str()).map_err(unreadable(&path))?;
        let edited = if about.is_dir() {
            tree.make_directory(&path, &meta(&about)).map(drop)
        } else if about.is_symlink() {
            let target = image.read_link(path.as_str()).map_err(unreadable(&path))?;
            let target = target.to_str().map_err(|_| SeedError::Name { path: path.clone() })?;
            tree.insert_symlink(&path, meta(&about), target)
        } else if about.file_type().is_regular_file() {
            *left = left.checked_sub(about.len()).ok_or(SeedError::TooLarge)?;
            let bytes = image.read(path.as_str()).map_err(unreadable(&path))?;
            tree.insert_file(&path, meta(&about), bytes)
        } else {
            // Sockets and devices mean nothing in a home of another machine.
            Ok(())
        };
        edited.map_err(|source| SeedError::Edit { source })?;
        if about.is_dir() {
            copy_folder(image, &path, tree, left, watch)?;
        }
    }
    Ok(())
}

fn meta(about: &Metadata) -> Meta {
    Meta { uid: about.uid(), gid: about.gid(), ..Meta::root_owned(about.mode() & 0o7777) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::layer::Layer;
    use crate::rootfs::{self, Inject, Options};
    use std::fs::File;

    /// A root file system with these files, written by ourselves; its folder.
    fn written(files: &[(&str, u16)]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        let archive = folder.path().join("layer.tar");
        std::fs::write(&archive, [0; 1024]).unwrap();
        let inject = files
            .iter()
            .map(|&(path, mode)| Inject { path: path.to_owned(), mode, bytes: path.as_bytes().to_vec() })
            .collect();
        let options = Options { size: 64 << 20, work_size: 32 << 20, inject, ..Options::default() };
        let layer = Layer::open(
            "empty",
            &File::open(archive).unwrap(),
            folder.path(),
            &options.limits,
            Watch::none(),
        )
        .unwrap();
        rootfs::build(&[layer], &options, folder.path(), Watch::none()).unwrap();
        folder
    }

    #[test]
    fn what_is_in_a_root_file_system_is_seen_without_mounting_it() {
        let folder = written(&[("sbin/init", 0o755), ("usr/sbin/sshd", 0o755), ("opt/agent", 0o755)]);
        let rootfs = folder.path().join(rootfs::ROOTFS);
        let found = inspect(&rootfs, "opt/agent").unwrap();
        assert_eq!(found, Found { init: Some("/sbin/init".to_owned()), sshd: true, agent: true });
        let bare = written(&[("sbin/init", 0o644)]);
        let found = inspect(&bare.path().join(rootfs::ROOTFS), "opt/agent").unwrap();
        assert_eq!(found, Found { init: None, sshd: false, agent: false });
    }

    #[test]
    fn what_is_no_file_system_is_an_error_that_names_the_file() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("rootfs.ext4");
        for bytes in [vec![], vec![0; 4096], vec![0xff; 1 << 20]] {
            std::fs::write(&file, bytes).unwrap();
            assert!(inspect(&file, "x").unwrap_err().to_string().contains("rootfs.ext4 is not an ext4"));
        }
    }

    #[test]
    fn a_seed_has_what_is_in_the_home_of_root_and_nothing_else() {
        // The seed of an image that we wrote is a root file system here: its `/root` is full.
        let tree = {
            let mut tree = Tree::empty();
            tree.make_directory("root", &Meta { uid: 0, gid: 7, ..Meta::root_owned(0o710) }).unwrap();
            tree.insert_file("root/.profile", Meta::root_owned(0o640), *b"hello").unwrap();
            tree.insert_symlink("root/a/link", Meta::root_owned(0o777), "/etc/x").unwrap();
            tree.insert_file("etc/x", Meta::root_owned(0o644), *b"no").unwrap();
            tree
        };
        let folder = tempfile::tempdir().unwrap();
        let rootfs = folder.path().join("mine.ext4");
        let options = ext4::Options { size: 32 << 20, label: None, uuid: None, inodes: Inodes::Growing };
        Ext4Writer::new(&tree, &[], Tree::ROOT)
            .write(&File::create_new(&rootfs).unwrap(), &options, Watch::none())
            .unwrap();
        seed_of(&rootfs, 32 << 20, folder.path(), Watch::none()).unwrap();
        let seed = Ext4::load_from_path(folder.path().join(WORK_SEED)).unwrap();
        assert_eq!(seed.read("/.profile").unwrap(), b"hello");
        assert_eq!(seed.metadata("/.profile").unwrap().mode() & 0o7777, 0o640);
        assert_eq!(seed.metadata("/").unwrap().mode() & 0o7777, 0o710);
        assert_eq!(seed.metadata("/").unwrap().gid(), 7);
        assert_eq!(seed.read_link("/a/link").unwrap().to_str(), Ok("/etc/x"));
        assert!(!seed.exists("/etc").unwrap());
    }

    #[test]
    fn a_home_of_root_that_is_no_folder_leads_nowhere_and_the_seed_is_empty() {
        let mut tree = Tree::empty();
        tree.insert_symlink("root", Meta::root_owned(0o777), "/etc").unwrap();
        tree.insert_file("etc/x", Meta::root_owned(0o644), *b"no").unwrap();
        let folder = tempfile::tempdir().unwrap();
        let rootfs = folder.path().join("mine.ext4");
        let options = ext4::Options { size: 32 << 20, label: None, uuid: None, inodes: Inodes::Growing };
        Ext4Writer::new(&tree, &[], Tree::ROOT)
            .write(&File::create_new(&rootfs).unwrap(), &options, Watch::none())
            .unwrap();
        seed_of(&rootfs, 32 << 20, folder.path(), Watch::none()).unwrap();
        let seed = Ext4::load_from_path(folder.path().join(WORK_SEED)).unwrap();
        assert_eq!(seed.metadata("/").unwrap().mode() & 0o7777, 0o700);
        assert!(!seed.exists("/x").unwrap());
    }

    #[test]
    fn a_home_of_root_that_is_too_large_is_refused_and_nobody_waits_for_one_that_is_not_wanted() {
        let mut tree = Tree::empty();
        tree.insert_file("root/.profile", Meta::root_owned(0o640), *b"hello").unwrap();
        let folder = tempfile::tempdir().unwrap();
        let rootfs = folder.path().join("mine.ext4");
        let options = ext4::Options { size: 32 << 20, label: None, uuid: None, inodes: Inodes::Growing };
        Ext4Writer::new(&tree, &[], Tree::ROOT)
            .write(&File::create_new(&rootfs).unwrap(), &options, Watch::none())
            .unwrap();
        let image = load(&rootfs).unwrap();
        let copy = |mut left, watch| copy_folder(&image, "/root", &mut Tree::empty(), &mut left, watch);
        assert!(matches!(copy(4, Watch::none()), Err(SeedError::TooLarge)));
        assert!(copy(5, Watch::none()).is_ok());
        let cancelled = std::sync::atomic::AtomicBool::new(true);
        assert!(matches!(copy(5, Watch::new(&|_| {}, &cancelled)), Err(SeedError::Cancelled)));
    }
}
