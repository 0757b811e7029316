//! Files that git keeps otherwise than they lie there. The filter is a stand-in for git-lfs that keeps files in a folder.

use super::super::fake::Finished;
use super::{Scene, git, read};
use std::os::unix::fs::PermissionsExt;
use std::time::{Duration, SystemTime};

const CLEAN: &str = r#"#!/bin/sh
t=$(mktemp); cat > "$t"
if head -c 7 "$t" | grep -q '^version'; then exec cat "$t"; fi
sum=$(sha256sum < "$t" | cut -d' ' -f1)
printf 'version https://git-lfs.github.com/spec/v1\noid sha256:%s\nsize %s\n' "$sum" "$(wc -c < "$t")"
mv "$t" "STORE/$sum"
"#;
const SMUDGE: &str = r#"#!/bin/sh
t=$(mktemp); cat > "$t"
sum=$(sed -n 's/^oid sha256://p' "$t")
if [ -n "$sum" ] && [ -e "STORE/$sum" ]; then t="STORE/$sum"; fi
exec cat "$t"
"#;

/// A repository with a large file, as whoever has git-lfs sees it.
fn scene() -> Scene {
    let scene = Scene::new();
    let store = scene.world.home().canonicalize().unwrap().join("store");
    std::fs::create_dir(&store).unwrap();
    for (name, script) in [("clean", CLEAN), ("smudge", SMUDGE)] {
        let path = store.join(name);
        std::fs::write(&path, script.replace("STORE", store.to_str().unwrap())).unwrap();
        std::fs::set_permissions(&path, PermissionsExt::from_mode(0o755)).unwrap();
        scene.git(&["config", &format!("filter.lfs.{name}"), path.to_str().unwrap()]);
    }
    scene.git(&["config", "filter.lfs.required", "true"]);
    scene.write(".gitattributes", "*.bin filter=lfs diff=lfs merge=lfs -text\n");
    scene.write("large.bin", "one\0\n");
    scene.write("other.bin", "other\0\n");
    scene.commit("first");
    assert!(scene.git(&["show", "HEAD:large.bin"]).starts_with("version"));
    scene
}

fn exported(scene: &Scene) -> Finished {
    let exported = scene.world.run(&["vm", "workspace", "export", "dev"]);
    assert_eq!(exported.code, Some(0), "{}", exported.err);
    exported
}

fn touch(scene: &Scene, name: &str) {
    let file = std::fs::File::options().write(true).open(scene.host().join(name)).unwrap();
    file.set_modified(SystemTime::now() + Duration::from_secs(5)).unwrap();
}

#[test]
fn a_large_file_that_was_touched_is_the_pointer_that_it_is_everywhere() {
    let scene = scene();
    scene.prepared(&[]);
    touch(&scene, "large.bin");
    for _ in 0..2 {
        scene.prepared(&[]);
        assert!(read(scene.guest().join("large.bin")).starts_with("version"));
        scene.assert_same_status();
        assert!(exported(&scene).out.is_empty());
        std::fs::remove_dir_all(scene.guest()).unwrap();
    }
}

#[test]
fn a_large_file_that_was_changed_goes_in_as_it_lies_here_and_comes_back_so() {
    let scene = scene();
    scene.write("large.bin", "two\0\n");
    scene.prepared(&[]);
    assert_eq!(read(scene.guest().join("large.bin")), "two\0\n");
    scene.assert_same_status();
    assert_eq!(scene.git(&["status", "--porcelain"]), " M large.bin\n");
    assert!(exported(&scene).out.is_empty());

    std::fs::write(scene.guest().join("large.bin"), "three\0\n").unwrap();
    let patch = exported(&scene);
    std::fs::write(scene.world.home().join("patch"), &patch.out).unwrap();
    let command = patch.err.split('`').nth(1).unwrap().to_owned();
    assert!(patch.err.contains("large.bin is behind the filter lfs"), "{}", patch.err);
    let words: Vec<&str> = command.split(' ').skip(1).chain(["../patch"]).collect();
    git(&scene.host(), &scene.world.home(), &words);
    assert_eq!(read(scene.host().join("large.bin")), "three\0\n");
    scene.git(&["add", "large.bin"]);
    assert!(scene.git(&["show", ":large.bin"]).starts_with("version"));
}

#[test]
fn a_pointer_that_was_replaced_in_the_guest_comes_back_as_the_file_and_is_kept_as_a_pointer() {
    let scene = scene();
    scene.prepared(&[]);
    std::fs::write(scene.guest().join("large.bin"), "three\0\n").unwrap();
    std::fs::write(scene.guest().join("new.bin"), "four\0\n").unwrap();
    let patch = exported(&scene);
    assert_eq!(patch.err, "");
    std::fs::write(scene.world.home().join("patch"), patch.out).unwrap();
    scene.git(&["apply", "--index", "../patch"]);
    assert_eq!(read(scene.host().join("large.bin")), "three\0\n");
    assert_eq!(read(scene.host().join("new.bin")), "four\0\n");
    scene.git(&["add", "--renormalize", "."]);
    for name in ["large.bin", "new.bin"] {
        assert!(scene.git(&["show", &format!(":{name}")]).starts_with("version"), "{name}");
    }
}
