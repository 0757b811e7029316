//! Copies into guests and out of them. Every system call of one is made to fail, one by one, until it needs no more of
//! them: what is there afterwards is whole or absent.

#![expect(clippy::unwrap_used, reason = "a scene that cannot be set fails the test")]

use super::fake::{Finished, World, in_background, signal};
use rustix::process::Signal;
use std::cell::Cell;
use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

const ONE: &str = "aaaaaaaaaaaa";

#[test]
fn a_tree_is_copied_into_a_guest_and_out_of_it_the_same() {
    let world = World::new();
    world.daemon().has_vm(ONE, "dev");
    let home = world.home();
    let path = |name: &str| home.join(name).display().to_string();
    fs::create_dir_all(home.join("tree/folder")).unwrap();
    fs::write(home.join("tree/folder/program"), vec![7; 300_000]).unwrap();
    fs::set_permissions(home.join("tree/folder/program"), PermissionsExt::from_mode(0o750)).unwrap();
    symlink("folder/program", home.join("tree/link")).unwrap();
    let guest = format!("dev:{}", path("guest"));
    for line in [["vm", "cp", &path("tree"), &guest], ["vm", "cp", &guest, &path("back")]] {
        let copied = world.run(&line);
        assert_eq!(copied, Finished { code: Some(0), out: Vec::new(), err: String::new() });
    }
    let program = fs::metadata(home.join("back/folder/program")).unwrap();
    assert_eq!((program.len(), program.mode() & 0o7777), (300_000, 0o750));
    assert_eq!(fs::read_link(home.join("back/link")).unwrap().to_str(), Some("folder/program"));
}

#[test]
fn a_copy_that_makes_no_sense_or_cannot_be_says_why() {
    let world = World::new();
    world.daemon().has_vm(ONE, "dev");
    let here = world.home().display().to_string();
    let absent = format!("{here}/absent");
    for (from, to, code, words) in [
        ("a", "b", 2, "neither path is in a VM"),
        ("dev:a", "dev:b", 2, "both paths are in VMs"),
        (&absent, &format!("dev:{here}/x"), 1, "could not be read"),
        (&format!("dev:{absent}"), &here, 1, "could not be read"),
        (&here, &format!("dev:{absent}/x/y"), 1, "could not be used"),
        (&format!("dev:{here}"), &format!("{absent}/x/y"), 1, "could not be written"),
        ("nosuch:a", "b", 1, "VM `nosuch` not found"),
    ] {
        let refused = world.run(&["vm", "cp", from, to]);
        assert_eq!(refused.code, Some(code), "{from} {to}: {}", refused.err);
        assert!(refused.err.contains(words), "{from} {to}: {}", refused.err);
    }
}

#[test]
fn ctrl_c_in_the_middle_of_a_copy_leaves_nothing_half() {
    let world = World::new();
    world.daemon().has_vm(ONE, "dev");
    let into = world.home().join("into");
    fs::create_dir(&into).unwrap();
    let line = ["vm", "cp", "dev:endless", &into.display().to_string()];
    let mut child = in_background(&mut world.banger(&line));
    // It has written something when it has a file open in there.
    let begun = Instant::now();
    while !has_open(child.id(), &into) {
        assert!(begun.elapsed() < Duration::from_secs(20), "it does not begin");
        std::thread::yield_now();
    }
    signal(&child, Signal::INT);
    let asked = Instant::now();
    let code = loop {
        match child.try_wait().unwrap() {
            Some(status) => break status.code(),
            None if asked.elapsed() < Duration::from_secs(20) => std::thread::yield_now(),
            // It would fill the disk.
            None => child.kill().unwrap(),
        }
    };
    assert_eq!(code, Some(130));
    assert_eq!(fs::read_dir(&into).unwrap().count(), 0);
}

/// By which a tree is laid down.
const LAYING: &[&str] =
    &["openat2", "mkdirat", "symlinkat", "write", "ftruncate", "fchmod", "utimensat", "linkat", "renameat"];
/// By which one is taken apart.
const READING: &[&str] = &["openat2", "newfstatat", "readlinkat", "getdents64", "pread64", "lseek"];

#[test]
fn every_system_call_by_which_a_copy_is_laid_down_may_fail() {
    let (world, source) = with_a_tree();
    let (from, target) =
        (format!("dev:{}/.", world.home().join("source").display()), world.home().join("target"));
    let line = || ["vm", "cp", &from, &target.display().to_string()].map(str::to_owned);
    // One file and one link are there and to be replaced.
    let prepare = || {
        drop(fs::remove_dir_all(&target));
        fs::create_dir(&target).unwrap();
        fs::write(target.join("file"), "old").unwrap();
        symlink("old", target.join("link")).unwrap();
    };
    let is_whole = |call: &str| {
        let mut found = look(&target);
        for (path, old) in [("file", "old"), ("link", "-> old")] {
            found.retain(|at, what| at != Path::new(path) || !what.starts_with(old.as_bytes()));
        }
        found.retain(|path, what| source.get(path) != Some(what));
        assert!(found.is_empty(), "{call}: half or foreign: {:?}", found.keys());
    };
    for call in LAYING {
        let all = || assert_eq!(look(&target), source, "{call}");
        let failures = until_it_needs_no_more(&world, call, line, prepare, || is_whole(call), all);
        assert!(failures > 0, "{call} is no call of this copy");
    }
}

#[test]
fn every_system_call_by_which_a_copy_is_read_may_fail() {
    let (world, source) = with_a_tree();
    let from = world.home().join("source").display().to_string();
    // Each time another: the guest may still be at what arrived of the copy before when its command has ended.
    let times = Cell::new(0);
    let target = || world.home().join(format!("target-{}", times.get()));
    let line = || ["vm", "cp", &from, &format!("dev:{}", target().display())].map(str::to_owned);
    let prepare = || times.set(times.get() + 1);
    for call in READING {
        // What arrived before the failure is whole.
        let is_whole = || {
            let mut found = if target().exists() { look(&target()) } else { BTreeMap::new() };
            found.retain(|path, what| source.get(path) != Some(what));
            assert!(found.is_empty(), "{call}: half or foreign: {:?}", found.keys());
        };
        let all = || assert_eq!(look(&target()), source, "{call}");
        let failures = until_it_needs_no_more(&world, call, line, prepare, is_whole, all);
        assert!(failures > 0, "{call} is no call of this copy");
    }
}

/// A world with a VM, and a tree of everything that travels in it.
fn with_a_tree() -> (World, BTreeMap<PathBuf, Vec<u8>>) {
    let world = World::new();
    world.daemon().has_vm(ONE, "dev");
    let source = plant(&world.home().join("source"));
    (world, source)
}

/// Runs a command with the first, the second, … use of a system call failing, until one run has had no failure; says how
/// many had. A failure that the command reports is followed by `is_whole`, one that it bears and the last run by `is_all`.
fn until_it_needs_no_more(
    world: &World,
    call: &str,
    line: impl Fn() -> [String; 4],
    prepare: impl Fn(),
    is_whole: impl Fn(),
    is_all: impl Fn(),
) -> usize {
    let log = world.home().join("strace.log");
    for failures in 0.. {
        prepare();
        let finished = traced(world, call, failures + 1, &log, &line());
        let said = String::from_utf8_lossy(&finished.stderr);
        let injected = fs::read_to_string(&log).unwrap().contains("(INJECTED)");
        match (injected, finished.status.code()) {
            (false, Some(0)) => {
                is_all();
                return failures;
            }
            // It can do without.
            (true, Some(0)) => is_all(),
            // 127 is the dynamic linker's, which makes such calls too.
            (true, Some(1 | 127)) => {
                assert!(said.contains("Input/output error"), "{call} {failures}: {said}");
                is_whole();
            }
            (_, code) => panic!("{call} {failures}: {code:?}: {said}"),
        }
    }
    unreachable!("a command makes finitely many calls")
}

/// Runs the command with one use of a system call failing.
#[expect(clippy::disallowed_methods, reason = "the program under test, in the hands of another")]
fn traced(world: &World, call: &str, which: usize, log: &Path, line: &[String]) -> std::process::Output {
    let mut strace = Command::new("/usr/bin/strace");
    strace.args([
        "-f",
        "-qq",
        "-e",
        &format!("trace={call}"),
        "-e",
        &format!("inject={call}:error=EIO:when={which}"),
    ]);
    strace.arg("-o").arg(log).arg("--").arg(env!("CARGO_BIN_EXE_banger")).args(line);
    strace.env_clear().env("HOME", world.home()).env("TMPDIR", world.home()).env("PATH", "/usr/bin:/bin");
    strace.output().expect("`strace` is missing: `cargo xtask setup` installs it")
}

/// A tree of everything that travels; returns what [`look`] sees of it.
fn plant(root: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let planted = || -> std::io::Result<()> {
        fs::create_dir_all(root.join("folder/below"))?;
        fs::write(root.join("file"), vec![7; 200_000])?;
        fs::write(root.join("empty"), "")?;
        fs::write(root.join("folder/below/program"), "#!/bin/sh\n")?;
        fs::set_permissions(root.join("folder/below/program"), fs::Permissions::from_mode(0o755))?;
        let sparse = fs::File::create(root.join("folder/sparse"))?;
        sparse.write_all_at(b"end", 1 << 20)?;
        symlink("nowhere", root.join("link"))
    };
    planted().unwrap();
    look(root)
}

/// Every path below a folder with what is there.
fn look(root: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut found = BTreeMap::new();
    let mut waiting = vec![PathBuf::new()];
    while let Some(at) = waiting.pop() {
        for entry in fs::read_dir(root.join(&at)).unwrap() {
            let path = at.join(entry.unwrap().file_name());
            let whole = root.join(&path);
            let about = fs::symlink_metadata(&whole).unwrap();
            let what = if about.is_dir() {
                waiting.push(path.clone());
                b"folder".to_vec()
            } else if about.is_symlink() {
                format!("-> {}", fs::read_link(&whole).unwrap().display()).into_bytes()
            } else {
                let mut what = fs::read(&whole).unwrap();
                // A mode that is not the source's is a file that is not whole.
                what.extend(about.permissions().mode().to_le_bytes());
                what
            };
            found.insert(path, what);
        }
    }
    found
}

/// Whether a process has a file open in a folder, be it one without a name.
fn has_open(pid: u32, folder: &Path) -> bool {
    let open = fs::read_dir(format!("/proc/{pid}/fd")).into_iter().flatten().flatten();
    let mut targets = open.filter_map(|entry| fs::read_link(entry.path()).ok());
    targets.any(|target| target != folder && target.starts_with(folder))
}
