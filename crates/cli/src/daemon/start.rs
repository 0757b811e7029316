//! Starting the daemon of local mode.
//!
//! Whoever finds nobody at the socket takes a lock, looks again, and starts the daemon, so that two commands at
//! once give one daemon. It is started away from everything of ours: session, folder, descriptors; what it
//! says goes to its log. It has until a deadline to answer, and when it ends instead, the log's end is shown.

use super::sys;
use crate::tool::Tool;
use banger_config::{Config, ConfigError};
use banger_protocol::local_paths::{LocalPaths, PrivateFolderError, make_private_folder};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::FlockOperation;
use rustix::process::{Pid, PidfdFlags, pidfd_open};
use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom};
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, ExitStatus, Stdio};
use std::time::{Duration, Instant};

/// How long a daemon may take until it answers: it may have to repair its state on a slow disk first.
const DEADLINE: Duration = Duration::from_secs(30);

/// How often the socket is tried meanwhile.
const TRY_EVERY: Timespec = Timespec { tv_sec: 0, tv_nsec: 5_000_000 };

/// How much of the log an error shows.
const LOG_LINES: usize = 10;

/// From this length on, in bytes, the next daemon begins a new log.
const LONG_LOG: u64 = 4 << 20;

const PROGRAM: &str = "bangerd";

#[derive(Debug, thiserror::Error)]
pub(crate) enum StartError {
    #[error(transparent)]
    Config(ConfigError),
    #[error(transparent)]
    Folder(PrivateFolderError),
    #[error("{} cannot be opened", path.display())]
    Open {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("the lock {} cannot be taken", path.display())]
    Lock {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("the program `{PROGRAM}` is neither next to `banger` nor in PATH")]
    NoProgram,
    #[error("{} cannot be run", program.display())]
    Spawn {
        program: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("it exited immediately with {status}; its log:\n{}", log.end)]
    Ended { status: ExitStatus, log: LogEnd },
    #[error("it did not answer within {} seconds; its log:\n{}", DEADLINE.as_secs(), log.end)]
    Silent { log: LogEnd },
    #[error("its process cannot be waited for")]
    Wait(#[source] io::Error),
}

/// What the daemon said before it failed.
#[derive(Debug)]
pub(crate) struct LogEnd {
    path: PathBuf,
    end: String,
}

impl StartError {
    pub(crate) fn hint(&self) -> Option<String> {
        match self {
            Self::Ended { log, .. } | Self::Silent { log } if is_full(&log.path) => {
                Some(format!("no space left on the disk of {}: free some space", log.path.display()))
            }
            Self::Ended { log, .. } | Self::Silent { log } => {
                Some(format!("the full log is {}", log.path.display()))
            }
            Self::Config(error) => Some(error.hint()),
            Self::NoProgram => Some("install all banger programs in the same directory".to_owned()),
            Self::Folder(PrivateFolderError::Make { .. }) | Self::Open { .. } => Some(
                "banger must be able to write there; set XDG_STATE_HOME, XDG_CACHE_HOME, or XDG_RUNTIME_DIR to use other directories"
                    .to_owned(),
            ),
            Self::Folder(_) | Self::Lock { .. } | Self::Spawn { .. } | Self::Wait(_) => None,
        }
    }
}

/// A daemon on a full disk cannot even say so in its log.
fn is_full(path: &Path) -> bool {
    rustix::fs::statvfs(path).is_ok_and(|disk| disk.f_bavail == 0)
}

/// Starts the daemon, unless somebody else did meanwhile, and waits until it answers.
pub(super) fn start(paths: &LocalPaths) -> Result<UnixStream, StartError> {
    // It would refuse them too, but only into its log.
    Config::read(paths).map_err(StartError::Config)?;
    let uid = rustix::process::geteuid().as_raw();
    for folder in [&paths.state, &paths.cache, &paths.runtime] {
        make_private_folder(folder, uid).map_err(StartError::Folder)?;
    }
    let _one_at_a_time = lock(&paths.state.join("start.lock"))?;
    if let Ok(stream) = UnixStream::connect(&paths.socket) {
        return Ok(stream);
    }
    let program = find_program().ok_or(StartError::NoProgram)?;
    let log_path = paths.state.join("bangerd.log");
    set_aside(&log_path)?;
    let log = open(&log_path)?;
    let said_before = log.metadata().map_or(0, |metadata| metadata.len());
    let deadline = Instant::now() + DEADLINE;
    loop {
        let child = spawn(&program, &log)?;
        let said = || LogEnd { end: end_of(&log_path, said_before), path: log_path.clone() };
        match wait_for_answer(child, &paths.socket, deadline, said) {
            // It was needed by somebody else, and told to end, before we came to it.
            Err(StartError::Ended { status, .. }) if status.success() && Instant::now() < deadline => {}
            outcome => return outcome,
        }
    }
}

/// Lets a log begin anew once it is long; the former one stays for as long as this one is short.
fn set_aside(log: &Path) -> Result<(), StartError> {
    if std::fs::metadata(log).map_or(0, |metadata| metadata.len()) < LONG_LOG {
        return Ok(());
    }
    let renamed = std::fs::rename(log, log.with_extension("log.old"));
    renamed.map_err(|source| StartError::Open { path: log.to_owned(), source })
}

fn open(path: &Path) -> Result<File, StartError> {
    let opened = OpenOptions::new().append(true).create(true).mode(0o600).open(path);
    opened.map_err(|source| StartError::Open { path: path.to_owned(), source })
}

/// Waits for the lock; it goes with the answer.
fn lock(path: &Path) -> Result<File, StartError> {
    let file = open(path)?;
    loop {
        match rustix::fs::flock(&file, FlockOperation::LockExclusive) {
            Ok(()) => return Ok(file),
            Err(rustix::io::Errno::INTR) => {}
            Err(errno) => return Err(StartError::Lock { path: path.to_owned(), source: errno.into() }),
        }
    }
}

/// Beside this program (a build folder), in the package's own folder, or in `PATH`.
pub(super) fn find_program() -> Option<Tool> {
    let own = std::env::current_exe().ok();
    let folder = own.as_deref().and_then(Path::parent);
    let beside = folder.and_then(|folder| Tool::at(folder.join(PROGRAM)));
    let packaged = || folder.and_then(|folder| Tool::at(folder.parent()?.join("lib/banger").join(PROGRAM)));
    beside.or_else(packaged).or_else(|| Tool::find(PROGRAM).ok())
}

fn spawn(program: &Tool, log: &File) -> Result<Child, StartError> {
    let failed = |source| StartError::Spawn { program: program.path().to_owned(), source };
    let mut command = program.command_of_the_user();
    command
        .arg("--local")
        // Threads come and go; a heap for each of them would only grow (mallopt(3), M_ARENA_MAX).
        .env("MALLOC_ARENA_MAX", "2")
        .current_dir("/")
        .stdin(Stdio::null())
        .stdout(log.try_clone().map_err(failed)?)
        .stderr(log.try_clone().map_err(failed)?);
    sys::detach(&mut command);
    command.spawn().map_err(failed)
}

fn wait_for_answer(
    mut child: Child,
    socket: &Path,
    deadline: Instant,
    log: impl Fn() -> LogEnd,
) -> Result<UnixStream, StartError> {
    let process = pidfd_open(Pid::from_child(&child), PidfdFlags::empty());
    let process = process.map_err(|errno| StartError::Wait(errno.into()))?;
    loop {
        let ended = child.try_wait().map_err(StartError::Wait)?;
        // Asked after the process: one that found another daemon at work has ended, and the other answers.
        if let Ok(stream) = UnixStream::connect(socket) {
            return Ok(stream);
        }
        if let Some(status) = ended {
            return Err(StartError::Ended { status, log: log() });
        }
        if Instant::now() > deadline {
            return Err(StartError::Silent { log: log() });
        }
        let mut end = [PollFd::new(&process, PollFlags::IN)];
        match poll(&mut end, Some(&TRY_EVERY)) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(errno) => return Err(StartError::Wait(errno.into())),
        }
    }
}

/// The last lines that were written behind `offset`; whatever can be read of them.
fn end_of(log: &Path, offset: u64) -> String {
    let read = || -> io::Result<String> {
        let mut file = File::open(log)?;
        file.seek(SeekFrom::Start(offset))?;
        let mut bytes = Vec::new();
        file.take(1 << 20).read_to_end(&mut bytes)?;
        Ok(last_lines(&String::from_utf8_lossy(&bytes), LOG_LINES))
    };
    match read() {
        Ok(text) if text.is_empty() => "  nothing".to_owned(),
        Ok(text) => text,
        Err(error) => format!("  (its log cannot be read: {error})"),
    }
}

fn last_lines(text: &str, count: usize) -> String {
    let lines: Vec<_> = text.lines().collect();
    let last = &lines[lines.len().saturating_sub(count)..];
    last.iter().map(|line| format!("  {line}")).collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_last_lines_of_a_log_are_shown() {
        assert_eq!(last_lines("a\nb\nc\n", 2), "  b\n  c");
        assert_eq!(last_lines("", 2), "");
    }

    #[test]
    fn a_long_log_is_set_aside_and_a_short_one_goes_on() {
        let folder = tempfile::tempdir().unwrap();
        let log = folder.path().join("bangerd.log");
        set_aside(&log).unwrap();
        std::fs::write(&log, "short").unwrap();
        set_aside(&log).unwrap();
        assert_eq!(std::fs::read(&log).unwrap(), b"short");
        for _ in 0..2 {
            File::create(&log).unwrap().set_len(LONG_LOG).unwrap();
            set_aside(&log).unwrap();
            assert!(!log.exists());
            assert_eq!(std::fs::metadata(folder.path().join("bangerd.log.old")).unwrap().len(), LONG_LOG);
        }
    }

    #[test]
    fn only_what_this_daemon_said_is_shown() {
        let folder = tempfile::tempdir().unwrap();
        let log = folder.path().join("log");
        std::fs::write(&log, "former\nlatter\n").unwrap();
        assert_eq!(end_of(&log, 7), "  latter");
        assert_eq!(end_of(&log, 14), "  nothing");
    }
}
