//! Every step of making and removing images and kernels made to go wrong, one by one: it fails, it fails although it
//! happened, the daemon ends right before it, right after it. Afterwards there is all of it or nothing, no draft is
//! left, and the next attempt succeeds.

use crate::bundles::{catalog, published};
use crate::users_files::rootfs;
use banger_e2e::{LayerTar, Layout, Sandbox};
use serde_json::json;

/// What is tried, what must have happened before, and what undoes it.
struct Flow {
    before: &'static [&'static [&'static str]],
    tried: &'static [&'static str],
    undo: &'static [&'static [&'static str]],
    steps: u32,
}

const REGISTER: &[&str] = &["image", "register", "--name", "mine", "--rootfs", "mine.ext4"];
const REGISTER_WITH_KERNEL: &[&str] = &[
    "image",
    "register",
    "--name",
    "mine",
    "--rootfs",
    "mine.ext4",
    "--kernel",
    "package/boot/vmlinux-6.1.0-9-test",
];
const DELETE: &[&str] = &["image", "delete", "mine"];
const PULL: &[&str] = &["image", "pull", "oci:layout", "--name", "mine", "--size", "16M"];
const UNBUNDLE: &[&str] = &["image", "pull", "mine"];
const UNBUNDLE_KERNEL: &[&str] = &["kernel", "pull", "core"];
const IMPORT: &[&str] = &["kernel", "import", "mine", "--from", "package"];
const REMOVE: &[&str] = &["kernel", "rm", "mine"];

const FLOWS: &[Flow] = &[
    Flow { before: &[], tried: PULL, undo: &[DELETE], steps: 4 },
    Flow { before: &[], tried: REGISTER, undo: &[DELETE], steps: 5 },
    Flow { before: &[], tried: REGISTER_WITH_KERNEL, undo: &[DELETE], steps: 9 },
    Flow { before: &[REGISTER], tried: REGISTER, undo: &[DELETE], steps: 5 },
    Flow { before: &[REGISTER], tried: &["image", "promote", "mine"], undo: &[DELETE], steps: 6 },
    Flow { before: &[REGISTER], tried: DELETE, undo: &[], steps: 3 },
    Flow { before: &[REGISTER_WITH_KERNEL], tried: DELETE, undo: &[], steps: 6 },
    Flow { before: &[], tried: UNBUNDLE, undo: &[DELETE], steps: 5 },
    Flow { before: &[], tried: UNBUNDLE_KERNEL, undo: &[&["kernel", "rm", "core"]], steps: 4 },
    Flow { before: &[], tried: IMPORT, undo: &[REMOVE], steps: 4 },
    Flow { before: &[IMPORT], tried: REMOVE, undo: &[], steps: 3 },
];

fn sandbox() -> Sandbox {
    let (sandbox, _) = published();
    catalog(&sandbox, &["mine", "core"], |text| text);
    let _ = rootfs(&sandbox, "mine", &[("sbin/init", "x")]);
    let layer = LayerTar::new().file("etc/x", b"x").bytes();
    let _ = Layout::new(&sandbox.home().join("layout")).add("v1", "amd64", &json!({}), &[layer]);
    sandbox
}

fn ok(sandbox: &Sandbox, arguments: &[&str]) {
    let _ = sandbox.banger(arguments).run().expect_success();
}

/// Names of everything that is here, as the daemon knows it and as it lies on the disk.
fn here(sandbox: &Sandbox) -> [Vec<String>; 2] {
    let mut known = Vec::new();
    let mut lying = Vec::new();
    for (kind, folder) in [("image", "images"), ("kernel", "kernels")] {
        let all = sandbox.json(&[kind, "list"]);
        let all = all.as_array().expect("a list").iter();
        known.extend(all.map(|one| format!("{kind} {}", one["name"].as_str().expect("a name"))));
        let entries = std::fs::read_dir(sandbox.state().join(folder)).expect("it can be listed");
        lying.extend(
            entries.map(|e| format!("{kind} {}", e.expect("an entry").file_name().to_string_lossy())),
        );
    }
    known.sort();
    lying.sort();
    [known, lying]
}

fn every_step(kind: &str) {
    let sandbox = sandbox();
    for flow in FLOWS {
        let untouched = here(&sandbox);
        for index in 0..=flow.steps {
            let tried = flow.tried.join(" ");
            for arguments in flow.before {
                ok(&sandbox, arguments);
            }
            // What counts the steps is the daemon, so each round has one of its own.
            ok(&sandbox, &["daemon", "stop"]);
            let fault = format!("{kind}:{index}");
            let failed = sandbox.banger(flow.tried).env("BANGER_FAULT", &fault).run();
            // Rows and folders agree, whatever happened; nobody is left in the middle.
            if kind.starts_with("abort") {
                let crashed = sandbox.running("bangerd").is_empty();
                assert_eq!(
                    crashed,
                    index < flow.steps,
                    "{tried}, {fault}: another number of steps\n{}",
                    failed.stderr_text()
                );
            }
            if !sandbox.running("bangerd").is_empty() {
                // Nothing else is to go wrong.
                ok(&sandbox, &["daemon", "stop"]);
            }
            let [known, lying] = here(&sandbox);
            assert_eq!(known, lying, "{tried}, {fault}");
            if index >= flow.steps {
                let _ = failed.expect_success();
            } else {
                // The next attempt succeeds, or finds that the last one did.
                let again = sandbox.banger(flow.tried).run();
                let done = ["already", "image `mine` not found", "kernel `mine` not found"];
                let settled =
                    again.code() == Some(0) || done.iter().any(|word| again.stderr_text().contains(word));
                assert!(settled, "{tried}, {fault}: {}", again.stderr_text());
            }
            for arguments in flow.undo {
                ok(&sandbox, arguments);
            }
            assert_eq!(here(&sandbox), untouched, "{tried}, {fault}");
        }
    }
}

#[test]
fn every_step_can_fail_and_the_next_attempt_succeeds() {
    every_step("fail");
}

#[test]
fn every_step_can_fail_after_it_happened_and_the_next_attempt_succeeds() {
    every_step("after");
}

#[test]
fn the_daemon_can_end_before_every_step_and_the_next_one_repairs_it() {
    every_step("abort-before");
}

#[test]
fn the_daemon_can_end_after_every_step_and_the_next_one_repairs_it() {
    every_step("abort");
}
