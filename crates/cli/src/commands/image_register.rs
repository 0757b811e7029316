use crate::build::{Builder, KernelFiles, ensure_kernel};
use crate::daemon::{self, Daemon};
use crate::failure::{Failure, Outcome};
use crate::printer::{self, Progress};
use crate::signals::Signals;
use banger_config::Config;
use banger_protocol::daemon_api::image::Register;
use banger_protocol::names::{ImageName, KernelName};
use std::path::{Path, PathBuf};

/// Register a root file system in place, without copying it
///
///     banger image register --name mine --rootfs ./rootfs.ext4
///
/// Then `banger vm run --image mine` creates a VM from it. banger never writes to
/// your files. If there is a `work-seed.ext4` next to the root file system, VMs get a
/// copy of it as /root; otherwise they get the image's own /root. Registering the
/// same name again updates the image. `banger image promote` copies the files into
/// banger's storage.
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment)]
pub(crate) struct Args {
    /// Name for the image
    #[arg(long)]
    name: ImageName,
    /// File that contains an ext4 root file system
    #[arg(long, value_name = "FILE")]
    rootfs: PathBuf,
    /// File that contains an ext4 file system; each VM gets a copy of it as /root
    #[arg(long, value_name = "FILE")]
    work_seed: Option<PathBuf>,
    /// Kernel to use, by name; pulled from the catalog if missing [default: `default_kernel`]
    #[arg(long, value_name = "KERNEL", conflicts_with = "kernel")]
    kernel_ref: Option<KernelName>,
    /// Kernel file to use: an ELF file or a bzImage
    #[arg(long, value_name = "FILE")]
    kernel: Option<PathBuf>,
    /// Initrd for that kernel, instead of banger's own; the image must then contain the guest agent
    #[arg(long, value_name = "FILE", requires = "kernel")]
    initrd: Option<PathBuf>,
    /// Directory that contains the modules of that kernel
    #[arg(long, value_name = "DIR", requires = "kernel")]
    modules: Option<PathBuf>,
    /// Allow an image without the guest agent; banger cannot run commands in its VMs
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
    about.and_then(|_| {
        if is_it(path) { Ok(()) } else { Err(failed("it is not the right type of file".to_owned())) }
    })?;
    let whole = std::path::absolute(path).map_err(|error| failed(error.to_string()))?;
    whole.into_os_string().into_string().map_err(|_| failed("its path is not UTF-8".to_owned()))
}
