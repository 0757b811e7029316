//! A guest's first program: from the kernel's hand to the image's own init.
//!
//! ```text
//! modules ─▶ root (or base + cow joined) ─▶ /run ─▶ work ─▶ modules ─▶ config drive ─▶ address
//!         ─▶ the new root becomes / ─▶ what the image's network services are told ─▶ agent ─▶ init
//! ```
//!
//! [`run`] is the whole order; each step has a module and none knows the next. Nothing in the image is edited but
//! the files that the config drive brings. A step that fails ends the guest: the host is told over vsock if that
//! works already, the console in any case. The console is silent otherwise, for it is slow.

mod cmdline;
mod config;
mod disks;
mod grow;
mod image_init;
mod lay;
mod modules;
mod mounts;
mod netlink;
mod network;
mod pid1;
mod settle_in;
mod switch_root;

pub use settle_in::{SettleError, settle_in};

use crate::causes::with_causes;
use crate::image;
use crate::serve;
use cmdline::Layout;
use image_init::ImageInit;
use rustix::system::RebootCommand;
use std::io;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

/// Where the image's root is mounted while the initrd is still `/`.
const NEW_ROOT: &str = "/newroot";

/// The agent's program in the running guest; the initrd it came from is gone by then.
const AGENT: &str = "/run/banger/agent";

/// How the agent calls itself. The `@` keeps systemd's last round of killing off it, so that the host can still
/// talk to a guest that shuts down.
const AGENT_NAME: &str = "@banger-vsock-agent";

/// Why a guest does not come up.
#[derive(Debug, thiserror::Error)]
enum BootError {
    #[error(transparent)]
    Mount(#[from] mounts::MountError),
    #[error(transparent)]
    Modules(#[from] modules::LoadError),
    #[error("the kernel command line cannot be read")]
    ReadCmdline(#[source] io::Error),
    #[error(transparent)]
    Cmdline(#[from] cmdline::LayoutError),
    #[error(transparent)]
    Disk(#[from] disks::DiskError),
    #[error(transparent)]
    Config(#[from] config::ConfigError),
    #[error(transparent)]
    Network(#[from] netlink::AddressError),
    #[error("the image's root cannot become /")]
    SwitchRoot(#[source] io::Error),
    #[error("the agent cannot be started")]
    Agent(#[source] io::Error),
    #[error("the image's init {0} cannot be executed")]
    Init(&'static str, #[source] io::Error),
}

impl BootError {
    /// The step's name, for the host.
    fn step(&self) -> &'static str {
        match self {
            Self::Mount(_) => "mounts",
            Self::Modules(_) => "modules",
            Self::ReadCmdline(_) | Self::Cmdline(_) => "command line",
            Self::Disk(_) => "disks",
            Self::Config(_) => "config drive",
            Self::Network(_) => "network",
            Self::SwitchRoot(_) => "switch root",
            Self::Agent(_) => "agent",
            Self::Init(..) => "init",
        }
    }
}

/// Boots the guest. Only for PID 1.
pub fn run() -> ! {
    let Err(error) = boot();
    let reason = with_causes(&error);
    kernel_log(&format!("boot failed: {reason}"));
    serve::send_boot_failed(error.step(), &reason);
    rustix::fs::sync();
    // A restart and not a power-off: with reboot=k it ends every kind of VMM.
    let _ = rustix::system::reboot(RebootCommand::Restart);
    // And should even that fail: PID 1 ending is a panic, which panic=1 turns into a restart.
    std::process::exit(1)
}

fn boot() -> Result<std::convert::Infallible, BootError> {
    mounts::first()?;
    modules::load(Path::new("/banger"))?;
    let cmdline = std::fs::read_to_string("/proc/cmdline").map_err(BootError::ReadCmdline)?;
    let layout = Layout::parse(&cmdline)?;
    let new_root = Path::new(NEW_ROOT);
    disks::mount_root(&layout, new_root)?;
    mounts::run(new_root)?;
    disks::mount_others(&layout, new_root)?;
    let (network, image) = match layout.config {
        Some(disk) => {
            let config = config::apply(&disks::wait_for(disk)?, new_root)?;
            (config.network, config.image)
        }
        None => Default::default(),
    };
    netlink::bring_up(network.as_ref())?;
    mounts::control_groups()?;
    copy_agent(new_root).and_then(|()| image::leave(&image, new_root)).map_err(BootError::Agent)?;
    switch_root::switch(new_root).map_err(BootError::SwitchRoot)?;
    mounts::last()?;

    let init = ImageInit::find(Path::new("/"));
    network::tell_services(network.as_ref(), init);
    start_agent(init).map_err(BootError::Agent)?;
    match init {
        ImageInit::None => pid1::run(),
        ImageInit::Systemd(path) | ImageInit::Other(path) => {
            #[expect(
                clippy::disallowed_methods,
                reason = "becoming the image's init is the last thing done here"
            )]
            let error = Command::new(path).args(std::env::args_os().skip(1)).exec();
            Err(BootError::Init(path, error))
        }
    }
}

fn copy_agent(new_root: &Path) -> io::Result<()> {
    std::fs::create_dir_all(new_root.join(&serve::FOLDER[1..]))?;
    std::fs::copy("/proc/self/exe", new_root.join(&AGENT[1..]))?;
    Ok(())
}

fn start_agent(init: ImageInit) -> io::Result<()> {
    use std::process::Stdio;
    #[expect(clippy::disallowed_methods, reason = "starts this very program once more")]
    let mut agent = Command::new(AGENT);
    if let ImageInit::Systemd(_) = init {
        agent.arg(serve::UNTIL_MARKED);
    }
    agent.arg0(AGENT_NAME).env_clear().current_dir("/");
    agent.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    agent.spawn().map(drop)
}

/// A line on the console and in the guest's kernel log.
pub fn kernel_log(message: &str) {
    // Priority 3, an error: what `quiet` on the command line still lets through.
    let line = format!("<3>banger: {message}\n");
    // Where even this cannot be written there is nobody left to tell.
    let _ = std::fs::write("/dev/kmsg", line);
}
