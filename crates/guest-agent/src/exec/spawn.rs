//! Starting a command: as whom, with which environment, on which descriptors.

use super::program::{self, FindError};
use super::reaper::{self, Child};
use super::users::User;
use super::{environment, users};
use crate::sys::child::{self, Become};
use banger_protocol::guest_api::{Exec, Terminal, WindowSize};
use banger_protocol::image_config::ImageConfig;
use rustix::fd::OwnedFd;
use rustix::pipe::PipeFlags;
use rustix::process::{Gid, Uid};
use rustix::pty::OpenptFlags;
use rustix::termios::Winsize;
use std::ffi::{CString, NulError};
use std::io;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};

/// Why a command was not started.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StartError {
    #[error("no user {0:?} in the guest")]
    NoUser(String),
    #[error(transparent)]
    Program(#[from] FindError),
    #[error("the directory {directory:?} does not exist")]
    NoDirectory { directory: String },
    #[error("an argument or variable has a zero byte in it")]
    ZeroByte(#[source] NulError),
    #[error("cannot make the command's pipes or terminal")]
    Descriptors(#[source] io::Error),
    #[error("cannot execute {program}")]
    Execute { program: String, source: io::Error },
}

impl StartError {
    /// What a shell would answer.
    pub(crate) fn shell_code(&self) -> u8 {
        match self {
            Self::Program(FindError::NotFound(_)) => 127,
            Self::Program(FindError::NotExecutable(_))
            | Self::NoUser(_)
            | Self::NoDirectory { .. }
            | Self::ZeroByte(_)
            | Self::Descriptors(_)
            | Self::Execute { .. } => 126,
        }
    }
}

/// A command that runs, and this side of its descriptors.
#[derive(Debug)]
pub(crate) struct Running {
    pub(crate) child: Child,
    pub(crate) io: Descriptors,
}

/// This side's ends, all non-blocking.
#[derive(Debug)]
pub(crate) enum Descriptors {
    Pipes { stdin: Option<OwnedFd>, stdout: OwnedFd, stderr: OwnedFd },
    Terminal(OwnedFd),
}

/// What else a command has from its start.
#[derive(Debug, Default)]
pub(crate) struct Besides {
    /// The `cgroup.procs` of the control group that it is in.
    pub(crate) cgroup: Option<OwnedFd>,
    /// What it and all that it starts hold open.
    pub(crate) sign_of_life: Option<OwnedFd>,
}

/// Starts `exec`; what it does not say, the image says.
pub(crate) fn start(exec: &Exec, image: &ImageConfig, besides: Besides) -> Result<Running, StartError> {
    let user = who(exec.user.as_deref(), image).map_err(StartError::NoUser)?;
    let term = exec.terminal.as_ref().map(|terminal| terminal.term.as_str());
    let etc_environment = std::fs::read_to_string("/etc/environment").unwrap_or_default();
    let variables = environment::of_login(&user, &etc_environment, &image.env, term, &exec.env);
    let directory = directory(exec, image, &user)?;
    let path = variables.get("PATH").map_or("", String::as_str);
    let word = exec.argv.first().unwrap_or(&user.shell);
    let program = program::find(word, path, Path::new(&directory))?;

    #[expect(
        clippy::disallowed_methods,
        reason = "running whatever the user names is what this program is for"
    )]
    let mut command = Command::new(&program);
    match exec.argv.split_first() {
        Some((word, rest)) => command.arg0(word).args(rest),
        // The dash is how a shell knows that it is a login's.
        None => command.arg0(format!("-{}", user.shell.rsplit('/').next().unwrap_or_default())),
    };
    command.env_clear().envs(&variables);
    let io = match &exec.terminal {
        Some(terminal) => on_terminal(&mut command, terminal),
        None => on_pipes(&mut command, exec.stdin),
    }
    .map_err(StartError::Descriptors)?;
    let identity = Become {
        uid: Uid::from_raw(user.uid),
        gid: Gid::from_raw(user.gid),
        groups: user.groups.into_iter().map(Gid::from_raw).collect(),
        directory: CString::new(directory).map_err(StartError::ZeroByte)?,
        // A home may be a directory its owner cannot enter; a directory that was asked for must be.
        fallback: exec.cwd.is_none().then(|| c"/".to_owned()),
        terminal: exec.terminal.is_some(),
        cgroup: besides.cgroup,
        sign_of_life: besides.sign_of_life,
    };
    child::arrange(&mut command, identity);
    let child = reaper::spawn(&mut command)
        .map_err(|source| StartError::Execute { program: program.display().to_string(), source })?;
    Ok(Running { child, io })
}

/// The user that is meant; the name, where there is none of it.
pub(super) fn who(user: Option<&str>, image: &ImageConfig) -> Result<User, String> {
    let name = user.or(image.user.as_deref()).unwrap_or("root");
    users::find(Path::new("/etc"), name).ok_or_else(|| name.to_owned())
}

fn directory(exec: &Exec, image: &ImageConfig, user: &User) -> Result<String, StartError> {
    let is_there = |path: &str| Path::new(path).is_dir();
    if let Some(given) = &exec.cwd {
        return match is_there(given) {
            true => Ok(given.clone()),
            false => Err(StartError::NoDirectory { directory: given.clone() }),
        };
    }
    if let Some(wished) = &image.working_dir {
        // As container runtimes do: builders need not have made it.
        let _ = std::fs::create_dir_all(wished);
        if is_there(wished) {
            return Ok(wished.clone());
        }
    }
    Ok(if is_there(&user.home) { user.home.clone() } else { "/".to_owned() })
}

fn on_pipes(command: &mut Command, with_input: bool) -> io::Result<Descriptors> {
    let stdin = if with_input {
        let (theirs, ours) = rustix::pipe::pipe_with(PipeFlags::CLOEXEC)?;
        command.stdin(Stdio::from(theirs));
        Some(non_blocking(ours)?)
    } else {
        command.stdin(Stdio::null());
        None
    };
    let (stdout, theirs) = rustix::pipe::pipe_with(PipeFlags::CLOEXEC)?;
    command.stdout(Stdio::from(theirs));
    let (stderr, theirs) = rustix::pipe::pipe_with(PipeFlags::CLOEXEC)?;
    command.stderr(Stdio::from(theirs));
    Ok(Descriptors::Pipes { stdin, stdout: non_blocking(stdout)?, stderr: non_blocking(stderr)? })
}

fn on_terminal(command: &mut Command, terminal: &Terminal) -> io::Result<Descriptors> {
    let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
    let ours = rustix::pty::openpt(flags)?;
    rustix::pty::unlockpt(&ours)?;
    let theirs = rustix::pty::ioctl_tiocgptpeer(&ours, flags)?;
    resize(&ours, terminal.size)?;
    command.stdin(Stdio::from(theirs.try_clone()?));
    command.stdout(Stdio::from(theirs.try_clone()?));
    command.stderr(Stdio::from(theirs));
    Ok(Descriptors::Terminal(non_blocking(ours)?))
}

/// Tells a terminal, and whoever runs on it, its size.
pub(crate) fn resize(terminal: &OwnedFd, size: WindowSize) -> io::Result<()> {
    let size = Winsize { ws_row: size.rows, ws_col: size.columns, ws_xpixel: 0, ws_ypixel: 0 };
    Ok(rustix::termios::tcsetwinsize(terminal, size)?)
}

fn non_blocking(fd: OwnedFd) -> io::Result<OwnedFd> {
    rustix::io::ioctl_fionbio(&fd, true)?;
    Ok(fd)
}
