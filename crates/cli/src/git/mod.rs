//! The user's git, in a repository that nobody vouches for.
//!
//! A repository brings programs along: hooks, filters, a file system monitor, diff and merge drivers, credential
//! helpers, transports. [`Git`] runs git so that none of them does: by what it is told over the repository's own
//! configuration ([`harden`]) and by an environment in which nothing of the caller's `GIT_*` is left. What is
//! deliberately kept is what the user configured for everybody: name, e-mail, ignored files.
//!
//! What must stay true: host git is run by nothing but this type. It writes nothing into the repository on its own: no
//! refreshed index, no collected garbage. Commands that can start another program for a path (`diff`, `show`, `log -p`)
//! are given `--no-ext-diff --no-textconv` as well by whoever calls them.

mod harden;
pub(crate) mod inspect;
pub(crate) mod packing;
mod parse;

pub(crate) use parse::{Listed, MalformedOutput, changes, index, oid};

use crate::tool::{NotInstalled, Tool};
use std::ffi::{OsStr, OsString};
use std::io::{self, Write as _};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

/// Most of git's own words that are told.
const MOST_WORDS: usize = 2000;

/// Git in one folder.
#[derive(Clone, Debug)]
pub(crate) struct Git {
    tool: Tool,
    folder: PathBuf,
    /// Settings over the repository's own.
    settings: Vec<(OsString, OsString)>,
}

/// Why git did not do it.
#[derive(Debug, thiserror::Error)]
pub(crate) enum GitError {
    #[error("git is not installed on this host")]
    NotInstalled(#[source] NotInstalled),
    #[error("`git {command}` was not run in {}", folder.display())]
    Start { command: String, folder: PathBuf, source: io::Error },
    #[error("`git {command}` failed in {}: {said}", folder.display())]
    Failed { command: String, folder: PathBuf, said: String },
    #[error("`git {command}` printed something unexpected")]
    Output { command: &'static str, source: MalformedOutput },
}

impl Git {
    /// Git in a folder that is, or lies in, a repository; in one that does not, its commands fail.
    pub(crate) fn at(folder: &Path) -> Result<Self, GitError> {
        let tool = Tool::find("git").map_err(GitError::NotInstalled)?;
        let mut git = Self { tool, folder: folder.to_owned(), settings: harden::always() };
        // Reading the configuration starts no program.
        let names = git.output(&["config", "--null", "--name-only", "--list"], &[])?;
        if names.status.success() {
            git.settings.extend(harden::against(&names.stdout));
        }
        Ok(git)
    }

    /// The same in another folder of the same repository.
    pub(crate) fn in_folder(&self, folder: &Path) -> Self {
        Self { folder: folder.to_owned(), ..self.clone() }
    }

    /// What it prints, whatever that is.
    pub(crate) fn run(&self, arguments: &[&str]) -> Result<Vec<u8>, GitError> {
        self.run_with(arguments, &[])
    }

    /// The same, given something to read.
    pub(crate) fn run_with(&self, arguments: &[&str], input: &[u8]) -> Result<Vec<u8>, GitError> {
        let output = self.output(arguments, input)?;
        if output.status.success() { Ok(output.stdout) } else { Err(self.failed(arguments, &output.stderr)) }
    }

    /// The same about paths, which end the command whatever they look like.
    pub(crate) fn run_about(&self, arguments: &[&str], paths: &[&[u8]]) -> Result<Vec<u8>, GitError> {
        let paths = paths.iter().map(|path| OsStr::from_bytes(path));
        let words = arguments.iter().map(OsStr::new).chain(paths);
        let output = self.command(words).stdin(Stdio::null()).output();
        let output = output.map_err(|source| self.not_started(arguments, source))?;
        if output.status.success() { Ok(output.stdout) } else { Err(self.failed(arguments, &output.stderr)) }
    }

    /// What it prints, or nothing when it says by its exit code 1 that there is none; without the line's end.
    pub(crate) fn find(&self, arguments: &[&str]) -> Result<Option<Vec<u8>>, GitError> {
        let output = self.output(arguments, &[])?;
        match output.status.code() {
            Some(0) => Ok(Some(output.stdout.strip_suffix(b"\n").unwrap_or(&output.stdout).to_vec())),
            Some(1) => Ok(None),
            _ => Err(self.failed(arguments, &output.stderr)),
        }
    }

    /// A run of it that the caller starts: its standard streams are the caller's to set.
    pub(crate) fn command<A: AsRef<OsStr>>(&self, arguments: impl IntoIterator<Item = A>) -> Command {
        let mut command = self.tool.command();
        command.arg("--no-pager").arg("-C").arg(&self.folder).args(arguments);
        command.envs(harden::ENVIRONMENT).env("GIT_CONFIG_COUNT", self.settings.len().to_string());
        for (number, (name, value)) in self.settings.iter().enumerate() {
            command.env(format!("GIT_CONFIG_KEY_{number}"), name);
            command.env(format!("GIT_CONFIG_VALUE_{number}"), value);
        }
        command
            .envs(["XDG_CONFIG_HOME"].into_iter().filter_map(|name| Some((name, std::env::var_os(name)?))));
        command
    }

    /// How it went, its failure not taken for one of ours.
    pub(crate) fn output(&self, arguments: &[&str], input: &[u8]) -> Result<Output, GitError> {
        let run = || -> io::Result<Output> {
            let mut child = self
                .command(arguments)
                .stdin(if input.is_empty() { Stdio::null() } else { Stdio::piped() })
                .stdout(Stdio::piped())
                .stderr(Stdio::piped())
                .spawn()?;
            let stdin = child.stdin.take();
            std::thread::scope(|scope| {
                // What it does not read it has no use for.
                scope.spawn(move || stdin.map(|mut stdin| stdin.write_all(input)));
                child.wait_with_output()
            })
        };
        run().map_err(|source| self.not_started(arguments, source))
    }

    pub(crate) fn not_started(&self, arguments: &[&str], source: io::Error) -> GitError {
        GitError::Start { command: name_of(arguments), folder: self.folder.clone(), source }
    }

    pub(crate) fn failed(&self, arguments: &[&str], stderr: &[u8]) -> GitError {
        let said = String::from_utf8_lossy(&stderr[..stderr.len().min(MOST_WORDS)]).trim().to_owned();
        GitError::Failed { command: name_of(arguments), folder: self.folder.clone(), said }
    }
}

/// A command as it is named in an error: what it is, and not the whole of what it was told.
fn name_of(arguments: &[&str]) -> String {
    let word = arguments.iter().find(|word| !word.is_empty() && !word.starts_with('-'));
    word.copied().unwrap_or_default().to_owned()
}

/// A path as git printed it.
pub(crate) fn path_of(bytes: &[u8]) -> PathBuf {
    OsStr::from_bytes(bytes).into()
}

#[cfg(test)]
pub(crate) mod tests;
