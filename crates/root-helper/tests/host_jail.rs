//! Firecracker under its jailer, started by the installed helper: the real programs, on a host's KVM.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on panics")]

mod harness;
#[allow(dead_code, reason = "this guest stands still")]
#[path = "../../firecracker/tests/fakes_contract/kernel.rs"]
mod kernel;

use banger_protocol::ids::VmId;
use banger_protocol::root_api::{
    Disk, DiskRole, DiskSource, FirecrackerFiles, FirecrackerSpec, MacAddress, NetworkEnsure,
    ProcessIdentity, ProcessKillAll, ProcessSignal, ProcessSignalKind, ProcessStart, Program, Role,
    TapCreate, TapDelete,
};
use banger_protocol::size::ByteSize;
use banger_protocol::wire::{Connection, ConnectionError, ErrorKind};
use harness::installed::{self, Installed, OWNER, as_user, reading};
use harness::{refusal_kind, run, start_time, until};
use std::fs::Permissions;
use std::io::{Read as _, Write as _};
use std::net::Ipv4Addr;
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::os::unix::net::UnixStream;
use std::path::Path;

const MIB: u64 = 128;

fn spec() -> FirecrackerSpec {
    let disk = |role, source| Disk { role, source };
    FirecrackerSpec {
        vcpu: 1,
        memory: ByteSize::mib(MIB),
        disks: vec![
            disk(DiskRole::Root, DiskSource::Snapshot),
            disk(DiskRole::Work, DiskSource::Folder),
            disk(DiskRole::Modules, DiskSource::Descriptor),
        ],
    }
}

/// Kernel, initrd and modules, the owner's.
fn files(installed: &Installed) -> [std::path::PathBuf; 3] {
    ["vmlinux", "initrd", "modules"].map(|name| {
        let path = installed.state.join(name);
        let bytes = if name == "vmlinux" { kernel::elf(kernel::Then::Stands) } else { vec![7; 4096] };
        installed.as_owner(|| {
            std::fs::write(&path, bytes).unwrap();
            std::fs::set_permissions(&path, Permissions::from_mode(0o644)).unwrap();
        });
        path
    })
}

fn start(
    connection: &mut Connection,
    vm: &installed::Disk,
    files: &[std::path::PathBuf],
) -> Result<ProcessIdentity, ConnectionError> {
    let opened: Vec<OwnedFd> =
        as_user(OWNER, || std::iter::once(&vm.folder).chain(files).map(|path| reading(path)).collect());
    let descriptors: Vec<_> = opened.iter().map(|file| file.as_fd()).collect();
    let request = ProcessStart { vm: vm.vm.clone(), program: Program::Firecracker(spec()) };
    connection.call_with(&request, &descriptors, |_| {}).map(|(process, _)| process)
}

/// One request of the owner's to Firecracker; the answer's status and everything behind it.
fn ask(vm: &installed::Disk, method: &str, path: &str, body: &str) -> (u16, String) {
    let socket = vm.folder.join("api.sock");
    as_user(OWNER, || {
        let mut stream = UnixStream::connect(&socket).unwrap();
        let length = body.len();
        write!(stream, "{method} {path} HTTP/1.1\r\nContent-Length: {length}\r\n\r\n{body}").unwrap();
        let mut answer = Vec::new();
        let mut bytes = [0; 4096];
        while !answer.windows(4).any(|end| end == b"\r\n\r\n") {
            let length = stream.read(&mut bytes).unwrap();
            assert_ne!(length, 0, "no answer to {method} {path}");
            answer.extend(&bytes[..length]);
        }
        let text = String::from_utf8(answer).unwrap();
        (text.split(' ').nth(1).unwrap().parse().unwrap(), text)
    })
}

fn put(vm: &installed::Disk, path: &str, body: &str) {
    let (status, text) = ask(vm, "PUT", path, body);
    assert_eq!(status, 204, "{path}: {text}");
}

fn is_up(vm: &installed::Disk) {
    let socket = vm.folder.join("api.sock");
    until("Firecracker listens", || as_user(OWNER, || UnixStream::connect(&socket)).is_ok());
}

fn status(process: ProcessIdentity, field: &str) -> String {
    let status = std::fs::read_to_string(format!("/proc/{}/status", process.pid)).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix(field)).unwrap();
    line.trim_start_matches(':').trim().to_owned()
}

fn cgroup(process: ProcessIdentity) -> String {
    std::fs::read_to_string(format!("/proc/{}/cgroup", process.pid)).unwrap().trim().to_owned()
}

/// A VM whose disk and tap are there and whose Firecracker listens.
fn jailed(installed: &mut Installed, connection: &mut Connection) -> (installed::Disk, ProcessIdentity) {
    let image = installed.state.join("rootfs.ext4");
    if !image.exists() {
        installed.image("rootfs.ext4", 4);
    }
    let vm = installed.vm(&image);
    installed.as_owner(|| std::fs::write(vm.folder.join("work.img"), [0; 4096]).unwrap());
    vm.create(connection).unwrap();
    let process = start(connection, &vm, &files(installed)).unwrap();
    is_up(&vm);
    (vm, process)
}

/// From the last six digits of its id, in the range of the install file.
fn uid_of(vm: &VmId) -> u32 {
    let (first, last) = installed::VM_UIDS.split_once('-').unwrap();
    let (first, last): (u32, u32) = (first.parse().unwrap(), last.parse().unwrap());
    first + u32::from_str_radix(&vm.as_str()[6..], 16).unwrap() % (last - first + 1)
}

#[test]
fn a_jailed_firecracker_runs_a_guest_on_what_it_was_given_and_has_nothing_else() {
    let mut installed = Installed::start("jail");
    let mut connection = installed.connect();
    connection.call(&NetworkEnsure::default()).unwrap();
    let address = Ipv4Addr::new(172, 16, 0, 77);
    let (vm, process) = jailed(&mut installed, &mut connection);
    connection.call(&TapCreate { vm: vm.vm.clone(), address, nat: false }).unwrap();

    // Each of these makes Firecracker open what it names.
    let [root, work, modules] = FirecrackerFiles::of_disks(&spec().disks).try_into().unwrap();
    let [kernel, initrd] =
        [FirecrackerFiles::KERNEL, FirecrackerFiles::INITRD].map(FirecrackerFiles::descriptor);
    put(&vm, "/machine-config", &format!(r#"{{"vcpu_count":1,"mem_size_mib":{MIB}}}"#));
    let boot =
        format!(r#"{{"kernel_image_path":"{kernel}","initrd_path":"{initrd}","boot_args":"in a jail"}}"#);
    put(&vm, "/boot-source", &boot);
    for (name, path, read_only) in [("root", root, false), ("work", work, false), ("modules", modules, true)]
    {
        let drive = format!(
            r#"{{"drive_id":"{name}","path_on_host":"{path}","is_root_device":false,"is_read_only":{read_only}}}"#
        );
        put(&vm, &format!("/drives/{name}"), &drive);
    }
    let (tap, mac) = (vm.vm.tap_name(), MacAddress::of_guest(address));
    let network = format!(r#"{{"iface_id":"eth0","host_dev_name":"{tap}","guest_mac":"{mac}"}}"#);
    put(&vm, "/network-interfaces/eth0", &network);
    let socket = FirecrackerFiles::in_folder("v.sock");
    put(&vm, "/vsock", &format!(r#"{{"guest_cid":3,"uds_path":"{socket}"}}"#));
    put(&vm, "/actions", r#"{"action_type":"InstanceStart"}"#);
    let console = vm.folder.join("console.log");
    until("the guest has said which command line it has", || {
        as_user(OWNER, || std::fs::read_to_string(&console).unwrap()).contains("fake guest: in a jail")
    });
    installed.as_owner(|| UnixStream::connect(vm.folder.join("v.sock")).unwrap());

    let uid = uid_of(&vm.vm).to_string();
    assert!(status(process, "Uid").split('\t').all(|id| id == uid), "{}", status(process, "Uid"));
    assert!(status(process, "Gid").split('\t').all(|id| id == uid), "{}", status(process, "Gid"));
    assert_eq!(status(process, "Groups"), "");
    for set in ["CapInh", "CapPrm", "CapEff", "CapAmb"] {
        assert_eq!(status(process, set), "0000000000000000", "{set}");
    }
    assert_eq!(status(process, "NoNewPrivs"), "1");
    for thread in std::fs::read_dir(format!("/proc/{}/task", process.pid)).unwrap() {
        let thread = std::fs::read_to_string(thread.unwrap().path().join("status")).unwrap();
        assert!(thread.lines().any(|line| line == "Seccomp:\t2"), "a thread without a filter: {thread}");
    }
    let root = format!("/proc/{}/root", process.pid);
    let there: std::collections::BTreeSet<String> = run("ls", &["-A", &root])
        .stdout
        .split(|&byte| byte == b'\n')
        .filter(|line| !line.is_empty())
        .map(|line| String::from_utf8(line.to_vec()).unwrap())
        .collect();
    let expected =
        ["dev", "firecracker", "firecracker.pid", "root.disk", "run", "shared", "vm"].map(str::to_owned);
    assert_eq!(there, expected.into_iter().collect());
    let mounts = std::fs::read_to_string(format!("/proc/{}/mounts", process.pid)).unwrap();
    for line in mounts.lines().filter(|line| line.contains(" /shared/")) {
        assert!(line.contains(" ro,nosuid,nodev,noexec"), "{line}");
    }
    let own = mounts.lines().find(|line| line.contains(" /vm ")).unwrap();
    assert!(own.contains("nosuid,nodev,noexec"), "{own}");
    assert_eq!(mounts.lines().count(), 5, "its root, its folder and three files: {mounts}");

    // systemd counts it apart from the helper.
    let scope = format!("banger-{}-vmm.scope", vm.vm);
    assert_eq!(cgroup(process), format!("0::/banger.slice/{scope}"));
    let shown =
        run("systemctl", &["show", &scope, "-p", "MemoryMax", "-p", "CPUQuotaPerSecUSec", "-p", "TasksMax"]);
    let shown = String::from_utf8(shown.stdout).unwrap();
    let memory = (MIB + MIB / 16 + 192) << 20;
    for line in [format!("MemoryMax={memory}"), "CPUQuotaPerSecUSec=2s".to_owned(), "TasksMax=97".to_owned()]
    {
        assert!(shown.lines().any(|found| found == line), "no {line} in {shown}");
    }

    let found = installed.inventory().processes;
    assert!(found.iter().any(|one| one.vm == vm.vm && one.role == Role::Vmm && one.process == process));
    assert_eq!(start(&mut connection, &vm, &files(&installed)).unwrap(), process, "twice is once");

    // Of another helper it is the same VM.
    installed.crash_and_restart();
    let mut connection = installed.connect();
    assert_eq!(start_time(process.pid), Some(process.start_time));
    assert!(installed.inventory().processes.iter().any(|one| one.process == process));
    assert_eq!(ask(&vm, "GET", "/", "").0, 200);

    assert_eq!(refusal_kind(vm.delete(&mut connection)), ErrorKind::OperationFailed, "its VMM has the disk");
    connection.call(&ProcessKillAll { vm: vm.vm.clone() }).unwrap();
    until("it has ended", || start_time(process.pid).is_none());
    assert!(vm.delete(&mut connection).unwrap());
    assert!(connection.call(&TapDelete { vm: vm.vm.clone() }).unwrap().changed);
    until("systemd has forgotten its scope", || {
        !String::from_utf8(run("systemctl", &["list-units", "--all", "--plain"]).stdout)
            .unwrap()
            .contains(&scope)
    });
    for name in ["firecracker", vm.vm.as_str()] {
        assert!(!Path::new("/sys").join(name).exists(), "the jail is nowhere on the host");
    }
    // And the owner can remove what the VM left.
    installed.as_owner(|| std::fs::remove_dir_all(&vm.folder).unwrap());
}

#[test]
fn a_vm_that_takes_more_than_it_was_given_is_ended_and_nobody_else() {
    let mut installed = Installed::start("greedy");
    let mut connection = installed.connect();
    let (vm, process) = jailed(&mut installed, &mut connection);
    let (_other, bystander) = jailed(&mut installed, &mut connection);
    // As if the VMM had been told of far less: what it has by now is too much.
    let scope = format!("/sys/fs/cgroup/banger.slice/banger-{}-vmm.scope/memory.max", vm.vm);
    assert!(std::fs::metadata(&scope).unwrap().uid() == 0);
    std::fs::write(&scope, "4096").unwrap();
    std::thread::scope(|threads| {
        threads.spawn(|| {
            let _ = std::panic::catch_unwind(|| {
                ask(&vm, "PUT", "/machine-config", r#"{"vcpu_count":1,"mem_size_mib":128}"#)
            });
        });
    });
    until("it has ended", || start_time(process.pid).is_none());
    assert_eq!(start_time(bystander.pid), Some(bystander.start_time));
    until("its scope is gone", || !Path::new(&scope).exists());
    assert!(start(&mut connection, &vm, &files(&installed)).is_ok(), "its name can be used again");
}

/// Every process of a VM or on its way to become one: those of VMs' users, and copies of the helper but for itself.
fn beginnings(helper: u32) -> Vec<u32> {
    let (first, last) = installed::VM_UIDS.split_once('-').unwrap();
    let uids: std::ops::RangeInclusive<u32> = first.parse().unwrap()..=last.parse().unwrap();
    let pids = std::fs::read_dir("/proc")
        .unwrap()
        .filter_map(|entry| entry.unwrap().file_name().to_str()?.parse().ok());
    let is_one = |pid: &u32| {
        let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
        let field = |name: &str| {
            status.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_default().trim().to_owned()
        };
        let uid = field("Uid:").split_ascii_whitespace().next().and_then(|uid| uid.parse().ok());
        let is_copy = field("Name:") == "bangerd-root" && *pid != helper && !field("State:").starts_with('Z');
        is_copy || uid.is_some_and(|uid| uids.contains(&uid))
    };
    pids.filter(is_one).collect()
}

#[test]
fn a_helper_killed_while_it_starts_a_vm_leaves_one_that_can_be_ended_or_none() {
    let mut installed = Installed::start("begun");
    let image = installed.image("rootfs.ext4", 4);
    let files = files(&installed);
    let device = |name: &str| installed::device_mapper_names().iter().any(|(found, _)| found == name);
    for milliseconds in [0, 2, 5, 10, 20, 40, 80, 160, 320] {
        let vm = installed.vm(&image);
        installed.as_owner(|| std::fs::write(vm.folder.join("work.img"), [0; 4096]).unwrap());
        let mut connection = installed.connect();
        vm.create(&mut connection).unwrap();
        let pid = rustix::process::Pid::from_raw(i32::try_from(installed.pid()).unwrap()).unwrap();
        std::thread::scope(|threads| {
            let (vm, files) = (&vm, &files);
            threads.spawn(move || start(&mut connection, vm, files));
            std::thread::park_timeout(std::time::Duration::from_millis(milliseconds));
            rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
        });
        installed.crash_and_restart();
        let mut connection = installed.connect();
        connection.call(&ProcessKillAll { vm: vm.vm.clone() }).unwrap();
        until("nothing of it runs", || beginnings(installed.pid()).is_empty());
        vm.delete(&mut connection).unwrap();
        assert!(!device(&vm.vm.device_name()), "{milliseconds} ms");
        let scope = format!("/sys/fs/cgroup/banger.slice/banger-{}-vmm.scope", vm.vm);
        until("its scope is gone", || !Path::new(&scope).exists());
    }
}

#[test]
fn a_process_with_the_marks_of_a_vm_and_without_its_scope_is_nobody_to_the_helper() {
    let installed = Installed::start("marks");
    let vm = VmId::random();
    let mark = [format!("BANGER_VM={vm}"), "BANGER_ROLE=vmm".to_owned()];
    let words: Vec<_> = mark.iter().map(String::as_str).chain(["sleep", "60"]).collect();
    #[expect(clippy::disallowed_methods, reason = "a foreign process of the test's own")]
    let mut foreign = std::process::Command::new("env").args(words).spawn().unwrap();
    let process = ProcessIdentity { pid: foreign.id(), start_time: start_time(foreign.id()).unwrap() };
    let mut connection = installed.connect();
    assert_eq!(connection.call(&ProcessKillAll { vm: vm.clone() }).unwrap(), []);
    for signal in [ProcessSignalKind::Kill, ProcessSignalKind::Stop] {
        let refused = connection.call(&ProcessSignal { vm: vm.clone(), process, signal });
        assert_eq!(refusal_kind(refused), ErrorKind::Refused);
    }
    assert_eq!(start_time(process.pid), Some(process.start_time));
    foreign.kill().unwrap();
    foreign.wait().unwrap();
}
