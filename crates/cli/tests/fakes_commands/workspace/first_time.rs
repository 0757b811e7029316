//! What arrives when a repository is brought in for the first time.

use super::{Scene, read};
use std::os::unix::fs::{PermissionsExt, symlink};

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
fn readonly_takes_the_right_to_write() {
    let scene = Scene::with_files();
    scene.prepared(&["--readonly"]);
    let mode = scene.guest().join("file").metadata().unwrap().permissions().mode();
    assert_eq!(mode & 0o222, 0);
    scene.assert_same_status();
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
        assert!(
            finished.code == Some(0) && !finished.err.contains("differ from what was sent"),
            "{}",
            finished.err
        );
        scene.git(&["add", "-A"]);
        let tree = scene.git(&["write-tree"]);
        assert_eq!(scene.daemon.workspace("dev").unwrap().base_tree.unwrap(), tree.trim());
        scene.write("b/more/of/it", "three\n");
    }
}
