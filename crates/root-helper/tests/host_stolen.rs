//! Somebody has taken over the owner's daemon and with it the helper's socket. What they try here, with the owner's rights
//! and no others, comes to nothing; `docs/security.md` has the list.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on panics")]

mod harness;

use banger_protocol::ids::VmId;
use banger_protocol::root_api::{
    Disk, DiskRole, DiskSource, FirecrackerSpec, InventoryRequest, ProcessIdentity, ProcessSignal,
    ProcessSignalKind, ProcessStart, Program, SnapshotCreate, SnapshotDelete, Version, changes_size,
};
use banger_protocol::size::ByteSize;
use banger_protocol::wire::{Connection, ErrorKind, Incoming, parse_incoming};
use harness::installed::{Disk as Vm, Installed, OWNER, as_user, both, device_mapper_names, reading};
use harness::{hostile, refusal_kind, run, start_time};
use rustix::fs::{Mode, OFlags};
use std::fs::{File, Permissions};
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, chown, symlink};
use std::os::unix::net::UnixStream;
use std::path::Path;

const STRANGER: u32 = 4321;

/// A descriptor that only names a file, for which nobody needs a right to it.
fn naming(path: &Path) -> OwnedFd {
    rustix::fs::open(path, OFlags::PATH, Mode::empty()).unwrap()
}

/// What becomes of asking for a disk of these files.
fn disk_of(connection: &mut Connection, vm: &VmId, files: [OwnedFd; 2]) -> ErrorKind {
    let files = files.each_ref().map(|file| file.as_fd());
    let asked = connection.call_with(&SnapshotCreate { vm: vm.clone() }, &files, |_| {});
    refusal_kind(asked)
}

fn firecracker(source: DiskSource) -> Program {
    let disks = vec![Disk { role: DiskRole::Work, source }];
    Program::Firecracker(FirecrackerSpec { vcpu: 1, memory: ByteSize::mib(128), disks })
}

fn start(connection: &mut Connection, vm: &VmId, descriptors: &[OwnedFd], source: DiskSource) -> ErrorKind {
    let descriptors: Vec<_> = descriptors.iter().map(|file| file.as_fd()).collect();
    let request = ProcessStart { vm: vm.clone(), program: firecracker(source) };
    refusal_kind(connection.call_with(&request, &descriptors, |_| {}))
}

/// A folder, a kernel and an initrd that are in order.
fn in_order(installed: &Installed, vm: &Vm) -> [OwnedFd; 3] {
    installed.as_owner(|| {
        std::fs::write(vm.folder.join("work.img"), [0; 512]).unwrap();
        [reading(&vm.folder), reading(&vm.image), reading(&vm.image)]
    })
}

#[test]
fn a_file_that_is_not_the_owners_or_not_open_for_it_becomes_no_disk() {
    let mut installed = Installed::start("disks");
    let image = installed.image("rootfs.ext4", 1);
    let vm = installed.vm(&image);
    let strangers = installed.state.join("strangers");
    std::fs::write(&strangers, vec![0; 1 << 20]).unwrap();
    std::fs::set_permissions(&strangers, Permissions::from_mode(0o666)).unwrap();
    File::options().write(true).open(&strangers).unwrap().set_len(changes_size(1 << 20)).unwrap();
    chown(&strangers, Some(STRANGER), Some(STRANGER)).unwrap();
    let mut connection = installed.as_owner(|| installed.connect());
    let mut refused = |what: &str, files: &(dyn Fn() -> [OwnedFd; 2] + Sync)| {
        let files = as_user(OWNER, files);
        assert_eq!(disk_of(&mut connection, &vm.vm, files), ErrorKind::Refused, "{what}");
    };
    let changes = vm.changes();
    let shadow = Path::new("/etc/shadow");
    refused("root's secrets for an image", &|| [naming(shadow), both(&changes)]);
    refused("root's secrets for changes", &|| [reading(&image), naming(shadow)]);
    refused("a stranger's file for an image", &|| [reading(&strangers), both(&changes)]);
    refused("a stranger's file for changes", &|| [reading(&image), both(&strangers)]);
    refused("root's file for changes", &|| [reading(&image), reading(Path::new("/etc/passwd"))]);
    refused("changes that may only be read", &|| [reading(&image), reading(&changes)]);
    refused("an image that is only named", &|| [naming(&image), both(&changes)]);
    refused("a device for an image", &|| [reading(Path::new("/dev/zero")), both(&changes)]);
    refused("a device for changes", &|| [reading(&image), both(Path::new("/dev/null"))]);
    refused("a folder for an image", &|| [reading(Path::new("/etc")), both(&changes)]);
    refused("one file for both", &|| [reading(&changes), both(&changes)]);
    assert_eq!(vm.device(), None);
    assert!(!installed.inventory().loops.iter().any(|one| one.vm.as_ref() == Some(&vm.vm)));
}

#[test]
fn a_disk_that_somebody_has_already_is_given_to_nobody_else() {
    let mut installed = Installed::start("taken");
    let image = installed.image("rootfs.ext4", 1);
    let (first, second) = (installed.vm(&image), installed.vm(&image));
    let mut connection = installed.as_owner(|| installed.connect());
    first.create(&mut connection).unwrap();
    let files = installed.as_owner(|| [reading(&image), both(&first.changes())]);
    assert_eq!(disk_of(&mut connection, &second.vm, files), ErrorKind::Refused, "another VM's changes");
    let small = installed.image("small", 1);
    let bigger = installed.state.join("bigger");
    installed.as_owner(|| File::create(&bigger).unwrap().set_len(changes_size(64 << 20)).unwrap());
    let files = installed.as_owner(|| [reading(&first.changes()), both(&bigger)]);
    assert_eq!(
        disk_of(&mut connection, &second.vm, files),
        ErrorKind::Refused,
        "another VM's changes, to be read"
    );
    let files = installed.as_owner(|| [reading(&small), both(&second.changes())]);
    assert_eq!(
        disk_of(&mut connection, &first.vm, files),
        ErrorKind::Refused,
        "another disk for the same VM"
    );
    // What is too small for what may have to be written to it would take the root file system with it.
    let tiny = installed.state.join("tiny");
    installed.as_owner(|| File::create(&tiny).unwrap().set_len(1 << 20).unwrap());
    let files = installed.as_owner(|| [reading(&image), both(&tiny)]);
    assert_eq!(disk_of(&mut connection, &second.vm, files), ErrorKind::BadRequest);
    assert_eq!(second.device(), None);
}

#[test]
fn a_device_of_the_same_name_that_is_somebody_elses_is_neither_used_nor_removed() {
    let mut installed = Installed::start("foreign");
    let image = installed.image("rootfs.ext4", 1);
    let vm = installed.vm(&image);
    let name = vm.vm.device_name();
    let made = run("dmsetup", &["create", &name, "--table", "0 8 zero"]);
    assert!(made.status.success(), "{made:?}");
    let mut connection = installed.as_owner(|| installed.connect());
    assert_eq!(refusal_kind(vm.create(&mut connection)), ErrorKind::Refused);
    let removed = connection.call(&SnapshotDelete { vm: vm.vm.clone() });
    assert_eq!(refusal_kind(removed), ErrorKind::Refused);
    assert!(device_mapper_names().iter().any(|(found, _)| *found == name));
    assert!(!installed.inventory().snapshots.contains(&vm.vm));
    run("dmsetup", &["remove", "--retry", &name]);
}

#[test]
fn a_loop_device_of_somebody_else_on_the_same_image_is_not_built_upon() {
    let mut installed = Installed::start("loops");
    let image = installed.image("rootfs.ext4", 1);
    let vm = installed.vm(&image);
    let shown = run("losetup", &["--show", "-f", image.to_str().unwrap()]);
    let foreign = String::from_utf8(shown.stdout).unwrap().trim().to_owned();
    let mut connection = installed.as_owner(|| installed.connect());
    assert_eq!(
        refusal_kind(vm.create(&mut connection)),
        ErrorKind::Refused,
        "somebody may write to the image"
    );
    run("losetup", &["-d", &foreign]);
    let shown = run("losetup", &["--show", "-r", "-f", image.to_str().unwrap()]);
    let foreign = String::from_utf8(shown.stdout).unwrap().trim().to_owned();
    assert!(vm.create(&mut connection).unwrap());
    let table = String::from_utf8(run("dmsetup", &["table", &vm.vm.device_name()]).stdout).unwrap();
    let number = foreign.trim_start_matches("/dev/loop");
    assert!(!table.contains(&format!("7:{number} ")), "{table} is built on {foreign}");
    vm.delete(&mut connection).unwrap();
    run("losetup", &["-d", &foreign]);
}

#[test]
fn no_process_but_a_vms_is_signalled_whoever_it_is() {
    let installed = Installed::start("signals");
    let mut connection = installed.as_owner(|| installed.connect());
    let vm = VmId::random();
    for pid in [1, installed.pid(), std::process::id()] {
        let process = ProcessIdentity { pid, start_time: start_time(pid).unwrap() };
        for signal in [ProcessSignalKind::Stop, ProcessSignalKind::Terminate, ProcessSignalKind::Kill] {
            let asked = connection.call(&ProcessSignal { vm: vm.clone(), process, signal });
            assert_eq!(refusal_kind(asked), ErrorKind::Refused, "{pid}");
        }
    }
}

#[test]
fn a_folder_or_file_that_is_not_the_owners_becomes_no_vms() {
    let mut installed = Installed::start("folders");
    let image = installed.image("rootfs.ext4", 1);
    let vm = installed.vm(&image);
    let mut connection = installed.as_owner(|| installed.connect());
    let mut refused = |what: &str, descriptors: &[OwnedFd], source| {
        assert_eq!(start(&mut connection, &vm.vm, descriptors, source), ErrorKind::Refused, "{what}");
    };
    let with_folder = |path: &Path| {
        let [_, kernel, initrd] = in_order(&installed, &vm);
        [as_user(OWNER, || naming(path)), kernel, initrd]
    };
    for path in ["/root", "/etc", "/tmp", "/etc/shadow", "/dev/null"] {
        let before = std::fs::metadata(path).unwrap();
        refused(path, &with_folder(Path::new(path)), DiskSource::Folder);
        let after = std::fs::metadata(path).unwrap();
        assert_eq!(
            (after.uid(), after.gid(), after.mode()),
            (before.uid(), before.gid(), before.mode()),
            "{path}"
        );
    }
    let with_kernel = |path: &Path| {
        let [folder, _, initrd] = in_order(&installed, &vm);
        [folder, as_user(OWNER, || naming(path)), initrd]
    };
    refused("root's secrets for a kernel", &with_kernel(Path::new("/etc/shadow")), DiskSource::Folder);
    refused("a kernel that is only named", &with_kernel(&image), DiskSource::Folder);
    refused("a device for a kernel", &with_kernel(Path::new("/dev/kmsg")), DiskSource::Folder);
    let closed = installed.state.join("closed");
    let with_closed = installed.as_owner(|| {
        std::fs::write(&closed, "x").unwrap();
        std::fs::set_permissions(&closed, Permissions::from_mode(0o600)).unwrap();
        [reading(&vm.folder), reading(&closed), reading(&image)]
    });
    refused("a kernel that is not open to all", &with_closed, DiskSource::Folder);

    // What root wrote into a folder of the owner's, the owner can call by any name.
    let work = vm.folder.join("work.img");
    for (what, plant) in [
        ("root's file", &(|| std::fs::write(&work, "root's").unwrap()) as &dyn Fn()),
        ("a second name of root's file", &|| {
            std::fs::write(installed.state.join("roots"), "root's").unwrap();
            std::fs::hard_link(installed.state.join("roots"), &work).unwrap();
        }),
        ("a link to root's secrets", &|| symlink("/etc/shadow", &work).unwrap()),
        ("a link to the owner's own", &|| symlink(&image, &work).unwrap()),
    ] {
        let descriptors = in_order(&installed, &vm);
        std::fs::remove_file(&work).unwrap();
        let _ = std::fs::remove_file(installed.state.join("roots"));
        plant();
        refused(what, &descriptors, DiskSource::Folder);
        let target = std::fs::symlink_metadata(&work).unwrap();
        assert_eq!(target.uid(), 0, "{what}");
        std::fs::remove_file(&work).unwrap();
    }
    assert_eq!(std::fs::metadata("/etc/shadow").unwrap().uid(), 0);
    assert_eq!(
        connection.call(&InventoryRequest {}).unwrap().processes.iter().find(|one| one.vm == vm.vm),
        None
    );
}

#[test]
fn nobody_but_root_and_the_owner_is_listened_to() {
    let installed = Installed::start("door");
    // Past the socket's own mode, which would keep them out already.
    std::fs::set_permissions(&installed.socket, Permissions::from_mode(0o666)).unwrap();
    let greet = |uid| {
        as_user(uid, || {
            let mut connection = Connection::new(UnixStream::connect(&installed.socket).unwrap());
            connection.call(&Version { protocol: banger_protocol::PROTOCOL_VERSION, operation: None })
        })
    };
    for stranger in [STRANGER, 65534, 0x7000_0000, 0x7000_002a, OWNER + 1] {
        // Without a word from them.
        let answer = as_user(stranger, || {
            Connection::new(UnixStream::connect(&installed.socket).unwrap()).read_line().unwrap().unwrap()
        });
        match parse_incoming(&answer.bytes) {
            Ok(Incoming::Response { outcome: Err(error), .. }) => {
                assert_eq!(error.kind, ErrorKind::Unauthorized, "{stranger}");
            }
            other => panic!("{stranger} was not refused: {other:?}"),
        }
    }
    assert!(greet(OWNER).is_ok());
    assert!(greet(0).is_ok());
}

#[test]
fn no_request_with_anything_wrong_in_it_changes_anything_on_the_host() {
    let installed = Installed::start("hostile");
    let connect = || installed.as_owner(|| installed.connect());
    let tried = hostile::try_everything(&connect, &|| hostile::inventory(connect()));
    assert!(tried >= 200, "only {tried} cases");
}
