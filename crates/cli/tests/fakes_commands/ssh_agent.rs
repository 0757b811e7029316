//! The user's ssh agent in a guest: a real agent and real clients, and between them the command and the agent's own code.

#![expect(clippy::unwrap_used, reason = "a scene that cannot be set fails the test")]

use super::fake::{FakeDaemon, Finished, World, in_background, signal};
use rustix::process::Signal;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// A VM called `dev`, and an agent that has one key.
struct Scene {
    world: World,
    _daemon: FakeDaemon,
    agent: Child,
    socket: PathBuf,
    key: PathBuf,
}

#[expect(clippy::disallowed_methods, reason = "what a user types")]
fn program(name: &str) -> Command {
    let mut command = Command::new(name);
    command.env_clear().env("PATH", "/usr/bin:/bin").stdin(Stdio::null()).stdout(Stdio::piped());
    command
}

fn until(mut is_so: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !is_so() {
        assert!(begun.elapsed() < Duration::from_secs(20), "it did not come to that");
        std::thread::yield_now();
    }
}

impl Scene {
    fn new() -> Self {
        let world = World::new();
        let daemon = world.daemon();
        daemon.has_vm("aaaaaaaaaaaa", "dev");
        daemon.guest_home();
        let (socket, key) = (world.home().join("agent"), world.home().join("key"));
        let made = program("ssh-keygen")
            .args(["-q", "-t", "ed25519", "-N", "", "-C", "mine", "-f"])
            .arg(&key)
            .status();
        assert!(made.unwrap().success());
        let agent = program("ssh-agent").args(["-D", "-a"]).arg(&socket).spawn().unwrap();
        until(|| socket.exists());
        let scene = Self { world, _daemon: daemon, agent, socket, key };
        assert!(scene.here(&[scene.key.to_str().unwrap()]).status.success());
        scene
    }

    fn here(&self, words: &[&str]) -> std::process::Output {
        program("ssh-add").args(words).env("SSH_AUTH_SOCK", &self.socket).output().unwrap()
    }

    fn exec(&self, words: &[&str], script: &str) -> Command {
        let words = [&["vm", "exec"], words, &["dev", "--", "sh", "-c", script]].concat();
        let mut command = self.world.banger(&words);
        command.env("SSH_AUTH_SOCK", &self.socket);
        command
    }

    fn there(&self, script: &str) -> Finished {
        Finished::from(in_background(&mut self.exec(&["--ssh-agent"], script)))
    }
}

impl Drop for Scene {
    fn drop(&mut self) {
        let _ = self.agent.kill();
        let _ = self.agent.wait();
    }
}

fn is_gone(path: &str) -> bool {
    let socket = Path::new(path);
    socket.symlink_metadata().is_err() && !socket.parent().unwrap().exists()
}

#[test]
fn a_command_uses_the_users_keys_and_cannot_take_them_away() {
    let scene = Scene::new();
    let listed = scene.there("ssh-add -l; ls -ld ${SSH_AUTH_SOCK%/*} $SSH_AUTH_SOCK >&2");
    assert!(String::from_utf8_lossy(&listed.out).contains("mine (ED25519)"), "{}", listed.err);
    assert!(listed.err.contains("drwx------") && listed.err.contains("srw-------"), "{}", listed.err);
    // Several at a time, each of which has something signed.
    let sign = format!("echo text | ssh-keygen -q -Y sign -n file -f {}.pub", scene.key.display());
    let signed = scene.there(&format!("for i in 1 2 3; do {sign} > /dev/null & done; wait; {sign}"));
    assert!(String::from_utf8_lossy(&signed.out).contains("BEGIN SSH SIGNATURE"), "{}", signed.err);
    assert_ne!(scene.there("ssh-add -D").code, Some(0));
    assert!(String::from_utf8_lossy(&scene.here(&["-l"]).stdout).contains("mine"), "the key is gone");
}

#[test]
fn the_socket_goes_with_the_command_however_that_ends() {
    let scene = Scene::new();
    let path = String::from_utf8(scene.there("echo $SSH_AUTH_SOCK").out).unwrap();
    assert!(path.contains("banger-ssh-agent"), "{path}");
    until(|| is_gone(path.trim()));

    let mut killed = in_background(&mut scene.exec(&["-A"], "echo $SSH_AUTH_SOCK; exec sleep 1000"));
    let mut path = String::new();
    BufReader::new(killed.stdout.take().unwrap()).read_line(&mut path).unwrap();
    assert!(!is_gone(path.trim()));
    signal(&killed, Signal::KILL);
    until(|| is_gone(path.trim()));
    killed.wait().unwrap();
}

#[test]
fn without_being_asked_for_no_agent_is_there_and_without_an_agent_it_is_said() {
    let mut scene = Scene::new();
    let plain = Finished::from(in_background(&mut scene.exec(&[], "echo ${SSH_AUTH_SOCK:-none}")));
    assert!(!String::from_utf8_lossy(&plain.out).contains("banger-ssh-agent"));
    scene.agent.kill().unwrap();
    scene.agent.wait().unwrap();
    let silent = scene.there("true");
    assert!(silent.code == Some(125) && silent.err.contains("hint: start one with `eval"), "{}", silent.err);
}

#[test]
fn a_session_is_refused_an_agent_that_would_not_outlive_it_and_nothing_is_started() {
    let world = World::new();
    let daemon = world.daemon();
    daemon.has_vm("aaaaaaaaaaaa", "dev");
    for line in [
        &["vm", "session", "start", "-A", "dev", "work", "--", "true"][..],
        &["vm", "exec", "-d", "--ssh-agent", "dev", "--", "true"],
    ] {
        let refused = world.run(line);
        assert_eq!(refused.code, Some(2), "{}", refused.err);
        for words in ["a session cannot have your ssh agent", "hint: `banger vm exec -A dev -- CMD`"] {
            assert!(refused.err.contains(words), "{}", refused.err);
        }
    }
    assert_eq!(daemon.asked(), [""; 0]);
}
