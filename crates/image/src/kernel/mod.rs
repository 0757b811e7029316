//! A kernel package goes in; what a VM boots comes out.
//!
//! From a tar with `boot/vmlinuz-<version>` and `lib/modules/<version>/` come three files: the uncompressed ELF
//! kernel, a read-only file system that becomes `/lib/modules` in the guest, and a cpio with the few modules that
//! are needed to get that far. Packages are unpacked without their scripts, so depmod never ran on them: the files
//! it makes are computed here, without running a program of the host.
//!
//! [`initrd()`] joins the cpio with the first program.

mod boot_modules;
mod bzimage;
mod compressed;
mod cpio;
mod depmod;
mod elf;
mod index;
mod initrd;
mod module;

use std::fs::File;
use std::io::{self, Write as _};
use std::path::Path;

use crate::ext4::{self, Ext4Writer, Inodes, WriteError};
use crate::layer::{Layer, LayerError, Limits};
use crate::output::Outputs;
use crate::tree::edit::EditError;
use crate::tree::{Kind, Meta, NodeId, Tree};
use crate::{Sha256, Stage, Watch};

pub use bzimage::{ExtractError, extract_vmlinux};
pub use initrd::initrd;

/// Names of the files that an import leaves in its folder.
pub const VMLINUX: &str = "vmlinux";
pub const MODULES: &str = "modules.ext4";
pub const BOOT_MODULES: &str = "boot-modules.cpio";

/// What the package held.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Facts {
    /// As `uname -r` will say.
    pub version: String,
    /// As `uname -m` will say.
    pub arch: &'static str,
    pub vmlinux: Sha256,
    pub vmlinux_bytes: u64,
    /// Everything in the modules file system.
    pub modules: Sha256,
    pub module_count: usize,
    /// Loaded by the initrd, in this order.
    pub boot_modules: Vec<String>,
    /// Drivers without which a guest cannot be reached, and which this kernel does not have.
    pub missing: Vec<&'static str>,
}

#[derive(Debug, thiserror::Error)]
pub enum ImportError {
    #[error("cannot use the kernel package")]
    Package { source: LayerError },
    #[error("the package has no kernel: nothing is named boot/vmlinuz-* or boot/vmlinux-*")]
    NoKernel,
    #[error("cannot take the kernel out of {path}")]
    Extract { path: String, source: ExtractError },
    #[error("{path} is for a machine that is not supported")]
    Machine { path: String },
    #[error("cannot read {path} of the package")]
    Read { path: String, source: io::Error },
    #[error("{path} of the package is not a kernel module")]
    NotAModule { path: String },
    #[error("cannot add module indexes")]
    Edit { source: EditError },
    #[error("cannot write {file}")]
    Output { file: &'static str, source: io::Error },
    #[error("cannot build {file}")]
    Write { file: &'static str, source: WriteError },
    #[error("cancelled")]
    Cancelled,
}

/// Writes [`VMLINUX`], [`MODULES`] and [`BOOT_MODULES`] in `out_dir`; none may exist before, and none does after an
/// error. A package with several kernels gives the newest.
pub fn import_tar(tar: &File, out_dir: &Path, watch: Watch<'_>) -> Result<Facts, ImportError> {
    let limits = Limits::default();
    let opened = Layer::open("kernel package", tar, out_dir, &limits, watch).map_err(package_error)?;
    let layers = [opened];
    let mut package =
        Package { tree: Tree::from_layers(&layers, &limits, watch).map_err(package_error)?, layers: &layers };

    let (version, image) = package.newest_kernel().ok_or(ImportError::NoKernel)?;
    let bytes = package.read(&image)?;
    let vmlinux =
        extract_vmlinux(&bytes).map_err(|source| ImportError::Extract { path: image.clone(), source })?;
    let arch = elf::Elf::parse(&vmlinux)
        .and_then(|elf| elf.machine())
        .ok_or_else(|| ImportError::Machine { path: image.clone() })?;
    let folder = package.modules_folder(&version);
    let (modules, boot) = package.modules(&folder, watch)?;
    let modules_root = package.add_indexes(&folder, &modules)?;
    package.add_config(&folder, &version)?;

    let mut outputs = Outputs::new(out_dir);
    write_file(&mut outputs, VMLINUX, &vmlinux)?;
    write_file(&mut outputs, BOOT_MODULES, &initrd::modules_archive(&boot))?;
    let file = MODULES;
    let out = outputs.create(file).map_err(|source| ImportError::Output { file, source })?;
    let options = ext4::Options {
        size: ext4::read_only_size(&package.tree, modules_root),
        label: Some("banger-modules".to_owned()),
        uuid: None,
        inodes: Inodes::ReadOnly,
    };
    let written = Ext4Writer::new(&package.tree, &layers, modules_root)
        .write(&out, &options, watch)
        .map_err(|source| match source {
            WriteError::Cancelled => ImportError::Cancelled,
            source => ImportError::Write { file, source },
        })?;
    outputs.keep();
    Ok(Facts {
        version,
        arch,
        vmlinux: Sha256::of(&vmlinux),
        vmlinux_bytes: vmlinux.len() as u64,
        modules: written.digest,
        module_count: modules.len(),
        boot_modules: boot.into_iter().map(|module| module.name).collect(),
        missing: boot_modules::missing(&modules),
    })
}

/// A module for the initrd, uncompressed.
struct BootModule {
    name: String,
    bytes: Vec<u8>,
}

struct Package<'a> {
    tree: Tree,
    layers: &'a [Layer],
}

impl Package<'_> {
    /// Version and path of the kernel with the highest version.
    fn newest_kernel(&self) -> Option<(String, String)> {
        let boot = self.tree.node(self.tree.resolve("boot")?).directory()?;
        let kernels = boot.iter().filter_map(|(name, _)| {
            let version = ["vmlinuz-", "vmlinux-"].iter().find_map(|prefix| name.strip_prefix(prefix))?;
            is_version(version).then(|| (version.to_owned(), format!("boot/{name}")))
        });
        kernels.max_by(|a, b| version_key(&a.0).cmp(&version_key(&b.0)))
    }

    /// Both places are in use, and an unpacked package has no link from one to the other.
    fn modules_folder(&self, version: &str) -> String {
        let [first, second] = ["lib", "usr/lib"].map(|lib| format!("{lib}/modules/{version}"));
        if self.tree.resolve(&first).is_none() && self.tree.resolve(&second).is_some() {
            second
        } else {
            first
        }
    }

    fn read(&self, path: &str) -> Result<Vec<u8>, ImportError> {
        let missing = || io::Error::from(io::ErrorKind::NotFound);
        let read_error = |source| ImportError::Read { path: path.to_owned(), source };
        let node = self.tree.resolve(path).ok_or_else(missing).map_err(read_error)?;
        self.read_node(node).map_err(read_error)
    }

    fn read_node(&self, node: NodeId) -> io::Result<Vec<u8>> {
        match &self.tree.node(node).kind {
            Kind::File(content) => content.read(self.layers),
            _ => Err(io::Error::other("not a regular file")),
        }
    }

    /// Text beside the modules that a package may lack.
    fn text(&self, folder: &str, name: &str) -> Result<String, ImportError> {
        let path = format!("{folder}/{name}");
        match self.tree.resolve(&path) {
            Some(_) => self.read(&path).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()),
            None => Ok(String::new()),
        }
    }

    /// Everything about all modules, and the bytes of those the initrd needs, in order.
    fn modules(
        &self,
        folder: &str,
        watch: Watch<'_>,
    ) -> Result<(depmod::Modules, Vec<BootModule>), ImportError> {
        let mut list = Vec::new();
        if let Some(root) = self.tree.resolve(folder) {
            let files = self.module_files(root);
            let total = files.iter().map(|(_, _, size)| size).sum();
            let mut done = 0;
            for (path, node, size) in files {
                if watch.is_cancelled() {
                    return Err(ImportError::Cancelled);
                }
                let bytes = self.module_bytes(&path, node)?;
                list.push(
                    module::Module::read(&path, &bytes)
                        .ok_or_else(|| ImportError::NotAModule { path: path.clone() })?,
                );
                done += size;
                watch.report(Stage::Modules, done, total);
            }
        }
        let order = self.text(folder, "modules.order")?;
        let builtin = self.text(folder, "modules.builtin")?;
        let modules = depmod::Modules::new(list, &order, &builtin);
        let boot = boot_modules::load_order(&modules)
            .into_iter()
            .map(|module| {
                let path = format!("{folder}/{}", module.path);
                let node = self.tree.resolve(&path).expect("found there a moment ago");
                Ok(BootModule { name: module.name.clone(), bytes: self.module_bytes(&path, node)? })
            })
            .collect::<Result<_, ImportError>>()?;
        Ok((modules, boot))
    }

    /// Path below `root`, node and size of every module.
    fn module_files(&self, root: NodeId) -> Vec<(String, NodeId, u64)> {
        let mut paths = std::collections::HashMap::from([(root, String::new())]);
        let mut files = Vec::new();
        for step in self.tree.walk(root) {
            let path = format!("{}{}", paths[&step.parent], step.name);
            match &self.tree.node(step.node).kind {
                Kind::Directory(_) => drop(paths.insert(step.node, path + "/")),
                Kind::File(content) if module::name_of(&path).is_some() => {
                    files.push((path, step.node, content.size()));
                }
                _ => {}
            }
        }
        files
    }

    fn module_bytes(&self, path: &str, node: NodeId) -> Result<Vec<u8>, ImportError> {
        let read_error = |source| ImportError::Read { path: path.to_owned(), source };
        let bytes = self.read_node(node).map_err(read_error)?;
        match compressed::Compression::detect(&bytes) {
            Some(compression) => compression.decompress(&bytes).map_err(read_error),
            None => Ok(bytes),
        }
    }

    /// Completes the modules' folder and gives a directory that holds only it.
    fn add_indexes(&mut self, folder: &str, modules: &depmod::Modules) -> Result<NodeId, ImportError> {
        let edit_error = |source| ImportError::Edit { source };
        // They lead to kernel headers on the machine that built the package.
        self.tree.remove(&format!("{folder}/build"));
        self.tree.remove(&format!("{folder}/source"));
        let modinfo = self.text(folder, "modules.builtin.modinfo")?;
        for (name, bytes) in modules.files(modinfo.as_bytes()) {
            let path = format!("{folder}/{name}");
            self.tree.insert_file(&path, Meta::root_owned(0o644), bytes).map_err(edit_error)?;
        }
        let (all, version) = folder.rsplit_once('/').expect("made of three names");
        self.tree.keep_only(all, version);
        self.tree.make_directory(all, &Meta::root_owned(0o755)).map_err(edit_error)
    }

    /// Puts what the kernel was configured with beside its modules, where tools in the guest look for it: the image's
    /// `/boot` knows nothing of this kernel.
    fn add_config(&mut self, folder: &str, version: &str) -> Result<(), ImportError> {
        let (from, to) = (format!("boot/config-{version}"), format!("{folder}/config"));
        if self.tree.resolve(&from).is_none() || self.tree.resolve(&to).is_some() {
            return Ok(());
        }
        let bytes = self.read(&from)?;
        let edit_error = |source| ImportError::Edit { source };
        self.tree.insert_file(&to, Meta::root_owned(0o644), bytes).map_err(edit_error)
    }
}

/// The version becomes part of paths, here and with our callers.
fn is_version(text: &str) -> bool {
    text.starts_with(|c: char| c.is_ascii_digit())
        && text.chars().all(|c| c.is_ascii_alphanumeric() || "._+~-".contains(c))
}

/// Digits compare as numbers, the rest as text: 6.1.0-9 is older than 6.1.0-10.
fn version_key(version: &str) -> Vec<(u64, String)> {
    version
        .split(['.', '-', '+', '~'])
        .map(|part| {
            let digits = part.len() - part.trim_start_matches(|c: char| c.is_ascii_digit()).len();
            (part[..digits].parse().unwrap_or(0), part[digits..].to_owned())
        })
        .collect()
}

fn write_file(outputs: &mut Outputs, file: &'static str, bytes: &[u8]) -> Result<(), ImportError> {
    let output_error = |source| ImportError::Output { file, source };
    outputs.create(file).and_then(|mut out| out.write_all(bytes)).map_err(output_error)
}

fn package_error(source: LayerError) -> ImportError {
    match source {
        LayerError::Cancelled => ImportError::Cancelled,
        source => ImportError::Package { source },
    }
}

#[cfg(test)]
mod fuzz;
#[cfg(test)]
mod tests;
