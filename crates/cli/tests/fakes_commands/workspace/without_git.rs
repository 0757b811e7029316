//! Folders that are no repository, and guests that have no git.

use super::super::fake::Finished;
use super::{Scene, git, read};
use std::os::unix::fs::symlink;
use std::path::PathBuf;

/// A guest without git.
fn without_git() -> Scene {
    let scene = Scene::with_files();
    std::fs::write(scene.daemon.guest_home().join("no-git"), "").unwrap();
    scene
}

/// A folder that is in no repository.
fn folder(scene: &Scene) -> PathBuf {
    let folder = scene.host().with_file_name("folder");
    std::fs::create_dir_all(folder.join("sub/empty")).unwrap();
    for (name, content) in [("file", "one\n"), ("sub/other", "two\n"), ("gone", "three\n")] {
        std::fs::write(folder.join(name), content).unwrap();
    }
    symlink("file", folder.join("link")).unwrap();
    folder
}

fn succeeded(finished: Finished) -> Finished {
    assert_eq!(finished.code, Some(0), "{}", finished.err);
    finished
}

#[test]
fn a_guest_without_git_gets_the_files_and_a_folder_without_git_is_copied() {
    let scene = without_git();
    scene.write("file", "changed\n");
    let finished = succeeded(scene.prepare(&[]));
    assert!(finished.err.contains("without history"), "{}", finished.err);
    assert_eq!(read(scene.guest().join("file")), "changed\n");
    assert!(!scene.guest().join(".git").exists());

    let scene = Scene::new();
    let folder = folder(&scene);
    let finished = succeeded(scene.prepare_from(&folder, &[]));
    assert!(finished.err.contains("not in a git repository"), "{}", finished.err);
    assert_eq!(read(scene.guest().join("file")), "one\n");
    assert!(scene.guest().join("sub/empty").is_dir());
}

#[test]
fn a_folder_is_brought_up_to_date_and_the_guests_work_stays() {
    let scene = Scene::new();
    let folder = folder(&scene);
    succeeded(scene.prepare_from(&folder, &[]));
    let write = |name: &str, content: &str| std::fs::write(folder.join(name), content).unwrap();
    std::fs::write(scene.guest().join("file"), "the guest's\n").unwrap();
    std::fs::write(scene.guest().join("result"), "the guest's\n").unwrap();
    let untouched = scene.guest().join("link").symlink_metadata().unwrap().modified().unwrap();
    write("sub/other", "the host's\n");
    write("new", "the host's\n");
    std::fs::remove_file(folder.join("gone")).unwrap();
    let listed = succeeded(scene.prepare_from(&folder, &["--dry-run"]));
    assert_eq!(String::from_utf8(listed.out).unwrap(), "D gone\nM new\nM sub/other\n");
    assert!(scene.guest().join("gone").exists(), "a dry run did something");
    succeeded(scene.prepare_from(&folder, &[]));
    assert_eq!(read(scene.guest().join("file")), "the guest's\n");
    assert_eq!(read(scene.guest().join("result")), "the guest's\n");
    assert_eq!(read(scene.guest().join("sub/other")), "the host's\n");
    assert_eq!(read(scene.guest().join("new")), "the host's\n");
    assert!(!scene.guest().join("gone").exists());
    assert_eq!(scene.guest().join("link").symlink_metadata().unwrap().modified().unwrap(), untouched);
    assert_eq!(succeeded(scene.prepare_from(&folder, &["--dry-run"])).out, b"");
}

#[test]
fn what_both_sides_changed_in_a_folder_is_refused_untouched_and_overwritten_by_force() {
    let scene = Scene::new();
    let folder = folder(&scene);
    succeeded(scene.prepare_from(&folder, &[]));
    for (name, content) in [("file", "the guest's\n"), ("new", "the guest's\n"), ("same", "alike\n")] {
        std::fs::write(scene.guest().join(name), content).unwrap();
    }
    for (name, content) in [("file", "2\n"), ("new", "2\n"), ("same", "alike\n"), ("sub/other", "2\n")] {
        std::fs::write(folder.join(name), content).unwrap();
    }
    let refused = scene.prepare_from(&folder, &[]);
    assert_eq!(refused.code, Some(1));
    assert!(refused.err.contains("2 files were changed on both sides: file, new"), "{}", refused.err);
    assert_eq!(read(scene.guest().join("sub/other")), "two\n", "half of it was done");
    succeeded(scene.prepare_from(&folder, &["--force"]));
    assert_eq!(read(scene.guest().join("file")), "2\n");
    assert_eq!(succeeded(scene.prepare_from(&folder, &["--dry-run"])).out, b"");
}

#[test]
fn a_folder_may_become_a_file_and_a_file_a_folder() {
    let scene = Scene::new();
    let folder = folder(&scene);
    succeeded(scene.prepare_from(&folder, &[]));
    std::fs::remove_dir_all(folder.join("sub")).unwrap();
    std::fs::write(folder.join("sub"), "a file\n").unwrap();
    std::fs::remove_file(folder.join("file")).unwrap();
    std::fs::create_dir(folder.join("file")).unwrap();
    std::fs::write(folder.join("file/below"), "x\n").unwrap();
    std::fs::remove_dir(scene.guest().join("sub/empty")).unwrap();
    succeeded(scene.prepare_from(&folder, &[]));
    assert_eq!(read(scene.guest().join("sub")), "a file\n");
    assert_eq!(read(scene.guest().join("file/below")), "x\n");
}

#[test]
fn a_copy_of_a_folder_that_was_killed_is_gone_on_with_and_one_of_the_guests_own_is_not() {
    let scene = Scene::new();
    let folder = folder(&scene);
    std::fs::create_dir_all(scene.guest().join("sub")).unwrap();
    std::fs::write(scene.guest().join("sub/other"), "two\n").unwrap();
    succeeded(scene.prepare_from(&folder, &[]));
    assert_eq!(read(scene.guest().join("file")), "one\n");

    for (own, content) in [("result", "x"), ("file", "the guest's\n")] {
        let scene = Scene::new();
        std::fs::create_dir(scene.guest()).unwrap();
        std::fs::write(scene.guest().join(own), content).unwrap();
        let refused = scene.prepare_from(&folder, &[]);
        assert!(refused.code == Some(1) && refused.err.contains("--force"), "{}", refused.err);
        assert_eq!(std::fs::read_dir(scene.guest()).unwrap().count(), 1);
    }
}

#[test]
fn a_guest_without_git_is_brought_up_to_date_too() {
    let scene = without_git();
    scene.write("file", "changed\n");
    succeeded(scene.prepare(&[]));
    std::fs::write(scene.guest().join("gone"), "the guest's\n").unwrap();
    scene.write("sub/other", "second\n");
    scene.commit("second");
    std::fs::remove_file(scene.host().join("-dash x")).unwrap();
    succeeded(scene.prepare(&[]));
    assert_eq!(read(scene.guest().join("sub/other")), "second\n");
    assert!(!scene.guest().join("-dash x").exists());
    assert_eq!(read(scene.guest().join("gone")), "the guest's\n");
    scene.write("gone", "the host's\n");
    let refused = scene.prepare(&[]);
    assert!(refused.code == Some(1) && refused.err.contains(": gone"), "{}", refused.err);
}

#[test]
fn what_was_done_in_a_guest_without_git_comes_out_on_top_of_what_was_here() {
    let scene = without_git();
    scene.write(".gitattributes", "*.bat eol=crlf\n");
    scene.write("run.bat", "one\r\ntwo\r\n");
    scene.commit("attributes");
    scene.write("file", "changed here\n");
    scene.write("fresh", "new here\n");
    scene.git(&["add", "fresh"]);
    std::fs::remove_file(scene.host().join("gone")).unwrap();
    succeeded(scene.prepare(&[]));
    let export = || scene.world.run(&["vm", "workspace", "export", "dev"]);
    let nothing = succeeded(export());
    assert!(nothing.out.is_empty() && nothing.err.contains("nothing was changed"), "{}", nothing.err);

    std::fs::write(scene.guest().join("fresh"), "and there\n").unwrap();
    std::fs::write(scene.guest().join("bytes"), [0, 255, 10, 0]).unwrap();
    std::fs::remove_file(scene.guest().join("sub/other")).unwrap();
    let patch = succeeded(export()).out;
    std::fs::write(scene.world.home().join("patch"), patch).unwrap();
    git(&scene.host(), &scene.world.home(), &["apply", "../patch"]);
    assert_eq!(read(scene.host().join("fresh")), "and there\n");
    assert_eq!(read(scene.host().join("file")), "changed here\n");
    assert_eq!(std::fs::read(scene.host().join("bytes")).unwrap(), [0, 255, 10, 0]);
    assert!(!scene.host().join("sub/other").exists());

    let landed = succeeded(scene.world.run(&["vm", "workspace", "export", "dev", "--branch", "done"]));
    assert!(landed.err.contains("branch done"), "{}", landed.err);
    assert_eq!(scene.git(&["show", "done:fresh"]), "and there\n");
    assert_eq!(scene.git(&["rev-parse", "done~2"]), scene.git(&["rev-parse", "main"]));
}

#[test]
fn what_a_guest_without_git_says_was_sent_is_not_believed() {
    let scene = without_git();
    scene.write("file", "changed here\n");
    succeeded(scene.prepare(&[]));
    let over = scene.guest().with_file_name(".banger-laid-inside").join("over/file");
    assert_eq!(read(over.clone()), "changed here\n");
    for place in [over, scene.guest().join("file")] {
        std::fs::write(place, "the guest's\n").unwrap();
    }
    let shown = succeeded(scene.world.run(&["vm", "workspace", "diff", "dev"]));
    let text = String::from_utf8(shown.out).unwrap();
    assert!(text.contains("-one") && text.contains("+the guest's"), "{text}");
}
