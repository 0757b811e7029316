use crate::build::{Builder, KernelFiles};
use crate::daemon::{self, Daemon};
use crate::failure::{Failure, Outcome, USAGE};
use crate::printer::{self, Progress};
use crate::signals::Signals;
use banger_config::Config;
use banger_protocol::names::KernelName;
use std::path::PathBuf;

/// Make a kernel of files in a folder.
///
///     banger kernel import mine --from ./unpacked
///
/// takes the newest `boot/vmlinux-*` or `boot/vmlinuz-*` with its `lib/modules/*`, as
/// a package leaves them when it is unpacked; compressed or not. Where there are no
/// modules, a `boot/initramfs-*` is what it starts with. A `metadata.json` can name
/// `kernel`, `modules`, `initrd`, `version`, `distro` and `arch` instead.
///
/// Then `banger vm run --kernel mine`.
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment)]
pub(crate) struct Args {
    /// What to call it here.
    #[arg(value_name = "NEW")]
    name: KernelName,
    /// The folder.
    #[arg(long, value_name = "DIR")]
    from: PathBuf,
    /// Replace the one of this name that is here.
    #[arg(long)]
    force: bool,
}

impl Args {
    pub(crate) fn run(self) -> Outcome {
        let folder = &self.from;
        if !folder.is_dir() {
            let failure = Failure::message(format!("--from {}: there is no such folder", folder.display()));
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
