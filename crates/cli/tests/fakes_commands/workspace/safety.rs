//! What is left behind, and what a guest that lies gets.

use super::super::fake::{Finished, signal};
use super::Scene;
use rustix::process::Signal;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

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
fn killed_in_the_middle_it_is_made_whole_by_the_next() {
    let scene = Scene::with_files();
    for number in 0..300 {
        scene.write(&format!("many/{number}"), &"x".repeat(4000 + number));
    }
    scene.commit("many");
    scene.write("file", "changed\n");
    let guest = scene.guest();
    for (round, kind) in [Signal::KILL, Signal::INT, Signal::KILL, Signal::KILL].into_iter().enumerate() {
        let mut child = scene.preparing();
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

/// The guest's git does this where that is among its arguments, and then as ever.
fn guest_git_lies(scene: &Scene, at: &str, lie: &str) {
    let bin = scene.daemon.guest_home().join("bin");
    std::fs::create_dir_all(&bin).unwrap();
    let script = format!("#!/bin/sh\ncase \" $* \" in *' {at} '*) {lie};; esac\nexec /usr/bin/git \"$@\"\n");
    std::fs::write(bin.join("git"), script).unwrap();
    std::fs::set_permissions(bin.join("git"), PermissionsExt::from_mode(0o755)).unwrap();
}

#[test]
fn an_interrupt_while_git_works_here_is_obeyed_before_the_guest_is_asked_for_more() {
    let scene = Scene::with_files();
    let at_it = scene.world.home().join("at-it");
    let script = format!(
        "case \" $* \" in *' rev-list '*) if mkdir '{0}.once' 2>/dev/null; then : > '{0}'; while [ -e '{0}' ]; do \
         sleep 0.01; done; fi;; esac; exec /usr/bin/git \"$@\"",
        at_it.display()
    );
    scene.world.has_program("git", &script);
    let child = scene.preparing();
    while !at_it.exists() {
        std::thread::yield_now();
    }
    signal(&child, Signal::INT);
    // It has noticed by then.
    std::thread::park_timeout(Duration::from_millis(300));
    std::fs::remove_file(at_it).unwrap();
    assert_eq!(Finished::from(child), Finished { code: Some(130), out: Vec::new(), err: String::new() });
    assert!(!scene.guest().join("file").exists());
    scene.prepared(&[]);
    scene.assert_same_status();
}

#[test]
fn a_prepare_begins_when_nothing_of_the_one_before_runs_in_the_guest_any_more() {
    let scene = Scene::with_files();
    scene.prepared(&[]);
    scene.write("file", "second\n");
    scene.commit("second");
    let [at_it, over, early] = ["at-it", "over", "early"].map(|name| scene.world.home().join(name));
    let lingers = format!(
        "trap 'sleep 1; : > {}; exit 1' HUP; : > {}; while :; do sleep 0.05; done",
        over.display(),
        at_it.display()
    );
    guest_git_lies(&scene, "update-ref refs/heads/main", &lingers);
    let child = scene.preparing();
    while !at_it.exists() {
        std::thread::yield_now();
    }
    signal(&child, Signal::KILL);
    let _ = Finished::from(child);
    guest_git_lies(&scene, "rev-parse", &format!("[ -e {} ] || : > {}", over.display(), early.display()));
    scene.prepared(&[]);
    assert!(over.exists() && !early.exists(), "it did not wait");
    scene.assert_same_status();
}

#[test]
fn what_is_locked_by_an_update_that_went_down_with_its_guest_is_unlocked_and_a_lock_of_somebody_elses_is_not()
{
    let scene = Scene::with_files();
    scene.prepared(&[]);
    scene.write("file", "second\n");
    scene.commit("second");
    let locks = ["index.lock", "HEAD.lock", "refs/heads/main.lock", "banger-index.lock"];
    let locks = locks.map(|name| scene.guest().join(".git").join(name));
    for lock in &locks {
        std::fs::write(lock, "").unwrap();
    }
    for _ in 0..2 {
        let refused = scene.prepare(&[]);
        assert!(refused.code == Some(1) && refused.err.contains(".lock"), "{}", refused.err);
        assert_eq!(locks.each_ref().map(|lock| lock.exists()), [true, true, true, false]);
    }
    let updating = scene.guest().join(".git/banger-updating");
    assert!(!updating.exists(), "it was not cut off");
    std::fs::write(&updating, "").unwrap();
    scene.prepared(&[]);
    scene.assert_same_status();
    assert!(!updating.exists());
}

/// Ends a prepare at each of its connections to the guest in turn; the scene is as before each time.
fn ended_at_each_connection(scene: &Scene, again: impl Fn(&Scene)) -> usize {
    for number in 1.. {
        let child = scene.preparing();
        let kind = if number % 2 == 0 { Signal::INT } else { Signal::KILL };
        let reached = scene.daemon.reaches("vm.connect", number, child);
        let Ok(child) = reached else { return number - 1 };
        signal(&child, kind);
        let finished = Finished::from(child);
        assert!(finished.code.is_none_or(|code| code == 130 || code == 0), "{}", finished.err);
        let left: Vec<_> = everything(&scene.world.home()).into_iter().map(|(path, _)| path).collect();
        let left = left.iter().filter(|path| path.to_string_lossy().contains(".tmp")).count();
        assert_eq!(left, 0, "something was left behind at connection {number}");
        scene.prepared(&[]);
        scene.assert_same_status();
        assert_eq!(scene.guest_git(&["fsck", "--no-dangling"]), "");
        again(scene);
    }
    unreachable!("numbers do not end")
}

#[test]
fn ended_at_any_connection_the_first_prepare_is_made_whole_by_the_next() {
    let scene = Scene::with_files();
    scene.write("file", "changed\n");
    scene.write("sub/other", "staged\n");
    scene.git(&["add", "sub/other"]);
    let times = ended_at_each_connection(&scene, |scene| {
        std::fs::remove_dir_all(scene.guest()).unwrap();
    });
    assert!(times >= 10, "{times}");
}

#[test]
fn ended_at_any_connection_an_update_is_made_whole_by_the_next() {
    let scene = Scene::with_files();
    scene.prepared(&[]);
    let number = std::cell::Cell::new(0);
    let change = |scene: &Scene| {
        number.set(number.get() + 1);
        scene.write("sub/other", &format!("committed {}\n", number.get()));
        scene.commit("more");
        scene.write("file", &format!("changed {}\n", number.get()));
        scene.write(&format!("new {}", number.get()), "staged\n");
        scene.git(&["add", "-A"]);
    };
    change(&scene);
    let times = ended_at_each_connection(&scene, change);
    assert!(times >= 8, "{times}");
}

#[test]
fn ended_at_any_connection_a_copy_into_a_guest_without_git_is_made_whole_by_the_next() {
    let scene = Scene::with_files();
    std::fs::write(scene.daemon.guest_home().join("no-git"), "").unwrap();
    for number in 1..=8 {
        scene.write("file", &format!("changed {number}\n"));
        if let Ok(child) = scene.daemon.reaches("vm.connect", number, scene.preparing()) {
            signal(&child, if number % 2 == 0 { Signal::INT } else { Signal::KILL });
            let _ = Finished::from(child);
        }
        scene.prepared(&[]);
        assert_eq!(super::read(scene.guest().join("file")), format!("changed {number}\n"));
        std::fs::remove_file(scene.guest().join("gone")).unwrap();
        scene.prepared(&[]);
        assert!(!scene.guest().join("gone").exists(), "the guest's own work was undone");
        if number % 2 == 0 {
            std::fs::remove_dir_all(scene.guest()).unwrap();
            std::fs::remove_dir_all(scene.guest().with_file_name(".banger-laid-inside")).unwrap();
        } else {
            std::fs::write(scene.guest().join("gone"), "three\n").unwrap();
        }
    }
}

#[test]
fn a_guest_that_lies_about_what_was_laid_has_it_shown_as_its_work() {
    let scene = Scene::with_files();
    scene.write("sub/other", "changed here\n");
    let hidden = "if [ \"$1\" = -C ]; then cd \"$2\"; fi; echo evil > evil; /usr/bin/git add evil";
    guest_git_lies(&scene, "write-tree", hidden);
    let finished = scene.prepare(&[]);
    assert_eq!(finished.code, Some(0), "{}", finished.err);
    assert!(finished.err.contains("differ from what was sent"), "{}", finished.err);
    let shown = scene.world.run(&["vm", "workspace", "diff", "dev"]);
    let text = String::from_utf8(shown.out).unwrap();
    assert!(text.contains("+evil"), "{text}{}", shown.err);
    // Whatever it says the second time.
    assert!(scene.prepare(&[]).err.contains("differ from what was sent"));
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
