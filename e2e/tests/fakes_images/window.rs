//! Who waits for whom while images are made, and what a disk that is full or closed leaves behind.

use crate::users_files::{VERSION, package, rootfs};
use banger_e2e::{LayerTar, Layout, Place, Sandbox};
use rustix::fs::{FlockOperation, flock};
use rustix::process::Signal;
use serde_json::json;
use std::fs;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _};
use std::time::Duration;

fn sandbox() -> Sandbox {
    let sandbox = Sandbox::with_fake_guests();
    let layer = LayerTar::new().file("etc/x", &[b'x'; 100_000]).bytes();
    let _ = Layout::new(&sandbox.home().join("layout")).add("v1", "amd64", &json!({}), &[layer]);
    sandbox
}

const PULL: [&str; 6] = ["image", "pull", "oci:layout", "--size", "64M", "--name"];

fn pull(name: &str) -> Vec<&str> {
    PULL.into_iter().chain([name]).collect()
}

#[test]
fn one_who_waits_for_a_name_keeps_nobody_of_another_waiting_and_leaves_at_once() {
    let sandbox = sandbox();
    fs::DirBuilder::new().mode(0o700).create(sandbox.cache()).expect("the sandbox is writable");
    let lock = fs::File::create(sandbox.cache().join("image-one.lock")).expect("the sandbox is writable");
    flock(&lock, FlockOperation::LockExclusive).expect("nobody has it");
    let waiting = sandbox.banger(pull("one")).limit(Duration::from_secs(20)).start();
    sandbox.until("it waits for the lock", || is_awaited(&lock));
    let _ = sandbox.banger(pull("two")).run().expect_success();
    waiting.signal(Signal::INT);
    assert_eq!(waiting.finish().code(), None, "it left by itself");

    let waiting = sandbox.banger(pull("one")).limit(Duration::from_secs(20)).start();
    sandbox.until("it waits for the lock", || is_awaited(&lock));
    flock(&lock, FlockOperation::Unlock).expect("we have it");
    let _ = waiting.finish().expect_success();
}

/// Whether somebody waits for this lock: such lines of `/proc/locks` have an arrow.
fn is_awaited(lock: &fs::File) -> bool {
    let inode = lock.metadata().expect("it is open").ino();
    let locks = fs::read_to_string("/proc/locks").expect("it can be read");
    locks.lines().any(|line| line.contains("->") && line.contains(&format!(":{inode} ")))
}

#[test]
fn of_many_at_once_that_know_nothing_of_each_other_one_gives_the_name() {
    let sandbox = sandbox();
    // Each with a cache of its own, and so with locks of its own: only the daemon can tell.
    let start = |index: u32| {
        let cache = sandbox.home().join(format!("cache-{index}"));
        sandbox.banger(pull("one")).env("XDG_CACHE_HOME", cache).start()
    };
    let finished: Vec<_> =
        (0..5).map(start).collect::<Vec<_>>().into_iter().map(|one| one.finish()).collect();
    let winners = finished.iter().filter(|one| one.code() == Some(0)).count();
    assert_eq!(winners, 1);
    for loser in finished.iter().filter(|one| one.code() != Some(0)) {
        let said = loser.stderr_text();
        assert!(said.contains("already") || said.contains("was taken in the meantime"), "{said}");
    }
    assert!(sandbox.files_named(".tmp-").is_empty());
    let images = sandbox.json(&["image", "list"]);
    assert_eq!(images.as_array().expect("a list").iter().filter(|one| one["name"] == "one").count(), 1);
}

/// Everything that writes an image or a kernel, each to be tried on a disk that will not have it.
fn writes(sandbox: &Sandbox) -> [Vec<String>; 4] {
    let at = |name: &str| sandbox.home().join(name).display().to_string();
    let words = |words: &str, rest: [String; 2]| words.split(' ').map(str::to_owned).chain(rest).collect();
    [
        words(
            "image pull --size 64M --name one",
            [format!("oci:{}", at("layout")), "--kernel=debian-bookworm-cloud".to_owned()],
        ),
        words("image register --name one", ["--rootfs".to_owned(), at("mine.ext4")]),
        words("kernel import one", ["--from".to_owned(), at("package")]),
        ["image", "promote", "there"].map(str::to_owned).into(),
    ]
}

/// Nothing of this name, and no drafts, as the daemon in its own surroundings sees them.
fn assert_nothing_there(sandbox: &Sandbox) {
    let daemon = sandbox.running("bangerd");
    let root = format!("/proc/{}/root", daemon.first().expect("it runs").pid);
    for folder in ["images", "kernels"] {
        let place = format!("{root}{}", sandbox.state().join(folder).display());
        let names: Vec<_> = fs::read_dir(place)
            .expect("it can be listed")
            .filter_map(Result::ok)
            .map(|e| e.file_name())
            .collect();
        assert!(
            !names.iter().any(|name| name == "one" || name.to_string_lossy().starts_with(".tmp-")),
            "{names:?}"
        );
    }
}

#[test]
fn a_disk_that_is_full_or_read_only_is_told_and_has_nothing_of_what_did_not_fit() {
    for hold in [Place::with_small_disk as fn(&std::path::Path) -> Place, Place::with_read_only] {
        let mut sandbox = sandbox();
        let _ = rootfs(&sandbox, "mine", &[("sbin/init", "x")]);
        package(&sandbox.home().join("package"), VERSION);
        let register = ["image", "register", "--name", "there", "--rootfs", "mine.ext4"];
        let _ = sandbox.banger(register).run().expect_success();
        let _ = sandbox.banger(["daemon", "stop"]).run().expect_success();
        sandbox.move_into(hold(&sandbox.state()));
        for write in writes(&sandbox) {
            let said = sandbox.banger(&write).run().expect_code(1).stderr_text();
            assert!(said.contains("No space left") || said.contains("Read-only"), "{write:?}: {said}");
            assert_nothing_there(&sandbox);
        }
        assert_eq!(sandbox.json(&["image", "show", "there"])["managed"], false);
        let _ = sandbox.banger(["daemon", "stop"]).run().expect_success();
    }
}
