//! Work that comes out of a guest, or does not: the command with a guest whose processes and files are this machine's.

#![expect(clippy::unwrap_used, reason = "a scene that cannot be set fails the test")]

use super::fake::{FakeDaemon, Finished, World, in_background, signal};
use banger_protocol::daemon_api::workspace::{Chosen, Mode, Workspace};
use rustix::process::Signal;
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

const ONE: &str = "aaaaaaaaaaaa";

/// A repository here, and a clone of it that is the guest's.
struct Both {
    world: World,
    guest_home: std::cell::RefCell<PathBuf>,
    daemon: std::cell::RefCell<Option<FakeDaemon>>,
    here: PathBuf,
    there: PathBuf,
}

#[expect(clippy::disallowed_methods, reason = "git as its user types it")]
fn git_in(folder: &Path, arguments: &[&str]) -> String {
    let mut command = Command::new("git");
    command.args(["-c", "user.name=A U", "-c", "user.email=a@b", "-c", "protocol.file.allow=always"]);
    command.env_clear().env("PATH", "/usr/bin:/bin").env("HOME", "/nowhere").env("GIT_CONFIG_NOSYSTEM", "1");
    let output = command.current_dir(folder).args(arguments).output().unwrap();
    let talk = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "git {arguments:?}: {talk}");
    String::from_utf8_lossy(&output.stdout).trim_end().to_owned()
}

impl Both {
    fn new() -> Self {
        let world = World::new();
        let (here, there) = (world.home().join("here"), world.home().join("there"));
        fs::create_dir(&here).unwrap();
        git_in(&here, &["init", "-q", "-b", "main"]);
        fs::create_dir(here.join("sub")).unwrap();
        for (name, content) in
            [("a", "one\ntwo\nthree\n"), ("sub/b", "b\n"), ("old name", "x\ny\nz\n"), ("gone", "g\n")]
        {
            fs::write(here.join(name), content).unwrap();
        }
        fs::write(here.join(".gitignore"), "*.o\n").unwrap();
        git_in(&here, &["add", "-A"]);
        git_in(&here, &["commit", "-q", "-m", "first"]);
        git_in(&world.home(), &["clone", "-q", "--depth=1", &format!("file://{}", here.display()), "there"]);
        let both = Self { world, guest_home: PathBuf::new().into(), daemon: None.into(), here, there };
        let head = git_in(&both.here, &["rev-parse", "HEAD"]);
        both.record(Some(head), None);
        both
    }

    fn record(&self, head: Option<String>, base_tree: Option<String>) {
        let daemon = self.world.daemon();
        let path = |path: &Path| path.to_str().unwrap().to_owned();
        let workspace = Workspace {
            host_path: path(&self.here),
            guest_path: path(&self.there),
            head,
            branch: None,
            base_tree,
            mode: Mode::Shallow,
            chosen: Chosen::default(),
            prepared: "2026-01-01T00:00:00Z".to_owned(),
        };
        daemon.has_workspace(ONE, "dev", workspace);
        *self.guest_home.borrow_mut() = daemon.guest_home();
        *self.daemon.borrow_mut() = Some(daemon);
    }

    /// The guest's git stops at this subcommand until the answer is there no more, and makes this file when it is at it.
    fn holds_at(&self, subcommand: &str) -> (PathBuf, PathBuf) {
        let bin = self.guest_home.borrow().join("bin");
        fs::create_dir_all(&bin).unwrap();
        let (git, at) = (bin.join("git"), self.world.home().join("at-it"));
        let script = format!(
            "#!/bin/sh\ncase \" $* \" in *' {subcommand} '*) echo PACK; : > '{}'; sleep 20;; esac\nexec /usr/bin/git \"$@\"\n",
            at.display()
        );
        fs::write(&git, script).unwrap();
        fs::set_permissions(&git, fs::Permissions::from_mode(0o755)).unwrap();
        (git, at)
    }

    fn quarantines(&self) -> usize {
        let exports = fs::read_dir(self.world.paths.cache.join("exports")).unwrap();
        exports.filter(|entry| entry.as_ref().unwrap().file_name() != "lock").count()
    }

    fn left_in_guest(&self) -> usize {
        let entries = fs::read_dir(self.there.join(".git")).into_iter().flatten();
        let names = entries.map(|entry| entry.unwrap().file_name());
        names.filter(|name| name.to_string_lossy().starts_with("banger-export")).count()
    }

    fn work(&self) {
        fs::write(self.there.join("a"), "one\n2\nthree\n").unwrap();
        git_in(&self.there, &["commit", "-q", "-a", "-m", "in the guest"]);
        fs::write(self.there.join("new"), "new\n").unwrap();
        fs::write(self.there.join("binary"), [0, 1, 2, 255, 0, 10]).unwrap();
        fs::write(self.there.join("built.o"), "ignored").unwrap();
        fs::remove_file(self.there.join("gone")).unwrap();
        fs::rename(self.there.join("old name"), self.there.join("sub/new name")).unwrap();
        fs::write(self.there.join("run"), "#!/bin/sh\n").unwrap();
        fs::set_permissions(self.there.join("run"), fs::Permissions::from_mode(0o755)).unwrap();
        symlink("../elsewhere", self.there.join("link")).unwrap();
    }

    fn tree_there(&self) -> String {
        let another = self.world.home().join("of-there");
        fs::create_dir(&another).unwrap();
        let index = format!("--git-dir={}", another.display());
        git_in(&another, &["init", "-q", "--bare"]);
        let there = format!("--work-tree={}", self.there.display());
        git_in(&self.there, &[&index, &there, "add", "-A"]);
        git_in(&self.there, &[&index, "write-tree"])
    }

    fn banger(&self, arguments: &[&str]) -> Finished {
        self.world.run(&[&["vm", "workspace"], arguments].concat())
    }
}

/// Every file below a folder with its content.
fn snapshot(folder: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            let about = path.symlink_metadata().unwrap();
            if about.is_dir() {
                folders.push(path);
            } else {
                let content = if about.is_symlink() {
                    fs::read_link(&path).unwrap().into_os_string().into_encoded_bytes()
                } else {
                    fs::read(&path).unwrap()
                };
                found.push((path, content));
            }
        }
    }
    found.sort();
    found
}

fn said(finished: &Finished) -> String {
    format!("{:?} {}{}", finished.code, String::from_utf8_lossy(&finished.out), finished.err)
}

#[test]
fn a_patch_of_all_that_was_done_gives_the_guests_tree_and_both_sides_stay_as_they_were() {
    let both = Both::new();
    both.work();
    let (here, there, tree) = (snapshot(&both.here), snapshot(&both.there), both.tree_there());
    let exported = both.banger(&["export", "dev"]);
    assert_eq!(exported.code, Some(0), "{}", said(&exported));
    assert!(snapshot(&both.here) == here, "the host's repository was changed");
    assert!(snapshot(&both.there) == there, "the guest's repository was changed");
    fs::write(both.world.home().join("patch"), &exported.out).unwrap();
    git_in(&both.world.home(), &["clone", "-q", "here", "fresh"]);
    let fresh = both.world.home().join("fresh");
    git_in(&fresh, &["apply", "--index", "../patch"]);
    assert_eq!(git_in(&fresh, &["write-tree"]), tree);
    assert_eq!(fs::read_dir(both.world.paths.cache.join("exports")).unwrap().count(), 1, "only the lock");
}

#[test]
fn a_branch_has_the_guests_commits_and_one_for_the_rest_and_nothing_else_is_touched() {
    let both = Both::new();
    both.work();
    let (here, tree) = (snapshot(&both.here), both.tree_there());
    let exported = both.banger(&["export", "dev", "--branch", "fix/it"]);
    assert_eq!(exported.code, Some(0), "{}", said(&exported));
    let is_new = |path: &Path| {
        let path = path.to_string_lossy();
        ["objects/pack/", "refs/heads/fix/it"].iter().any(|part| path.contains(part))
    };
    let now: Vec<_> = snapshot(&both.here).into_iter().filter(|(path, _)| !is_new(path)).collect();
    assert!(now == here, "more than a branch was made");
    assert_eq!(git_in(&both.here, &["rev-parse", "fix/it^{tree}"]), tree);
    let log = git_in(&both.here, &["log", "--format=%s", "main..fix/it"]);
    assert_eq!(log, "Uncommitted changes in VM dev\nin the guest");
    git_in(&both.here, &["fsck", "--strict"]);

    let again = both.banger(&["export", "dev", "--branch", "fix/it"]);
    assert_eq!(again.code, Some(1));
    assert!(
        again.err.contains("already exists") && again.err.contains("git branch -D fix/it"),
        "{}",
        again.err
    );
    let on_it = both.banger(&["export", "dev", "--branch", "main"]).err;
    assert!(on_it.contains("--branch main-vm") && !on_it.contains("-D"), "{on_it}");
}

#[test]
fn without_git_in_the_guest_its_files_are_compared_here() {
    let both = Both::new();
    both.work();
    let tree = both.tree_there();
    fs::rename(both.there.join(".git"), both.there.join("sub/.git")).unwrap();
    let exported = both.banger(&["export", "dev"]);
    assert_eq!(exported.code, Some(0), "{}", said(&exported));
    fs::write(both.world.home().join("patch"), &exported.out).unwrap();
    git_in(&both.here, &["apply", "--index", "../patch"]);
    assert_eq!(git_in(&both.here, &["write-tree"]), tree);
}

#[test]
fn nothing_done_is_nothing_exported() {
    let both = Both::new();
    for words in [
        &["export", "dev"][..],
        &["export", "dev", "-o", "x"],
        &["export", "dev", "--branch", "x"],
        &["diff", "dev"],
    ] {
        let exported = both.banger(words);
        assert_eq!((exported.code, exported.out.len()), (Some(0), 0), "{}", said(&exported));
    }
    assert!(git_in(&both.here, &["branch", "--list", "x"]).is_empty());
}

#[test]
fn what_was_uncommitted_here_is_not_the_guests_work() {
    let both = Both::new();
    fs::write(both.there.join("a"), "mine\n").unwrap();
    git_in(&both.there, &["add", "-A"]);
    let laid = git_in(&both.there, &["write-tree"]);
    git_in(&both.there, &["reset", "-q"]);
    fs::remove_file(&both.world.paths.socket).unwrap();
    both.record(Some(git_in(&both.here, &["rev-parse", "HEAD"])), Some(laid));
    let nothing = both.banger(&["export", "dev"]);
    assert_eq!((nothing.code, nothing.out.len()), (Some(0), 0), "{}", said(&nothing));
    let against = both.banger(&["export", "dev", "--base-commit", "main"]);
    assert!(String::from_utf8_lossy(&against.out).contains("+mine"), "{}", said(&against));

    fs::write(both.there.join("new"), "theirs\n").unwrap();
    let landed = both.banger(&["export", "dev", "--branch", "x"]);
    assert_eq!(landed.code, Some(0), "{}", said(&landed));
    let log = git_in(&both.here, &["log", "--format=%s", "main..x"]);
    assert_eq!(log, "Uncommitted changes in VM dev\nUncommitted changes when copied into VM dev");
}

#[test]
fn a_file_is_written_whole_and_never_over_another_unless_told_so() {
    let both = Both::new();
    both.work();
    let file = both.world.home().join("work.patch");
    let path = file.to_str().unwrap();
    fs::write(&file, "mine").unwrap();
    let refused = both.banger(&["export", "dev", "-o", path]);
    assert!(refused.code == Some(1) && refused.err.contains("--force"), "{}", said(&refused));
    assert_eq!(fs::read(&file).unwrap(), b"mine");
    let written = both.banger(&["export", "dev", "-o", path, "--force"]);
    assert!(written.code == Some(0) && written.err.contains("git apply --index"), "{}", said(&written));
    git_in(&both.here, &["apply", "--index", path]);
}

#[test]
fn a_look_first_says_what_would_come() {
    let both = Both::new();
    both.work();
    let stat = both.banger(&["diff", "dev", "--stat"]);
    let text = String::from_utf8_lossy(&stat.out);
    assert!(text.contains("7 files changed") && text.contains("binary"), "{}", said(&stat));
    fs::write(both.here.join("a"), "moved on\n").unwrap();
    let status = both.banger(&["status", "dev"]);
    let text = String::from_utf8_lossy(&status.out);
    for part in ["1 commit, 8 files changed", "  A new\n", "  D gone\n", "here: 1 file changed\n  a\n"] {
        assert!(text.contains(part), "{part}: {}", said(&status));
    }
}

/// Waits for something that comes soon.
fn until(mut holds: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !holds() {
        assert!(begun.elapsed() < Duration::from_secs(15), "it did not come");
        std::thread::park_timeout(Duration::from_millis(10));
    }
}

#[test]
fn ctrl_c_and_a_kill_at_any_stage_leave_nothing_here_or_there() {
    let both = Both::new();
    both.work();
    let here = snapshot(&both.here);
    for stage in ["add", "write-tree", "pack-objects"] {
        for by in [Signal::INT, Signal::KILL] {
            let (git, at) = both.holds_at(stage);
            let line = ["vm", "workspace", "export", "dev", "--branch", "x"];
            let child = in_background(&mut both.world.banger(&line));
            until(|| at.exists());
            signal(&child, by);
            let finished = Finished::from(child);
            let code = if by == Signal::INT { Some(130) } else { None };
            assert_eq!((finished.code, finished.err.as_str()), (code, ""), "{stage}");
            assert_eq!(both.quarantines(), usize::from(by == Signal::KILL), "{stage}");
            until(|| both.left_in_guest() == 0);
            fs::remove_file(git).unwrap();
            fs::remove_file(at).unwrap();
            let after = both.banger(&["diff", "dev", "--stat"]);
            assert_eq!(after.code, Some(0), "{}", said(&after));
            assert_eq!(both.quarantines(), 0, "what was killed is swept by the next");
            assert!(snapshot(&both.here) == here, "{stage} {by:?} left something here");
        }
    }
}

#[test]
fn ended_at_any_connection_an_export_leaves_nothing_here_or_there_and_the_next_succeeds() {
    for has_git in [true, false] {
        let both = Both::new();
        both.work();
        if !has_git {
            fs::write(both.guest_home.borrow().join("no-git"), "").unwrap();
            fs::remove_dir_all(both.there.join(".git")).unwrap();
        }
        let here = snapshot(&both.here);
        let daemon = both.daemon.borrow().clone().unwrap();
        let line = ["vm", "workspace", "export", "dev", "--branch", "x"];
        let connections = (1..).map(|number| ("vm.connect", number));
        let mut ended = 0;
        for (method, number) in std::iter::once(("vm.workspace.prepare", 1)).chain(connections) {
            daemon.forgets_what_was_asked();
            let child = match daemon.reaches(method, number, in_background(&mut both.world.banger(&line))) {
                Ok(child) => child,
                Err(done) => {
                    let done = Finished::from(done);
                    assert_eq!(done.code, Some(0), "{}", said(&done));
                    break;
                }
            };
            ended += 1;
            signal(&child, if ended % 2 == 0 { Signal::INT } else { Signal::KILL });
            let finished = Finished::from(child);
            assert!(finished.code.is_none_or(|code| code == 130), "{}", said(&finished));
            until(|| both.left_in_guest() == 0);
            assert!(snapshot(&both.here) == here, "{method} {number} left something here");
            let after = both.banger(&["export", "dev"]);
            assert_eq!(after.code, Some(0), "{}", said(&after));
            assert_eq!(both.quarantines(), 0, "what was killed is swept by the next");
        }
        git_in(&both.here, &["rev-parse", "--verify", "refs/heads/x"]);
        assert!(ended >= 2, "{ended}");
    }
}

#[test]
fn what_keeps_the_work_in_the_guest_is_said_with_a_way_out() {
    let both = Both::new();
    git_in(&both.there, &["clone", "-q", &format!("file://{}", both.here.display()), "vendored"]);
    let here = snapshot(&both.here);
    for words in [&["export", "dev"][..], &["diff", "dev"], &["export", "dev", "--branch", "x"]] {
        let refused = both.banger(words);
        let is_diff = words[0] == "diff";
        assert_eq!(refused.code, Some(u8::from(!is_diff).into()), "{}", said(&refused));
        for part in ["\"vendored\" is a new submodule", "hint: ", ".gitignore"] {
            assert!(is_diff || refused.err.contains(part), "{}", said(&refused));
        }
    }
    assert!(snapshot(&both.here) == here);
}

#[test]
fn who_has_no_workspace_or_names_no_branch_learns_it_before_the_guest_is_asked() {
    let both = Both::new();
    let daemon = both.world.paths.socket.clone();
    fs::remove_file(&daemon).unwrap();
    both.world.daemon().has_vm(ONE, "dev");
    let none = both.banger(&["export", "dev"]);
    assert!(none.code == Some(1) && none.err.contains("vm workspace prepare dev"), "{}", said(&none));
    fs::remove_file(&daemon).unwrap();
    both.record(Some("a".repeat(40)), None);
    for name in ["-x", "a..b", "a b", "HEAD", "x.lock", ""] {
        let refused = both.banger(&["export", "dev", &format!("--branch={name}")]);
        assert_eq!(refused.code, Some(2), "{name}: {}", said(&refused));
    }
    let gone = both.banger(&["export", "dev"]);
    assert!(gone.code == Some(1) && gone.err.contains("has no commit aaaa"), "{}", said(&gone));
}
