//! Folders that are no repository, and guests that have no git.

use super::{Scene, read};

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
