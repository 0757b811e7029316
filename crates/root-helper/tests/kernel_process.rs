//! Processes of VMs, with small programs in the place of QEMU and its vsock backend.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on panics")]

mod harness;

use banger_protocol::root_api::{
    Acceleration, Disk, DiskRole, DiskSource, InventoryRequest, MacAddress, NetworkEnsure, OwnedProcess,
    ProcessIdentity, ProcessKillAll, ProcessSignal, ProcessSignalKind, Program, QemuSpec, Role,
};
use banger_protocol::size::ByteSize;
use banger_protocol::wire::{Connection, ErrorKind};
use harness::{Start, Vm, folder, is_root, refusal, refusal_kind, script, sleeper, start_time, tap, until};
use std::fs::{File, Permissions};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::PathBuf;

fn backend(program: PathBuf) -> Start {
    Start { vsock_backend: Some(program), ..Start::default() }
}

fn signal(connection: &mut Connection, vm: &Vm, process: ProcessIdentity, signal: ProcessSignalKind) -> bool {
    connection.call(&ProcessSignal { vm: vm.id.clone(), process, signal }).unwrap().changed
}

/// The letter in `/proc/<pid>/stat`.
fn state(process: ProcessIdentity) -> char {
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", process.pid)).unwrap();
    stat.rsplit_once(") ").unwrap().1.chars().next().unwrap()
}

#[test]
fn a_process_has_nothing_but_what_it_was_given() {
    let folder = folder();
    let secret = folder.path().join("secret");
    std::fs::write(&secret, "of the owner").unwrap();
    std::fs::set_permissions(&secret, Permissions::from_mode(0o666)).unwrap();
    let program = script(
        folder.path(),
        "program",
        &format!(
            "while IFS= read -r line; do echo \"$line\"; done < /proc/self/status; echo folder $(stat -L -c %i .); tr '\\0' '\\n' < /proc/self/environ; \
             ls /proc/self/fd > listing; echo descriptors $(cat listing); echo umask $(umask); echo core $(ulimit -c); \
             echo session $(cut -d' ' -f6 /proc/self/stat); \
             echo arguments \"$@\"; : > made-in-folder && echo folder is writable; \
             cat {secret} || echo secret unreadable; (echo x > {secret}) || echo secret unwritable; \
             cat /etc/passwd > /dev/null || echo passwd unreadable; \
             (: > {folder}/new) || echo outside unwritable; \
             ln -s {secret} link || echo no links; ln {secret} name || echo no second names; \
             mkfifo pipe || echo no pipes; mkdir down || echo no folders; \
             cp /bin/true true && chmod +x true && ./true || echo no programs; \
             kill -0 $(echo {test}) || echo others out of reach; echo finished; exec sleep 600",
            secret = secret.display(),
            folder = folder.path().display(),
            test = std::process::id(),
        ),
    );
    let helper = backend(program).helper(folder.path());
    let vm = Vm::new(folder.path());
    let process = vm.start(&mut helper.connect(), Program::VsockBackend, &[]).unwrap();
    let log = vm.log_with("finished");
    let has = |line: &str| assert!(log.lines().any(|found| found == line), "no line `{line}` in:\n{log}");

    for set in ["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"] {
        has(&format!("{set}:\t0000000000000000"));
    }
    has("NoNewPrivs:\t1");
    has("SigBlk:\t0000000000000000");
    // All but 32 and 33, which the C library keeps to itself and whoever started the test may have ignored.
    let ignored = log.lines().find_map(|line| line.strip_prefix("SigIgn:\t")).unwrap();
    assert_eq!(u64::from_str_radix(ignored, 16).unwrap() & 0x7fff_ffff, 0, "{ignored}");
    has(&format!("folder {}", std::fs::metadata(&vm.path).unwrap().ino()));
    has(&format!("BANGER_VM={}", vm.id));
    has("BANGER_ROLE=vsock_backend");
    has("arguments --vm guest-cid=3,socket=vhost.sock,uds-path=v.sock");
    has("umask 0077");
    has("core 0");
    has(&format!("session {}", process.pid));
    has("folder is writable");
    for refused in [
        "secret unreadable",
        "secret unwritable",
        "passwd unreadable",
        "outside unwritable",
        "no links",
        "no second names",
        "no pipes",
        "no folders",
        "no programs",
        "others out of reach",
    ] {
        has(refused);
    }
    // From 10 on they are the shell's own.
    let open = log.lines().find_map(|line| line.strip_prefix("descriptors ")).unwrap();
    let open = open.split(' ').filter(|number| number.len() == 1).collect::<String>();
    assert_eq!(open, "012");
    assert_eq!(std::fs::read_to_string(&secret).unwrap(), "of the owner");

    if is_root() {
        let low = u32::from_str_radix(&vm.id.as_str()[6..], 16).unwrap();
        let uid = 0x7000_0000 + low;
        has(&format!("Uid:\t{uid}\t{uid}\t{uid}\t{uid}"));
        has(&format!("Gid:\t{uid}\t{uid}\t{uid}\t{uid}"));
        assert_eq!(std::fs::metadata(&vm.path).unwrap().uid(), uid);
    } else {
        let uid = rustix::process::geteuid().as_raw();
        has(&format!("Uid:\t{uid}\t{uid}\t{uid}\t{uid}").replace(&uid.to_string(), "0"));
    }
}

#[test]
fn a_second_start_names_the_process_that_runs() {
    let folder = folder();
    let helper = backend(sleeper(folder.path())).helper(folder.path());
    let mut connection = helper.connect();
    let vm = Vm::new(folder.path());
    let first = vm.start(&mut connection, Program::VsockBackend, &[]).unwrap();
    assert_eq!(start_time(first.pid), Some(first.start_time));
    assert_eq!(vm.start(&mut connection, Program::VsockBackend, &[]).unwrap(), first);
    let found = OwnedProcess { vm: vm.id.clone(), role: Role::VsockBackend, process: first };
    assert_eq!(connection.call(&InventoryRequest {}).unwrap().processes, std::slice::from_ref(&found));

    assert_eq!(connection.call(&ProcessKillAll { vm: vm.id.clone() }).unwrap(), [found]);
    until("the process is gone", || start_time(first.pid).is_none());
    assert!(connection.call(&ProcessKillAll { vm: vm.id.clone() }).unwrap().is_empty());
    let second = vm.start(&mut connection, Program::VsockBackend, &[]).unwrap();
    assert_ne!(second, first);
}

#[test]
fn eight_starts_at_once_are_one_process() {
    let folder = folder();
    let helper = backend(sleeper(folder.path())).helper(folder.path());
    let vm = Vm::new(folder.path());
    let mut started: Vec<_> = std::thread::scope(|scope| {
        let start = || vm.start(&mut helper.connect(), Program::VsockBackend, &[]).unwrap();
        let threads: Vec<_> = (0..8).map(|_| scope.spawn(start)).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    started.dedup();
    assert_eq!(started.len(), 1, "{started:?}");
}

#[test]
fn a_signal_reaches_the_process_that_was_meant_and_no_other() {
    let folder = folder();
    let helper = backend(sleeper(folder.path())).helper(folder.path());
    let mut connection = helper.connect();
    let (vm, other) = (Vm::new(folder.path()), Vm::new(folder.path()));
    let process = vm.start(&mut connection, Program::VsockBackend, &[]).unwrap();
    let others = other.start(&mut connection, Program::VsockBackend, &[]).unwrap();

    assert!(signal(&mut connection, &vm, process, ProcessSignalKind::Stop));
    until("it is stopped", || state(process) == 'T');
    assert!(signal(&mut connection, &vm, process, ProcessSignalKind::Continue));
    until("it runs", || state(process) == 'S');

    // The number with another start time is a process that got it later.
    let recycled = ProcessIdentity { start_time: process.start_time - 1, ..process };
    assert!(!signal(&mut connection, &vm, recycled, ProcessSignalKind::Kill));
    for pid in [0, u32::MAX, i32::MAX.unsigned_abs()] {
        assert!(!signal(&mut connection, &vm, ProcessIdentity { pid, ..process }, ProcessSignalKind::Kill));
    }
    // Living processes that are not this VM's: another VM's, the test, the helper itself, the host's first.
    let mut strangers = vec![others];
    for pid in [std::process::id(), helper.child.id(), 1] {
        strangers.push(ProcessIdentity { pid, start_time: start_time(pid).unwrap() });
    }
    for process in strangers {
        let request = ProcessSignal { vm: vm.id.clone(), process, signal: ProcessSignalKind::Kill };
        assert_eq!(refusal_kind(connection.call(&request)), ErrorKind::Refused, "{process:?}");
    }
    assert_eq!(connection.call(&InventoryRequest {}).unwrap().processes.len(), 2);

    assert!(signal(&mut connection, &vm, process, ProcessSignalKind::Terminate));
    until("it is gone", || start_time(process.pid).is_none());
    assert!(!signal(&mut connection, &vm, process, ProcessSignalKind::Terminate));
    assert_eq!(start_time(others.pid), Some(others.start_time));
}

#[test]
fn a_program_that_is_missing_or_broken_is_named() {
    let folder = folder();
    let vm = Vm::new(folder.path());
    let broken = folder.path().join("broken");
    std::fs::write(&broken, "no program").unwrap();
    let start = Start { qemu: None, ..backend(broken.clone()) };
    let helper = start.helper(folder.path());
    let mut connection = helper.connect();
    let error = refusal(vm.start(&mut connection, Program::VsockBackend, &[]));
    assert_eq!(error.kind, ErrorKind::OperationFailed);
    assert!(error.message.contains(broken.to_str().unwrap()), "{error}");
    assert!(error.causes.concat().contains("Permission denied"), "{error}");
    assert!(connection.call(&InventoryRequest {}).unwrap().processes.is_empty());

    let boot = File::open(&broken).unwrap();
    let error = refusal(vm.start(&mut connection, Program::Qemu(machine(Vec::new())), &[&boot, &boot]));
    assert_eq!(error.kind, ErrorKind::Unavailable);
    assert!(error.hint.unwrap().contains("apt install qemu-system-x86"));
}

#[test]
fn none_is_started_while_another_that_is_not_found_may_still_be_at_the_disks() {
    let folder = folder();
    let helper = backend(sleeper(folder.path())).helper(folder.path());
    let vm = Vm::new(folder.path());
    let hidden = vm.start(&mut helper.connect(), Program::VsockBackend, &[]).unwrap();
    // A helper in other namespaces does not find it.
    let elsewhere = folder.path().join("elsewhere");
    std::fs::create_dir(&elsewhere).unwrap();
    let other = backend(sleeper(folder.path())).helper(&elsewhere);
    let mut connection = other.connect();
    assert!(connection.call(&InventoryRequest {}).unwrap().processes.is_empty());
    let refused = refusal(vm.start(&mut connection, Program::VsockBackend, &[]));
    assert_eq!(refused.kind, ErrorKind::Refused);
    assert!(refused.hint.unwrap().contains("fuser"));

    assert!(signal(&mut helper.connect(), &vm, hidden, ProcessSignalKind::Kill));
    until("the process is gone", || start_time(hidden.pid).is_none());
    vm.start(&mut connection, Program::VsockBackend, &[]).unwrap();
}

#[test]
fn a_program_in_a_folder_that_is_its_builders_alone_is_run_by_those_who_cannot_reach_it() {
    let folder = folder();
    let private = folder.path().join("private");
    std::fs::create_dir(&private).unwrap();
    std::fs::set_permissions(&private, Permissions::from_mode(0o700)).unwrap();
    let program = private.join("program");
    std::fs::copy("/usr/bin/sleep", &program).unwrap();
    let helper = backend(program).helper(folder.path());
    let vm = Vm::new(folder.path());
    vm.start(&mut helper.connect(), Program::VsockBackend, &[]).unwrap();
    // It was executed: this is what it thinks of arguments that are not meant for it.
    vm.log_with("unrecognized option");
}

#[test]
fn what_a_guest_left_in_the_folder_is_not_followed() {
    let folder = folder();
    let helper = backend(sleeper(folder.path())).helper(folder.path());
    let mut connection = helper.connect();
    let victim = folder.path().join("victim");
    std::fs::write(&victim, "untouched").unwrap();

    let vm = Vm::new(folder.path());
    let log = vm.path.join("vmm.log");
    let mut refused = |what: &str| {
        let kind = refusal_kind(vm.start(&mut connection, Program::VsockBackend, &[]));
        assert_eq!(kind, ErrorKind::Refused, "{what}");
        std::fs::remove_file(&log).unwrap();
    };
    std::os::unix::fs::symlink(&victim, &log).unwrap();
    refused("a symbolic link");
    std::fs::hard_link(&victim, &log).unwrap();
    refused("a second name of another file");
    harness::run("mkfifo", &[log.to_str().unwrap()]);
    refused("a pipe that nobody reads");
    // Who has one moved here has the rights over the folder it was in, and none over the file.
    std::fs::write(&log, "somebody else's").unwrap();
    if is_root() {
        std::os::unix::fs::chown(&log, Some(4321), Some(4321)).unwrap();
        refused("a file of somebody else's");
    } else {
        std::fs::remove_file(&log).unwrap();
    }
    assert_eq!(std::fs::read_to_string(&victim).unwrap(), "untouched");

    // A stale socket's name may be anything: it is removed, never followed.
    std::os::unix::fs::symlink(&victim, vm.path.join("v.sock")).unwrap();
    vm.start(&mut connection, Program::VsockBackend, &[]).unwrap();
    assert!(victim.exists() && !vm.path.join("v.sock").exists());
}

#[test]
fn a_folder_that_is_none_and_descriptors_that_do_not_fit_are_refused() {
    let folder = folder();
    let helper = backend(sleeper(folder.path())).helper(folder.path());
    let mut connection = helper.connect();
    let vm = Vm::new(folder.path());
    let file = File::open("/dev/null").unwrap();
    let too_many = vm.start(&mut connection, Program::VsockBackend, &[&file]);
    assert_eq!(refusal_kind(too_many), ErrorKind::BadRequest);
    let mut no_folder = Vm::new(folder.path());
    no_folder.path = PathBuf::from("/dev/null");
    assert_eq!(
        refusal_kind(no_folder.start(&mut connection, Program::VsockBackend, &[])),
        ErrorKind::Refused
    );
}

fn machine(disks: Vec<Disk>) -> QemuSpec {
    QemuSpec {
        acceleration: Acceleration::Tcg,
        vcpu: 1,
        memory: ByteSize::mib(128),
        kernel_command_line: "a command line, -with commas".to_owned(),
        disks,
        mac: MacAddress([2, 0xfc, 172, 16, 0, 2]),
    }
}

#[test]
fn qemu_gets_its_files_by_their_numbers_and_can_open_kernel_and_initrd_again() {
    let folder = folder();
    let program = script(
        folder.path(),
        "qemu",
        "for f in 3 4; do echo reopened $f $(cat /proc/self/fd/$f); done; \
         echo tap $(readlink /proc/self/fd/5); grep iff: /proc/self/fdinfo/5; echo disk 6 $(cat <&6); \
         (echo x >&6) || echo disk 6 is read-only; \
         for a in \"$@\"; do echo \"argument $a\"; done; echo finished; exec sleep 600",
    );
    let helper = Start { qemu: Some(program), ..Start::default() }.helper(folder.path());
    let mut connection = helper.connect();
    let vm = Vm::new(folder.path());
    let file = |name: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, name).unwrap();
        // What the owner keeps private still boots.
        std::fs::set_permissions(&path, Permissions::from_mode(0o600)).unwrap();
        File::open(path).unwrap()
    };
    let (kernel, initrd, base) = (file("kernel"), file("initrd"), file("base"));
    std::fs::write(vm.path.join("cow.img"), "").unwrap();
    let disks = vec![
        Disk { role: DiskRole::Base, source: DiskSource::Descriptor },
        Disk { role: DiskRole::Cow, source: DiskSource::Folder },
    ];
    let files = [&kernel, &initrd, &base];
    let program = Program::Qemu(machine(disks));

    // Without its tap it does not start.
    connection.call(&NetworkEnsure::default()).unwrap();
    let no_tap = vm.start(&mut connection, program.clone(), &files);
    assert_eq!(refusal_kind(no_tap), ErrorKind::NotFound);
    assert!(helper.link(&vm.id.tap_name()).is_none(), "looking for a tap made one");

    connection.call(&tap(&vm.id, 2)).unwrap();
    vm.start(&mut connection, program, &files).unwrap();
    let log = vm.log_with("finished");
    for line in [
        "reopened 3 kernel",
        "reopened 4 initrd",
        "tap /dev/net/tun",
        &format!("iff:\t{}", vm.id.tap_name()),
        "disk 6 base",
        "disk 6 is read-only",
        "argument a command line, -with commas",
        "argument fd=6,set=6,opaque=base",
    ] {
        assert!(log.lines().any(|found| found == line), "no line `{line}` in:\n{log}");
    }
    if is_root() {
        let uid = std::fs::metadata(vm.path.join("cow.img")).unwrap().uid();
        assert!((0x7000_0000..0x7100_0000).contains(&uid), "the disk belongs to {uid}");
    }
}

#[test]
fn a_machine_that_cannot_be_is_refused_before_anything_starts() {
    let folder = folder();
    let helper = Start { qemu: Some(sleeper(folder.path())), ..Start::default() }.helper(folder.path());
    let mut connection = helper.connect();
    let vm = Vm::new(folder.path());
    let spec = QemuSpec { vcpu: 0, ..machine(Vec::new()) };
    let error = refusal(vm.start(&mut connection, Program::Qemu(spec), &[]));
    assert_eq!(error.kind, ErrorKind::BadRequest, "{error}");
    assert!(!vm.path.join("vmm.log").exists());
}

#[test]
fn a_program_that_executes_itself_over_and_over_is_never_lost() {
    let folder = folder();
    let body = "[ ${N:-0} -lt 2000 ] && N=$((${N:-0} + 1)) exec $0; echo finished; exec sleep 600";
    let helper =
        backend(script(folder.path(), "restless", &format!("export N; {body}"))).helper(folder.path());
    let mut connection = helper.connect();
    let vm = Vm::new(folder.path());
    let process = vm.start(&mut connection, Program::VsockBackend, &[]).unwrap();
    let printed = || std::fs::read_to_string(vm.path.join("vmm.log")).unwrap().contains("finished");
    until("it rests", || {
        let found = connection.call(&InventoryRequest {}).unwrap().processes;
        assert_eq!(found.first().map(|found| found.process), Some(process));
        printed()
    });
}
