use crate::daemon::{Daemon, follow};
use crate::failure::{Failure, Outcome};
use crate::printer::{self, Progress};
use crate::signals::Signals;
use banger_protocol::daemon_api::image::{ImageView, Promote};
use banger_protocol::names::ImageName;

/// Copy a registered image into banger's storage
///
/// `banger image promote mine` copies the files of an image that `banger image register` added. Its name, kernel, and VMs
/// stay the same; afterwards you can delete the original files.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Image name, as shown by `banger image list`
    image: ImageName,
}

impl Args {
    pub(crate) fn run(self) -> Outcome {
        let mut daemon = Daemon::connect()?;
        let signals = Signals::take().map_err(|error| Failure::of(&error))?;
        let progress = Progress::live_or_plain(self.image.as_str());
        let started = {
            let _held = signals.hold();
            daemon.call(&Promote { image: self.image })?
        };
        let image: ImageView = follow(&mut daemon, started, Some(&signals), &progress)?;
        drop(progress);
        printer::line(image.name)?;
        Ok(0)
    }
}
