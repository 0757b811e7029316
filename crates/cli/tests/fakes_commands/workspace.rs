//! Repositories on their way into a guest: real git on both sides, in two folders of this host.

#![expect(clippy::unwrap_used, reason = "a scene that cannot be set fails the test")]

use super::fake::{FakeDaemon, Finished, World, in_background, signal};
use rustix::process::Signal;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

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

#[test]
fn a_repository_arrives_as_it_is_with_every_kind_of_change() {
    let scene = Scene::with_files();
    scene.git(&["remote", "add", "origin", "https://me:secret@example.org/r.git"]);
    scene.write("file", "changed\n");
    scene.write("sub/other", "staged\n");
    scene.git(&["add", "sub/other"]);
    scene.write("sub/other", "and changed again\n");
    scene.git(&["rm", "-q", "gone"]);
    scene.write("fresh", "new and staged\n");
    scene.git(&["add", "fresh"]);
    scene.write("meant", "some day\n");
    scene.git(&["add", "-N", "meant"]);
    scene.git(&["mv", "tool", "sub/tool"]);
    std::fs::remove_file(scene.host().join("-dash x")).unwrap();
    scene.write("untracked", "mine\n");
    scene.prepared(&[]);
    scene.assert_same_status();
    assert_eq!(scene.guest_git(&["diff", "--cached"]), scene.git(&["diff", "--cached"]));
    assert_eq!(scene.guest_git(&["diff"]), scene.git(&["diff"]));
    assert_eq!(scene.guest_git(&["log", "--format=%H %D"]), scene.git(&["log", "--format=%H %D"]));
    assert!(!scene.guest().join("untracked").exists());
    assert_eq!(scene.guest_git(&["remote", "get-url", "origin"]), "https://example.org/r.git\n");
    assert_eq!(scene.guest_git(&["config", "--global", "user.name"]), "Ada\n");
    assert_eq!(scene.guest_git(&["fsck", "--strict"]), "");
    let recorded = scene.daemon.workspace("dev").unwrap();
    assert_eq!(recorded.head.unwrap(), scene.git(&["rev-parse", "HEAD"]).trim());
    assert_eq!(
        recorded.base_tree.unwrap(),
        scene.guest_git(&["rev-parse", "refs/banger/base^{tree}"]).trim()
    );
}

#[test]
fn what_git_does_not_know_goes_along_when_asked_for_and_what_it_ignores_never() {
    let scene = Scene::with_files();
    scene.write(".gitignore", "build\n");
    scene.commit("ignore");
    scene.write("untracked", "mine\n");
    scene.write("build", "large\n");
    scene.prepared(&["--include-untracked"]);
    assert_eq!(scene.guest_git(&["status", "--porcelain"]), "?? untracked\n");
    assert!(!scene.guest().join("build").exists());
}

#[test]
fn history_is_ten_commits_deep_and_a_fetch_from_it_works() {
    let scene = Scene::with_files();
    for number in 0..12 {
        scene.write("file", &number.to_string());
        scene.commit("again");
    }
    scene.prepared(&[]);
    assert_eq!(scene.guest_git(&["rev-list", "--count", "HEAD"]), "10\n");
    assert_eq!(scene.guest_git(&["rev-parse", "--is-shallow-repository"]), "true\n");
    assert_eq!(scene.guest_git(&["fsck"]), "");
}

#[test]
fn a_detached_head_an_unborn_branch_a_worktree_and_a_folder_below_are_what_they_are() {
    let scene = Scene::new();
    scene.write("file", "one\n");
    scene.git(&["add", "file"]);
    scene.write("file", "two\n");
    scene.prepared(&[]);
    scene.assert_same_status();
    assert_eq!(scene.guest_git(&["symbolic-ref", "HEAD"]), "refs/heads/main\n");

    let scene = Scene::with_files();
    scene.git(&["checkout", "-q", "--detach"]);
    scene.prepared(&[]);
    assert_eq!(scene.guest_git(&["status", "--porcelain", "-b"]), "## HEAD (no branch)\n");

    let scene = Scene::with_files();
    let tree = scene.host().with_file_name("tree");
    scene.git(&["worktree", "add", "-q", "-b", "other", tree.to_str().unwrap()]);
    std::fs::write(tree.join("file"), "of the worktree\n").unwrap();
    assert_eq!(scene.prepare_from(&tree, &[]).code, Some(0));
    assert_eq!(scene.guest_git(&["status", "--porcelain", "-b"]), "## other\n M file\n");

    let scene = Scene::with_files();
    assert_eq!(scene.prepare_from(&scene.host().join("sub"), &[]).code, Some(0));
    scene.assert_same_status();
}

#[test]
fn a_second_time_only_what_changed_travels_and_the_guests_work_stays() {
    let scene = Scene::with_files();
    scene.prepared(&[]);
    std::fs::write(scene.guest().join("file"), "the guest's\n").unwrap();
    std::fs::write(scene.guest().join("result"), "the guest's\n").unwrap();
    scene.write("sub/other", "the host's\n");
    std::fs::remove_file(scene.host().join("gone")).unwrap();
    let listed = scene.prepare(&["--dry-run"]);
    assert_eq!(String::from_utf8(listed.out).unwrap(), "D gone\nM sub/other\n", "{}", listed.err);
    assert!(scene.guest().join("gone").exists(), "a dry run did something");
    scene.prepared(&[]);
    assert_eq!(read(scene.guest().join("file")), "the guest's\n");
    assert_eq!(read(scene.guest().join("result")), "the guest's\n");
    assert_eq!(read(scene.guest().join("sub/other")), "the host's\n");
    assert!(!scene.guest().join("gone").exists());
    assert_eq!(scene.guest_git(&["status", "--porcelain"]), " M file\n D gone\n M sub/other\n?? result\n");
    assert_eq!(scene.prepare(&["--dry-run"]).out, b"");
}

#[test]
fn what_both_sides_changed_is_refused_untouched_and_overwritten_by_force() {
    let scene = Scene::with_files();
    scene.prepared(&[]);
    std::fs::write(scene.guest().join("file"), "the guest's\n").unwrap();
    std::fs::write(scene.guest().join("fresh"), "the guest's\n").unwrap();
    scene.write("file", "the host's\n");
    scene.write("fresh", "the host's\n");
    scene.write("sub/other", "the host's\n");
    scene.git(&["add", "fresh"]);
    let refused = scene.prepare(&[]);
    assert_eq!(refused.code, Some(1));
    assert!(refused.err.contains("file, fresh") && refused.err.contains("--force"), "{}", refused.err);
    assert_eq!(read(scene.guest().join("sub/other")), "two\n", "half of it was done");
    scene.prepared(&["--force"]);
    assert_eq!(read(scene.guest().join("file")), "the host's\n");
    assert_eq!(read(scene.guest().join("fresh")), "the host's\n");
    scene.assert_same_status();
}

#[test]
fn the_guest_follows_to_another_commit_unless_it_has_its_own() {
    let scene = Scene::with_files();
    scene.prepared(&[]);
    scene.write("file", "second\n");
    scene.commit("second");
    scene.write("sub/other", "and changed\n");
    scene.prepared(&[]);
    scene.assert_same_status();
    let head = ["rev-parse", "HEAD"];
    assert_eq!(scene.guest_git(&head), scene.git(&head));

    scene.guest_git(&["commit", "-q", "--allow-empty", "-m", "the guest's"]);
    let own = scene.guest_git(&head);
    scene.write("gone", "third\n");
    scene.commit("third");
    let refused = scene.prepare(&[]);
    assert!(refused.code == Some(1) && refused.err.contains("commits"), "{}", refused.err);
    assert_eq!(scene.guest_git(&head), own);
    scene.prepared(&["--force"]);
    assert_eq!(scene.guest_git(&head), scene.git(&head));
    assert_eq!(scene.guest_git(&["rev-parse", &format!("refs/banger/replaced/{}", own.trim())]), own);
}

#[test]
fn a_guest_without_git_gets_the_files_and_a_folder_without_git_is_copied() {
    let scene = Scene::with_files();
    std::fs::write(scene.daemon.guest_home().join("no-git"), "").unwrap();
    scene.write("file", "changed\n");
    let finished = scene.prepare(&[]);
    assert!(finished.code == Some(0) && finished.err.contains("without history"), "{}", finished.err);
    assert_eq!(read(scene.guest().join("file")), "changed\n");
    assert!(!scene.guest().join(".git").exists());

    let scene = Scene::new();
    let folder = scene.host().with_file_name("folder");
    std::fs::create_dir(&folder).unwrap();
    std::fs::write(folder.join("file"), "one\n").unwrap();
    let finished = scene.prepare_from(&folder, &[]);
    assert!(finished.code == Some(0) && finished.err.contains("no repository"), "{}", finished.err);
    assert_eq!(read(scene.guest().join("file")), "one\n");
}

#[test]
fn a_branch_is_made_in_the_guest_alone_and_may_start_elsewhere() {
    let scene = Scene::with_files();
    let first = scene.git(&["rev-parse", "HEAD"]);
    scene.write("file", "second\n");
    scene.commit("second");
    scene.write("file", "changed\n");
    scene.prepared(&["--branch", "fix/it", "--from", "HEAD~1"]);
    assert_eq!(scene.guest_git(&["status", "--porcelain", "-b"]), "## fix/it\n");
    assert_eq!(scene.guest_git(&["rev-parse", "HEAD"]), first);
    assert_eq!(scene.git(&["branch", "--list"]), "* main\n");
    for wrong in [&["--branch", "a..b"][..], &["--branch", "x", "--from", "none"]] {
        assert_eq!(scene.prepare(wrong).code, Some(1), "{wrong:?}");
    }
}

#[test]
fn a_full_copy_has_what_is_ignored_and_what_submodules_hold() {
    let scene = Scene::with_files();
    let other = scene.host().with_file_name("library");
    std::fs::create_dir(&other).unwrap();
    let home = scene.world.home();
    git(&other, &home, &["init", "-q"]);
    std::fs::write(other.join("code"), "code\n").unwrap();
    git(&other, &home, &["add", "-A"]);
    git(&other, &home, &["commit", "-q", "-m", "x"]);
    scene.git(&[
        "-c",
        "protocol.file.allow=always",
        "submodule",
        "add",
        "-q",
        other.to_str().unwrap(),
        "library",
    ]);
    scene.write(".gitignore", "build\n");
    scene.commit("with a submodule");
    scene.write("build", "large\n");
    scene.prepared(&["--mode", "full_copy"]);
    assert_eq!(read(scene.guest().join("library/code")), "code\n");
    assert_eq!(read(scene.guest().join("build")), "large\n");
    scene.assert_same_status();
}

#[test]
fn files_are_written_as_the_attributes_say_and_pointers_stay_pointers() {
    let scene = Scene::new();
    scene.write(".gitattributes", "*.bat eol=crlf\n*.txt text=auto\n*.bin filter=lfs\n");
    scene.write("run.bat", "one\r\ntwo\r\n");
    scene.write("a.txt", "one\ntwo\n");
    scene.write("large.bin", "version https://git-lfs.github.com/spec/v1\n");
    scene.commit("first");
    scene.git(&["config", "filter.lfs.smudge", "false"]);
    scene.git(&["config", "filter.lfs.clean", "cat"]);
    scene.prepared(&[]);
    scene.assert_same_status();
    assert_eq!(read(scene.guest().join("run.bat")), "one\r\ntwo\r\n");
    assert!(read(scene.guest().join("large.bin")).starts_with("version"));
}

#[test]
fn the_host_s_repository_is_the_same_to_the_byte_afterwards() {
    let scene = Scene::with_files();
    scene.write("file", "changed\n");
    let before = everything(&scene.host());
    scene.prepared(&[]);
    scene.prepared(&["--force"]);
    assert!(everything(&scene.host()) == before);
    let left = std::fs::read_dir(scene.world.home()).unwrap().filter_map(Result::ok).map(|e| e.file_name());
    let left: Vec<_> = left.filter(|name| name.to_string_lossy().contains("tmp")).collect();
    assert!(left.is_empty(), "{left:?}");
}

fn everything(folder: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() && !path.is_symlink() {
            found.extend(everything(&path));
        } else {
            found.push((path.clone(), std::fs::read(&path).unwrap_or_default()));
        }
    }
    found.sort();
    found
}

#[test]
fn a_tracked_file_behind_a_link_is_not_read_through_it() {
    let scene = Scene::with_files();
    let secrets = scene.host().with_file_name("secrets");
    std::fs::create_dir(&secrets).unwrap();
    std::fs::write(secrets.join("other"), "secret\n").unwrap();
    std::fs::remove_dir_all(scene.host().join("sub")).unwrap();
    symlink(&secrets, scene.host().join("sub")).unwrap();
    scene.prepared(&[]);
    assert!(!scene.guest().join("sub/other").exists());
    scene.assert_same_status();
}

#[test]
fn what_lies_in_the_place_already_is_not_touched_unless_forced() {
    let scene = Scene::with_files();
    std::fs::create_dir(scene.guest()).unwrap();
    std::fs::write(scene.guest().join("own"), "the guest's\n").unwrap();
    let refused = scene.prepare(&[]);
    assert!(refused.code == Some(1) && refused.err.contains("--force"), "{}", refused.err);
    assert!(!scene.guest().join(".git").exists());
    scene.prepared(&["--force"]);
    assert_eq!(scene.guest_git(&["status", "--porcelain"]), "?? own\n");
}

#[test]
fn killed_in_the_middle_it_is_made_whole_by_the_next() {
    let scene = Scene::with_files();
    for number in 0..300 {
        scene.write(&format!("many/{number}"), &"x".repeat(4000 + number));
    }
    scene.commit("many");
    scene.write("file", "changed\n");
    let (host, guest) = (scene.host(), scene.guest());
    let line = [
        "vm",
        "workspace",
        "prepare",
        "dev",
        host.to_str().unwrap(),
        "--guest-path",
        guest.to_str().unwrap(),
    ];
    for (round, kind) in [Signal::KILL, Signal::INT, Signal::KILL, Signal::KILL].into_iter().enumerate() {
        let mut child = in_background(&mut scene.world.banger(&line));
        // Later each time.
        let far = [".git/config", ".git/banger-index", "many/200", ".git/index"][round];
        let there = guest.join(far);
        while !there.exists() && child.try_wait().unwrap().is_none() {
            std::thread::yield_now();
        }
        if child.try_wait().unwrap().is_none() {
            signal(&child, kind);
        }
        let _ = Finished::from(child);
    }
    scene.prepared(&[]);
    scene.assert_same_status();
    assert_eq!(scene.guest_git(&["fsck", "--no-dangling"]), "");
}

#[test]
fn commands_run_in_the_workspace_and_whoever_moved_on_is_told() {
    let scene = Scene::with_files();
    scene.prepared(&[]);
    let exec = |words: &[&str]| scene.world.run(&[&["vm", "exec", "dev"], words].concat());
    let finished = exec(&["--", "git", "rev-parse", "--show-toplevel"]);
    assert_eq!(finished.out, format!("{}\n", scene.guest().display()).into_bytes());
    assert_eq!(finished.err, "");
    assert_eq!(exec(&["--guest-path", "/usr", "--", "pwd"]).out, b"/usr\n");
    scene.write("file", "second\n");
    scene.commit("second");
    let finished = exec(&["--", "cat", "file"]);
    assert!(finished.out == b"one\n" && finished.err.contains("moved on"), "{}", finished.err);
    let finished = exec(&["--auto-prepare", "--", "cat", "file"]);
    assert_eq!((finished.out.as_slice(), finished.err.as_str()), (&b"second\n"[..], ""));
}

#[test]
fn run_brings_a_folder_along_and_a_dry_run_makes_nothing() {
    let scene = Scene::with_files();
    scene.daemon.has_default_image();
    let (host, guest) = (scene.host(), scene.guest());
    let path = host.to_str().unwrap();
    let run = |words: &[&str]| scene.world.run(&[&["vm", "run", path][..], words].concat());
    let listed = run(&["--dry-run"]);
    let text = String::from_utf8(listed.out).unwrap();
    assert!(text.contains("A file\n") && text.contains("A new\\nline \\xff\n"), "{text}");
    assert_eq!(scene.daemon.vm_names(), ["dev"]);
    let finished =
        run(&["--rm", "--guest-path", guest.to_str().unwrap(), "--", "git", "status", "--porcelain", "-b"]);
    assert_eq!((finished.code, finished.out.as_slice()), (Some(0), &b"## main\n"[..]), "{}", finished.err);
    assert_eq!(scene.daemon.vm_names(), ["dev"]);

    let finished = scene.world.run(&["vm", "run", "/none/such", "--rm", "--", "true"]);
    assert!(finished.code == Some(125) && finished.err.contains("behind `--`"), "{}", finished.err);
    let finished = scene.world.run(&["vm", "run", "--include-untracked"]);
    assert_eq!(finished.code, Some(2));
    assert_eq!(scene.daemon.vm_names(), ["dev"]);
}

#[test]
fn readonly_takes_the_right_to_write() {
    let scene = Scene::with_files();
    scene.prepared(&["--readonly"]);
    let mode = scene.guest().join("file").metadata().unwrap().permissions().mode();
    assert_eq!(mode & 0o222, 0);
    scene.assert_same_status();
}

#[test]
fn tools_that_a_repository_names_are_installed_and_found_or_it_is_said_why_not() {
    let scene = Scene::with_files();
    scene.daemon.has_default_image();
    scene.write(".tool-versions", "node 22\n");
    scene.commit("tools");
    let (host, guest) = (scene.host(), scene.guest());
    let (path, place) = (host.to_str().unwrap(), guest.to_str().unwrap());
    let run = |words: &[&str]| {
        scene.world.run(&[&["vm", "run", path, "--rm", "--guest-path", place, "--force"][..], words].concat())
    };
    let refused = run(&["--", "true"]);
    assert!(refused.code == Some(125) && refused.err.contains("--no-bootstrap"), "{}", refused.err);
    assert!(!guest.exists(), "a VM was made for it");
    let without = run(&["--no-bootstrap", "--", "true"]);
    assert_eq!((without.code, without.err.as_str()), (Some(0), ""));

    let lacking = run(&["--nat", "--", "true"]);
    assert!(lacking.code == Some(0) && lacking.err.contains("no mise"), "{}", lacking.err);
    let bin = scene.daemon.guest_home().join("bin");
    std::fs::create_dir(&bin).unwrap();
    let script = "[ $1 = -C ] && shift 2; case $1 in install) echo half; echo no such version >&2; exit 3;; exec) shift 2; echo by mise; exec \"$@\";; esac\n";
    std::fs::write(bin.join("mise"), format!("#!/bin/sh\n{script}")).unwrap();
    std::fs::set_permissions(bin.join("mise"), PermissionsExt::from_mode(0o755)).unwrap();
    let failed = run(&["--nat", "--", "echo", "ran"]);
    assert_eq!((failed.code, failed.out.as_slice()), (Some(0), &b"by mise\nran\n"[..]), "{}", failed.err);
    assert!(failed.err.contains("banger-bootstrap.log"), "{}", failed.err);
    let log = read(guest.join(".git/banger-bootstrap.log"));
    assert!(log.contains("half") && log.contains("no such version"), "{log}");
    scene.assert_same_status();
}

#[test]
fn files_that_every_guest_gets_are_there_with_their_mode_and_what_leads_out_is_not() {
    let scene = Scene::with_files();
    scene.daemon.has_default_image();
    let home = scene.world.home();
    let config = home.join(".config/banger/config.toml");
    std::fs::create_dir_all(config.parent().unwrap()).unwrap();
    std::fs::write(home.join("settings"), "mine\n").unwrap();
    symlink("/etc/hostname", home.join("elsewhere")).unwrap();
    let inside = "/root/sub";
    let one =
        |host: &str, name: &str| format!("[[file_sync]]\nhost = \"~/{host}\"\nguest = \"{inside}/{name}\"\n");
    let text = [one("settings", "a"), one("gone", "b"), one("elsewhere", "c")].concat();
    std::fs::write(&config, text).unwrap();
    let finished = scene.world.run(&["vm", "run", "--rm", "--", "stat", "-c", "%a", &format!("{inside}/a")]);
    let found = std::fs::read_dir(scene.daemon.guest_home().join("sub")).map(|entries| entries.count());
    assert_eq!((finished.code, finished.out.as_slice()), (Some(0), &b"600\n"[..]), "{}", finished.err);
    assert_eq!(found.unwrap(), 1);
    for words in ["gone is not there", "elsewhere was not brought along: it leads out of your home"] {
        assert!(finished.err.contains(words), "{}", finished.err);
    }
}

#[test]
fn a_file_that_went_along_once_goes_on_being_looked_after() {
    let scene = Scene::with_files();
    scene.write("untracked", "mine\n");
    scene.write("brief", "mine\n");
    scene.prepared(&["--include-untracked"]);
    scene.write("untracked", "changed\n");
    std::fs::remove_file(scene.host().join("brief")).unwrap();
    scene.prepared(&[]);
    assert_eq!(read(scene.guest().join("untracked")), "changed\n");
    assert!(!scene.guest().join("brief").exists());
}

#[test]
fn a_branch_of_the_guests_own_stays_and_one_of_the_hosts_is_followed() {
    let scene = Scene::with_files();
    scene.prepared(&["--branch", "fix"]);
    scene.write("file", "second\n");
    scene.commit("second");
    scene.prepared(&[]);
    assert_eq!(scene.guest_git(&["status", "--porcelain", "-b"]), "## fix\n");
    assert_eq!(scene.daemon.workspace("dev").unwrap().branch.as_deref(), Some("fix"));

    let scene = Scene::with_files();
    scene.prepared(&[]);
    scene.git(&["checkout", "-q", "-b", "feature"]);
    scene.write("file", "second\n");
    scene.commit("second");
    scene.prepared(&[]);
    assert_eq!(scene.guest_git(&["status", "--porcelain", "-b"]), "## feature\n");
}

#[test]
fn what_was_asked_for_at_first_is_followed_from_then_on() {
    let scene = Scene::with_files();
    scene.git(&["branch", "release"]);
    scene.write("file", "second\n");
    scene.commit("second");
    scene.write("file", "changed\n");
    scene.prepared(&["--branch", "fix", "--from", "release"]);
    scene.prepared(&[]);
    assert_eq!(read(scene.guest().join("file")), "one\n");
    assert_eq!(scene.guest_git(&["status", "--porcelain", "-b"]), "## fix\n");

    scene.git(&["branch", "-f", "release", "main"]);
    scene.git(&["branch", "fix"]);
    scene.prepared(&[]);
    assert_eq!(read(scene.guest().join("file")), "second\n");
    assert_eq!(scene.guest_git(&["status", "--porcelain", "-b"]), "## fix\n");
    assert_eq!(scene.prepare(&["--branch", "other"]).code, Some(1));
}

#[test]
fn commits_of_the_guests_own_are_kept_whichever_branch_they_are_on() {
    let scene = Scene::with_files();
    scene.prepared(&[]);
    scene.guest_git(&["checkout", "-q", "-b", "next"]);
    scene.guest_git(&["commit", "-q", "--allow-empty", "-m", "the guest's"]);
    let own = scene.guest_git(&["rev-parse", "HEAD"]);
    scene.guest_git(&["checkout", "-q", "main"]);
    scene.git(&["checkout", "-q", "-b", "next"]);
    scene.write("file", "second\n");
    scene.commit("second");
    let finished = scene.prepare(&[]);
    assert_eq!(finished.code, Some(0), "{}", finished.err);
    let kept = format!("refs/banger/replaced/{}", own.trim());
    assert!(finished.err.contains(&kept), "{}", finished.err);
    assert_eq!(scene.guest_git(&["rev-parse", &kept]), own);
    assert_eq!(scene.guest_git(&["rev-parse", "next"]), scene.git(&["rev-parse", "next"]));
}

/// The guest's git does this where that is among its arguments, and then as ever.
fn guest_git_lies(scene: &Scene, at: &str, lie: &str) {
    let bin = scene.daemon.guest_home().join("bin");
    std::fs::create_dir_all(&bin).unwrap();
    let script = format!("#!/bin/sh\ncase \" $* \" in *' {at} '*) {lie};; esac\nexec /usr/bin/git \"$@\"\n");
    std::fs::write(bin.join("git"), script).unwrap();
    std::fs::set_permissions(bin.join("git"), PermissionsExt::from_mode(0o755)).unwrap();
}

#[test]
fn a_guest_that_lies_about_what_was_laid_has_it_shown_as_its_work() {
    let scene = Scene::with_files();
    scene.write("sub/other", "changed here\n");
    let hidden = "echo evil > \"$2/evil\"; /usr/bin/git -C \"$2\" add evil";
    guest_git_lies(&scene, "write-tree", hidden);
    let finished = scene.prepare(&[]);
    assert_eq!(finished.code, Some(0), "{}", finished.err);
    assert!(finished.err.contains("is not what was sent"), "{}", finished.err);
    let shown = scene.world.run(&["vm", "workspace", "diff", "dev"]);
    let text = String::from_utf8(shown.out).unwrap();
    assert!(text.contains("+evil"), "{text}{}", shown.err);
    // Whatever it says the second time.
    assert!(scene.prepare(&[]).err.contains("is not what was sent"));
}

#[test]
fn a_guest_gets_no_file_by_saying_that_it_was_laid() {
    let scene = Scene::with_files();
    scene.write(".gitignore", "secret\n");
    scene.commit("second");
    scene.write("secret", "token\n");
    scene.write("draft", "private\n");
    scene.prepared(&[]);
    let named = scene.git(&["rev-parse", "HEAD:file"]);
    let lie = |name: &str| format!("printf '100644 {} 0\\t{name}\\0'", named.trim());
    guest_git_lies(&scene, "ls-files --stage", &format!("{}; {}", lie("secret"), lie("draft")));
    scene.prepared(&[]);
    assert!(!scene.guest().join("secret").exists() && !scene.guest().join("draft").exists());
}

#[test]
fn the_tree_that_was_sent_is_the_one_that_git_makes_of_it() {
    let scene = Scene::new();
    scene.write(".gitattributes", "*.txt text=auto\n");
    for name in ["a", "a-b", "a.txt/x", "b/c/d", "b/c.d", "b/e", "z/only"] {
        scene.write(name, "one\n");
    }
    scene.commit("first");
    scene.write("b/c/d", "two\n");
    scene.write("lines.txt", "one\r\ntwo\r\n");
    std::fs::remove_dir_all(scene.host().join("z")).unwrap();
    std::fs::remove_file(scene.host().join("a")).unwrap();
    scene.write("a/now/a/folder", "x\n");
    for _ in 0..2 {
        let finished = scene.prepare(&["--include-untracked"]);
        assert!(finished.code == Some(0) && !finished.err.contains("not what was sent"), "{}", finished.err);
        scene.git(&["add", "-A"]);
        let tree = scene.git(&["write-tree"]);
        assert_eq!(scene.daemon.workspace("dev").unwrap().base_tree.unwrap(), tree.trim());
        scene.write("b/more/of/it", "three\n");
    }
}
