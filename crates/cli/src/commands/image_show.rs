use crate::daemon::Daemon;
use crate::failure::Outcome;
use crate::printer;
use banger_protocol::daemon_api::image::Show;
use banger_protocol::names::ImageName;

/// Show the details of an image
///
/// `banger image show debian-bookworm` shows its source, size, kernel, and more. `banger vm run --image NAME` creates a VM
/// from it.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Image name, as shown by `banger image list`
    image: ImageName,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

impl Args {
    pub(crate) fn run(self) -> Outcome {
        let image = Daemon::connect()?.call(&Show { image: self.image })?;
        if self.json {
            printer::json(&image)?;
            return Ok(0);
        }
        let yes_no = |yes| if yes { "yes" } else { "no" }.to_owned();
        let lines = [
            ("name", image.name.to_string()),
            ("source", image.source),
            ("kernel", image.kernel.to_string()),
            ("digest", image.digest.map(|digest| format!("sha256:{digest}")).unwrap_or_default()),
            ("files", if image.managed { "banger's own" } else { "registered in place" }.to_owned()),
            ("size", format!("{} in the guest, {} on disk", image.size, image.disk_usage)),
            ("entries", image.entries.map(|entries| entries.to_string()).unwrap_or_default()),
            ("init", yes_no(image.has_init)),
            ("sshd", yes_no(image.has_sshd)),
            ("agent", yes_no(image.has_agent)),
            ("created", format!("{} ({})", image.created, printer::age(&image.created))),
            ("rootfs", image.rootfs_path),
            ("work seed", image.work_seed_path),
        ];
        let config = &image.config;
        let runs = [
            ("user", config.user.clone().unwrap_or_default()),
            ("directory", config.working_dir.clone().unwrap_or_default()),
            ("command", config.command().join(" ")),
            (
                "variables",
                config
                    .env
                    .iter()
                    .map(|(name, value)| format!("{name}={value}"))
                    .collect::<Vec<_>>()
                    .join(" "),
            ),
        ];
        let text: String = lines
            .into_iter()
            .chain(runs)
            .filter(|(_, value)| !value.is_empty())
            .map(|(name, value)| format!("{name:<11}{}\n", printer::harmless(&value)))
            .collect();
        printer::data(&text)?;
        Ok(0)
    }
}
