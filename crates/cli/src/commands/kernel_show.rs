use crate::daemon::Daemon;
use crate::failure::Outcome;
use crate::printer;
use banger_protocol::daemon_api::kernel::Show;
use banger_protocol::names::KernelName;

/// Show the details of a kernel
///
/// `banger kernel show debian-bookworm-cloud` shows its version, source, and more. `banger vm run --kernel NAME` creates a VM
/// with it.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Kernel name, as shown by `banger kernel list`
    kernel: KernelName,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

impl Args {
    pub(crate) fn run(self) -> Outcome {
        let kernel = Daemon::connect()?.call(&Show { kernel: self.kernel })?;
        if self.json {
            printer::json(&kernel)?;
            return Ok(0);
        }
        let lines = [
            ("name", kernel.name.to_string()),
            ("version", kernel.version),
            ("arch", kernel.arch),
            ("source", kernel.source),
            ("distro", kernel.distro.unwrap_or_default()),
            ("initrd", if kernel.own_initrd { "its own" } else { "banger's" }.to_owned()),
            ("of image", kernel.of_image.map(|image| image.to_string()).unwrap_or_default()),
            ("sha256", kernel.sha256),
            ("disk", kernel.disk_usage.to_string()),
            ("created", format!("{} ({})", kernel.created, printer::age(&kernel.created))),
        ];
        let lines = lines.into_iter().filter(|(_, value)| !value.is_empty());
        let text = lines.map(|(name, value)| format!("{name:<9}{}\n", printer::harmless(&value)));
        printer::data(&text.collect::<String>())?;
        Ok(0)
    }
}
