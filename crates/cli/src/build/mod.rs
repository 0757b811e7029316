//! Making images and kernels of the catalogue, in the user's own session.
//!
//! Packages become one tar archive in a file that has no name; the daemon gets its descriptor and makes the
//! image or the kernel entry of it. A lock per name lets two commands at once build a thing once.

mod archive;
mod debian;
mod ensure;
mod lock;

pub(crate) use ensure::{image as ensure_image, kernel as ensure_kernel};

use crate::catalog::{ImageEntry, KernelEntry};
use crate::daemon::{Daemon, follow};
use crate::failure::Failure;
use crate::printer::Progress;
use crate::signals::Signals;
use banger_config::Config;
use banger_protocol::daemon_api::image::{ImageView, Ingest as IngestImage};
use banger_protocol::daemon_api::kernel::{Ingest as IngestKernel, KernelView};
use banger_protocol::local_paths::LocalPaths;
use banger_protocol::names::{ImageName, KernelName};
use banger_protocol::size::ByteSize;
use std::os::fd::AsFd;

/// What a build works with.
#[derive(Debug)]
pub(crate) struct Builder<'a> {
    pub paths: &'a LocalPaths,
    pub config: &'a Config,
    pub signals: &'a Signals,
    pub progress: &'a Progress,
}

impl Builder<'_> {
    /// Builds the image and hands it to the daemon. Its kernel must be there.
    pub(crate) fn image(
        &self,
        daemon: &mut Daemon,
        entry: &ImageEntry,
        name: &ImageName,
        kernel: &KernelName,
        size: Option<ByteSize>,
    ) -> Result<ImageView, Failure> {
        let not_built = |failure: Failure| failure.reason_for(format!("image `{name}` was not built"));
        let archive = archive::build(self, &entry.recipe, debian::Kind::Image);
        let archive = archive.map_err(|error| not_built(error.into()))?;
        let source = entry.recipe.source();
        let _held = self.signals.hold();
        let request = IngestImage { name: name.clone(), source, kernel: kernel.clone(), size };
        let started =
            daemon.call_sending(&request, archive.as_fd()).map_err(|error| not_built(error.into()))?;
        let made = follow(daemon, started, Some(self.signals), self.progress);
        made.map_err(|error| not_built(error.into()))
    }

    /// Builds the kernel entry and hands it to the daemon; `force` replaces one that is there.
    pub(crate) fn kernel(
        &self,
        daemon: &mut Daemon,
        entry: &KernelEntry,
        force: bool,
    ) -> Result<KernelView, Failure> {
        let name = &entry.name;
        let not_built = |failure: Failure| failure.reason_for(format!("kernel `{name}` was not built"));
        let archive = archive::build(self, &entry.recipe, debian::Kind::Kernel);
        let archive = archive.map_err(|error| not_built(error.into()))?;
        let _held = self.signals.hold();
        let request = IngestKernel { name: name.clone(), source: entry.recipe.source(), force };
        let started =
            daemon.call_sending(&request, archive.as_fd()).map_err(|error| not_built(error.into()))?;
        let made = follow(daemon, started, Some(self.signals), self.progress);
        made.map_err(|error| not_built(error.into()))
    }
}
