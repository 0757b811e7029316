use crate::build::{Builder, ensure_kernel};
use crate::catalog::Catalog;
use crate::daemon::{self, Daemon};
use crate::failure::{Failure, Outcome};
use crate::printer::{self, Progress};
use crate::signals::Signals;
use banger_config::{Config, probably_meant};
use banger_protocol::daemon_api::image::Show;
use banger_protocol::names::{ImageName, KernelName};
use banger_protocol::size::ByteSize;
use banger_protocol::wire::{ConnectionError, ErrorKind};

/// Make an image.
///
/// `banger image pull debian-bookworm` builds it from Debian's signed packages on this machine, without root.
/// Then `banger vm run --image debian-bookworm`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// A name of the catalogue.
    #[arg(value_name = "REF")]
    reference: String,
    /// What to call it here; its name in the catalogue if not given.
    #[arg(long)]
    name: Option<ImageName>,
    /// The kernel its VMs start with.
    #[arg(long)]
    kernel: Option<KernelName>,
    /// How large the root file system is for a guest, as 8G; it takes what it holds.
    #[arg(long)]
    size: Option<ByteSize>,
}

impl Args {
    pub(crate) fn run(self) -> Outcome {
        let catalog = Catalog::load();
        let Some(entry) = catalog.image(&self.reference) else {
            let names: Vec<_> = catalog
                .images
                .iter()
                .map(|entry| format!("{} ({})", entry.name, entry.description))
                .collect();
            let meant =
                probably_meant(&self.reference, catalog.images.iter().map(|entry| entry.name.as_str()));
            let hint = match meant {
                Some(meant) => format!("did you mean `{meant}`?"),
                None => format!("it has {}", names.join(", ")),
            };
            return Err(
                Failure::message(format!("`{}` is not in the catalogue", self.reference)).with_hint(hint)
            );
        };
        let name = self.name.as_ref().unwrap_or(&entry.name);
        let kernel = self.kernel.as_ref().unwrap_or(&entry.kernel);
        let paths = daemon::paths()?;
        let mut daemon = Daemon::connect()?;
        refuse_existing(&mut daemon, name)?;
        let signals = Signals::take().map_err(|error| Failure::of(&error))?;
        let progress = Progress::live_or_plain(name.as_str());
        let config = Config::read(&paths)?;
        let builder = Builder { paths: &paths, config: &config, signals: &signals, progress: &progress };
        ensure_kernel(&builder, &mut daemon, kernel)?;
        let image = builder.image(&mut daemon, entry, name, kernel, self.size)?;
        drop(progress);
        printer::line(image.name)?;
        Ok(0)
    }
}

/// Before minutes are spent on it; the daemon refuses again when it would publish it.
fn refuse_existing(daemon: &mut Daemon, name: &ImageName) -> Result<(), Failure> {
    match daemon.call(&Show { image: name.clone() }) {
        Ok(_) => Err(Failure::message(format!("there is an image `{name}` already"))
            .with_hint(format!("`banger image delete {name}` removes it; `--name` gives another name"))),
        Err(ConnectionError::Refused(refusal)) if refusal.kind == ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error.into()),
    }
}
