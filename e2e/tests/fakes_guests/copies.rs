//! Copies that are cut off: whoever dies, and whenever, a file is there whole or not at all, and the next copy goes well.

use banger_e2e::Sandbox;
use rustix::process::Signal;
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

const SMALL_FILES: usize = 400;
const LARGE: usize = 24 << 20;
/// When the end comes: before anything has moved, somewhere in the middle, and after most of it.
const AFTER: [u64; 9] = [0, 5, 10, 15, 20, 30, 50, 80, 130];

fn ok(sandbox: &Sandbox, arguments: &[&str]) {
    let _ = sandbox.banger(arguments).run().expect_success();
}

/// Files in a folder of the host, and a VM that has them too. Its guest may make files in its folder and nothing else.
fn with_files() -> Sandbox {
    let sandbox = Sandbox::with_fake_guests();
    ok(&sandbox, &["vm", "create", "--name", "dev"]);
    let files = sandbox.home().join("files");
    fs::create_dir(&files).expect("the sandbox is writable");
    for number in 0..SMALL_FILES {
        fs::write(files.join(format!("small-{number}")), number.to_string())
            .expect("the sandbox is writable");
    }
    fs::write(files.join("large"), vec![7; LARGE]).expect("the sandbox is writable");
    ok(&sandbox, &["vm", "cp", "files/.", "dev:."]);
    sandbox
}

/// Where a fake guest's files are.
fn folder_of_guest(sandbox: &Sandbox) -> PathBuf {
    sandbox.state().join("vms").join(&sandbox.vm_ids()[0])
}

/// The files of a folder that a copy has made, and how long they are.
fn copied(folder: &Path) -> BTreeMap<OsString, u64> {
    let mut found = BTreeMap::new();
    for entry in fs::read_dir(folder).into_iter().flatten() {
        let entry = entry.expect("it can be listed");
        let name = entry.file_name().to_string_lossy().into_owned();
        if name == "large" || name.starts_with("small-") {
            found.insert(entry.file_name(), entry.metadata().expect("it is there").len());
        }
    }
    found
}

/// Each that is there is whole.
fn assert_whole(folder: &Path, sandbox: &Sandbox, when: &str) {
    let wanted = copied(&sandbox.home().join("files"));
    for (name, length) in copied(folder) {
        assert_eq!(Some(&length), wanted.get(&name), "{when}: {}", name.display());
    }
}

fn remove_copied(folder: &Path) {
    for name in copied(folder).keys() {
        fs::remove_file(folder.join(name)).expect("it is there");
    }
}

#[test]
fn a_copy_whose_command_is_killed_or_interrupted_leaves_whole_files_and_can_be_repeated() {
    let sandbox = with_files();
    let (guest, here) = (folder_of_guest(&sandbox), sandbox.home().join("out"));
    fs::create_dir(&here).expect("the sandbox is writable");
    let mut were_cut_off = 0;
    for signal in [Signal::KILL, Signal::INT] {
        for after in AFTER {
            let when = format!("{signal:?} after {after} ms");
            for (words, folder, count) in [
                (["vm", "cp", "dev:large", "out"], &here, 1),
                (["vm", "cp", "files/.", "dev:."], &guest, SMALL_FILES + 1),
            ] {
                remove_copied(folder);
                let copying = sandbox.banger(words).start();
                std::thread::park_timeout(Duration::from_millis(after));
                copying.signal(signal);
                were_cut_off += usize::from(copying.finish().code() != Some(0));
                assert_whole(folder, &sandbox, &when);
                ok(&sandbox, &words);
                assert_eq!(copied(folder).len(), count, "{when}: not all of it came");
                assert_whole(folder, &sandbox, &when);
            }
        }
    }
    assert!(were_cut_off > AFTER.len(), "only {were_cut_off} copies were cut off at all");
    ok(&sandbox, &["vm", "delete", "dev"]);
    sandbox.assert_nothing_left();
}

#[test]
fn a_copy_whose_vm_goes_says_so_and_leaves_whole_files() {
    for after in AFTER {
        let sandbox = with_files();
        let here = sandbox.home().join("out");
        fs::create_dir(&here).expect("the sandbox is writable");
        let copying = sandbox.banger(["vm", "cp", "dev:large", "out"]).start();
        std::thread::park_timeout(Duration::from_millis(after));
        ok(&sandbox, &["vm", "delete", "dev"]);
        let copying = copying.finish();
        if copying.code() != Some(0) {
            // Whether it was gone, going, or went in the middle.
            let told = copying.stderr_text();
            let words =
                ["was not copied to out", "cannot be reached", "is stopping", "is stopped", "not found"];
            assert!(words.iter().any(|words| told.contains(words)), "after {after} ms: {told}");
        }
        assert_whole(&here, &sandbox, &format!("after {after} ms"));
        sandbox.assert_nothing_left();
    }
}

#[test]
fn a_copy_outlives_the_daemon_and_the_helper() {
    let sandbox = with_files();
    for doomed in ["bangerd", "bangerd-root"] {
        ok(&sandbox, &["vm", "set", "dev", "--nat", "off"]);
        // Most of it has to wait until somebody reads.
        let script =
            "\"$0\" vm cp dev:large - | { head -c 1 > begun; until test -e go; do sleep 0.05; done; cat; }";
        let banger = sandbox.programs().join("banger");
        let copying = sandbox.tool("sh", ["-c", script, banger.to_str().expect("a path")]).start();
        let [begun, go] = ["begun", "go"].map(|name| sandbox.home().join(name));
        sandbox.until("it has begun", || begun.metadata().is_ok_and(|about| about.len() == 1));
        sandbox.kill(doomed);
        assert_eq!(sandbox.running("banger").len(), 1, "it did not wait");
        fs::write(&go, "").expect("the sandbox is writable");
        let came = copying.finish().expect_success();
        assert!(came.stdout == vec![7; LARGE - 1], "{doomed}: other bytes came");
        for file in [&begun, &go] {
            fs::remove_file(file).expect("it is there");
        }
    }
    ok(&sandbox, &["vm", "delete", "dev"]);
    sandbox.assert_nothing_left();
}

#[test]
fn a_copy_that_nobody_reads_ends_when_it_is_asked_to() {
    let sandbox = with_files();
    // It ends by the signal, and the shell by what became of it.
    let script = "\"$0\" vm cp dev:large - | { head -c 1 > begun; until test -e go; do sleep 0.05; done; }";
    let banger = sandbox.programs().join("banger");
    let copying = sandbox.tool("sh", ["-c", script, banger.to_str().expect("a path")]).start();
    sandbox.until("it has begun", || {
        sandbox.home().join("begun").metadata().is_ok_and(|about| about.len() == 1)
    });
    let pid = sandbox.running("banger")[0].pid.to_string();
    let _ = sandbox.tool("kill", ["-TERM", &pid]).run().expect_success();
    sandbox.until("it has ended", || sandbox.running("banger").is_empty());
    fs::write(sandbox.home().join("go"), "").expect("the sandbox is writable");
    let _ = copying.finish().expect_success();
    ok(&sandbox, &["vm", "delete", "dev"]);
    sandbox.assert_nothing_left();
}

#[test]
fn what_is_read_from_standard_input_has_no_name_that_a_killed_command_could_leave() {
    let sandbox = Sandbox::with_fake_guests();
    ok(&sandbox, &["vm", "create", "--name", "dev"]);
    let temporary = sandbox.home().join("temporary");
    fs::create_dir(&temporary).expect("the sandbox is writable");
    let copy = sandbox.banger(["vm", "cp", "-", "dev:typed"]).env("TMPDIR", &temporary);
    let mut copying = copy.open_stdin().start();
    // More than a pipe holds, so some of it was read.
    copying.write(&vec![b'x'; 1 << 20]);
    copying.signal(Signal::KILL);
    let _ = copying.finish();
    assert_eq!(fs::read_dir(&temporary).expect("it is there").count(), 0);
    ok(&sandbox, &["vm", "delete", "dev"]);
    sandbox.assert_nothing_left();
}

#[test]
fn what_goes_to_standard_output_comes_as_it_is_with_its_holes_and_is_a_file() {
    let sandbox = Sandbox::with_fake_guests();
    ok(&sandbox, &["vm", "create", "--name", "dev"]);
    let mut wanted = vec![0; 3 << 20];
    wanted.extend(b"behind a hole");
    wanted.resize(4 << 20, 0);
    let sparse = sandbox.home().join("sparse");
    fs::write(&sparse, &wanted).expect("the sandbox is writable");
    let _ = sandbox.tool("fallocate", ["--dig-holes", "sparse"]).run().expect_success();
    ok(&sandbox, &["vm", "cp", "sparse", "dev:sparse"]);
    let shown = sandbox.banger(["vm", "cp", "dev:sparse", "-"]).run().expect_success();
    assert!(shown.stdout == wanted, "other bytes came");
    let refused = sandbox.banger(["vm", "cp", "dev:.", "-"]).run().expect_code(1);
    let _ = refused
        .expect_failure(&["only a file can be written to standard output", "banger vm exec dev -- tar c ."]);
    let refused = sandbox.banger(["vm", "cp", "dev:nosuch", "-"]).run().expect_code(1);
    let _ = refused.expect_failure(&["nosuch", "banger vm exec dev -- ls -la"]);
    ok(&sandbox, &["vm", "delete", "dev"]);
    sandbox.assert_nothing_left();
}
