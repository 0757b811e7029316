use crate::catalog::{Catalog, KernelEntry};
use crate::daemon::Daemon;
use crate::failure::Outcome;
use crate::printer;
use banger_protocol::daemon_api::kernel::{KernelView, List};
use serde::Serialize;

/// List the kernels that are here, or that can be had.
///
/// `banger kernel list --available` shows the catalogue; `banger kernel pull NAME` makes one of it.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// What the catalogue offers instead of what is here.
    #[arg(long)]
    available: bool,
    /// Only the names, one a line.
    #[arg(short, long, conflicts_with = "json")]
    quiet: bool,
    /// As JSON, for programs.
    #[arg(long)]
    json: bool,
}

/// What `--available --json` prints for each.
#[derive(Serialize)]
struct Offer<'a> {
    name: &'a str,
    source: String,
    description: &'a str,
}

impl Args {
    pub(crate) fn run(self) -> Outcome {
        if self.available { self.list_catalog() } else { self.list_here() }
    }

    fn list_here(&self) -> Outcome {
        let kernels = Daemon::connect()?.call(&List {})?;
        if self.json {
            printer::json(&kernels)?;
        } else if self.quiet {
            printer::data(&kernels.iter().map(|kernel| format!("{}\n", kernel.name)).collect::<String>())?;
        } else {
            printer::table(["NAME", "VERSION", "SOURCE", "DISK", "CREATED"], kernels.iter().map(row))?;
        }
        Ok(0)
    }

    fn list_catalog(&self) -> Outcome {
        let catalog = Catalog::load();
        let offers: Vec<_> = catalog.kernels.iter().map(offer).collect();
        if self.json {
            printer::json(&offers)?;
        } else if self.quiet {
            printer::data(&offers.iter().map(|offer| format!("{}\n", offer.name)).collect::<String>())?;
        } else {
            let row = |offer: &Offer<'_>| {
                [offer.name.to_owned(), offer.source.clone(), offer.description.to_owned()]
            };
            printer::table(["NAME", "SOURCE", "DESCRIPTION"], offers.iter().map(row))?;
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

fn offer(entry: &KernelEntry) -> Offer<'_> {
    Offer { name: entry.name.as_str(), source: entry.recipe.source(), description: &entry.description }
}
