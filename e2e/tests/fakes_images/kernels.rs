//! Kernels of folders that a user has.

use crate::users_files::{VERSION, elf_kernel, package};
use banger_e2e::{Finished, Sandbox};
use std::fs;

fn import(sandbox: &Sandbox, more: &[&str]) -> Finished {
    let arguments = ["kernel", "import", "mine", "--from", "package"].iter().chain(more).copied();
    sandbox.banger(arguments.collect::<Vec<_>>()).run()
}

#[test]
fn an_unpacked_package_becomes_a_kernel_that_says_where_it_is_from() {
    let sandbox = Sandbox::with_fake_guests();
    let folder = sandbox.home().join("package");
    package(&folder, VERSION);
    package(&folder, "5.10.0-1-test");
    fs::write(folder.join("metadata.json"), r#"{"distro": "testix", "arch": "x86_64"}"#)
        .expect("it is writable");
    assert_eq!(import(&sandbox, &[]).expect_success().stdout_text(), "mine\n");
    let shown = sandbox.json(&["kernel", "show", "mine"]);
    assert_eq!((&shown["version"], &shown["arch"]), (&VERSION.into(), &"x86_64".into()));
    assert_eq!((&shown["distro"], &shown["own_initrd"]), (&"testix".into(), &false.into()));
    assert_eq!(shown["source"], format!("imported from {}", folder.display()));
    assert_eq!(shown["sha256"], banger_e2e::sha256(&elf_kernel(VERSION)));
    let _ = sandbox.banger(["vm", "run", "--rm", "--kernel", "mine", "--", "true"]).run().expect_success();

    let _ = import(&sandbox, &[]).expect_failure(&["kernel `mine` already exists", "--force"]);
    fs::remove_dir_all(folder.join("lib/modules").join(VERSION)).expect("it is writable");
    fs::remove_file(folder.join("boot").join(format!("vmlinux-{VERSION}"))).expect("it is writable");
    let _ = import(&sandbox, &["--force"]).expect_success();
    assert_eq!(sandbox.json(&["kernel", "show", "mine"])["version"], "5.10.0-1-test");
}

#[test]
fn the_same_folder_gives_the_same_bytes() {
    let sandbox = Sandbox::with_fake_guests();
    let folder = sandbox.home().join("package");
    package(&folder, VERSION);
    let mut seen = Vec::new();
    for _ in 0..2 {
        let _ = import(&sandbox, &[]).expect_success();
        let made = sandbox.state().join("kernels/mine");
        seen.push(
            ["initrd.img", "modules.ext4", "vmlinux"]
                .map(|file| fs::read(made.join(file)).expect("it is there")),
        );
        let _ = sandbox.banger(["kernel", "rm", "mine"]).run().expect_success();
        fs::File::open(folder.join("boot").join(format!("vmlinux-{VERSION}")))
            .and_then(|file| file.set_modified(std::time::UNIX_EPOCH))
            .expect("our own file");
    }
    assert!(seen[0] == seen[1]);
}

#[test]
fn a_kernel_that_something_needs_stays() {
    let sandbox = Sandbox::with_fake_guests();
    package(&sandbox.home().join("package"), VERSION);
    let _ = import(&sandbox, &[]).expect_success();
    let create = ["vm", "create", "--name", "dev", "--kernel", "mine"];
    let _ = sandbox.banger(create).run().expect_success();
    let refused = sandbox.banger(["kernel", "rm", "mine"]).run();
    let _ = refused.expect_failure(&["the kernel `mine` was not deleted: it is in use by VM `dev`"]);
    let refused = sandbox.banger(["kernel", "rm", "debian-bookworm-cloud"]).run();
    let _ = refused.expect_failure(&["was not deleted: it is in use by image"]);
    let _ = sandbox.banger(["vm", "delete", "dev"]).run().expect_success();
    let _ = sandbox.banger(["kernel", "rm", "mine"]).run().expect_success();
}

#[test]
fn a_folder_without_a_kernel_says_what_is_looked_for() {
    let sandbox = Sandbox::with_fake_guests();
    let folder = sandbox.home().join("package");
    fs::create_dir(&folder).expect("the home is writable");
    let _ = import(&sandbox, &[]).expect_failure(&["no kernel found in", "boot/vmlinuz-*"]);
    package(&folder, VERSION);
    fs::write(folder.join("metadata.json"), "{\n\n\"kernle\": 1}").expect("it is writable");
    let _ = import(&sandbox, &[]).expect_failure(&["metadata.json:3", "kernle"]);
    fs::write(folder.join("metadata.json"), "{\"kernel\": \"metadata.json\", \"version\": \"6.1.0-9-test\"}")
        .expect("it is writable");
    let _ = import(&sandbox, &[])
        .expect_failure(&["kernel `mine` was not imported", "neither an ELF file nor a bzImage"]);
    let _ = sandbox.banger(["kernel", "show", "mine"]).run().expect_code(1);
    assert!(sandbox.files_named(".tmp-").is_empty());
}
