//! Running the command with a home of its own.

use super::{FakeDaemon, Terminal};
use banger_protocol::local_paths::{Environment, LocalPaths, make_private_folder};
use rustix::process::{Pid, Signal, kill_process};
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use tempfile::TempDir;

/// A home, and the places that follow from it.
#[derive(Debug)]
pub(crate) struct World {
    folder: TempDir,
    pub(crate) paths: LocalPaths,
}

/// What a command left behind.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Finished {
    pub(crate) code: Option<i32>,
    pub(crate) out: Vec<u8>,
    pub(crate) err: String,
}

impl World {
    pub(crate) fn new() -> Self {
        let folder = tempfile::Builder::new().prefix("bgr").tempdir().unwrap();
        let uid = rustix::process::geteuid().as_raw();
        let place = Some(folder.path().as_os_str());
        let environment = Environment { home: place, tmpdir: place, uid, ..Environment::default() };
        let paths = LocalPaths::find(&environment).unwrap();
        Self { folder, paths }
    }

    pub(crate) fn daemon(&self) -> FakeDaemon {
        make_private_folder(&self.paths.runtime, rustix::process::geteuid().as_raw()).unwrap();
        FakeDaemon::listen(&self.paths.socket)
    }

    pub(crate) fn home(&self) -> PathBuf {
        self.folder.path().to_owned()
    }

    /// A program that the command will find instead of the host's.
    pub(crate) fn has_program(&self, name: &str, script: &str) {
        let folder = self.folder.path().join("bin");
        std::fs::create_dir_all(&folder).unwrap();
        let path = folder.join(name);
        std::fs::write(&path, format!("#!/bin/sh\n{script}\n")).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
    }

    /// The command with nothing of the test's own environment.
    #[expect(clippy::disallowed_methods, reason = "the program under test")]
    pub(crate) fn banger(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_banger"));
        let path = format!("{}/bin:/usr/bin:/bin", self.folder.path().display());
        command.args(arguments).env_clear().env("HOME", self.folder.path()).env("TMPDIR", self.folder.path());
        command.env("PATH", path).stdin(Stdio::null());
        command
    }

    pub(crate) fn run(&self, arguments: &[&str]) -> Finished {
        finish(self.banger(arguments).output().unwrap())
    }

    /// A user's terminal in the session of that name, with these words behind the command.
    pub(crate) fn in_session(&self, name: &str, words: &[&str]) -> (Terminal, Child) {
        let terminal = Terminal::open();
        let line = [&["vm", "session", "attach", "dev", name], words].concat();
        let child = terminal.attach(&mut self.banger(&line)).spawn().unwrap();
        terminal.wait_for("ready");
        (terminal, child)
    }

    pub(crate) fn run_with_input(&self, arguments: &[&str], input: Vec<u8>) -> Finished {
        let mut child = in_background(self.banger(arguments).stdin(Stdio::piped()));
        let mut stdin = child.stdin.take().unwrap();
        let writer = std::thread::spawn(move || drop(stdin.write_all(&input)));
        let finished = Finished::from(child);
        writer.join().unwrap();
        finished
    }
}

/// Starts it with its output kept.
pub(crate) fn in_background(command: &mut Command) -> Child {
    command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
}

pub(crate) fn signal(child: &Child, signal: Signal) {
    kill_process(Pid::from_child(child), signal).unwrap();
}

impl From<Child> for Finished {
    fn from(child: Child) -> Self {
        finish(child.wait_with_output().unwrap())
    }
}

fn finish(output: std::process::Output) -> Finished {
    let err = String::from_utf8(output.stderr).unwrap();
    Finished { code: output.status.code(), out: output.stdout, err }
}
