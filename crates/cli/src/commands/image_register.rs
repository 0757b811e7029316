use crate::build::{Builder, KernelFiles, ensure_kernel};
use crate::daemon::{self, Daemon};
use crate::failure::{Failure, Outcome};
use crate::printer::{self, Progress};
use crate::signals::Signals;
use banger_config::Config;
use banger_protocol::daemon_api::image::Register;
use banger_protocol::names::{ImageName, KernelName};
use std::path::{Path, PathBuf};

/// Use a root file system of your own, where it is.
///
///     banger image register --name mine --rootfs ./rootfs.ext4
///
/// makes `vm run --image mine` start VMs of it. Nothing is copied and nothing is
/// written to your files; a `work-seed.ext4` beside it is what VMs find in `/root`,
/// otherwise it is what the image has there. The kernel is the usual one, one of
/// `banger kernel list` (`--kernel-ref`), or your own (`--kernel`). Registering
/// again updates; `banger image promote` copies the files, so that they are banger's.
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment)]
pub(crate) struct Args {
    /// What to call it here.
    #[arg(long)]
    name: ImageName,
    /// An ext4 file system in a file.
    #[arg(long, value_name = "FILE")]
    rootfs: PathBuf,
    /// An ext4 file system that VMs get a copy of as `/root`.
    #[arg(long, value_name = "FILE")]
    work_seed: Option<PathBuf>,
    /// A kernel that is here or in the catalogue.
    #[arg(long, value_name = "KERNEL", conflicts_with = "kernel")]
    kernel_ref: Option<KernelName>,
    /// A kernel of its own: an ELF file or a bzImage.
    #[arg(long, value_name = "FILE")]
    kernel: Option<PathBuf>,
    /// What that kernel starts with instead of banger's own; the image then needs the agent inside.
    #[arg(long, value_name = "FILE", requires = "kernel")]
    initrd: Option<PathBuf>,
    /// The folder with that kernel's modules.
    #[arg(long, value_name = "DIR", requires = "kernel")]
    modules: Option<PathBuf>,
    /// Accept an image that cannot be reached once it runs.
    #[arg(long)]
    no_agent: bool,
}

impl Args {
    pub(crate) fn run(self) -> Outcome {
        let rootfs = existing("--rootfs", &self.rootfs, Path::is_file)?;
        let seed =
            self.work_seed.as_deref().map(|seed| existing("--work-seed", seed, Path::is_file)).transpose()?;
        let own = self.own_kernel()?;
        let paths = daemon::paths()?;
        let config = Config::read(&paths)?;
        let mut daemon = Daemon::connect()?;
        let signals = Signals::take().map_err(|error| Failure::of(&error))?;
        let progress = Progress::live_or_plain(self.name.as_str());
        let builder = Builder { paths: &paths, config: &config, signals: &signals, progress: &progress };
        let kernel_ref = match (&own, self.kernel_ref) {
            (Some(_), _) => None,
            (None, wanted) => Some(wanted.unwrap_or_else(|| config.default_kernel.value.clone())),
        };
        if let Some(kernel) = &kernel_ref {
            ensure_kernel(&builder, &mut daemon, kernel)?;
        }
        let request = Register {
            name: self.name,
            rootfs,
            work_seed: seed,
            kernel_ref,
            own_initrd: self.initrd.is_some(),
            no_agent: self.no_agent,
        };
        let image = builder.register(&mut daemon, &request, own.as_ref())?;
        drop(progress);
        printer::line(image.name)?;
        Ok(0)
    }

    fn own_kernel(&self) -> Result<Option<KernelFiles>, Failure> {
        let Some(kernel) = &self.kernel else { return Ok(None) };
        existing("--kernel", kernel, Path::is_file)?;
        if let Some(initrd) = &self.initrd {
            existing("--initrd", initrd, Path::is_file)?;
        }
        if let Some(modules) = &self.modules {
            existing("--modules", modules, Path::is_dir)?;
        }
        let files = KernelFiles::named(kernel.clone(), self.initrd.clone(), self.modules.as_deref());
        files.map(Some).map_err(Failure::from)
    }
}

/// The whole path, or a failure that names the flag.
fn existing(flag: &str, path: &Path, is_it: fn(&Path) -> bool) -> Result<String, Failure> {
    let failed = |what: String| Failure::usage(format!("{flag} {}: {what}", path.display()));
    let about = std::fs::metadata(path).map_err(|error| failed(error.to_string()));
    about.and_then(|_| if is_it(path) { Ok(()) } else { Err(failed("it is of another kind".to_owned())) })?;
    let whole = std::path::absolute(path).map_err(|error| failed(error.to_string()))?;
    whole.into_os_string().into_string().map_err(|_| failed("its path is no text".to_owned()))
}
