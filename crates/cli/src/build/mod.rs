//! Making images and kernels, in the user's own session.
//!
//! Packages become one tar archive in a file that has no name; what others published is found where it lies. Either
//! way the daemon gets descriptors and makes the image or the kernel entry of them. A lock per name lets two commands
//! at once build a thing once.

mod archive;
mod bundled;
mod debian;
mod ensure;
mod kernel_files;
mod lock;
mod published;

pub(crate) use ensure::{image as ensure_image, kernel as ensure_kernel, once};
pub(crate) use kernel_files::KernelFiles;
pub(crate) use published::{Published, Wish};

use crate::catalog::{ImageEntry, KernelEntry, Recipe};
use crate::daemon::{Daemon, follow};
use crate::failure::Failure;
use crate::printer::Progress;
use crate::signals::Signals;
use banger_config::Config;
use banger_oci::{Platform, Reference, bundle};
use banger_protocol::daemon_api::image::{
    ImageView, Ingest as IngestImage, LayerSource, Register, Unbundle as UnbundleImage,
};
use banger_protocol::daemon_api::kernel::{Ingest as IngestKernel, KernelView, Unbundle as UnbundleKernel};
use banger_protocol::daemon_api::operation::OperationStarted;
use banger_protocol::image_config::ImageConfig;
use banger_protocol::local_paths::LocalPaths;
use banger_protocol::names::{ImageName, KernelName};
use banger_protocol::size::ByteSize;
use banger_protocol::wire::Method;
use kernel_files::KernelFilesError;
use serde::de::DeserializeOwned;
use std::fs::File;
use std::os::fd::{AsFd, BorrowedFd};

/// What a build works with.
#[derive(Debug)]
pub(crate) struct Builder<'a> {
    pub paths: &'a LocalPaths,
    pub config: &'a Config,
    pub signals: &'a Signals,
    pub progress: &'a Progress,
}

impl Builder<'_> {
    /// Makes an image of the catalog. Its kernel must be there.
    pub(crate) fn image(
        &self,
        daemon: &mut Daemon,
        entry: &ImageEntry,
        name: &ImageName,
        kernel: &KernelName,
        size: Option<ByteSize>,
    ) -> Result<ImageView, Failure> {
        let not_built = |failure: Failure| failure.reason_for(format!("image `{name}` was not built"));
        let source = entry.recipe.source();
        match &entry.recipe {
            Recipe::Debian { suite, packages } => {
                let archive = archive::build(self, suite, packages, debian::Kind::Image);
                let archive = archive.map_err(|error| not_built(error.into()))?;
                let length = archive.metadata().map_err(|error| not_built(Failure::of(&error)))?.len();
                let request = IngestImage {
                    name: name.clone(),
                    source,
                    kernel: kernel.clone(),
                    size,
                    layers: vec![LayerSource { offset: 0, length, digest: None, diff_id: None }],
                    config: ImageConfig::default(),
                };
                self.hand_over(daemon, &request, &[archive.as_fd()]).map_err(not_built)
            }
            Recipe::Bundle(bundle) => {
                if size.is_some() {
                    let message = format!("image `{name}` is a bundle, and bundles have a fixed size");
                    return Err(Failure::usage(message).with_hint("leave out `--size`"));
                }
                let what = bundle::comment("image", entry.name.as_str());
                let (file, place) = bundled::fetch(self, bundle, &what).map_err(not_built)?;
                let request =
                    UnbundleImage { name: name.clone(), source, kernel: kernel.clone(), bundle: place };
                self.hand_over(daemon, &request, &[file.as_fd()]).map_err(not_built)
            }
            Recipe::Oci(reference) => {
                let reference = Reference::Registry(reference.clone());
                let published = Published::find(self, &reference, &Platform::of_guests())?;
                published.make(self, daemon, name, kernel, size)
            }
        }
    }

    /// Hands the daemon what something is made of, and waits for it.
    fn hand_over<M, R>(
        &self,
        daemon: &mut Daemon,
        request: &M,
        files: &[BorrowedFd<'_>],
    ) -> Result<R, Failure>
    where
        M: Method<Reply = OperationStarted>,
        R: DeserializeOwned,
    {
        let _held = self.signals.hold();
        let started = daemon.call_sending(request, files)?;
        Ok(follow(daemon, started, Some(self.signals), self.progress)?)
    }

    /// Makes a kernel entry of the catalog; `force` replaces one that is there.
    pub(crate) fn kernel(
        &self,
        daemon: &mut Daemon,
        entry: &KernelEntry,
        force: bool,
    ) -> Result<KernelView, Failure> {
        let name = &entry.name;
        let not_built = |failure: Failure| failure.reason_for(format!("kernel `{name}` was not built"));
        let source = entry.recipe.source();
        match &entry.recipe {
            Recipe::Debian { suite, packages } => {
                let archive = archive::build(self, suite, packages, debian::Kind::Kernel);
                let archive = archive.map_err(|error| not_built(error.into()))?;
                let distro = Some(format!("debian {suite}"));
                let request = IngestKernel { name: name.clone(), source, distro, own_initrd: false, force };
                self.hand_over(daemon, &request, &[archive.as_fd()]).map_err(not_built)
            }
            Recipe::Bundle(bundle) => {
                let what = bundle::comment("kernel", name.as_str());
                let (file, place) = bundled::fetch(self, bundle, &what).map_err(not_built)?;
                let request = UnbundleKernel { name: name.clone(), source, bundle: place, force };
                self.hand_over(daemon, &request, &[file.as_fd()]).map_err(not_built)
            }
            Recipe::Oci(_) => unreachable!("no catalog has a kernel from a registry"),
        }
    }

    /// Makes a kernel entry of files that the user has.
    pub(crate) fn import_kernel(
        &self,
        daemon: &mut Daemon,
        name: &KernelName,
        source: String,
        files: &KernelFiles,
        force: bool,
    ) -> Result<KernelView, Failure> {
        let not_made = |failure: Failure| failure.reason_for(format!("kernel `{name}` was not imported"));
        let parts = self.parts(files).map_err(|error| not_made(error.into()))?;
        let parts: Vec<_> = parts.iter().map(AsFd::as_fd).collect();
        let (distro, own_initrd) = (files.distro.clone(), files.initrd.is_some());
        let request = IngestKernel { name: name.clone(), source, distro, own_initrd, force };
        self.hand_over(daemon, &request, &parts).map_err(not_made)
    }

    /// Registers an image, with a kernel of its own if there is one.
    pub(crate) fn register(
        &self,
        daemon: &mut Daemon,
        request: &Register,
        own: Option<&KernelFiles>,
    ) -> Result<ImageView, Failure> {
        let parts = own.map(|files| self.parts(files)).transpose()?.unwrap_or_default();
        let parts: Vec<_> = parts.iter().map(AsFd::as_fd).collect();
        self.hand_over(daemon, request, &parts)
    }

    /// The archive of a kernel's files, then its initrd.
    fn parts(&self, files: &KernelFiles) -> Result<Vec<File>, KernelFilesError> {
        self.progress.stage("gather the kernel's files");
        let mut parts = vec![files.archive(&self.paths.cache)?];
        if let Some(initrd) = &files.initrd {
            parts.push(kernel_files::open(initrd)?);
        }
        Ok(parts)
    }
}

impl From<KernelFilesError> for Failure {
    fn from(error: KernelFilesError) -> Self {
        error.hint().into_iter().fold(Self::of(&error), Self::with_hint)
    }
}
