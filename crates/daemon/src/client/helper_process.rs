//! Starting the helper as an ordinary user.

use crate::paths::StateFolder;
use banger_protocol::root_api::Settings;
use std::io;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// How long the helper may take until it listens. It makes namespaces and nothing else; this is for a loaded host.
const DEADLINE: Duration = Duration::from_secs(20);
const POLL: Duration = Duration::from_millis(2);
const PROGRAM: &str = "bangerd-root";

/// Why there is no helper.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StartHelperError {
    #[error("the program {PROGRAM} is not next to {beside}")]
    Missing { beside: String },
    #[error("{program} could not be started")]
    Spawn { program: String, source: io::Error },
    #[error("{PROGRAM} ended before it listened: {said}")]
    Ended { said: String, hint: Option<String> },
    #[error("{PROGRAM} did not listen within {} s", DEADLINE.as_secs())]
    Silent { log: String },
}

impl StartHelperError {
    pub(crate) fn hint(&self) -> Option<String> {
        match self {
            Self::Ended { hint, .. } => hint.clone(),
            Self::Missing { .. } => {
                Some("reinstall banger: its programs must be in the same directory".to_owned())
            }
            Self::Silent { log } => Some(format!("`tail {log}` shows its log")),
            Self::Spawn { .. } => None,
        }
    }
}

/// Starts `bangerd-root --local` and returns once it listens.
///
/// When a VM of this state folder is alive, the new helper joins the namespaces that VM is in.
pub(super) fn start_local(
    socket: &Path,
    state: &StateFolder,
    settings: &Settings,
) -> Result<(), StartHelperError> {
    let program = find()?;
    let log = state.helper_log();
    let shown = program.display().to_string();
    let spawn = |source| StartHelperError::Spawn { program: shown.clone(), source };
    let written_before = std::fs::metadata(&log).map_or(0, |metadata| metadata.len());
    let stderr = std::fs::File::options().create(true).append(true).open(&log).map_err(spawn)?;
    #[expect(
        clippy::disallowed_methods,
        reason = "the daemon's own helper: absolute path, cleared environment"
    )]
    let mut command = Command::new(&program);
    command.env_clear().env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin").current_dir("/");
    if let Some(level) = std::env::var_os("BANGER_LOG") {
        command.env("BANGER_LOG", level);
    }
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(stderr).process_group(0);
    command.arg("--local").arg("--socket").arg(socket);
    command.args(["--bridge", &settings.bridge]);
    command.args(["--address", &format!("{}/{}", settings.address, settings.prefix)]);
    for (flag, path) in [
        ("--qemu", &settings.qemu),
        ("--vsock-backend", &settings.vsock_backend),
        ("--firecracker", &settings.firecracker),
        ("--nft", &settings.nft),
    ] {
        if let Some(path) = path {
            command.args([flag, path]);
        }
    }
    if let Some(living) = state.living_vm_process() {
        command.args(["--join-pid", &living.pid.to_string()]);
        command.args(["--join-start-time", &living.start_time.to_string()]);
    }
    let mut child = command.spawn().map_err(spawn)?;
    tracing::info!(pid = child.id(), "started the helper");
    let deadline = Instant::now() + DEADLINE;
    loop {
        if UnixStream::connect(socket).is_ok() {
            reap_in_background(child);
            return Ok(());
        }
        if child.try_wait().map_err(spawn)?.is_some() {
            return Err(last_words(&log, written_before));
        }
        if Instant::now() > deadline {
            let _ = child.kill();
            let _ = child.wait();
            return Err(StartHelperError::Silent { log: log.display().to_string() });
        }
        #[expect(
            clippy::disallowed_methods,
            reason = "polls for the socket, with a deadline, in a blocking task"
        )]
        std::thread::sleep(POLL);
    }
}

/// Whether a helper could make its namespaces here, tried by one that does nothing else.
pub(crate) fn probe_namespaces() -> Result<(), StartHelperError> {
    let program = find()?;
    let shown = program.display().to_string();
    #[expect(
        clippy::disallowed_methods,
        reason = "the daemon's own helper: absolute path, cleared environment"
    )]
    let mut command = Command::new(&program);
    command.env_clear().current_dir("/").stdin(Stdio::null()).args(["--local", "--probe"]);
    let output = command.output().map_err(|source| StartHelperError::Spawn { program: shown, source })?;
    if output.status.success() { Ok(()) } else { Err(complaint(&String::from_utf8_lossy(&output.stderr))) }
}

/// A child that nobody waits for stays a zombie until we end.
fn reap_in_background(mut child: Child) {
    std::thread::spawn(move || child.wait());
}

fn find() -> Result<PathBuf, StartHelperError> {
    let own = std::env::current_exe().unwrap_or_default();
    let folder = own.parent().unwrap_or(Path::new("/"));
    let beside = folder.join(PROGRAM);
    let packaged = Path::new("/usr/lib/banger").join(PROGRAM);
    [beside, packaged]
        .into_iter()
        .find(|path| path.is_file())
        .ok_or_else(|| StartHelperError::Missing { beside: own.display().to_string() })
}

/// The helper's complaint: its first line is the error, a line `hint: …` the advice.
fn last_words(log: &Path, written_before: u64) -> StartHelperError {
    let text = std::fs::read(log).unwrap_or_default();
    let start = usize::try_from(written_before).unwrap_or(0).min(text.len());
    complaint(&String::from_utf8_lossy(&text[start..]))
}

fn complaint(text: &str) -> StartHelperError {
    let hint = text.lines().find_map(|line| line.strip_prefix("hint: ")).map(str::to_owned);
    let complaint = text.lines().find_map(|line| line.strip_prefix("bangerd-root: "));
    let said = complaint.or(text.lines().next()).unwrap_or("it said nothing").to_owned();
    StartHelperError::Ended { said, hint }
}
