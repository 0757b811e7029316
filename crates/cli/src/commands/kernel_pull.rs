use crate::build::Builder;
use crate::catalog::Catalog;
use crate::daemon::{self, Daemon};
use crate::failure::{Failure, Outcome};
use crate::printer::{self, Progress};
use crate::signals::Signals;
use banger_config::{Config, probably_meant};
use banger_protocol::daemon_api::kernel::Show;
use banger_protocol::names::KernelName;
use banger_protocol::wire::{ConnectionError, ErrorKind};

/// Pull a kernel from the catalog
///
/// `banger kernel pull` pulls the default kernel, made from signed Debian packages. `--force` updates an existing kernel to
/// the newest version. Then `banger vm run --kernel NAME`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Kernel name, as shown by `banger kernel list --available` [default: `default_kernel` in config.toml, or debian-bookworm-cloud]
    #[arg(value_name = "NAME")]
    name: Option<String>,
    /// Replace an existing kernel of the same name
    #[arg(long)]
    force: bool,
}

impl Args {
    pub(crate) fn run(self) -> Outcome {
        let paths = daemon::paths()?;
        let catalog = Catalog::load(&paths)?;
        let config = Config::read(&paths)?;
        let name = self.name.as_deref().unwrap_or(config.default_kernel.value.as_str());
        let Some(entry) = catalog.kernel(name) else {
            let meant = probably_meant(name, catalog.kernels.iter().map(|entry| entry.name.as_str()));
            let hint = "`banger kernel list --available` lists the catalog";
            let hint = match meant {
                Some(meant) => format!("did you mean `{meant}`? {hint}"),
                None => hint.to_owned(),
            };
            return Err(Failure::message(format!("`{name}` is not in the catalog")).with_hint(hint));
        };
        let mut daemon = Daemon::connect()?;
        if !self.force {
            refuse_existing(&mut daemon, &entry.name)?;
        }
        let signals = Signals::take().map_err(|error| Failure::of(&error))?;
        let progress = Progress::live_or_plain(name);
        let builder = Builder { paths: &paths, config: &config, signals: &signals, progress: &progress };
        let kernel = builder.kernel(&mut daemon, entry, self.force)?;
        drop(progress);
        printer::line(kernel.name)?;
        Ok(0)
    }
}

/// Before time is spent on it; the daemon refuses again when it would publish it.
fn refuse_existing(daemon: &mut Daemon, name: &KernelName) -> Result<(), Failure> {
    match daemon.call(&Show { kernel: name.clone() }) {
        Ok(_) => Err(Failure::message(format!("kernel `{name}` already exists"))
            .with_hint("use `--force` to replace it")),
        Err(ConnectionError::Refused(refusal)) if refusal.kind == ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error.into()),
    }
}
