//! `bangerd-root`, the helper: the only part of banger that changes its host.
//!
//! It performs a short list of effects ([`banger_protocol::root_api`]): a bridge with a firewall, sockets on it, taps, and
//! the processes of VMs. It is given IDs, numbers, and open files; it derives every name itself. It keeps no state: what
//! it holds is found by looking, so it can be killed at any time and started again. It never waits for a guest, never
//! retries, and decides nothing about a VM's life.
//!
//! In local mode it runs as an ordinary user in user, network, and mount namespaces of its own. Before anything else it
//! creates them, or enters them again through a VM that is still running.

mod bridge;
mod clear;
mod command_line;
mod confine;
mod deadline;
mod disks;
mod dns;
mod firecracker;
mod firewall;
mod inventory;
mod link;
mod loop_device;
mod namespace;
mod owned_file;
mod proc;
mod process;
mod qemu;
mod resolver;
mod route;
mod scope;
mod serve;
mod settings;
mod snapshot;
mod socket;
mod station;
mod sys;
mod tap;
mod tool;

use banger_protocol::ids::VmId;
use command_line::{Asked, CommandLine, CommandLineError};
use std::io::Write as _;
use std::process::ExitCode;
use std::sync::Mutex;

/// What every request may need.
#[derive(Debug)]
struct Helper {
    settings: banger_protocol::root_api::Settings,
    station: station::Station,
    /// Whether VMs can be given user ids of their own, which takes real root.
    own_uids: bool,
    /// Held while links and the firewall are looked at and changed.
    network: Mutex<firewall::Firewall>,
    /// Taken while a VM's processes are looked for and started.
    turns: process::Turns,
    /// Held while loop devices and what is made of them are looked at and changed.
    disks: Mutex<()>,
}

impl Helper {
    fn new(settings: banger_protocol::root_api::Settings, station: station::Station, own_uids: bool) -> Self {
        let note = match &station {
            station::Station::Local { .. } => firewall::Note::Nobody,
            station::Station::System { .. } => firewall::Note::Uninstaller,
        };
        let (network, turns) = (Mutex::new(firewall::Firewall::noting(note)), process::Turns::default());
        Self { settings, station, own_uids, network, turns, disks: Mutex::default() }
    }

    /// The user id of a VM's processes, where it is not the helper's own.
    fn uid_of(&self, vm: &VmId) -> Option<u32> {
        self.own_uids.then(|| confine::vm_uid(vm, self.station.vm_uids()))
    }

    /// Those that it had under ranges of before.
    fn former_uids_of(&self, vm: &VmId) -> Vec<u32> {
        let former = self.station.former_vm_uids().iter();
        former.filter(|_| self.own_uids).map(|uids| confine::vm_uid(vm, *uids)).collect()
    }
}

/// Why the helper did not start.
#[derive(Debug, thiserror::Error)]
enum StartupError {
    #[error(transparent)]
    CommandLine(#[from] CommandLineError),
    #[error(transparent)]
    Socket(#[from] socket::SocketError),
    #[error(transparent)]
    Namespace(#[from] namespace::NamespaceError),
    #[error(transparent)]
    System(#[from] station::SystemError),
    #[error(transparent)]
    Clear(#[from] clear::ClearError),
    #[error("the loopback interface was not brought up")]
    Loopback(#[source] std::io::Error),
}

impl StartupError {
    fn hint(&self) -> Option<String> {
        match self {
            Self::CommandLine(error) => Some(error.hint().to_owned()),
            Self::Socket(error) => error.hint(),
            Self::Namespace(error) => error.hint(),
            Self::System(error) => Some(error.hint()),
            Self::Loopback(_) | Self::Clear(_) => None,
        }
    }
}

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            complain(&error);
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<(), StartupError> {
    rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o077));
    let CommandLine { settings, socket, join } = match command_line::parse(std::env::args_os())? {
        Asked::Serve(command_line) => command_line,
        Asked::ServeSystem => return serve_system(),
        Asked::ClearSystem => return Ok(clear::clear(&station::System::settings()?)?),
        // What it makes goes with this process.
        Asked::Probe => return Ok(namespace::enter(None)?),
        Asked::Print(text) => {
            // Nobody to tell when stdout is closed.
            let _ = writeln!(std::io::stdout(), "{text}");
            return Ok(());
        }
    };
    let Some(claim) = socket::claim(&socket)? else { return Ok(()) };

    // Namespaces come before the first thread: the kernel lets only a single-threaded process change its user
    // namespace (unshare(2), setns(2): EINVAL).
    namespace::enter(join)?;
    tracing_subscriber::fmt().with_writer(std::io::stderr).with_ansi(false).init();
    sys::signals::outlive_the_terminal();
    link::bring_loopback_up().map_err(StartupError::Loopback)?;

    let own_uids = namespace::maps_vm_uids();
    let listener = claim.listen()?;
    tracing::info!(socket = %socket, own_uids, joined = ?join, "serving");
    serve::serve(&listener, Helper::new(settings, station::Station::Local { socket }, own_uids))
}

/// The installed helper: root's, and started by systemd, who holds its socket.
fn serve_system() -> Result<(), StartupError> {
    let taken = station::System::take()?;
    let station::System { listener, settings, owner, jailer, vm_uids, former_vm_uids, firewall } = taken;
    namespace::keep_mounts_apart()?;
    tracing_subscriber::fmt().with_writer(std::io::stderr).with_ansi(false).without_time().init();
    sys::signals::outlive_the_terminal();
    tracing::info!(owner = owner.uid, "serving");
    station::tell_ready();
    let station = station::Station::System { owner, jailer, vm_uids, former_vm_uids, firewall };
    serve::serve(&listener, Helper::new(settings, station, true))
}

/// The one place that prints an error's chain.
fn complain(error: &StartupError) {
    let mut text = format!("bangerd-root: {error}");
    let mut cause = std::error::Error::source(error);
    while let Some(error) = cause {
        text.push_str(&format!(": {error}"));
        cause = error.source();
    }
    if let Some(hint) = error.hint() {
        text.push_str(&format!("\nhint: {hint}"));
    }
    // Nobody to tell when stderr is closed.
    let _ = writeln!(std::io::stderr(), "{text}");
}
