//! Repositories of every kind there and back: what is done to one in a guest comes out as a patch that a fresh clone takes.

use super::{Scene, git};
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;

/// Bytes that pack about as well as a picture does.
fn noise(seed: usize, length: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64 ^ (seed as u64 + 1).wrapping_mul(0x2545_f491_4f6c_dd1d);
    let bytes = std::iter::repeat_with(|| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()
    });
    bytes.flatten().take(length).collect()
}

/// The guest's work, of each sort there is, on a repository with `file` and `gone` in it.
fn work(scene: &Scene) {
    let at = |name: &str| scene.guest().join(name);
    std::fs::write(at("file"), "edited and committed\n").unwrap();
    scene.guest_git(&["commit", "-q", "-a", "-m", "in the guest"]);
    std::fs::create_dir_all(at("new/folder")).unwrap();
    std::fs::write(at("new/folder/file"), "new\n").unwrap();
    std::fs::write(at("new/binary"), noise(7, 100_000)).unwrap();
    std::fs::write(at("new/run"), "#!/bin/sh\n").unwrap();
    std::fs::set_permissions(at("new/run"), PermissionsExt::from_mode(0o755)).unwrap();
    std::fs::set_permissions(at("file"), PermissionsExt::from_mode(0o755)).unwrap();
    symlink("../file", at("new/link")).unwrap();
    std::fs::remove_file(at("gone")).unwrap();
    std::fs::rename(at("moved"), at("new/moved")).unwrap();
}

fn there_and_back(scene: &Scene) {
    let home = scene.world.home().canonicalize().unwrap();
    scene.prepared(&[]);
    let status = ["status", "--porcelain"];
    assert_eq!(scene.guest_git(&status), scene.git(&status));
    let export = || scene.world.run(&["vm", "workspace", "export", "dev"]);
    assert!(export().out.is_empty(), "something came back that nobody did");
    work(scene);
    let exported = export();
    assert_eq!(exported.code, Some(0), "{}", exported.err);
    std::fs::write(home.join("patch"), exported.out).unwrap();
    let url = format!("file://{}", scene.host().display());
    git(&home, &home, &["clone", "-q", &url, "clone"]);
    let clone = home.join("clone");
    git(&clone, &home, &["checkout", "-q", "--detach", scene.git(&["rev-parse", "HEAD"]).trim()]);
    git(&clone, &home, &["apply", "--index", "../patch"]);
    scene.guest_git(&["add", "-A"]);
    assert_eq!(git(&clone, &home, &["write-tree"]), scene.guest_git(&["write-tree"]));
}

/// A repository of these files besides those that the guest works on.
fn of(fill: impl FnOnce(&Path)) -> Scene {
    let scene = Scene::new();
    filled(&scene, fill);
    scene
}

fn filled(scene: &Scene, fill: impl FnOnce(&Path)) {
    for name in ["file", "gone", "moved"] {
        scene.write(name, "one\ntwo\nthree\n");
    }
    fill(&scene.host());
    scene.commit("first");
}

fn write(path: &Path, content: impl AsRef<[u8]>) {
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(path, content).unwrap();
}

#[test]
fn one_of_many_files() {
    there_and_back(&of(|root| {
        for number in 0..3000 {
            write(&root.join(format!("{}/{number}", number % 50)), format!("{number}\n"));
        }
    }));
}

#[test]
fn one_of_little_but_binaries() {
    let scene = of(|root| {
        for number in 0..150 {
            write(&root.join(format!("pictures/{number}.png")), noise(number, 200_000));
        }
        write(&root.join("zeros.img"), vec![0; 3 << 20]);
    });
    write(&scene.host().join("pictures/3.png"), noise(1000, 150_000));
    scene.commit("another");
    there_and_back(&scene);
}

#[test]
fn one_with_a_submodule_that_stays_empty() {
    let scene = of(|_| {});
    let (library, home) = (scene.host().with_file_name("library"), scene.world.home());
    write(&library.join("code"), "code\n");
    for words in [&["init", "-q"][..], &["add", "-A"], &["commit", "-q", "-m", "x"]] {
        git(&library, &home, words);
    }
    let url = library.to_str().unwrap();
    scene.git(&["-c", "protocol.file.allow=always", "submodule", "add", "-q", url, "library"]);
    scene.commit("with a submodule");
    there_and_back(&scene);
}

#[test]
fn one_with_pointers_to_large_files() {
    there_and_back(&of(|root| {
        write(&root.join(".gitattributes"), "*.bin filter=lfs diff=lfs merge=lfs -text\n");
        for number in 0..20 {
            let pointer =
                format!("version https://git-lfs.github.com/spec/v1\noid sha256:{number:064}\nsize 5\n");
            write(&root.join(format!("{number}.bin")), pointer);
        }
    }));
}

#[test]
fn one_with_a_long_history_and_merges() {
    let scene = of(|_| {});
    for number in 0..30 {
        scene.git(&["checkout", "-q", "-b", &format!("side{number}")]);
        scene.write(&format!("side/{number}"), "x\n");
        scene.commit("aside");
        scene.git(&["checkout", "-q", "main"]);
        scene.write("main", &format!("{number}\n"));
        scene.commit("ahead");
        scene.git(&["merge", "-q", "-m", "both", &format!("side{number}")]);
    }
    there_and_back(&scene);
}

#[test]
fn one_with_names_of_every_legal_kind() {
    there_and_back(&of(|root| {
        let names = [
            &b"-x"[..],
            b"--",
            b" sp ace ",
            b"tab\there",
            b"new\nline",
            b"\"quo'ted\\",
            b"\xff\xfe",
            b"*",
            b"a?[b]",
            b":(top)x",
            "u\u{308}".as_bytes(),
            "\u{fc}".as_bytes(),
            b"$HOME",
            b"a;b|c&d",
            b"CON",
            b"\x01\x7f",
            b"trailing.",
        ];
        for name in names {
            write(&root.join(OsStr::from_bytes(name)), name);
            write(&root.join("below").join(OsStr::from_bytes(name)).join("x"), name);
        }
        write(&root.join("long").join("n".repeat(255)), "x");
        write(&root.join(vec!["deep"; 60].join("/")).join("x"), "x");
    }));
}

#[test]
fn one_with_line_ends_of_both_kinds() {
    there_and_back(&of(|root| {
        write(&root.join(".gitattributes"), "* text=auto\n*.bat eol=crlf\n*.sh eol=lf\n*.dat -text\n");
        for name in ["a.bat", "b.sh", "c.txt", "d.dat"] {
            write(&root.join(name), "one\r\ntwo\n");
        }
    }));
}

#[test]
fn one_that_is_shallow_itself() {
    let scene = of(|_| {});
    for number in 0..5 {
        scene.write("more", &format!("{number}\n"));
        scene.commit("more");
    }
    let (host, home) = (scene.host(), scene.world.home());
    let (full, url) = (host.with_file_name("full"), host.with_file_name("full").display().to_string());
    std::fs::rename(&host, &full).unwrap();
    git(&home, &home, &["clone", "-q", "--depth=2", &format!("file://{url}"), "repo"]);
    there_and_back(&scene);
}

#[test]
fn one_whose_objects_are_named_by_sha256() {
    let scene = Scene::new();
    std::fs::remove_dir_all(scene.host().join(".git")).unwrap();
    scene.git(&["init", "-q", "-b", "main", "--object-format=sha256"]);
    filled(&scene, |_| {});
    there_and_back(&scene);
}

#[test]
fn one_of_links_and_programs() {
    there_and_back(&of(|root| {
        write(&root.join("bin/tool"), "#!/bin/sh\n");
        std::fs::set_permissions(root.join("bin/tool"), PermissionsExt::from_mode(0o755)).unwrap();
        for (name, target) in [
            ("to-file", "file"),
            ("to-folder", "bin"),
            ("out", "/etc/passwd"),
            ("up", "../../x"),
            ("self", "self"),
        ] {
            symlink(target, root.join(name)).unwrap();
        }
    }));
}
