//! Repositories on their way into a guest: real git on both sides, in two folders of this host.

#![expect(clippy::unwrap_used, reason = "a scene that cannot be set fails the test")]

mod again;
mod commands;
mod filters;
mod first_time;
mod full_copy;
mod kinds;
mod safety;
mod without_git;

use super::fake::{FakeDaemon, Finished, World, in_background};
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Child, Command};

/// A host with a repository, a daemon and a VM called `dev`.
struct Scene {
    world: World,
    daemon: FakeDaemon,
}

impl Scene {
    fn new() -> Self {
        let world = World::new();
        let daemon = world.daemon();
        daemon.has_vm("aaaaaaaaaaaa", "dev");
        daemon.guest_home();
        let scene = Self { world, daemon };
        std::fs::create_dir(scene.host()).unwrap();
        scene.git(&["config", "--global", "user.name", "Ada"]);
        scene.git(&["config", "--global", "user.email", "ada@host"]);
        scene.git(&["init", "-q", "-b", "main"]);
        scene
    }

    /// With one commit of a few kinds of files.
    fn with_files() -> Self {
        let scene = Self::new();
        for (name, content) in
            [("file", "one\n"), ("sub/other", "two\n"), ("gone", "three\n"), ("-dash x", "4\n")]
        {
            scene.write(name, content);
        }
        scene.write("tool", "#!/bin/sh\n");
        std::fs::set_permissions(scene.host().join("tool"), PermissionsExt::from_mode(0o755)).unwrap();
        std::fs::write(scene.host().join(OsStr::from_bytes(b"new\nline \xff")), "odd\n").unwrap();
        symlink("../outside", scene.host().join("link")).unwrap();
        scene.commit("first");
        scene
    }

    fn host(&self) -> PathBuf {
        self.world.home().canonicalize().unwrap().join("repo")
    }

    fn guest(&self) -> PathBuf {
        self.world.home().canonicalize().unwrap().join("inside")
    }

    fn write(&self, name: &str, content: &str) {
        let path = self.host().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, content).unwrap();
    }

    fn commit(&self, message: &str) {
        self.git(&["add", "-A"]);
        self.git(&["commit", "-q", "-m", message]);
    }

    fn git(&self, arguments: &[&str]) -> String {
        git(&self.host(), &self.world.home(), arguments)
    }

    fn guest_git(&self, arguments: &[&str]) -> String {
        git(&self.guest(), &self.daemon.guest_home(), arguments)
    }

    fn prepare(&self, arguments: &[&str]) -> Finished {
        self.prepare_from(&self.host(), arguments)
    }

    fn prepare_from(&self, path: &Path, arguments: &[&str]) -> Finished {
        let guest = self.guest();
        let line = [
            "vm",
            "workspace",
            "prepare",
            "dev",
            path.to_str().unwrap(),
            "--guest-path",
            guest.to_str().unwrap(),
        ];
        self.world.run(&[&line[..], arguments].concat())
    }

    /// A prepare under way.
    fn preparing(&self) -> Child {
        let (host, guest) = (self.host(), self.guest());
        let line = [
            "vm",
            "workspace",
            "prepare",
            "dev",
            host.to_str().unwrap(),
            "--guest-path",
            guest.to_str().unwrap(),
        ];
        self.daemon.forgets_what_was_asked();
        in_background(&mut self.world.banger(&line))
    }

    fn prepared(&self, arguments: &[&str]) {
        let finished = self.prepare(arguments);
        assert_eq!(finished.code, Some(0), "{}", finished.err);
    }

    /// What both sides say of themselves is the same.
    fn assert_same_status(&self) {
        let status = ["status", "--porcelain", "-uno"];
        assert_eq!(self.guest_git(&status), self.git(&status));
    }
}

#[expect(clippy::disallowed_methods, reason = "what a user types")]
fn git(folder: &Path, home: &Path, arguments: &[&str]) -> String {
    let mut command = Command::new("git");
    command.env_clear().env("PATH", "/usr/bin:/bin").env("HOME", home).current_dir(folder).args(arguments);
    let output = command.output().unwrap();
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn read(path: PathBuf) -> String {
    std::fs::read_to_string(path).unwrap()
}
