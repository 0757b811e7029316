//! Programs that developer commands run.
//!
//! A [`Tool`] is found before it is started, so a missing program is named as missing and not as "no such file".
//! Tools run in the checkout with the developer's own environment, two things apart: what [`super::setup`]
//! installed comes first on the PATH, and what cargo told *this* program about itself is withheld, because a
//! nested cargo would take it for its own and build things again.

use crate::place::Place;
use anyhow::{Context as _, Result, bail};
use std::ffi::OsString;
use std::fs::File;
use std::io::{BufRead as _, BufReader};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};

/// One program with its arguments so far.
#[derive(Debug)]
pub(crate) struct Tool {
    name: String,
    command: Command,
}

impl Tool {
    /// The program of this name on the PATH.
    pub(crate) fn find(place: &Place, name: &str) -> Result<Self> {
        let path = search(place, name).with_context(|| {
            format!("`{name}` is not installed (`cargo xtask setup` installs what is missing)")
        })?;
        Ok(Self::at(place, &path))
    }

    /// The program in this file.
    #[expect(clippy::disallowed_methods, reason = "the one place where a program is started")]
    pub(crate) fn at(place: &Place, path: &Path) -> Self {
        let mut command = Command::new(path);
        command.current_dir(&place.root).env("PATH", search_path(place)).stdin(Stdio::null());
        for (variable, _) in std::env::vars_os() {
            if variable.to_str().is_some_and(describes_this_program) {
                command.env_remove(variable);
            }
        }
        let name = path.file_name().unwrap_or(path.as_os_str()).to_string_lossy().into_owned();
        Self { name, command }
    }

    pub(crate) fn args<I: IntoIterator<Item: AsRef<std::ffi::OsStr>>>(mut self, arguments: I) -> Self {
        self.command.args(arguments);
        self
    }

    pub(crate) fn env(mut self, variable: &str, value: impl AsRef<std::ffi::OsStr>) -> Self {
        self.command.env(variable, value);
        self
    }

    pub(crate) fn current_dir(mut self, folder: &Path) -> Self {
        self.command.current_dir(folder);
        self
    }

    /// Lets it read what the developer types.
    pub(crate) fn interactive(mut self) -> Self {
        self.command.stdin(Stdio::inherit());
        self
    }

    /// Lets it read a file.
    pub(crate) fn reading(mut self, file: File) -> Self {
        self.command.stdin(file);
        self
    }

    /// Puts it into a process group of its own, where no Ctrl-C of this terminal reaches it.
    pub(crate) fn own_group(mut self) -> Self {
        self.command.process_group(0);
        self
    }

    /// Starts it and goes on; what it says goes to `log`.
    pub(crate) fn start(mut self, log: &File) -> Result<Child> {
        let log = || log.try_clone().context("sharing a log");
        let started = self.command.stdout(log()?).stderr(log()?).spawn();
        started.with_context(|| format!("starting {}", self.name))
    }

    /// Runs it in full view and says how it ended.
    pub(crate) fn status(mut self) -> Result<ExitStatus> {
        self.command.status().with_context(|| format!("starting {}", self.name))
    }

    /// Runs it in full view; anything but success is an error.
    pub(crate) fn run(mut self) -> Result<()> {
        let status = self.command.status().with_context(|| format!("starting {}", self.name))?;
        self.expect_success(status)
    }

    /// Runs it unseen and says whether it succeeded.
    pub(crate) fn succeeds(mut self) -> Result<bool> {
        let status = self.command.stdout(Stdio::null()).stderr(Stdio::null()).status();
        Ok(status.with_context(|| format!("starting {}", self.name))?.success())
    }

    /// What it prints to stdout; stderr stays in view.
    pub(crate) fn output(mut self) -> Result<String> {
        let output = self.command.stderr(Stdio::inherit()).output();
        let output = output.with_context(|| format!("starting {}", self.name))?;
        self.expect_success(output.status)?;
        String::from_utf8(output.stdout).with_context(|| format!("reading what {} printed", self.name))
    }

    /// Runs it in full view, `mark` before every line of its stderr, and hands each of them to `each` without it.
    pub(crate) fn watch_stderr(mut self, mark: &str, mut each: impl FnMut(&str)) -> Result<ExitStatus> {
        let mut child = self.command.stderr(Stdio::piped()).spawn();
        let child = child.as_mut().map_err(|error| anyhow::anyhow!("starting {}: {error}", self.name))?;
        let stderr = child.stderr.take().context("stderr was asked for as a pipe")?;
        for line in BufReader::new(stderr).split(b'\n') {
            let line = line.with_context(|| format!("reading what {} printed", self.name))?;
            let line = String::from_utf8_lossy(&line);
            eprintln!("{mark}{line}");
            each(&line);
        }
        child.wait().with_context(|| format!("waiting for {}", self.name))
    }

    /// Runs it in full view and returns what it printed to stdout as well.
    pub(crate) fn tee_stdout(mut self) -> Result<String> {
        let mut child = self.command.stdout(Stdio::piped()).spawn();
        let child = child.as_mut().map_err(|error| anyhow::anyhow!("starting {}: {error}", self.name))?;
        let stdout = child.stdout.take().context("stdout was asked for as a pipe")?;
        let mut printed = String::new();
        for line in BufReader::new(stdout).lines() {
            let line = line.with_context(|| format!("reading what {} printed", self.name))?;
            println!("{line}");
            printed.push_str(&line);
            printed.push('\n');
        }
        let status = child.wait().with_context(|| format!("waiting for {}", self.name))?;
        self.expect_success(status)?;
        Ok(printed)
    }

    fn expect_success(&self, status: ExitStatus) -> Result<()> {
        if !status.success() {
            let arguments: Vec<_> = self.command.get_args().map(|a| a.to_string_lossy()).collect();
            bail!("`{} {}` failed ({status})", self.name, arguments.join(" "));
        }
        Ok(())
    }
}

/// Cargo, as the developer would start it.
pub(crate) fn cargo(place: &Place) -> Result<Tool> {
    Tool::find(place, "cargo")
}

/// Where `name` is, looking through the tools first and the developer's PATH then.
pub(crate) fn search(place: &Place, name: &str) -> Option<PathBuf> {
    std::env::split_paths(&search_path(place)).map(|folder| folder.join(name)).find(|file| is_program(file))
}

/// The administrator's folders come last: an ordinary user's PATH often lacks them, yet `nft` lies there.
fn search_path(place: &Place) -> OsString {
    let inherited = std::env::var_os("PATH").unwrap_or_default();
    let folders: Vec<PathBuf> = std::iter::once(place.tools_bin())
        .chain(std::env::split_paths(&inherited))
        .chain(["/usr/local/sbin", "/usr/sbin", "/sbin"].map(PathBuf::from))
        .collect();
    // Fails only for a target folder with a colon in its name, which no PATH can express.
    std::env::join_paths(folders).unwrap_or(inherited)
}

fn is_program(file: &Path) -> bool {
    file.metadata().is_ok_and(|meta| meta.is_file() && meta.permissions().mode() & 0o111 != 0)
}

/// What `cargo run` sets for the program it runs, see "Environment variables" in the Cargo book.
fn describes_this_program(variable: &str) -> bool {
    ["CARGO_PKG_", "CARGO_MANIFEST_", "CARGO_BIN_", "CARGO_CRATE_", "CARGO_PRIMARY_"]
        .iter()
        .any(|prefix| variable.starts_with(prefix))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_cargo_says_about_this_program_is_withheld() {
        for withheld in ["CARGO_PKG_NAME", "CARGO_MANIFEST_DIR", "CARGO_BIN_NAME"] {
            assert!(describes_this_program(withheld), "{withheld} is passed on");
        }
        for passed_on in ["CARGO_HOME", "CARGO_TARGET_DIR", "CARGO_NET_OFFLINE", "RUSTFLAGS", "PATH"] {
            assert!(!describes_this_program(passed_on), "{passed_on} is withheld");
        }
    }

    #[test]
    fn a_program_that_is_not_there_is_named_together_with_the_way_to_get_it() {
        let place = Place { root: "/".into(), target: "/nonexistent".into() };
        let error = Tool::find(&place, "no-such-program").expect_err("it was found").to_string();
        assert!(error.contains("`no-such-program` is not installed"), "{error}");
        assert!(error.contains("cargo xtask setup"), "{error}");
    }

    #[test]
    fn a_failing_program_is_shown_with_its_arguments() {
        let place = Place::find().expect("tests run from a target folder");
        let error = Tool::find(&place, "false").and_then(|tool| tool.args(["-x"]).run());
        assert!(error.expect_err("false succeeded").to_string().starts_with("`false -x` failed"));
    }
}
