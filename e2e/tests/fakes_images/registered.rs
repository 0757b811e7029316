//! Images whose files stay where the user has them, until they are promoted.

use crate::users_files::{VERSION, elf_kernel, package, rootfs};
use banger_e2e::{Finished, Sandbox};
use ext4_view::Ext4;
use serde_json::Value;
use std::fs;
use std::path::Path;

fn run(sandbox: &Sandbox, arguments: &[&str]) -> Finished {
    sandbox.banger(arguments).run()
}

fn show(sandbox: &Sandbox, image: &str) -> Value {
    sandbox.json(&["image", "show", image])
}

fn text(path: &Path) -> &str {
    path.to_str().expect("our own paths are text")
}

#[test]
fn a_registered_image_stays_where_it_is_starts_vms_and_is_forgotten_without_being_touched() {
    let sandbox = Sandbox::with_fake_guests();
    let file = rootfs(&sandbox, "mine", &[("sbin/init", "x"), ("usr/sbin/sshd", "x")]);
    let before = fs::read(&file).expect("it is there");
    let register = ["image", "register", "--name", "mine", "--rootfs", "mine.ext4"];
    assert_eq!(run(&sandbox, &register).expect_success().stdout_text(), "mine\n");

    let shown = show(&sandbox, "mine");
    assert_eq!(shown["rootfs_path"], text(&file));
    assert_eq!(shown["managed"], false);
    assert_eq!(shown["kernel"], "debian-bookworm-cloud");
    assert_eq!(
        (&shown["has_init"], &shown["has_sshd"], &shown["has_agent"]),
        (&true.into(), &true.into(), &true.into())
    );
    // A seed was made of what it has in /root, in banger's own folder.
    let seed = shown["work_seed_path"].as_str().expect("it has one");
    assert!(seed.starts_with(text(&sandbox.state())), "{seed}");
    assert!(Ext4::load_from_path(seed).is_ok());

    let ran = run(&sandbox, &["vm", "run", "--image", "mine", "--name", "dev", "--", "echo", "hello"]);
    assert_eq!(ran.expect_success().stdout_text(), "hello\n");
    let refused = run(&sandbox, &["image", "delete", "mine"]);
    let _ = refused
        .expect_failure(&["the image `mine` was not deleted: it is in use by VM `dev`", "vm delete dev"]);
    let _ = run(&sandbox, &["vm", "delete", "dev"]).expect_success();
    let _ = run(&sandbox, &["image", "delete", "mine"]).expect_success();
    assert!(fs::read(&file).expect("it is still there") == before);
    assert_eq!(sandbox.files_named(".tmp-"), [""; 0].map(std::path::PathBuf::from));
}

#[test]
fn a_seed_beside_the_root_file_system_is_used_and_another_size_is_prepared_elsewhere() {
    let sandbox = Sandbox::with_fake_guests();
    let file = rootfs(&sandbox, "mine", &[("sbin/init", "x")]);
    let beside = sandbox.home().join("work-seed.ext4");
    fs::copy(&file, &beside).expect("the home is writable");
    let _ = run(&sandbox, &["image", "register", "--name", "mine", "--rootfs", "mine.ext4"]).expect_success();
    assert_eq!(show(&sandbox, "mine")["work_seed_path"], text(&beside));
    let made = run(&sandbox, &["vm", "create", "--image", "mine", "--name", "dev", "--disk-size", "300M"]);
    let _ = made.expect_success();
    assert_eq!(
        fs::read_dir(sandbox.home())
            .expect("the home")
            .filter_map(Result::ok)
            .filter(|entry| {
                entry.file_name().to_string_lossy().starts_with("work-") && entry.path() != beside
            })
            .count(),
        0,
        "banger wrote beside the user's files"
    );
    let _ = run(&sandbox, &["vm", "delete", "dev"]).expect_success();

    let other = sandbox.home().join("other-seed.ext4");
    fs::rename(&beside, &other).expect("the home is writable");
    let explicit =
        ["image", "register", "--name", "mine", "--rootfs", "mine.ext4", "--work-seed", "other-seed.ext4"];
    let _ = run(&sandbox, &explicit).expect_success();
    assert_eq!(show(&sandbox, "mine")["work_seed_path"], text(&other));
}

#[test]
fn registering_again_updates_and_never_takes_the_name_of_a_managed_one_or_the_disk_of_a_vm() {
    let sandbox = Sandbox::with_fake_guests();
    let first = rootfs(&sandbox, "first", &[("sbin/init", "x")]);
    let second = rootfs(&sandbox, "second", &[("etc/x", "x")]);
    let register = |file: &Path, name: &str| {
        run(&sandbox, &["image", "register", "--name", name, "--rootfs", text(file)])
    };
    let _ = register(&first, "mine").expect_success();
    let _ = register(&second, "mine").expect_success();
    let shown = show(&sandbox, "mine");
    assert_eq!((&shown["rootfs_path"], &shown["has_init"]), (&text(&second).into(), &false.into()));

    let managed = register(&first, "debian-bookworm");
    let _ = managed
        .expect_failure(&["`debian-bookworm` is in banger's storage and cannot be replaced by registering"]);
    assert_eq!(show(&sandbox, "debian-bookworm")["managed"], true);

    let _ = run(&sandbox, &["vm", "create", "--image", "mine", "--name", "dev"]).expect_success();
    let _ = register(&second, "mine").expect_success();
    let refused = register(&first, "mine");
    let _ = refused.expect_failure(&["was not given another root file system: VM `dev` was started from"]);
    let _ = run(&sandbox, &["vm", "delete", "dev"]).expect_success();
}

#[test]
fn what_cannot_be_registered_is_refused_with_the_flag_that_named_it() {
    let sandbox = Sandbox::with_fake_guests();
    let _ = rootfs(&sandbox, "mine", &[("sbin/init", "x")]);
    fs::write(sandbox.home().join("text"), "text").expect("the home is writable");
    fs::write(sandbox.home().join("vmlinux"), elf_kernel(VERSION)).expect("the home is writable");
    let register = ["image", "register", "--name", "mine", "--rootfs"];
    for (arguments, code, reason) in [
        (&["absent"][..], 2, "--rootfs absent: No such file"),
        (&["/tmp"], 2, "--rootfs /tmp: it is not the right type of file"),
        (&["text"], 1, "text is not an ext4 file system"),
        (&["mine.ext4", "--work-seed", "absent"], 2, "--work-seed absent: "),
        (&["mine.ext4", "--work-seed", "text"], 1, "text is not an ext4 file system"),
        (&["mine.ext4", "--kernel", "absent"], 2, "--kernel absent: "),
        (&["mine.ext4", "--kernel", "vmlinux", "--initrd", "absent"], 2, "--initrd absent: "),
        (&["mine.ext4", "--kernel", "vmlinux", "--modules", "absent"], 2, "--modules absent: "),
        (&["mine.ext4", "--kernel", "vmlinux", "--modules", "/tmp"], 1, "no kernel modules found in /tmp"),
        (&["mine.ext4", "--kernel", "text"], 1, "text does not say which version it is"),
        (&["mine.ext4", "--kernel", "vmlinux", "--kernel-ref", "x"], 2, "cannot be used with"),
        (&["mine.ext4", "--initrd", "text"], 2, "--kernel"),
        (&["mine.ext4", "--kernel-ref", "absent"], 1, "kernel `absent` not found"),
    ] {
        let arguments: Vec<&str> = register.iter().chain(arguments).copied().collect();
        let refused = run(&sandbox, &arguments).expect_code(code);
        assert!(refused.stderr_text().contains(reason), "{arguments:?}: {}", refused.stderr_text());
        let _ = run(&sandbox, &["image", "show", "mine"]).expect_code(1);
    }
    assert!(sandbox.files_named(".tmp-").is_empty());
    assert_eq!(sandbox.json(&["kernel", "list"]).as_array().map(Vec::len), Some(1));
}

#[test]
fn an_image_brings_its_kernel_and_takes_it_along() {
    let sandbox = Sandbox::with_fake_guests();
    let file = rootfs(&sandbox, "mine", &[("sbin/init", "x")]);
    package(&sandbox.home().join("package"), VERSION);
    let kernel = format!("package/boot/vmlinux-{VERSION}");
    let mut register =
        vec!["image", "register", "--name", "mine", "--rootfs", text(&file), "--kernel", &kernel];
    register.extend(["--modules", "package/lib/modules"]);
    let _ = run(&sandbox, &register).expect_success();
    let own = sandbox.json(&["kernel", "show", "mine"]);
    assert_eq!((&own["of_image"], &own["version"]), (&"mine".into(), &VERSION.into()));
    assert_eq!(show(&sandbox, "mine")["kernel"], "mine");
    let refused = run(&sandbox, &["kernel", "rm", "mine"]);
    let _ = refused.expect_failure(&["it is in use by image `mine`"]);
    let _ = run(&sandbox, &["vm", "run", "--rm", "--image", "mine", "--", "true"]).expect_success();

    // With another kernel the former one is nobody's; with none of its own, there is none.
    let _ = run(&sandbox, &register).expect_success();
    let _ = run(&sandbox, &["image", "register", "--name", "mine", "--rootfs", text(&file)]).expect_success();
    let _ = run(&sandbox, &["kernel", "show", "mine"]).expect_code(1);
    let _ = run(&sandbox, &register).expect_success();
    let _ = run(&sandbox, &["image", "delete", "mine"]).expect_success();
    let _ = run(&sandbox, &["kernel", "show", "mine"]).expect_code(1);
    // A kernel that somebody made is not taken over.
    let _ = run(&sandbox, &["kernel", "import", "mine", "--from", "package"]).expect_success();
    let _ = run(&sandbox, &register).expect_failure(&["cannot bring its own kernel", "--kernel-ref mine"]);
}

#[test]
fn an_image_without_the_agent_is_refused_an_initrd_of_its_own_unless_nobody_shall_reach_it() {
    let sandbox = Sandbox::with_fake_guests();
    let with = rootfs(&sandbox, "with", &[("sbin/init", "x")]);
    // The seed of an image has no agent in it, and is a file system like any other.
    let _ = run(&sandbox, &["image", "register", "--name", "with", "--rootfs", text(&with)]).expect_success();
    let seed = show(&sandbox, "with")["work_seed_path"].as_str().expect("it has one").to_owned();
    let without = sandbox.home().join("without.ext4");
    let _ = sandbox.tool("cp", ["--sparse=always", "--", &seed, text(&without)]).run().expect_success();
    fs::write(sandbox.home().join("vmlinux"), elf_kernel(VERSION)).expect("the home is writable");
    fs::write(sandbox.home().join("initrd"), "an initrd").expect("the home is writable");
    let register = |file: &Path, more: &[&str]| {
        let mut arguments = vec!["image", "register", "--name", "own", "--rootfs", text(file)];
        arguments.extend(["--kernel", "vmlinux", "--initrd", "initrd"]);
        arguments.extend(more);
        run(&sandbox, &arguments)
    };
    let refused = register(&without, &[]);
    let _ = refused.expect_failure(&["the image has no guest agent", "--no-agent"]);
    let _ = run(&sandbox, &["kernel", "show", "own"]).expect_code(1);
    let _ = register(&with, &[]).expect_success();
    assert_eq!(sandbox.json(&["kernel", "show", "own"])["own_initrd"], true);
    let initrd = sandbox.state().join("kernels/own/initrd.img");
    assert_eq!(fs::read(&initrd).expect("it is there"), b"an initrd");
    // The daemon's own agent goes into every other initrd when it starts.
    let _ = run(&sandbox, &["daemon", "stop"]).expect_success();
    let _ = run(&sandbox, &["vm", "run", "--rm", "--image", "own", "--", "true"]).expect_success();
    assert_eq!(fs::read(&initrd).expect("it is there"), b"an initrd");

    let _ = register(&without, &["--no-agent"]).expect_success();
    let no_vm = run(&sandbox, &["vm", "create", "--image", "debian-bookworm", "--kernel", "own"]);
    let _ = no_vm.expect_failure(&["no VM was created from the image `debian-bookworm`", "no guest agent"]);
}

#[test]
fn promoting_copies_what_is_there_and_misses_nothing_that_is_not() {
    let sandbox = Sandbox::with_fake_guests();
    let file = rootfs(&sandbox, "mine", &[("etc/x", "content")]);
    let beside = sandbox.home().join("work-seed.ext4");
    fs::copy(&file, &beside).expect("the home is writable");
    let _ = run(&sandbox, &["image", "register", "--name", "mine", "--rootfs", text(&file)]).expect_success();
    let _ = run(&sandbox, &["vm", "create", "--image", "mine", "--name", "dev"]).expect_success();
    let _ = run(&sandbox, &["vm", "stop", "dev"]).expect_success();
    fs::remove_file(&beside).expect("the home is writable");
    let promoted = run(&sandbox, &["image", "promote", "mine"]).expect_success();
    assert!(promoted.stderr_text().contains("work-seed.ext4 is gone"), "{}", promoted.stderr_text());

    let shown = show(&sandbox, "mine");
    assert_eq!(shown["managed"], true);
    let copy = shown["rootfs_path"].as_str().expect("it has one").to_owned();
    assert!(copy.starts_with(text(&sandbox.state())), "{copy}");
    assert!(fs::read(&copy).expect("it is there") == fs::read(&file).expect("it is there"));
    fs::remove_file(&file).expect("the home is writable");
    let _ = run(&sandbox, &["vm", "start", "dev"]).expect_success();
    let again = run(&sandbox, &["image", "promote", "mine"]);
    let _ = again.expect_failure(&["`mine` is already in banger's storage"]);
    let _ = run(&sandbox, &["vm", "delete", "dev"]).expect_success();
    let _ = run(&sandbox, &["image", "promote", "absent"]).expect_failure(&["image `absent` not found"]);
}

#[test]
fn a_root_file_system_that_went_away_is_named_when_a_vm_wants_it() {
    let sandbox = Sandbox::with_fake_guests();
    let file = rootfs(&sandbox, "mine", &[("etc/x", "content")]);
    let _ = run(&sandbox, &["image", "register", "--name", "mine", "--rootfs", text(&file)]).expect_success();
    fs::remove_file(&file).expect("the home is writable");
    for tried in [&["image", "promote", "mine"][..], &["vm", "create", "--image", "mine", "--name", "dev"]] {
        let failed = run(&sandbox, tried);
        let _ = failed.expect_failure(&[text(&file)]);
    }
    let _ = run(&sandbox, &["vm", "delete", "dev"]).expect_success();
    assert!(sandbox.files_named(".tmp-").is_empty());
}

#[test]
fn a_damaged_manifest_is_an_error_of_its_own() {
    let sandbox = Sandbox::with_fake_guests();
    let file = rootfs(&sandbox, "mine", &[("etc/x", "content")]);
    let register = ["image", "register", "--name", "mine", "--rootfs", text(&file)];
    let _ = run(&sandbox, &register).expect_success();
    let _ = run(&sandbox, &["daemon", "stop"]).expect_success();
    fs::write(sandbox.state().join("images/mine/manifest.json"), "{\"nam").expect("it is writable");
    let run_it = ["vm", "run", "--image", "mine", "--", "true"];
    for tried in [&register[..], &["image", "show", "mine"], &["image", "promote", "mine"], &run_it] {
        let failed = run(&sandbox, tried);
        assert_ne!(failed.code(), Some(0));
        let said = failed.stderr_text();
        assert!(said.contains("`mine` was set aside: its manifest cannot be read"), "{tried:?}: {said}");
        assert!(!said.contains("catalog"), "{said}");
    }
}
