use crate::build::{Builder, KernelFiles};
use crate::daemon::{self, Daemon};
use crate::failure::{Failure, Outcome, USAGE};
use crate::printer::{self, Progress};
use crate::signals::Signals;
use banger_config::Config;
use banger_protocol::names::KernelName;
use std::path::PathBuf;

/// Import a kernel from a directory
///
///     banger kernel import mine --from ./unpacked
///
/// The directory has the layout of an unpacked kernel package. banger uses the newest
/// `boot/vmlinux-*` or `boot/vmlinuz-*` with the matching `lib/modules/*`, or with a
/// `boot/initramfs-*` where there are no modules. A `metadata.json` can name `kernel`,
/// `modules`, `initrd`, `version`, `distro`, and `arch` instead.
///
/// Then `banger vm run --kernel mine`.
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment)]
pub(crate) struct Args {
    /// Name for the kernel
    #[arg(value_name = "NEW")]
    name: KernelName,
    /// Directory to import from
    #[arg(long, value_name = "DIR")]
    from: PathBuf,
    /// Replace an existing kernel of the same name
    #[arg(long)]
    force: bool,
}

impl Args {
    pub(crate) fn run(self) -> Outcome {
        let folder = &self.from;
        if !folder.is_dir() {
            let failure = Failure::message(format!("--from {}: no such directory", folder.display()));
            return Err(Failure { code: USAGE, ..failure });
        }
        let files = KernelFiles::in_folder(folder).map_err(Failure::from);
        let files = files
            .map_err(|failure| failure.reason_for(format!("kernel `{}` was not imported", self.name)))?;
        let paths = daemon::paths()?;
        let config = Config::read(&paths)?;
        let mut daemon = Daemon::connect()?;
        let signals = Signals::take().map_err(|error| Failure::of(&error))?;
        let progress = Progress::live_or_plain(self.name.as_str());
        let builder = Builder { paths: &paths, config: &config, signals: &signals, progress: &progress };
        let source = std::path::absolute(folder).unwrap_or_else(|_| folder.clone());
        let source = format!("imported from {}", source.display());
        let kernel = builder.import_kernel(&mut daemon, &self.name, source, &files, self.force)?;
        drop(progress);
        printer::line(kernel.name)?;
        Ok(0)
    }
}
