//! `bangerd`, the daemon: all state, and every decision.
//!
//! It serves its owner on a Unix socket ([`serve`], [`route`]), keeps its state in SQLite ([`store`]), runs long tasks as
//! operations ([`operation`]), and has no capabilities: effects that need one are the helper's ([`client::helper`]).
//! Modules call each other downwards only: `route` → `vm`, `image`, `kernel` → `network`, `client`, `store`.

mod artefact;
mod client;
mod clone;
mod doctor;
mod idle;
mod image;
mod kernel;
mod network;
mod operation;
mod packages;
mod paths;
mod personal;
mod process;
mod route;
mod serve;
mod sockets;
mod station;
mod store;
mod vm;
mod workspace;

use anyhow::{Context, bail};
use banger_config::{Config, ConfigError, LogLevel};
use banger_protocol::local_paths::LocalPaths;
use banger_system::InstallError;
use client::helper::Helper;
use network::Range;
use network::dns::Dns;
use operation::Operations;
use paths::StateFolder;
use station::Station;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};
use store::{ImageRecord, KernelRecord, Store};
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

const AGENT: &str = "banger-vsock-agent";
/// How long a daemon that does not serve any more may take to end; the command that starts us waits longer.
const PREDECESSOR_ENDS: Duration = Duration::from_secs(20);
/// How long operations may take to release what they hold when the daemon ends; who told it to waits longer.
const OPERATIONS_END: Duration = Duration::from_secs(8);
const LOCK_POLL: Duration = Duration::from_millis(5);

/// What requests are answered with. It has parts and no methods.
#[derive(Debug)]
pub(crate) struct Services {
    pub store: Store,
    pub operations: Operations,
    pub locks: vm::Locks,
    pub doors: vm::Doors,
    pub workspace_turns: vm::Locks,
    pub activity: vm::Activity,
    pub clients: Arc<idle::Clients>,
    pub helper: Helper,
    pub state: StateFolder,
    pub paths: LocalPaths,
    pub config: Config,
    pub host: vm::vmm::Host,
    pub range: Range,
    pub dns: Dns,
    /// Whether files in the state folder can share blocks.
    pub reflink: bool,
    pub network_tools: vm::NetworkTools,
    pub egress: vm::egress::Egress,
    pub faults: vm::Faults,
    /// The guest agent's program, to be put into initrds and images.
    pub agent: PathBuf,
    pub ssh_key: PathBuf,
    pub socket: PathBuf,
    pub station: Station,
    pub owner_uid: u32,
    pub started: Instant,
    /// Cancelled when the daemon shall end.
    pub stopping: CancellationToken,
    pub starting: vm::Starting,
}

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let mut text = format!("bangerd: {error}");
            for cause in error.chain().skip(1) {
                text.push_str(&format!(": {cause}"));
            }
            text.push('\n');
            if let Some(hint) = error.chain().find_map(hint_for) {
                text.push_str(&format!("hint: {hint}\n"));
            }
            // Nobody to tell when even that fails.
            let _ = std::io::Write::write_all(&mut std::io::stderr(), text.as_bytes());
            ExitCode::FAILURE
        }
    }
}

fn hint_for(cause: &(dyn std::error::Error + 'static)) -> Option<String> {
    if let Some(error) = cause.downcast_ref::<ConfigError>() {
        return Some(error.hint());
    }
    if let Some(error) = cause.downcast_ref::<InstallError>() {
        return Some(error.hint().to_owned());
    }
    let file = cause.downcast_ref().and_then(clone::hint_for);
    file.or_else(|| cause.downcast_ref().and_then(store::hint_for))
}

fn run() -> anyhow::Result<()> {
    let mut arguments = lexopt::Parser::from_env();
    let (mut local, mut system, mut doctor) = (false, false, false);
    while let Some(argument) = arguments.next().context("the command line cannot be read")? {
        match argument {
            lexopt::Arg::Long("local") => local = true,
            lexopt::Arg::Long("system") => system = true,
            lexopt::Arg::Long("doctor") => doctor = true,
            lexopt::Arg::Long("version") => {
                let version = format!("bangerd {}\n", banger_protocol::VERSION);
                return Ok(std::io::Write::write_all(&mut std::io::stdout(), version.as_bytes())?);
            }
            other => return Err(other.unexpected()).context("the command line cannot be understood"),
        }
    }
    let uid = rustix::process::geteuid().as_raw();
    let (station, paths) = match (local, system) {
        (true, false) => Station::local(uid)?,
        (false, true) => Station::system(uid)?,
        _ => bail!("one of --local and --system is required; `banger vm run` starts the daemon when needed"),
    };
    if doctor {
        return Ok(serde_json::to_writer(std::io::stdout(), &doctor::run_alone(&station, &paths))?);
    }
    rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o077));
    allow_many_descriptors();
    let config = Config::read(&paths)?;
    start_log(config.log_level.value, &station)?;
    station.make_runtime_folder(&paths, uid)?;
    let state = StateFolder::make(paths.state.clone())
        .with_context(|| format!("the state directory {} cannot be used", paths.state.display()))?;
    let Some(_alone) = lock(&state, &paths.socket, &station)? else {
        bail!("another daemon already serves {}", paths.state.display());
    };
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let outcome = runtime.block_on(serve_until_told(state, station, &paths, config, uid));
    // What still blocks was given its time: the next daemon takes up what it leaves.
    runtime.shutdown_background();
    outcome
}

/// Each running VM is watched by two descriptors and each start uses some ten: the usual 1024 are few.
fn allow_many_descriptors() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let maximum = getrlimit(Resource::Nofile).maximum;
    // With the usual number, fewer VMs start at once.
    let _ = setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum });
}

/// `BANGER_LOG` goes before the settings.
fn start_log(level: LogLevel, station: &Station) -> anyhow::Result<()> {
    let wanted = std::env::var("BANGER_LOG").ok();
    let wanted = wanted.as_deref().unwrap_or(level.as_str());
    let filter = tracing_subscriber::EnvFilter::try_new(wanted)
        .with_context(|| format!("`{wanted}` is not a log level"))?;
    let log = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).with_ansi(false);
    match station {
        Station::Local => log.init(),
        // The journal has the time of each line.
        Station::System(_) => log.without_time().init(),
    }
    Ok(())
}

/// Two daemons on one state folder would undo each other; the second gets `None`. One that has been told to end, or
/// was killed, answers no more and holds the lock a while longer: it is waited for.
fn lock(state: &StateFolder, socket: &Path, station: &Station) -> anyhow::Result<Option<File>> {
    let path = state.path().join("daemon.lock");
    let file = File::options().create(true).truncate(false).write(true).open(&path);
    let file = file.with_context(|| format!("{} cannot be opened", path.display()))?;
    let deadline = Instant::now() + PREDECESSOR_ENDS;
    loop {
        match rustix::fs::flock(&file, rustix::fs::FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => return Ok(Some(file)),
            Err(rustix::io::Errno::WOULDBLOCK) => {}
            Err(errno) => return Err(errno).with_context(|| format!("{} cannot be locked", path.display())),
        }
        // Behind systemd's socket somebody always seems to be.
        let answers =
            || matches!(station, Station::Local) && std::os::unix::net::UnixStream::connect(socket).is_ok();
        if answers() || Instant::now() > deadline {
            return Ok(None);
        }
        #[expect(
            clippy::disallowed_methods,
            reason = "polls for the lock, with a deadline, before anything else runs"
        )]
        std::thread::sleep(LOCK_POLL);
    }
}

async fn serve_until_told(
    state: StateFolder,
    station: Station,
    paths: &LocalPaths,
    config: Config,
    uid: u32,
) -> anyhow::Result<()> {
    let idle_limit = match station {
        Station::Local => idle::limit(std::env::var("BANGER_IDLE_EXIT").ok().as_deref())?,
        // It ends when systemd says so.
        Station::System(_) => None,
    };
    personal::remove_draft(&state);
    let store = Store::open(&state.database())?;
    artefact::load_all::<ImageRecord>(&state.images(), &store)?;
    artefact::load_all::<KernelRecord>(&state.kernels(), &store)?;
    let host = station.look_at_host(&config);
    let network_tools = station.network_tools();
    let settings = station.settings(&host, &network_tools);
    let range = Range { bridge: settings.address, prefix: settings.prefix };
    let services = Arc::new(Services {
        helper: station.helper(paths, &state, settings),
        operations: Operations::default(),
        locks: vm::Locks::default(),
        doors: vm::Doors::default(),
        workspace_turns: vm::Locks::default(),
        activity: vm::Activity::default(),
        clients: Arc::default(),
        range,
        dns: Dns::new(range),
        egress: vm::egress::Egress::new(state.egress()),
        network_tools,
        reflink: clone::can_reflink(&state.vms()),
        faults: vm::Faults::parse(std::env::var("BANGER_FAULT").ok().as_deref()),
        agent: find_agent(),
        ssh_key: config.ssh_key_path.value.clone(),
        socket: paths.socket.clone(),
        owner_uid: uid,
        station,
        started: Instant::now(),
        stopping: CancellationToken::new(),
        starting: vm::Starting::default(),
        store,
        state,
        paths: paths.clone(),
        config,
        host,
    });
    kernel::refresh_initrds(&services);
    vm::egress::adopt(&services).await;
    vm::adopt::adopt(&services).await;
    // Every VM has its row again, and keeps what it starts with.
    kernel::remove_orphans(&services);
    tokio::spawn(vm::egress::keep(services.clone()));
    let listener = match &services.station {
        Station::Local => listen(&paths.socket)?,
        Station::System(_) => station::take_socket()?,
    };
    tracing::info!(version = banger_protocol::VERSION, socket = %paths.socket.display(), "serving");
    tokio::spawn(serve::serve(listener, services.clone()));
    services.station.tell_ready();
    tokio::spawn(vm::look_after::look_after(services.clone()));
    if let Some(limit) = idle_limit {
        tokio::spawn(idle::end_when_idle(services.clone(), limit));
    }
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
        () = services.stopping.cancelled() => {}
    }
    services.stopping.cancel();
    if matches!(services.station, Station::Local) {
        // The lock is held: this is our own socket.
        let _ = std::fs::remove_file(&paths.socket);
    }
    if tokio::time::timeout(OPERATIONS_END, services.operations.end_all()).await.is_err() {
        tracing::warn!("ending in the middle of operations: the next daemon takes up what they leave");
    }
    tokio::task::block_in_place(|| services.helper.shut_down());
    tracing::info!("ended");
    Ok(())
}

/// Listens where a former daemon may have left its socket; the lock says that it is gone.
fn listen(socket: &Path) -> anyhow::Result<tokio::net::UnixListener> {
    match std::fs::remove_file(socket) {
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => {
            return Err(e).with_context(|| format!("the old socket {} cannot be removed", socket.display()));
        }
        _ => {}
    }
    // umask 077 makes it 0600.
    tokio::net::UnixListener::bind(socket).with_context(|| format!("cannot listen on {}", socket.display()))
}

/// The guest agent's program, there or not.
pub(crate) fn find_agent() -> PathBuf {
    vm::program::find(AGENT).unwrap_or_else(|| Path::new("/usr/lib/banger").join(AGENT))
}
