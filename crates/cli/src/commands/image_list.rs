use crate::catalog::Catalog;
use crate::daemon::{self, Daemon};
use crate::failure::Outcome;
use crate::printer::{self, Offer};
use banger_protocol::daemon_api::image::{ImageView, List};

/// List images
///
/// `banger image list` lists the images on this host; with `--available`, those that the catalog offers. Then
/// `banger vm run --image NAME` creates a VM from one, and `banger image pull NAME` adds one.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// List the images in the catalog instead
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
        let images = Daemon::connect()?.call(&List {})?;
        if self.available {
            let catalog = Catalog::load(&daemon::paths()?)?;
            let offers = catalog.images.iter().map(|entry| {
                let here = images.iter().find(|image| image.name == entry.name);
                Offer::new(
                    entry.name.as_str(),
                    &entry.recipe,
                    &entry.description,
                    here.map(|it| it.disk_usage),
                )
            });
            printer::offers(&offers.collect::<Vec<_>>(), self.quiet, self.json)?;
        } else if self.json {
            printer::json(&images)?;
        } else if self.quiet {
            printer::data(&images.iter().map(|image| format!("{}\n", image.name)).collect::<String>())?;
        } else {
            printer::table(["NAME", "SOURCE", "KERNEL", "DISK", "CREATED"], images.iter().map(row))?;
        }
        Ok(0)
    }
}

fn row(image: &ImageView) -> [String; 5] {
    [
        image.name.to_string(),
        image.source.clone(),
        image.kernel.to_string(),
        image.disk_usage.to_string(),
        printer::age(&image.created),
    ]
}
