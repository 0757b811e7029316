use crate::daemon::{Daemon, follow};
use crate::failure::{Failure, Outcome};
use crate::printer::{self, Progress};
use crate::signals::Signals;
use banger_protocol::daemon_api::image::{ImageView, Promote};
use banger_protocol::names::ImageName;

/// Copy a registered image's files, so that they are banger's.
///
/// `banger image promote mine` keeps the name, the kernel and the VMs; your own files can go afterwards.
/// `banger image register` made it known.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Its name, as `banger image list` shows it.
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
