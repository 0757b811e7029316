//! Builds what a VM's disks start from: the root file system, and the seed of its work disk.
//!
//! `/root` of the image becomes a file system of its own, since it lives on a disk that outlasts the root disk; in
//! the root file system it stays as an empty mount point. What must differ between machines (host keys, machine
//! id) is left out by the caller's choice; nothing else in the image is changed, and mount points that every guest
//! needs are added when they are missing.
//!
//! [`inspect`] tells the same of a root file system that somebody else wrote, and [`seed_of`] makes its seed.

mod existing;

pub use existing::{Found, InspectError, SeedError, inspect, seed_of};

use std::io;
use std::path::Path;

use crate::ext4::{self, Ext4Writer, Inodes, WriteError, Written};
use crate::layer::{Layer, LayerError, Limits};
use crate::output::Outputs;
use crate::tree::edit::EditError;
use crate::tree::{Kind, Meta, Tree};
use crate::{Sha256, Watch};

/// Names of the files that a build leaves in its folder.
pub const ROOTFS: &str = "rootfs.ext4";
pub const WORK_SEED: &str = "work-seed.ext4";

const GIB: u64 = 1 << 30;
/// Where a guest's kernel and first program mount things.
const MOUNT_POINTS: [(&str, u16); 7] = [
    ("proc", 0o555),
    ("sys", 0o555),
    ("dev", 0o755),
    ("run", 0o755),
    ("tmp", 0o1777),
    ("root", 0o700),
    // An image without a kernel of its own has no such directory.
    ("lib/modules", 0o755),
];

#[derive(Debug, Clone)]
pub struct Options {
    /// Of the root file system. Larger costs nothing until it is used, and it never grows later.
    pub size: u64,
    /// Of the work seed.
    pub work_size: u64,
    /// Paths to leave out, with all below them; the last component may end in `*`.
    pub strip: Vec<String>,
    /// Files to put in after that, replacing what is there. The parents' symlinks are followed.
    pub inject: Vec<Inject>,
    /// Put in as well where the image has systemd.
    pub units: Vec<Unit>,
    pub limits: Limits,
}

/// A file of root's.
#[derive(Debug, Clone)]
pub struct Inject {
    pub path: String,
    pub mode: u16,
    pub bytes: Vec<u8>,
}

/// A unit of systemd's, wanted by a target.
#[derive(Debug, Clone)]
pub struct Unit {
    pub name: &'static str,
    pub text: String,
    pub wanted_by: &'static str,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            size: 40 * GIB,
            work_size: 8 * GIB,
            strip: vec!["etc/ssh/ssh_host_*".to_owned(), "etc/machine-id".to_owned()],
            inject: Vec::new(),
            units: Vec::new(),
            limits: Limits::default(),
        }
    }
}

/// What the image turned out to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Facts {
    /// Names in the root file system.
    pub entries: u64,
    /// Content of all its files.
    pub content_bytes: u64,
    /// Over everything the guest can see in it; equal digests mean equal file systems of whatever size.
    pub digest: Sha256,
    /// Names and content of the work seed.
    pub work_entries: u64,
    pub work_bytes: u64,
    pub work_digest: Sha256,
    /// The program that becomes process 1, where there is one.
    pub init: Option<String>,
    pub sshd: bool,
}

#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    #[error("cannot use a layer of the image")]
    Layer { source: LayerError },
    #[error("cannot change the image as asked")]
    Edit { source: EditError },
    #[error("cannot create {file}")]
    Create { file: &'static str, source: io::Error },
    #[error("cannot build {file}")]
    Write { file: &'static str, source: WriteError },
    #[error("cancelled")]
    Cancelled,
}

/// Builds [`ROOTFS`] and [`WORK_SEED`] in `out_dir` from layers, lowest first. Neither file may exist before, and
/// neither does after an error.
pub fn build(
    layers: &[Layer],
    options: &Options,
    out_dir: &Path,
    watch: Watch<'_>,
) -> Result<Facts, BuildError> {
    let mut tree = Tree::from_layers(layers, &options.limits, watch).map_err(|source| match source {
        LayerError::Cancelled => BuildError::Cancelled,
        source => BuildError::Layer { source },
    })?;
    edit(&mut tree, options).map_err(|source| BuildError::Edit { source })?;
    let (init, sshd) = (find_init(&tree), is_program(&tree, SSHD));
    let work =
        tree.take_directory("root", Meta::root_owned(0o700)).map_err(|source| BuildError::Edit { source })?;

    let mut outputs = Outputs::new(out_dir);
    let mut write = |file: &'static str, label: &str, root, size| -> Result<Written, BuildError> {
        let out = outputs.create(file).map_err(|source| BuildError::Create { file, source })?;
        let options =
            ext4::Options { size, label: Some(label.to_owned()), uuid: None, inodes: Inodes::Growing };
        Ext4Writer::new(&tree, layers, root).write(&out, &options, watch).map_err(|source| match source {
            WriteError::Cancelled => BuildError::Cancelled,
            source => BuildError::Write { file, source },
        })
    };
    let rootfs = write(ROOTFS, "banger-root", Tree::ROOT, options.size)?;
    let seed = write(WORK_SEED, "banger-work", work, options.work_size)?;
    outputs.keep();
    Ok(Facts {
        entries: rootfs.entries,
        content_bytes: rootfs.content_bytes,
        digest: rootfs.digest,
        work_entries: seed.entries,
        work_bytes: seed.content_bytes,
        work_digest: seed.digest,
        init,
        sshd,
    })
}

fn edit(tree: &mut Tree, options: &Options) -> Result<(), EditError> {
    for pattern in &options.strip {
        tree.remove(pattern);
    }
    for Inject { path, mode, bytes } in &options.inject {
        tree.insert_file(path, Meta::root_owned(*mode), bytes.clone())?;
    }
    if SYSTEMD.iter().any(|path| is_program(tree, path)) {
        for Unit { name, text, wanted_by } in &options.units {
            tree.insert_file(&format!("{UNITS}/{name}"), Meta::root_owned(0o644), text.as_bytes())?;
            let wish = format!("{UNITS}/{wanted_by}.wants/{name}");
            tree.insert_symlink(&wish, Meta::root_owned(0o777), &format!("../{name}"))?;
        }
    }
    for (path, mode) in MOUNT_POINTS {
        tree.make_directory(path, &Meta::root_owned(mode))?;
    }
    Ok(())
}

const SYSTEMD: [&str; 2] = ["/usr/lib/systemd/systemd", "/lib/systemd/systemd"];
/// Where packages put their units, which an administrator's go before.
const UNITS: &str = "usr/lib/systemd/system";

/// What busybox's init runs first on the systems that are made to boot with it.
const BUSYBOX_STARTS: [&str; 3] = ["/sbin/openrc", "/usr/sbin/openrc", "/etc/init.d/rcS"];

/// Answers about paths as a program in the guest would get them.
trait Look {
    /// Whether a file that can be executed is there.
    fn is_program(&self, path: &str) -> bool;
    /// Where the path leads once all symlinks are followed.
    fn real_path(&self, path: &str) -> Option<String>;
}

impl Look for Tree {
    fn is_program(&self, path: &str) -> bool {
        is_program(self, path)
    }

    fn real_path(&self, path: &str) -> Option<String> {
        self.path_to(Self::ROOT, self.resolve(path)?)
    }
}

/// The kernel's own order (init/main.c), shells left out: a shell is no init. Neither is a busybox that has nothing
/// to start, which is what images of containers have.
fn find_init(image: &impl Look) -> Option<String> {
    ["/sbin/init", "/etc/init", "/bin/init"]
        .into_iter()
        .find(|path| image.is_program(path) && boots(image, path))
        .map(str::to_owned)
}

fn boots(image: &impl Look, init: &str) -> bool {
    let is_busybox = image.real_path(init).is_some_and(|path| path.rsplit('/').next() == Some("busybox"));
    !is_busybox || BUSYBOX_STARTS.iter().any(|start| image.real_path(start).is_some())
}

const SSHD: &str = "/usr/sbin/sshd";

fn is_program(tree: &Tree, path: &str) -> bool {
    tree.resolve(path).is_some_and(|node| {
        let node = tree.node(node);
        matches!(node.kind, Kind::File(_)) && node.meta.mode & 0o111 != 0
    })
}

#[cfg(test)]
mod tests;
