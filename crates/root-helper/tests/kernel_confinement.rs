//! What there is for a VM's process, seen from inside it.
//!
//! Landlock says "permission denied" of what exists and is forbidden. These tests want to hear that it does not exist,
//! which no part of landlock can say: they are about the layer that every kernel has.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on panics")]

mod harness;

use banger_protocol::root_api::{ProcessIdentity, Program};
use banger_protocol::wire::{Connection, ErrorKind};
use harness::{Helper, Start, Vm, folder, refusal, run, script, sleeper};
use std::collections::BTreeSet;
use std::fs::Permissions;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};

/// `ENOENT` and `ESRCH`, as perl prints them.
const DOES_NOT_EXIST: &str = "2";
const NO_SUCH_PROCESS: &str = "3";

fn start(helper: &Helper, vm: &Vm) -> ProcessIdentity {
    vm.start(&mut helper.connect(), Program::VsockBackend, &[]).unwrap()
}

fn backend(program: &Path) -> Start {
    Start { vsock_backend: Some(program.to_owned()), ..Start::default() }
}

/// A socket that lets in everybody who gets to it.
fn listen(path: &Path) -> UnixListener {
    let listener = UnixListener::bind(path).unwrap();
    std::fs::set_permissions(path, Permissions::from_mode(0o666)).unwrap();
    listener
}

/// What the lines of a VM's log with this first word say.
fn said(log: &str, word: &str) -> Vec<String> {
    log.lines().filter_map(|line| Some(line.strip_prefix(word)?.strip_prefix(' ')?.to_owned())).collect()
}

/// A VM's process that does something in its folder and tells of it, beside another VM, under one helper.
struct Inside {
    folder: tempfile::TempDir,
    helper: Helper,
    vm: Vm,
    process: ProcessIdentity,
    other: Vm,
    others: ProcessIdentity,
}

impl Inside {
    fn new() -> Self {
        let folder = folder();
        // What it does is told later, by a file in its folder, when everything else is known.
        let body = "[ -e later ] || exec sleep 600; until [ -s script ]; do sleep 0.02; done; . ./script; \
                    echo finished; exec sleep 600";
        let helper = backend(&script(folder.path(), "program", body)).helper(folder.path());
        let (vm, other) = (Vm::new(folder.path()), Vm::new(folder.path()));
        std::fs::write(vm.path.join("later"), "").unwrap();
        let others = start(&helper, &other);
        let process = start(&helper, &vm);
        Self { folder, helper, vm, process, other, others }
    }

    fn run(&self, body: &str) -> String {
        let whole = self.vm.path.join("unfinished");
        std::fs::write(&whole, body).unwrap();
        std::fs::set_permissions(&whole, Permissions::from_mode(0o644)).unwrap();
        std::fs::rename(whole, self.vm.path.join("script")).unwrap();
        self.vm.log_with("finished")
    }

    /// Everybody whom a VM might want to get at: the owner, the helper, another VM.
    fn pids(&self) -> [u32; 3] {
        [std::process::id(), self.helper.child.id(), self.others.pid]
    }
}

#[test]
fn no_socket_of_the_owners_can_be_connected_to_by_any_path() {
    let inside = Inside::new();
    let shared = tempfile::tempdir_in("/dev/shm").unwrap();
    let places = [inside.folder.path().join("owner.sock"), shared.path().join("owner.sock")];
    let mut listening: Vec<_> = places.iter().map(|place| listen(place)).collect();
    let others = inside.other.path.join("others.sock");
    listening.push(listen(&others));
    // The one that it is free to connect to shows that the others could be.
    listening.push(listen(&inside.vm.path.join("mine.sock")));

    let mut paths = vec!["../owner.sock".to_owned(), format!("../{}/others.sock", inside.other.id)];
    for place in places.iter().chain([&others, &inside.helper.socket()]) {
        let place = place.to_str().unwrap();
        let up = "../".repeat(12);
        paths.extend([place.to_owned(), format!("{up}{place}"), format!("/vm/{up}{place}")]);
        paths.extend(["self", "thread-self", "1"].map(|process| format!("/proc/{process}/root{place}")));
        paths.extend(inside.pids().map(|pid| format!("/proc/{pid}/root{place}")));
    }
    for pid in inside.pids() {
        paths.push(format!("/proc/{pid}/cwd/owner.sock"));
        for entry in std::fs::read_dir(format!("/proc/{pid}/fd")).unwrap() {
            let number = entry.unwrap().file_name().into_string().unwrap();
            paths.push(format!("/proc/{pid}/fd/{number}"));
            paths.push(format!("/proc/{pid}/fd/{number}/owner.sock"));
        }
    }
    paths.push("/proc/self/cwd/../owner.sock".to_owned());
    for number in 0..10 {
        paths.push(format!("/proc/self/fd/{number}/../owner.sock"));
    }
    std::fs::write(inside.vm.path.join("paths"), paths.join("\n")).unwrap();
    std::fs::set_permissions(inside.vm.path.join("paths"), Permissions::from_mode(0o644)).unwrap();
    let log = inside.run(
        "(echo mine.sock; cat paths; echo) | perl -MSocket -ne 'chomp; \
         length $_ > 107 and next; socket(S, AF_UNIX, SOCK_STREAM, 0) or die; \
         my $no = connect(S, sockaddr_un($_)) ? 0 : $! + 0; print \"connect $no $_\\n\"'",
    );
    let connected = said(&log, "connect");
    assert_eq!(connected[0], "0 mine.sock", "{log}");
    assert_eq!(connected.len(), paths.len() + 1, "{log}");
    // A descriptor of its own that is a file has nothing below it.
    let not_a_folder = |line: &str| line.starts_with("20 /proc/self/fd/");
    for line in &connected[1..] {
        assert!(line.starts_with(&format!("{DOES_NOT_EXIST} ")) || not_a_folder(line), "{line}");
    }
}

#[test]
fn of_the_host_there_is_what_a_machine_is_made_of_and_nothing_else() {
    let inside = Inside::new();
    let entries = |folder: &str| -> Vec<String> {
        let names = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
        names.map(|path| path.to_str().unwrap().to_owned()).collect()
    };
    let mut paths = entries("/");
    for folder in ["/etc", "/dev", "/proc", "/tmp"] {
        paths.extend(entries(folder));
    }
    paths.extend(entries(inside.folder.path().to_str().unwrap()));
    let log = inside.run(&format!("for p in {}; do [ -e $p ] && echo exists $p; done", quoted(&paths)));
    let exists: BTreeSet<String> = said(&log, "exists").into_iter().collect();

    let program = inside.folder.path().join("program");
    let mut expected: BTreeSet<String> =
        program.ancestors().map(|path| path.to_str().unwrap().to_owned()).collect();
    expected.remove("/");
    let system = ["/bin", "/lib", "/lib64", "/usr", "/nix", "/gnu", "/etc", "/dev", "/proc"];
    let files = ["/etc/ld.so.cache", "/dev/null", "/dev/urandom", "/dev/kvm", "/proc/self"];
    for path in system.into_iter().chain(files) {
        if Path::new(path).exists() {
            expected.insert(path.to_owned());
        }
    }
    // Above the program's file, where it lies elsewhere, only folders.
    assert_eq!(exists, expected);
    for absent in ["/home", "/root", "/run", "/sys", "/var"] {
        assert!(!exists.contains(absent));
    }
}

fn quoted(paths: &[String]) -> String {
    paths.iter().map(|path| format!("'{path}'")).collect::<Vec<_>>().join(" ")
}

#[test]
fn its_folder_is_at_the_same_place_for_every_vm_and_leads_nowhere() {
    let inside = Inside::new();
    let log = inside.run(
        "echo here $(pwd -P) $(stat -c %i .); cd ..; echo above $(pwd -P); cd ../..; echo top $(pwd -P)",
    );
    let inode = std::fs::metadata(&inside.vm.path).unwrap().ino();
    assert_eq!(said(&log, "here"), [format!("/vm {inode}")]);
    assert_eq!((said(&log, "above"), said(&log, "top")), (vec!["/".to_owned()], vec!["/".to_owned()]));
}

#[test]
fn a_vms_process_can_name_and_signal_nobody() {
    let inside = Inside::new();
    let pids = inside.pids().map(|pid| pid.to_string()).join(" ");
    let log = inside.run(&format!(
        "perl -e 'for (@ARGV) {{ my $no = kill(0, $_) ? 0 : $! + 0; print \"signal $no $_\\n\" }}' -- {pids} -1; \
         for n in mnt pid ipc net user; do echo namespace $n $(readlink /proc/self/ns/$n); done"
    ));
    let signalled = said(&log, "signal");
    assert_eq!(signalled.len(), 4, "{log}");
    for line in &signalled[..3] {
        assert!(line.starts_with(&format!("{NO_SUCH_PROCESS} ")), "{line}");
    }
    // All that it may signal: its own.
    let namespace = |pid: u32, kind: &str| {
        std::fs::read_link(format!("/proc/{pid}/ns/{kind}")).unwrap().to_str().unwrap().to_owned()
    };
    for (kind, own) in [("mnt", true), ("pid", true), ("ipc", true), ("net", false), ("user", false)] {
        let here = namespace(inside.process.pid, kind);
        assert!(said(&log, "namespace").contains(&format!("{kind} {here}")), "{log}");
        assert_eq!(here != namespace(inside.helper.child.id(), kind), own, "{kind}, of the helper");
        assert_eq!(here != namespace(inside.others.pid, kind), own, "{kind}, of another VM");
    }
}

#[test]
fn what_is_shown_of_the_host_is_read_only_and_what_the_vm_writes_is_no_program() {
    let inside = Inside::new();
    let log = inside.run("while IFS= read -r line; do echo mount $line; done < /proc/self/mountinfo");
    let mounts = said(&log, "mount");
    assert!(mounts.len() > 5, "{log}");
    for mount in mounts {
        let fields: Vec<_> = mount.split(' ').collect();
        let (at, options) = (fields[4], fields[5].split(',').collect::<Vec<_>>());
        let expected: &[&str] =
            if at == "/vm" { &["rw", "nosuid", "nodev", "noexec"] } else { &["ro", "nosuid"] };
        for option in expected {
            assert!(options.contains(option), "{option} of {mount}");
        }
    }
}

#[test]
fn programs_start_wherever_they_lie() {
    let folder = folder();
    let private = folder.path().join("private");
    for name in ["bin", "lib", "share/qemu"] {
        std::fs::create_dir_all(private.join(name)).unwrap();
    }
    let copy = |from: &str, name: &str| -> PathBuf {
        let to = private.join("bin").join(name);
        std::fs::copy(from, &to).unwrap();
        to
    };
    // Of these two the second needs no other file, on every distribution.
    let (dynamic, standalone) = (copy("/usr/bin/sleep", "dynamic"), copy("/usr/sbin/ldconfig", "static"));
    let link = folder.path().join("link");
    std::os::unix::fs::symlink(&dynamic, &link).unwrap();
    std::fs::write(private.join("lib/library"), "a library\n").unwrap();
    std::fs::write(private.join("share/qemu/rom"), "a rom\n").unwrap();
    let with_files = script(
        &private.join("bin"),
        "with-files",
        "cd ${0%/*}/..; cat lib/library share/qemu/rom; echo unrecognized option",
    );
    std::fs::set_permissions(&private, Permissions::from_mode(0o700)).unwrap();

    let mut log = String::new();
    for program in [Path::new("/usr/bin/sleep"), &dynamic, &standalone, &link, &with_files] {
        let vm = Vm::new(folder.path());
        let below = tempfile::tempdir_in(folder.path()).unwrap();
        let helper = backend(program).helper(below.path());
        start(&helper, &vm);
        // It was executed: this is what it thinks of arguments that are not meant for it.
        log = vm.log_with("unrecognized option");
    }
    assert!(log.contains("a library\na rom\n"), "{log}");
}

#[test]
fn a_folder_that_is_not_the_one_that_was_handed_over_is_not_taken_for_it() {
    let folder = folder();
    let helper = backend(&sleeper(folder.path())).helper(folder.path());
    let mut connection = helper.connect();
    let refused = |connection: &mut Connection, vm: &Vm, given: &Vm| {
        let handed = Vm { id: vm.id.clone(), path: given.path.clone() };
        let error = refusal(handed.start(connection, Program::VsockBackend, &[]));
        assert_eq!(error.kind, ErrorKind::OperationFailed, "{error}");
        assert!(error.causes.concat().contains("its directory was not found where it was"), "{error:?}");
    };
    let vm = Vm::new(folder.path());
    // Something else lies over it, for the helper alone.
    let path = vm.path.to_str().unwrap();
    let pid = helper.child.id().to_string();
    let inside = ["-t", &pid, "-U", "-m", "--preserve-credentials", "--"];
    let mount = ["mount", "-t", "tmpfs", "elsewhere", path];
    let mounted = run("nsenter", &[&inside[..], &mount[..]].concat());
    assert!(mounted.status.success(), "{mounted:?}");
    refused(&mut connection, &vm, &vm);
    assert!(std::fs::read_dir(&vm.path).unwrap().count() <= 1, "only the log was made");
    let unmounted = run("nsenter", &[&inside[..], &["umount", path][..]].concat());
    assert!(unmounted.status.success(), "{unmounted:?}");
    vm.start(&mut connection, Program::VsockBackend, &[]).unwrap();
}

#[test]
fn what_the_host_mounts_later_is_mounted_for_the_helper_too_and_not_the_other_way() {
    let folder = folder();
    let at = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    for name in ["hosts", "helpers"] {
        std::fs::create_dir(at(name)).unwrap();
    }
    // A host of its own, in which anybody may mount.
    let helper = format!(
        "exec {} --local --bridge br-banger --address 172.16.0.1/24 --socket {}",
        env!("CARGO_BIN_EXE_bangerd-root"),
        at("root.sock")
    );
    let script = format!(
        "({helper}) 2>{log} & until [ -S {socket} ]; do sleep 0.02; done; mount -t tmpfs later {hosts}; \
         nsenter -t $! -U -m --preserve-credentials mount -t tmpfs later {helpers}; \
         echo host $(grep -o '{folder}/[a-z]*' /proc/self/mountinfo); \
         echo helper $(grep -o '{folder}/[a-z]*' /proc/$!/mountinfo); kill $!",
        log = at("root.log"),
        socket = at("root.sock"),
        hosts = at("hosts"),
        helpers = at("helpers"),
        folder = folder.path().display(),
    );
    let output = run(
        "unshare",
        &["--user", "--map-root-user", "--mount", "--propagation", "shared", "sh", "-c", &script],
    );
    let said_here = String::from_utf8_lossy(&output.stdout).into_owned();
    assert_eq!(said(&said_here, "host"), [at("hosts")], "{output:?}");
    assert_eq!(said(&said_here, "helper"), [format!("{} {}", at("hosts"), at("helpers"))], "{output:?}");
}
