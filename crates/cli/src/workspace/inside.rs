//! A workspace's place in a guest, and the guest's own git there.

use super::PrepareError;
use crate::daemon::Daemon;
use crate::guest::{self, Done, Input, said};
use crate::signals::{Directed, Signals, asks_to_end, exit_code};
use banger_copy::Found;
use banger_protocol::daemon_api::vm::Connect;
use banger_protocol::guest_api::{Exec, Exit};
use banger_protocol::ids::TurnId;
use banger_protocol::names::VmRef;
use std::collections::BTreeMap;
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::atomic::{AtomicI32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

/// What the guest's git is told: nothing of the guest's is to have a part in laying the tree.
const QUIETLY: [&str; 14] = [
    "-c",
    "safe.directory=*",
    "-c",
    "core.hooksPath=/dev/null",
    "-c",
    "core.fsmonitor=false",
    "-c",
    "gc.auto=0",
    // Large files are laid as they were sent, wherever the guest has git-lfs.
    "-c",
    "filter.lfs.process=",
    "-c",
    "filter.lfs.clean=",
    "-c",
    "filter.lfs.required=false",
];
const ENVIRONMENT: [(&str, &str); 8] = [
    ("GIT_LFS_SKIP_SMUDGE", "1"),
    ("GIT_LITERAL_PATHSPECS", "1"),
    ("GIT_TERMINAL_PROMPT", "0"),
    ("LC_ALL", "C"),
    // Who makes the commit that stands for what was laid.
    ("GIT_AUTHOR_NAME", "banger"),
    ("GIT_AUTHOR_EMAIL", "banger@localhost"),
    ("GIT_COMMITTER_NAME", "banger"),
    ("GIT_COMMITTER_EMAIL", "banger@localhost"),
];

/// The index that says what was laid, beside the repository's own.
const BASE_INDEX: &str = ".git/banger-index";

/// A signal that asks to end breaks off the connection under way, and no other is made.
#[derive(Clone, Debug, Default)]
pub(crate) struct Interrupt {
    caught: Arc<AtomicI32>,
    current: Arc<Mutex<Option<UnixStream>>>,
}

impl Interrupt {
    /// Catches signals while the answer lives.
    pub(crate) fn catch<'s>(&self, signals: &'s Signals) -> Directed<'s> {
        let interrupt = self.clone();
        signals.direct(move |signal| {
            if asks_to_end(signal) {
                interrupt.caught.store(signal, Ordering::SeqCst);
                if let Some(current) = &*interrupt.current() {
                    let _ = current.shutdown(Shutdown::Both);
                }
            }
        })
    }

    fn current(&self) -> std::sync::MutexGuard<'_, Option<UnixStream>> {
        self.current.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The exit code that says so, once somebody asked to end.
    pub(crate) fn caught(&self) -> Option<u8> {
        match self.caught.load(Ordering::SeqCst) {
            0 => None,
            signal => Some(exit_code(signal)),
        }
    }

    /// Has a signal break off this connection, instead of the one before.
    pub(crate) fn breaks(&self, connection: &UnixStream) {
        *self.current() = connection.try_clone().ok();
    }

    /// Fails once somebody asked to end.
    fn check(&self) -> Result<(), PrepareError> {
        self.caught().map_or(Ok(()), |code| Err(PrepareError::Interrupted { code }))
    }
}

/// The place; nobody else changes it meanwhile.
#[derive(Debug)]
pub(crate) struct Inside<'d> {
    pub daemon: &'d mut Daemon,
    pub vm: VmRef,
    /// Absolute.
    pub place: String,
    interrupt: Interrupt,
    turn: TurnId,
}

impl<'d> Inside<'d> {
    /// Ends what an earlier command that was killed left running in the guest, and begins.
    pub(super) fn begin(
        daemon: &'d mut Daemon,
        vm: VmRef,
        place: String,
        interrupt: &Interrupt,
    ) -> Result<Self, PrepareError> {
        let mut inside = Self { daemon, vm, place, interrupt: interrupt.clone(), turn: TurnId::random() };
        let begun = guest::begin_turn(&mut inside.connect()?, inside.turn.clone());
        inside.interrupt.check()?;
        begun.map_err(PrepareError::Turn)?;
        Ok(inside)
    }
}

impl Inside<'_> {
    /// A connection for something that is done in this turn.
    fn ask(&mut self) -> Result<UnixStream, PrepareError> {
        let mut agent = self.connect()?;
        let joined = guest::join_turn(&mut agent, self.turn.clone());
        self.interrupt.check()?;
        joined.map_err(PrepareError::Turn)?;
        Ok(agent)
    }

    fn connect(&mut self) -> Result<UnixStream, PrepareError> {
        let (_, agent) =
            self.daemon.call_receiving(&Connect { vm: self.vm.clone() }).map_err(PrepareError::Daemon)?;
        let agent = UnixStream::from(agent);
        self.interrupt.breaks(&agent);
        // Whoever asked to end before there was a connection to break off.
        self.interrupt.check()?;
        Ok(agent)
    }

    /// Runs a program as root.
    pub(crate) fn run(
        &mut self,
        argv: &[&str],
        env: &[(&str, &str)],
        input: Input,
    ) -> Result<Done, PrepareError> {
        let agent = self.ask()?;
        let text = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
        let exec = Exec {
            argv: argv.iter().map(ToString::to_string).collect(),
            env: env.iter().map(text).collect::<BTreeMap<_, _>>(),
            cwd: Some("/".to_owned()),
            user: Some("root".to_owned()),
            terminal: None,
            stdin: false,
        };
        let done = guest::run_task(agent, &exec, input);
        self.interrupt.check()?;
        done.map_err(PrepareError::Guest)
    }

    /// Runs git in the place; `None` when there is none in this guest.
    pub(crate) fn try_git(
        &mut self,
        arguments: &[&str],
        env: &[(&str, &str)],
        input: Input,
    ) -> Result<Done, PrepareError> {
        let place = self.place.clone();
        let argv = [&["git", "-C", &place][..], &QUIETLY, arguments].concat();
        self.run(&argv, &[&ENVIRONMENT[..], env].concat(), input)
    }

    /// Git in the place; what it prints.
    pub(crate) fn git(&mut self, arguments: &[&str], input: Input) -> Result<Vec<u8>, PrepareError> {
        let done = self.try_git(arguments, &[], input)?;
        succeeded(arguments, done)
    }

    /// The same with the index that says what was laid.
    pub(crate) fn base(&mut self, arguments: &[&str], input: Input) -> Result<Vec<u8>, PrepareError> {
        let index = format!("{}/{BASE_INDEX}", self.place);
        let done = self.try_git(arguments, &[("GIT_INDEX_FILE", &index)], input)?;
        succeeded(arguments, done)
    }

    /// What git prints on a line; nothing when its exit code says that there is nothing.
    pub(crate) fn find(&mut self, arguments: &[&str]) -> Result<Option<String>, PrepareError> {
        let done = self.try_git(arguments, &[], Input::None)?;
        let text = String::from_utf8_lossy(&done.stdout).trim_end_matches('\n').to_owned();
        Ok((done.exit == Exit::Code(0)).then_some(text))
    }

    /// Runs lines of shell in the place, in which `git` is as told what [`Self::git`] is.
    pub(crate) fn script(
        &mut self,
        lines: &str,
        arguments: &[&str],
        input: Input,
    ) -> Result<Vec<u8>, PrepareError> {
        let lines = scripted(&format!("set -eu\ncd -- \"$1\"\nshift\n{lines}"));
        let place = self.place.clone();
        let argv = [&["/bin/sh", "-c", &lines, "banger", &place], arguments].concat();
        let done = self.run_quietly(&argv, input)?;
        succeeded(&["sh"], done)
    }

    /// Runs a program with git's environment.
    pub(super) fn run_quietly(&mut self, argv: &[&str], input: Input) -> Result<Done, PrepareError> {
        self.run(argv, &ENVIRONMENT, input)
    }

    /// The same place, a folder further down.
    pub(super) fn within<T>(
        &mut self,
        path: &[u8],
        work: impl FnOnce(&mut Self) -> Result<T, PrepareError>,
    ) -> Result<T, PrepareError> {
        let below = std::str::from_utf8(path).map_err(|_| PrepareError::SubmodulePath(path.to_vec()))?;
        let below = format!("{}/{below}", self.place);
        let place = std::mem::replace(&mut self.place, below);
        let done = work(self);
        self.place = place;
        done
    }

    /// Writes a file below the place.
    pub(crate) fn write_file(&mut self, name: &str, bytes: &[u8]) -> Result<(), PrepareError> {
        self.write_file_at(&format!("{}/{name}", self.place), bytes)
    }

    /// Writes a file anywhere in the guest.
    pub(crate) fn write_file_at(&mut self, path: &str, bytes: &[u8]) -> Result<(), PrepareError> {
        let written = guest::write_file(&mut self.ask()?, path.to_owned(), 0o644, bytes);
        self.interrupt.check()?;
        written.map_err(PrepareError::Copy)
    }

    /// What a file of the guest holds, of which there may be so many bytes; nothing where there is none.
    pub(crate) fn read_file(&mut self, path: &str, most: usize) -> Result<Option<Vec<u8>>, PrepareError> {
        let read = guest::read_file(&mut self.ask()?, path.to_owned(), most);
        self.interrupt.check()?;
        read.map_err(PrepareError::Copy)
    }

    /// What is at these paths of the place; about none nobody is asked.
    pub(crate) fn look(&mut self, paths: &[&[u8]]) -> Result<Vec<Found>, PrepareError> {
        if paths.is_empty() {
            return Ok(Vec::new());
        }
        let found = guest::look(&mut self.ask()?, self.place.clone(), paths);
        self.interrupt.check()?;
        found.map_err(PrepareError::Copy)
    }

    /// Removes these files from the place, and the folders that are empty then.
    pub(crate) fn remove(&mut self, paths: &[&[u8]]) -> Result<(), PrepareError> {
        let removed = guest::remove(&mut self.ask()?, self.place.clone(), paths);
        self.interrupt.check()?;
        removed.map_err(PrepareError::Copy)
    }

    /// Lays files of the host in the place as they are.
    pub(crate) fn lay<'p>(
        &mut self,
        root: &Path,
        paths: impl Iterator<Item = &'p [u8]>,
    ) -> Result<(), PrepareError> {
        let copied = guest::copy_some_in(&mut self.ask()?, root, paths, self.place.clone());
        self.interrupt.check()?;
        copied.map(drop).map_err(PrepareError::Copy)
    }

    /// Lays a whole folder of the host in the place.
    pub(crate) fn lay_all(&mut self, root: &Path) -> Result<(), PrepareError> {
        let copied = guest::copy_in(&mut self.ask()?, root, self.place.clone(), None);
        self.interrupt.check()?;
        copied.map(drop).map_err(PrepareError::Copy)
    }
}

/// Lines of shell in which `git` is told to be quiet.
pub(super) fn scripted(lines: &str) -> String {
    let quietly = QUIETLY.map(|word| format!("'{word}'")).join(" ");
    format!("git() {{ command git {quietly} \"$@\"; }}\n{lines}")
}

pub(super) fn succeeded(arguments: &[&str], done: Done) -> Result<Vec<u8>, PrepareError> {
    if done.exit == Exit::Code(0) {
        return Ok(done.stdout);
    }
    let command = arguments.first().copied().unwrap_or_default().to_owned();
    let text = match done.exit {
        Exit::NotStarted { reason, .. } => reason,
        Exit::Code(_) | Exit::Signal(_) => String::from_utf8_lossy(&done.stderr).trim().to_owned(),
    };
    Err(PrepareError::GuestGit { command, said: said(&text) })
}

/// Paths as git reads them from its input.
pub(crate) fn null_separated<'p>(paths: impl Iterator<Item = &'p [u8]>) -> Vec<u8> {
    paths.flat_map(|path| path.iter().copied().chain([0])).collect()
}
