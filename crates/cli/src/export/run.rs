//! One run of git over what a guest sent: bounded in memory, time and output, and ended by Ctrl-C.

use super::limits::Limits;
use super::stop::Stop;
use crate::guest::said;
use rustix::process::{Pid, Resource, Rlimit, prlimit};
use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

/// How much is kept of what git says on stderr.
const MOST_TALK: u64 = 64 << 10;
/// Longest line or path, in bytes. Nobody has such a one.
const LONGEST_PART: u64 = 64 << 10;

pub(crate) struct Run<'a> {
    command: Command,
    input: Input,
    limits: &'a Limits,
    stop: &'a Stop,
}

enum Input {
    Nothing,
    Bytes(Vec<u8>),
    File(File),
}

#[derive(Debug, thiserror::Error)]
pub(crate) enum RunError {
    #[error("git was not started")]
    Start(#[source] io::Error),
    #[error("git's answer could not be read")]
    Read(#[source] io::Error),
    /// `talk` is all that it said, not yet fit for a terminal.
    #[error("git {what} failed: {}", gist(.talk))]
    Failed { what: String, talk: String },
    #[error("git {what} had more to say than {most} bytes")]
    TooMuch { what: String, most: u64 },
}

impl<'a> Run<'a> {
    pub(super) fn new(command: Command, limits: &'a Limits, stop: &'a Stop) -> Self {
        Self { command, input: Input::Nothing, limits, stop }
    }

    pub(crate) fn args<A: AsRef<OsStr>>(mut self, args: impl IntoIterator<Item = A>) -> Self {
        self.command.args(args);
        self
    }

    pub(crate) fn env(mut self, name: &str, value: impl AsRef<OsStr>) -> Self {
        self.command.env(name, value);
        self
    }

    pub(crate) fn input(self, bytes: impl Into<Vec<u8>>) -> Self {
        Self { input: Input::Bytes(bytes.into()), ..self }
    }

    pub(crate) fn input_file(self, file: File) -> Self {
        Self { input: Input::File(file), ..self }
    }

    /// Runs it for its effect.
    pub(crate) fn silently(self) -> Result<(), RunError> {
        self.pieces(MOST_TALK, |_| {})
    }

    /// What it writes, without the last line end; a few words.
    pub(crate) fn word(self) -> Result<String, RunError> {
        let mut all = Vec::new();
        self.pieces(MOST_TALK, |piece| all.extend_from_slice(piece))?;
        Ok(String::from_utf8_lossy(&all).trim_end_matches('\n').to_owned())
    }

    /// Gives `take` what it writes, and fails when that is more than `most` bytes.
    pub(crate) fn pieces(self, most: u64, mut take: impl FnMut(&[u8])) -> Result<(), RunError> {
        let what = self.what();
        self.reading(|out| {
            let mut left = most;
            let mut piece = vec![0; 64 << 10];
            loop {
                match out.read(&mut piece) {
                    Ok(0) => return Ok(()),
                    Ok(read) => {
                        left = left
                            .checked_sub(read as u64)
                            .ok_or_else(|| RunError::TooMuch { what: what.clone(), most })?;
                        take(&piece[..read]);
                    }
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                    Err(error) => return Err(RunError::Read(error)),
                }
            }
        })
    }

    /// Gives `take` each part that ends in `end`, up to the first that it does not want.
    pub(crate) fn parts<E: From<RunError>>(
        self,
        end: u8,
        mut take: impl FnMut(&[u8]) -> Result<(), E>,
    ) -> Result<(), E> {
        let what = self.what();
        let mut unwanted = None;
        let read = self.reading(|out| {
            let mut part = Vec::new();
            loop {
                part.clear();
                match out.by_ref().take(LONGEST_PART).read_until(end, &mut part) {
                    Ok(0) => return Ok(()),
                    Ok(_) => {
                        let too_much = || RunError::TooMuch { what: what.clone(), most: LONGEST_PART };
                        let part = part.strip_suffix(&[end]).ok_or_else(too_much)?;
                        if let Err(error) = take(part) {
                            unwanted = Some(error);
                            return Err(too_much());
                        }
                    }
                    Err(error) => return Err(RunError::Read(error)),
                }
            }
        });
        match unwanted {
            Some(error) => Err(error),
            None => Ok(read?),
        }
    }

    /// Has it write into `file`, and fails when that is more than `most` bytes.
    pub(crate) fn into_file(mut self, file: File, most: u64) -> Result<(), RunError> {
        self.command.stdout(file);
        let what = self.what();
        let file_limit = Some(most);
        let ended = self.run(file_limit, |_| Ok(()))?;
        match ended {
            Ended::Well => Ok(()),
            Ended::Badly { talk, signal } if signal == Some(rustix::process::Signal::XFSZ.as_raw()) => {
                drop(talk);
                Err(RunError::TooMuch { what, most })
            }
            Ended::Badly { talk, .. } => Err(RunError::Failed { what, talk }),
        }
    }

    fn reading(
        mut self,
        read: impl FnOnce(&mut BufReader<ChildStdout>) -> Result<(), RunError>,
    ) -> Result<(), RunError> {
        self.command.stdout(Stdio::piped());
        let what = self.what();
        let ended = self.run(None, |child| match child.stdout.take() {
            Some(out) => read(&mut BufReader::new(out)),
            None => Ok(()),
        })?;
        match ended {
            Ended::Well => Ok(()),
            Ended::Badly { talk, .. } => Err(RunError::Failed { what, talk }),
        }
    }

    /// The git command, for messages: the first word that is no option of git itself.
    fn what(&self) -> String {
        let mut words = self.command.get_args().map(|word| word.to_string_lossy().into_owned());
        while let Some(word) = words.next() {
            match word.as_str() {
                "-c" => drop(words.next()),
                word if word.starts_with('-') => {}
                word => return word.to_owned(),
            }
        }
        String::new()
    }

    fn run(
        mut self,
        file_limit: Option<u64>,
        read: impl FnOnce(&mut Child) -> Result<(), RunError>,
    ) -> Result<Ended, RunError> {
        let (input, stdin) = match self.input {
            Input::Nothing => (Vec::new(), Stdio::null()),
            Input::Bytes(bytes) => (bytes, Stdio::piped()),
            Input::File(file) => (Vec::new(), Stdio::from(file)),
        };
        self.command.stdin(stdin).stderr(Stdio::piped());
        let mut child = self.command.spawn().map_err(RunError::Start)?;
        self.stop.started(&child);
        bound(&child, self.limits, file_limit);
        let (to, talk) = (child.stdin.take(), child.stderr.take());
        std::thread::scope(|scope| {
            scope.spawn(|| feed(to, &input));
            let talk = scope.spawn(|| {
                let mut kept = Vec::new();
                if let Some(mut talk) = talk {
                    let _ = talk.by_ref().take(MOST_TALK).read_to_end(&mut kept);
                    // Nobody else empties the pipe.
                    let _ = io::copy(&mut talk, &mut io::sink());
                }
                String::from_utf8_lossy(&kept).into_owned()
            });
            let outcome = read(&mut child);
            if outcome.is_err() {
                // It has ended already, or nobody wants the rest.
                let _ = child.kill();
            }
            drop(child.stdout.take());
            let status = child.wait().map_err(RunError::Read)?;
            let talk = talk.join().unwrap_or_default();
            outcome?;
            if status.success() {
                return Ok(Ended::Well);
            }
            let signal = std::os::unix::process::ExitStatusExt::signal(&status);
            Ok(Ended::Badly { talk, signal })
        })
    }
}

enum Ended {
    Well,
    Badly { talk: String, signal: Option<i32> },
}

/// Whoever does not read to the end has said why by then.
fn feed(to: Option<ChildStdin>, input: &[u8]) {
    if let Some(mut to) = to {
        let _ = to.write_all(input);
    }
}

/// It has been running for a moment, in which it has read nothing of the guest's yet.
fn bound(child: &Child, limits: &Limits, file: Option<u64>) {
    let Some(pid) = i32::try_from(child.id()).ok().and_then(Pid::from_raw) else { return };
    let bounds = [
        (Resource::As, Some(limits.memory)),
        (Resource::Cpu, Some(limits.processor)),
        (Resource::Core, Some(0)),
        (Resource::Fsize, file),
    ];
    for (resource, bound) in bounds {
        if bound.is_some() {
            // Fails for one that has ended.
            let _ = prlimit(Some(pid), resource, Rlimit { current: bound, maximum: bound });
        }
    }
}

/// The line that says most: git prefixes why it gave up.
fn gist(talk: &str) -> String {
    let lines = || talk.lines().map(str::trim).filter(|line| !line.is_empty());
    let telling = lines().find(|line| line.starts_with("error: ") || line.starts_with("fatal: "));
    let line = telling.or_else(|| lines().next()).unwrap_or("it did not say why");
    said(line.trim_start_matches("error: ").trim_start_matches("fatal: "))
}
