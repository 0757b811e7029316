use crate::catalog::Catalog;
use crate::daemon::{self, Daemon};
use crate::failure::Outcome;
use crate::printer::{self, Offer};
use banger_protocol::daemon_api::kernel::{KernelView, List};

/// List kernels
///
/// `banger kernel list` lists the kernels on this host; with `--available`, those that the catalog offers.
/// `banger kernel pull NAME` adds one.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// List the kernels in the catalog instead
    #[arg(long)]
    available: bool,
    /// Print names only, one per line
    #[arg(short, long, conflicts_with = "json")]
    quiet: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

impl Args {
    pub(crate) fn run(self) -> Outcome {
        let kernels = Daemon::connect()?.call(&List {})?;
        if self.available {
            let catalog = Catalog::load(&daemon::paths()?)?;
            let offers = catalog.kernels.iter().map(|entry| {
                let here = kernels.iter().find(|kernel| kernel.name == entry.name);
                Offer::new(
                    entry.name.as_str(),
                    &entry.recipe,
                    &entry.description,
                    here.map(|it| it.disk_usage),
                )
            });
            printer::offers(&offers.collect::<Vec<_>>(), self.quiet, self.json)?;
        } else if self.json {
            printer::json(&kernels)?;
        } else if self.quiet {
            printer::data(&kernels.iter().map(|kernel| format!("{}\n", kernel.name)).collect::<String>())?;
        } else {
            printer::table(["NAME", "VERSION", "SOURCE", "DISK", "CREATED"], kernels.iter().map(row))?;
        }
        Ok(0)
    }
}

fn row(kernel: &KernelView) -> [String; 5] {
    [
        kernel.name.to_string(),
        kernel.version.clone(),
        kernel.source.clone(),
        kernel.disk_usage.to_string(),
        printer::age(&kernel.created),
    ]
}
