//! Every file there is.

use super::{Scene, git, read};

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
