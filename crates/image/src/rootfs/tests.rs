//! From layers to the two files a VM starts from.

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use ext4_view::Ext4;

use super::{BuildError, Facts, Inject, Options, ROOTFS, WORK_SEED, build};
use crate::testing::{Archive, assert_clean, chain};
use crate::{Progress, Stage, Watch};

fn options() -> Options {
    Options { size: 64 << 20, work_size: 32 << 20, ..Options::default() }
}

fn debian() -> Archive {
    Archive::new()
        .dir("./", 0o755)
        .dir("usr/lib", 0o755)
        .symlink("lib", "usr/lib")
        .symlink("sbin", "usr/sbin")
        .program("usr/lib/systemd/systemd", b"ELF")
        .symlink("usr/sbin/init", "../lib/systemd/systemd")
        .program("usr/sbin/sshd", b"ELF")
        .file("etc/machine-id", b"uninitialized\n")
        .file("etc/ssh/ssh_host_ed25519_key", b"secret")
        .file("etc/ssh/sshd_config", b"config")
        .dir("tmp", 0o1777)
        .dir("root", 0o700)
        .file("root/.bashrc", b"rc")
        .link("root/linked", "etc/ssh/sshd_config")
}

fn built(archive: Archive, options: &Options) -> (tempfile::TempDir, Facts, Ext4, Ext4) {
    let folder = tempfile::tempdir().unwrap();
    let facts = build(&[archive.layer()], options, folder.path(), Watch::none()).unwrap();
    for file in [ROOTFS, WORK_SEED] {
        assert_clean(&folder.path().join(file));
    }
    let open = |file: &str| Ext4::load_from_path(folder.path().join(file)).unwrap();
    let (root, work) = (open(ROOTFS), open(WORK_SEED));
    (folder, facts, root, work)
}

fn files_in(folder: &Path) -> usize {
    std::fs::read_dir(folder).unwrap().count()
}

#[test]
fn the_home_of_root_becomes_a_file_system_of_its_own() {
    let (_folder, facts, root, work) = built(debian(), &options());
    assert_eq!(work.metadata("/").unwrap().mode(), 0o700);
    assert_eq!(work.read("/.bashrc").unwrap(), b"rc");
    assert_eq!(work.read("/linked").unwrap(), b"config");
    assert_eq!(root.read("/etc/ssh/sshd_config").unwrap(), b"config");
    assert_eq!(root.read_dir("/root").unwrap().count(), 2);
    assert_eq!(root.metadata("/root").unwrap().mode(), 0o700);
    assert_eq!((facts.work_entries, facts.work_bytes), (2, 8));
}

#[test]
fn what_must_differ_between_machines_is_left_out() {
    let (_folder, _, root, _) = built(debian(), &options());
    assert!(!root.exists("/etc/machine-id").unwrap());
    assert!(!root.exists("/etc/ssh/ssh_host_ed25519_key").unwrap());
    assert!(root.exists("/etc/ssh/sshd_config").unwrap());
}

#[test]
fn init_and_sshd_are_found_through_symlinks() {
    let (_folder, facts, _, _) = built(debian(), &options());
    assert_eq!((facts.init.as_deref(), facts.sshd), (Some("/sbin/init"), true));
    let loops = Archive::new().symlink("sbin", "sbin").symlink("usr/sbin/sshd", "/nowhere");
    let (_folder, facts, _, _) = built(loops, &options());
    assert_eq!((facts.init, facts.sshd), (None, false));
}

#[test]
fn busybox_is_an_init_only_where_it_has_something_to_start() {
    let alpine = || Archive::new().program("bin/busybox", b"ELF").symlink("sbin/init", "/bin/busybox");
    assert_eq!(built(alpine(), &options()).1.init, None);
    let bootable = alpine().program("sbin/openrc", b"ELF");
    assert_eq!(built(bootable, &options()).1.init.as_deref(), Some("/sbin/init"));
}

#[test]
fn missing_mount_points_are_made_even_in_an_empty_image() {
    let (_folder, facts, root, _) = built(Archive::new().file("app", b"x"), &options());
    for (path, mode) in [("proc", 0o555), ("sys", 0o555), ("dev", 0o755), ("run", 0o755), ("tmp", 0o1777)] {
        let metadata = root.metadata(&*format!("/{path}")).unwrap();
        assert!(metadata.is_dir(), "{path}");
        assert_eq!(metadata.mode(), mode, "{path}");
    }
    assert!(root.exists("/lib/modules").unwrap());
    assert_eq!(facts.init, None);
}

#[test]
fn injected_files_follow_the_links_of_the_image_and_replace_what_is_there() {
    let inject =
        |path: &str, mode, bytes: &[u8]| Inject { path: path.to_owned(), mode, bytes: bytes.to_vec() };
    let options = Options {
        inject: vec![
            inject("/lib/systemd/system/agent.service", 0o644, b"unit"),
            inject("usr/sbin/sshd", 0o700, b"other"),
            inject("new/folder/f", 0o600, b""),
        ],
        ..options()
    };
    let (_folder, _, root, _) = built(debian(), &options);
    assert_eq!(root.read("/usr/lib/systemd/system/agent.service").unwrap(), b"unit");
    assert_eq!(root.read("/usr/sbin/sshd").unwrap(), b"other");
    assert_eq!(root.metadata("/usr/sbin/sshd").unwrap().mode(), 0o700);
    assert_eq!(root.metadata("/new/folder/f").unwrap().mode(), 0o600);
}

#[test]
fn what_cannot_be_injected_is_an_error_that_names_it() {
    let cases = [
        ("etc/machine-id/x/y", "not a directory"),
        ("sshd_link/x", "not a directory"),
        ("loop/x", "too many symlinks"),
        ("usr", "not the path of a file"),
        ("..", "not the path of a file"),
        ("/", "not the path of a file"),
    ];
    for (path, message) in cases {
        let folder = tempfile::tempdir().unwrap();
        let archive = debian().symlink("loop", "loop").symlink("sshd_link", "usr/sbin/sshd");
        let inject = vec![Inject { path: path.to_owned(), mode: 0o644, bytes: Vec::new() }];
        let options = Options { inject, strip: Vec::new(), ..options() };
        let error = build(&[archive.layer()], &options, folder.path(), Watch::none()).unwrap_err();
        assert!(chain(&error).contains(message) && chain(&error).contains(path), "{}", chain(&error));
        assert_eq!(files_in(folder.path()), 0);
    }
}

#[test]
fn layers_that_stand_on_each_other_give_one_image() {
    let folder = tempfile::tempdir().unwrap();
    let layers = [
        debian().layer(),
        Archive::new().file("root/.wh..bashrc", b"").file("etc/ssh/.wh.sshd_config", b"").layer(),
        Archive::new().file("etc/motd", b"third").layer(),
    ];
    build(&layers, &options(), folder.path(), Watch::none()).unwrap();
    let root = Ext4::load_from_path(folder.path().join(ROOTFS)).unwrap();
    let work = Ext4::load_from_path(folder.path().join(WORK_SEED)).unwrap();
    assert!(!root.exists("/etc/ssh/sshd_config").unwrap());
    assert_eq!(root.read("/etc/motd").unwrap(), b"third");
    assert!(!work.exists("/.bashrc").unwrap());
    // The other name of the hidden file keeps its content.
    assert_eq!(work.read("/linked").unwrap(), b"config");
}

#[test]
fn the_same_layers_give_the_same_bytes() {
    let (first, facts, _, _) = built(debian(), &options());
    let (second, again, _, _) = built(debian(), &options());
    assert_eq!(facts, again);
    for file in [ROOTFS, WORK_SEED] {
        let read = |folder: &Path| std::fs::read(folder.join(file)).unwrap();
        assert!(read(first.path()) == read(second.path()), "{file}");
    }
}

#[test]
fn a_refused_layer_leaves_nothing_behind() {
    let folder = tempfile::tempdir().unwrap();
    let layers = [debian().layer(), Archive::new().file("lib/x", b"").layer()];
    let error = build(&layers, &options(), folder.path(), Watch::none()).unwrap_err();
    assert!(matches!(error, BuildError::Layer { .. }), "{}", chain(&error));
    assert_eq!(files_in(folder.path()), 0);
}

#[test]
fn an_image_that_is_too_small_leaves_nothing_behind() {
    let folder = tempfile::tempdir().unwrap();
    let layers = [debian().file("root/large", &[1; 40 << 20]).layer()];
    let error = build(&layers, &options(), folder.path(), Watch::none()).unwrap_err();
    assert!(chain(&error).starts_with("cannot build work-seed.ext4: "), "{}", chain(&error));
    assert_eq!(files_in(folder.path()), 0);
}

#[test]
fn a_cancelled_build_leaves_nothing_behind_at_whatever_step() {
    for step in 0.. {
        let folder = tempfile::tempdir().unwrap();
        let layers = [debian().file("large", &[1; 10 << 20]).layer()];
        let steps = std::sync::atomic::AtomicU64::new(0);
        let cancelled = AtomicBool::new(false);
        let report = |progress: Progress| {
            assert_ne!(progress.stage, Stage::Modules);
            cancelled.fetch_or(steps.fetch_add(1, Ordering::Relaxed) == step, Ordering::Relaxed);
        };
        match build(&layers, &options(), folder.path(), Watch::new(&report, &cancelled)) {
            Err(BuildError::Cancelled) => assert_eq!(files_in(folder.path()), 0),
            Err(error) => panic!("{}", chain(&error)),
            Ok(_) => {
                assert!(step > 5, "only {step} steps");
                break;
            }
        }
    }
}

#[test]
fn a_file_that_is_there_already_is_kept() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join(WORK_SEED), b"somebody's").unwrap();
    let error = build(&[debian().layer()], &options(), folder.path(), Watch::none()).unwrap_err();
    assert!(matches!(error, BuildError::Create { file: WORK_SEED, .. }), "{}", chain(&error));
    assert_eq!(std::fs::read(folder.path().join(WORK_SEED)).unwrap(), b"somebody's");
    assert_eq!(files_in(folder.path()), 1);
}
