//! Every file there is.

use super::{Scene, git, read};
use std::path::Path;

/// A repository with what git ignores, and with a submodule that has a tag and is at a commit before its last.
fn scene() -> Scene {
    let scene = Scene::with_files();
    let library = scene.host().with_file_name("library");
    std::fs::create_dir(&library).unwrap();
    let home = scene.world.home();
    let of_library = |words: &[&str]| git(&library, &home, words);
    of_library(&["init", "-q", "-b", "main"]);
    for (number, content) in ["one\n", "two\n", "three\n"].into_iter().enumerate() {
        std::fs::write(library.join("code"), content).unwrap();
        of_library(&["add", "-A"]);
        of_library(&["commit", "-q", "-m", content.trim()]);
        if number == 0 {
            of_library(&["tag", "-a", "-m", "first", "v1"]);
        }
    }
    let url = library.to_str().unwrap();
    scene.git(&["-c", "protocol.file.allow=always", "submodule", "add", "-q", url, "library"]);
    git(&scene.host().join("library"), &home, &["checkout", "-q", "HEAD~1"]);
    scene.write(".gitignore", "build\n*.log\n");
    scene.commit("with a submodule");
    scene.write("build/large", "large\n");
    scene.write("build/small", "small\n");
    scene
}

fn assert_same(scene: &Scene) {
    for words in [
        &["status", "--porcelain"][..],
        &["submodule", "status"],
        &["-C", "library", "status", "--porcelain"],
        &["-C", "library", "log", "--format=%H"],
    ] {
        assert_eq!(scene.guest_git(words), scene.git(words), "{words:?}");
    }
}

#[test]
fn a_full_copy_has_what_is_ignored_and_submodules_that_work() {
    let scene = scene();
    scene.prepared(&["--mode", "full_copy"]);
    assert_eq!(read(scene.guest().join("library/code")), "two\n");
    assert_eq!(read(scene.guest().join("build/large")), "large\n");
    assert_same(&scene);
    assert!(scene.guest_git(&["submodule", "status"]).contains("v1-1-g"));
    assert_eq!(scene.guest_git(&["-C", "library", "fsck"]), "");
    let nothing = scene.world.run(&["vm", "workspace", "export", "dev"]);
    assert!(nothing.out.is_empty() && nothing.err.contains("nothing was changed"), "{}", nothing.err);
}

#[test]
fn a_submodule_is_as_it_is_here_whatever_was_done_to_it() {
    let scene = scene();
    let home = scene.world.home();
    let library = scene.host().join("library");
    git(&library, &home, &["checkout", "-q", "v1"]);
    std::fs::write(library.join("code"), "changed\n").unwrap();
    std::fs::write(library.join("extra"), "untracked\n").unwrap();
    scene.prepared(&["--mode", "full_copy"]);
    assert_same(&scene);
    let nothing = scene.world.run(&["vm", "workspace", "export", "dev"]);
    assert!(nothing.out.is_empty() && nothing.err.contains("nothing was changed"), "{}", nothing.err);

    std::fs::write(library.join("code"), "changed again\n").unwrap();
    git(&library, &home, &["stash", "-q"]);
    git(&library, &home, &["checkout", "-q", "main"]);
    scene.git(&["add", "library"]);
    scene.prepared(&[]);
    assert_eq!(read(scene.guest().join("library/code")), "three\n");
    assert_same(&scene);
}

#[test]
fn a_submodule_that_comes_later_takes_the_place_of_nothing_that_the_guest_has_there() {
    let write = |scene: &Scene| std::fs::write(scene.guest().join("library/own"), "the guest's\n").unwrap();
    let clone = |scene: &Scene| {
        std::fs::create_dir(scene.guest().join(".git/modules")).unwrap();
        scene.guest_git(&["init", "-q", "--separate-git-dir", ".git/modules/library", "library"]);
        std::fs::write(scene.guest().join("library/code"), "the guest's\n").unwrap();
    };
    for (there, work) in [("own", &write as &dyn Fn(&Scene)), ("code", &clone)] {
        let scene = scene();
        scene.git(&["submodule", "deinit", "--force", "--quiet", "library"]);
        scene.prepared(&["--mode", "full_copy"]);
        work(&scene);
        scene.git(&["-c", "protocol.file.allow=always", "submodule", "--quiet", "update", "--init"]);
        scene.write("file", "the host's\n");
        let refused = scene.prepare(&[]);
        assert!(
            refused.code == Some(1) && refused.err.contains("library already contains"),
            "{}",
            refused.err
        );
        assert_eq!(read(scene.guest().join("library").join(there)), "the guest's\n");
        assert_eq!(read(scene.guest().join("file")), "one\n", "half of it was done");
        scene.prepared(&["--force"]);
        assert_eq!(read(scene.guest().join("library/code")), "two\n");
        assert_eq!(scene.guest_git(&["submodule", "status"]), scene.git(&["submodule", "status"]));
    }
}

#[test]
fn a_second_full_copy_sends_what_changed_and_keeps_what_the_guest_did() {
    let scene = scene();
    scene.prepared(&["--mode", "full_copy"]);
    let inode = |path: &Path| std::os::unix::fs::MetadataExt::ino(&path.metadata().unwrap());
    let kept = ["build/large", "library/code", "file"].map(|name| scene.guest().join(name));
    let before = kept.each_ref().map(|path| inode(path));
    std::fs::write(scene.guest().join("library/result"), "the guest's\n").unwrap();
    scene.write("build/small", "the host's\n");
    scene.write("build/new", "the host's\n");
    scene.write("noise.log", "x\n");
    let listed = scene.prepare(&["--dry-run"]);
    assert_eq!(String::from_utf8(listed.out).unwrap(), "M build/new\nM build/small\nM noise.log\n");
    scene.prepared(&[]);
    assert_eq!(kept.each_ref().map(|path| inode(path)), before, "they travelled again");
    assert_eq!(read(scene.guest().join("build/small")), "the host's\n");
    assert_eq!(read(scene.guest().join("library/result")), "the guest's\n");
    std::fs::remove_file(scene.host().join("noise.log")).unwrap();
    scene.prepared(&[]);
    assert!(!scene.guest().join("noise.log").exists());
    assert_eq!(scene.prepare(&["--dry-run"]).out, b"");
}

#[test]
fn what_both_sides_changed_of_what_git_does_not_look_after_is_refused_too() {
    let scene = scene();
    scene.prepared(&["--mode", "full_copy"]);
    std::fs::write(scene.guest().join("build/small"), "the guest's\n").unwrap();
    std::fs::write(scene.guest().join("library/code"), "the guest's\n").unwrap();
    scene.write("build/small", "the host's\n");
    scene.write("library/code", "the host's\n");
    scene.write("file", "the host's\n");
    let refused = scene.prepare(&[]);
    assert!(refused.code == Some(1) && refused.err.contains("build/small, library/code"), "{}", refused.err);
    assert_eq!(read(scene.guest().join("file")), "one\n", "half of it was done");
    scene.prepared(&["--force"]);
    assert_eq!(read(scene.guest().join("build/small")), "the host's\n");
    assert_eq!(read(scene.guest().join("library/code")), "the host's\n");
    assert_same(&scene);
}

#[test]
fn what_is_done_in_a_submodule_is_told_with_the_command_that_shows_it_and_the_rest_comes_out() {
    let scene = scene();
    let home = scene.world.home();
    std::fs::write(scene.host().join("library/extra"), "untracked here\n").unwrap();
    scene.prepared(&["--mode", "full_copy"]);
    let library = scene.guest().join("library");
    let ask = |what: &str| scene.world.run(&["vm", "workspace", what, "dev"]);
    assert!(!ask("status").err.contains("library"), "nothing was done in it");

    std::fs::write(scene.guest().join("file"), "by the guest\n").unwrap();
    for (name, content) in [("code", "by the guest\n"), ("new", "by the guest\n")] {
        let before = std::fs::read(library.join(name));
        std::fs::write(library.join(name), content).unwrap();
        let exported = ask("export");
        assert!(exported.code == Some(0) && exported.out.windows(12).any(|piece| piece == b"by the guest"));
        for what in ["export", "diff", "status"] {
            let told = ask(what).err;
            let show = format!("banger vm exec dev -- git -C '{}' diff HEAD", library.display());
            assert!(told.contains("submodule library") && told.contains(&show), "{name} {what}: {told}");
        }
        match before {
            Ok(before) => std::fs::write(library.join(name), before).unwrap(),
            Err(_) => std::fs::remove_file(library.join(name)).unwrap(),
        }
    }

    let at = git(&library, &home, &["rev-parse", "HEAD"]);
    git(
        &library,
        &home,
        &["-c", "user.name=a", "-c", "user.email=a@b", "commit", "-q", "--allow-empty", "-m", "x"],
    );
    let refused = ask("export");
    assert!(refused.code == Some(1) && refused.out.is_empty(), "{}", refused.err);
    for part in ["submodule \"library\" is at another commit", "format-patch", "checkout", at.trim()] {
        assert!(refused.err.contains(part), "{part}: {}", refused.err);
    }
    git(&library, &home, &["checkout", "-q", at.trim()]);
    assert_eq!(ask("export").code, Some(0));
}
