//! The second time and every other: what changed travels, and nothing of the guest is lost.

use super::{Scene, read};

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

#[test]
fn what_is_staged_no_more_is_unstaged_there_and_what_the_guest_staged_stays() {
    let scene = Scene::with_files();
    scene.write("file", "staged\n");
    scene.write("tool", "staged\n");
    scene.write("new\nline", "staged\n");
    scene.git(&["rm", "-q", "gone"]);
    scene.git(&["add", "-A"]);
    scene.prepared(&[]);
    scene.assert_same_status();
    for name in ["sub/other", "tool"] {
        std::fs::write(scene.guest().join(name), "the guest's\n").unwrap();
        scene.guest_git(&["add", name]);
    }
    scene.git(&["reset", "-q"]);
    scene.prepared(&[]);
    let expected = " M file\n D gone\nM  sub/other\nM  tool\n?? \"new\\nline\"\n";
    assert_eq!(scene.guest_git(&["status", "--porcelain"]), expected);
    assert_eq!(scene.guest_git(&["diff", "--cached", "--name-only"]), "sub/other\ntool\n");
    scene.git(&["add", "file"]);
    scene.prepared(&[]);
    scene.git(&["reset", "-q"]);
    scene.prepared(&[]);
    assert_eq!(scene.guest_git(&["status", "--porcelain"]), expected);
}
