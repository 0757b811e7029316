//! The files that a VM starts from and shares with others: its image's and its kernel's. Nothing here is written.

use crate::Services;
use crate::image::Files;
use crate::store::{ImageRecord, VmRecord};
use banger_protocol::root_api::{Disk, DiskRole, DiskSource};
use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

/// An image or a kernel that is not whole.
#[derive(Debug, thiserror::Error)]
#[error("the image's or kernel's file {path} cannot be opened")]
pub(crate) struct SharedFileError {
    path: String,
    source: io::Error,
}

pub(super) struct SharedFiles {
    kernel: PathBuf,
    initrd: PathBuf,
    modules: PathBuf,
    pub rootfs: PathBuf,
    pub work_seed: PathBuf,
    /// The image's own folder, where work disks of other sizes are kept for the next VM.
    pub image: PathBuf,
}

impl SharedFiles {
    pub(super) fn find(services: &Services, vm: &VmRecord, image: Option<&ImageRecord>) -> Self {
        let kernel = services.state.kernels().join(vm.kernel.as_str());
        let registered = image.and_then(|image| image.registered.as_ref());
        let image = Files::of(services, &vm.image, registered);
        Self {
            kernel: kernel.join(crate::kernel::KERNEL),
            initrd: kernel.join(crate::kernel::INITRD),
            modules: kernel.join(crate::kernel::MODULES),
            rootfs: image.rootfs,
            work_seed: image.work_seed,
            image: image.folder,
        }
    }

    /// What the VMM gets as descriptors, in the order it wants them: kernel, initrd, then each disk that is shared.
    pub(super) fn open(&self, disks: &[Disk]) -> Result<Vec<OwnedFd>, SharedFileError> {
        // Not handed over, but missing now is better than missing after the first effect.
        for path in [&self.rootfs, &self.work_seed] {
            open(path)?;
        }
        let shared = disks.iter().filter(|disk| disk.source == DiskSource::Descriptor);
        let disks = shared.map(|disk| self.disk(disk.role));
        [&self.kernel, &self.initrd].into_iter().map(PathBuf::as_path).chain(disks).map(open).collect()
    }

    fn disk(&self, role: DiskRole) -> &Path {
        match role {
            DiskRole::Root | DiskRole::Base => &self.rootfs,
            DiskRole::Modules => &self.modules,
            DiskRole::Work => &self.work_seed,
            DiskRole::Cow | DiskRole::Config => {
                unreachable!("a cow and a config drive are always the VM's own")
            }
        }
    }
}

fn open(path: &Path) -> Result<OwnedFd, SharedFileError> {
    let failed = |source| SharedFileError { path: path.display().to_string(), source };
    File::open(path).map(OwnedFd::from).map_err(failed)
}
