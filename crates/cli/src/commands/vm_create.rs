use crate::build::{self, Builder, Wish};
use crate::daemon::{self, Daemon, FollowError, follow};
use crate::failure::{Failure, Outcome};
use crate::file_sync::{hand_over, sync_files};
use crate::first_boot;
use crate::printer::{self, Progress};
use crate::signals::Signals;
use banger_config::Config;
use banger_protocol::daemon_api::image::ImageView;
use banger_protocol::daemon_api::vm::{Check, Create, Delete, Deleted, VmView};
use banger_protocol::names::{KernelName, VmName, VmRef};
use banger_protocol::size::ByteSize;

/// Create and start a VM
///
/// `banger vm create --name dev` prints the name of the VM when it is ready. Then `banger vm ssh dev` or
/// `banger vm exec dev -- CMD`. Defaults can be changed in config.toml; `banger doctor` prints the values in effect.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    machine: Machine,
    /// Create the VM without starting it; start it later with `banger vm start`
    #[arg(long, conflicts_with_all = ["early", "install_init"])]
    no_start: bool,
}

/// What a VM is made of; what is not given is the daemon's default.
#[derive(Debug, clap::Args)]
pub(super) struct Machine {
    /// Name of the VM: 1 to 63 characters of a-z, 0-9, and `-` [default: generated]
    #[arg(long)]
    name: Option<VmName>,
    /// Image name, or a reference as accepted by `banger image pull`; pulled if missing [default: debian-bookworm]
    #[arg(long)]
    image: Option<Wish>,
    /// Kernel name; pulled if missing [default: the image's kernel]
    #[arg(long)]
    kernel: Option<KernelName>,
    /// Number of virtual CPUs [default: a quarter of the host's, 1 to 4]
    #[arg(long, value_name = "COUNT", value_parser = count)]
    vcpu: Option<u32>,
    /// Memory size, such as 512M or 4G [default: an eighth of the host's, 512M to 8G]
    #[arg(long, value_name = "SIZE")]
    memory: Option<ByteSize>,
    /// Size of the work disk, mounted on /root, such as 20G; only written blocks use space [default: 8G]
    #[arg(long, value_name = "SIZE")]
    disk_size: Option<ByteSize>,
    /// Give the VM internet access through this host: public addresses only [default: off]
    #[arg(long)]
    nat: bool,
    /// Install an init system (systemd; OpenRC on Alpine) and an ssh server if the image lacks them, with the guest's
    /// own package manager; needs --nat
    #[arg(long)]
    install_init: bool,
    /// Return as soon as the guest agent answers, without waiting for the guest to finish booting
    #[arg(long)]
    early: bool,
}

/// A number of processors, as far as it can be told without looking at the host.
pub(super) fn count(text: &str) -> Result<u32, String> {
    text.parse().map_err(|_| format!("`{text}` is not a number of CPUs: write a number such as 2"))
}

/// How long a VM is to live, and whether it is to run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Purpose {
    /// Gone with the connection it is made on.
    Lease,
    Keep,
    /// Not started.
    Store,
}

impl Args {
    pub(crate) fn run(self) -> Outcome {
        let signals = Signals::take().map_err(|error| Failure::of(&error))?;
        let mut daemon = Daemon::connect()?;
        let purpose = if self.no_start { Purpose::Store } else { Purpose::Keep };
        let (vm, _) = self.machine.make(&mut daemon, &signals, purpose)?;
        printer::line(vm.name)?;
        Ok(0)
    }
}

impl Machine {
    pub(super) fn reaches_the_world(&self) -> bool {
        self.nat
    }

    /// Makes the VM, and what it is made of before; it is up when this returns. An interruption leaves nothing.
    pub(super) fn make(
        self,
        daemon: &mut Daemon,
        signals: &Signals,
        purpose: Purpose,
    ) -> Result<(VmView, ImageView), Failure> {
        let &Self { vcpu, memory, disk_size, nat, install_init, early, .. } = &self;
        if install_init && !nat {
            let message = "an init and an ssh server cannot be installed without network access";
            return Err(Failure::usage(message).with_hint("use `--nat` to give the VM internet access"));
        }
        // Before minutes are spent on an image for a VM that cannot be.
        daemon.call(&Check { name: self.name.clone(), vcpu, memory, disk_size, nat: Some(nat) })?;
        let image = self.make_image(daemon, signals)?;
        let create = Create {
            name: self.name,
            image: Some(image.name.clone()),
            kernel: self.kernel,
            vcpu,
            memory,
            disk_size,
            nat,
            lease: purpose == Purpose::Lease,
            no_start: purpose == Purpose::Store,
            early,
        };
        let later = if purpose == Purpose::Store { None } else { Some(hand_over(daemon)?) };
        let held = signals.hold();
        let created = daemon.call(&create)?;
        let progress = Progress::live_or_silent(&format!("starting {}", created.name));
        let outcome = follow(daemon, created.operation, Some(signals), &progress);
        drop((progress, held));
        let outcome = match outcome {
            Ok(vm) if install_init && !(image.has_init && image.has_sshd) => {
                let is_kept = purpose != Purpose::Lease;
                Ok(first_boot::install(daemon, &vm, is_kept, early, signals).inspect_err(|failure| {
                    // What was interrupted leaves nothing; what failed stays to be looked at, if anybody is to keep it.
                    if (failure.report.is_none() || !is_kept)
                        && let Err(failure) = remove(&VmRef(created.id.to_string()))
                    {
                        printer::failure(&failure);
                    }
                })?)
            }
            outcome => outcome,
        };
        if let (true, Some(later)) = (outcome.is_ok(), later) {
            sync_files(daemon, &VmRef(created.id.to_string()), &later);
        }
        outcome.map(|vm| (vm, image)).map_err(|error| match error {
            FollowError::TooLate { .. } => {
                if let Err(failure) = remove(&VmRef(created.id.to_string())) {
                    printer::failure(&failure);
                }
                error.into()
            }
            FollowError::Failed(_) => {
                let name = &created.name;
                let failure = Failure::from(error);
                // The daemon says so itself where the console is where to look.
                if failure.hints().any(|hint| hint.contains("vm delete")) {
                    return failure;
                }
                failure.with_hint(format!(
                    "`banger vm logs {name}` shows its console, `banger vm delete {name}` deletes it"
                ))
            }
            FollowError::Cancelled { .. } | FollowError::Lost(_) | FollowError::UnexpectedResult(_) => {
                error.into()
            }
        })
    }

    /// The image, there with its kernel.
    fn make_image(&self, daemon: &mut Daemon, signals: &Signals) -> Result<ImageView, Failure> {
        let paths = daemon::paths()?;
        let config = Config::read(&paths)?;
        let usual = || Wish::Named(config.default_image.value.clone());
        let wish = self.image.clone().unwrap_or_else(usual);
        let progress = Progress::live_or_silent(&format!("image {wish}"));
        let builder = Builder { paths: &paths, config: &config, signals, progress: &progress };
        build::ensure_image(&builder, daemon, &wish, self.kernel.as_ref())
    }
}

/// Removes a VM over a connection of its own, starting the daemon if it is gone.
pub(super) fn remove(vm: &VmRef) -> Result<(), Failure> {
    let mut daemon = Daemon::connect()?;
    let started = daemon.call(&Delete { vm: vm.clone(), unless_running: false })?;
    follow::<Deleted>(&mut daemon, started, None, &Progress::Silent)?;
    Ok(())
}
