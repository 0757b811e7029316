//! The machine as QEMU's arguments; pure.
//!
//! Every name is relative to the VM's folder and the same for every VM, every other file is a descriptor with a
//! fixed number, so two VMs of one shape are started with the same words. Nothing from a request becomes part
//! of an option string except numbers: the kernel command line is an argument of its own.

use crate::disks::{self, DiskError};
use banger_protocol::root_api::{
    Acceleration, CONSOLE_LOG, Disk, DiskSource, GUEST_CID, QemuSpec, VHOST_SOCKET, VMM_EVENTS, VSOCK_SOCKET,
};

/// What QEMU reads in [`VMM_GREETING`](banger_protocol::root_api::VMM_GREETING): before this it tells nothing.
pub(crate) const GREETING: &[u8] = b"{\"execute\":\"qmp_capabilities\"}\n";

/// Descriptor numbers in QEMU, 0 to 2 being the usual ones.
pub(crate) const KERNEL: i32 = 3;
pub(crate) const INITRD: i32 = 4;
pub(crate) const TAP: i32 = 5;
/// The first of the disks that are descriptors; the others follow.
pub(crate) const FIRST_DISK: i32 = 6;

/// x86's limit for a kernel command line (`COMMAND_LINE_SIZE`), its final NUL included.
const COMMAND_LINE_SIZE: usize = 2048;
const LEAST_MEMORY_MIB: u64 = 64;
/// Far above any host's; keeps the number in QEMU's own range.
const MOST_MEMORY_MIB: u64 = 16 << 20;
/// q35's limit without interrupt remapping.
const MOST_VCPUS: u32 = 255;

/// Why a machine cannot be made.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub(crate) enum SpecError {
    #[error("the number of virtual CPUs must be 1 to {MOST_VCPUS}, not {0}")]
    Vcpu(u32),
    #[error(
        "{0} bytes of memory are not a whole number of MiB between {LEAST_MEMORY_MIB} and {MOST_MEMORY_MIB}"
    )]
    Memory(u64),
    #[error("the kernel command line has a NUL byte or more than {} bytes", COMMAND_LINE_SIZE - 1)]
    CommandLine,
    #[error(transparent)]
    Disks(DiskError),
}

pub(crate) fn check(spec: &QemuSpec) -> Result<(), SpecError> {
    if !(1..=MOST_VCPUS).contains(&spec.vcpu) {
        return Err(SpecError::Vcpu(spec.vcpu));
    }
    let bytes = spec.memory.as_bytes();
    let whole = bytes.is_multiple_of(1 << 20);
    if !whole || !(LEAST_MEMORY_MIB..=MOST_MEMORY_MIB).contains(&spec.memory.as_mib()) {
        return Err(SpecError::Memory(bytes));
    }
    let command_line = &spec.kernel_command_line;
    if command_line.len() >= COMMAND_LINE_SIZE || command_line.contains('\0') {
        return Err(SpecError::CommandLine);
    }
    disks::check(&spec.disks).map_err(SpecError::Disks)
}

/// QEMU's arguments for a machine that [`check`] accepted.
pub(crate) fn arguments(spec: &QemuSpec) -> Vec<String> {
    let QemuSpec { acceleration, vcpu, memory, kernel_command_line, disks, mac } = spec;
    let mut line = Line::default();
    line.flag("-nodefaults").flag("-no-user-config").flag("-no-reboot");
    line.option("-display", "none").option("-monitor", "none");
    line.option("-sandbox", "on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny");

    // The vsock backend reads and writes the guest's memory, so it is shared.
    let memory = memory.as_mib();
    line.option("-machine", "q35,memory-backend=memory,usb=off,vmport=off,smm=off");
    line.option("-object", format!("memory-backend-memfd,id=memory,size={memory}M,share=on"));
    line.option("-m", format!("{memory}M")).option("-smp", format!("{vcpu}"));
    match acceleration {
        Acceleration::Kvm => line.option("-accel", "kvm").option("-cpu", "host"),
        Acceleration::Tcg => line.option("-accel", "tcg,thread=multi").option("-cpu", "max"),
    };

    line.option("-kernel", format!("/proc/self/fd/{KERNEL}"));
    line.option("-initrd", format!("/proc/self/fd/{INITRD}"));
    line.option("-append", kernel_command_line.as_str());

    // Appended to, so that what the guest said before a restart stays.
    line.option("-chardev", format!("file,id=console,path={CONSOLE_LOG},append=on"));
    line.option("-serial", "chardev:console");

    // Whether the guest switched itself off or rebooted is told by nothing else. Input and output are plain files,
    // so this is a log and nobody can give an order by it.
    let events = VMM_EVENTS.trim_end_matches(".out");
    line.option("-chardev", format!("pipe,id=events,path={events}"));
    line.option("-mon", "chardev=events,mode=control");

    // Disks before every other device: the guest numbers them by their place on the bus.
    let mut next = FIRST_DISK;
    for disk in disks {
        line.disk(disk, &mut next);
    }

    line.option("-netdev", format!("tap,id=network,fd={TAP}"));
    line.option("-device", format!("virtio-net-pci,netdev=network,mac={mac},romfile="));
    line.option("-chardev", format!("socket,id=vsock,path={VHOST_SOCKET}"));
    line.option("-device", "vhost-user-vsock-pci,chardev=vsock");
    line.option("-device", "virtio-rng-pci");
    line.0
}

/// The arguments of a VM's `vhost-device-vsock`.
pub(crate) fn vsock_backend_arguments() -> Vec<String> {
    let vm = format!("guest-cid={GUEST_CID},socket={VHOST_SOCKET},uds-path={VSOCK_SOCKET}");
    vec!["--vm".to_owned(), vm]
}

#[derive(Debug, Default)]
struct Line(Vec<String>);

impl Line {
    fn flag(&mut self, name: &str) -> &mut Self {
        self.0.push(name.to_owned());
        self
    }

    fn option(&mut self, name: &str, value: impl Into<String>) -> &mut Self {
        self.0.extend([name.to_owned(), value.into()]);
        self
    }

    fn disk(&mut self, disk: &Disk, next: &mut i32) {
        let word = disk.role.as_str();
        let (driver, file) = match disk.source {
            DiskSource::Folder => ("file", disk.role.file_name().to_owned()),
            // QEMU opens a member of the set by duplicating it: no path is looked up, no permission needed.
            DiskSource::Descriptor | DiskSource::Snapshot => {
                let fd = *next;
                *next += 1;
                self.option("-add-fd", format!("fd={fd},set={fd},opaque={word}"));
                let driver = if disk.source == DiskSource::Snapshot { "host_device" } else { "file" };
                (driver, format!("/dev/fdset/{fd}"))
            }
        };
        let writing = if disk.read_only() { "read-only=on" } else { "read-only=off,discard=unmap" };
        self.option(
            "-blockdev",
            format!("driver=raw,node-name={word},{writing},file.driver={driver},file.filename={file}"),
        );
        self.option("-device", format!("virtio-blk-pci,drive={word},serial={word}"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use banger_protocol::root_api::{DiskRole, MacAddress};
    use banger_protocol::size::ByteSize;
    use std::net::Ipv4Addr;

    fn spec() -> QemuSpec {
        let disk = |role, source| Disk { role, source };
        QemuSpec {
            acceleration: Acceleration::Tcg,
            vcpu: 2,
            memory: ByteSize::mib(512),
            kernel_command_line: "console=ttyS0 banger.disks=base,cow,work,modules,config".to_owned(),
            disks: vec![
                disk(DiskRole::Base, DiskSource::Descriptor),
                disk(DiskRole::Cow, DiskSource::Folder),
                disk(DiskRole::Work, DiskSource::Folder),
                disk(DiskRole::Modules, DiskSource::Descriptor),
                disk(DiskRole::Config, DiskSource::Folder),
            ],
            mac: MacAddress::of_guest(Ipv4Addr::new(172, 16, 0, 2)),
        }
    }

    fn shown(spec: &QemuSpec) -> String {
        arguments(spec).join("\n").replace("\n-", "\0-").replace('\n', " ").replace('\0', "\n")
    }

    #[test]
    fn a_machine_under_emulation_has_these_arguments() {
        insta::assert_snapshot!(shown(&spec()));
    }

    #[test]
    fn a_machine_under_kvm_has_the_hosts_processor_and_nothing_else_changes() {
        let emulated = arguments(&spec());
        let accelerated = arguments(&QemuSpec { acceleration: Acceleration::Kvm, ..spec() });
        let differing: Vec<_> = emulated.iter().zip(&accelerated).filter(|(a, b)| a != b).collect();
        assert_eq!(differing.len(), 2, "{differing:?}");
        assert!(accelerated.contains(&"host".to_owned()));
    }

    #[test]
    fn the_backends_sockets_are_named_relative_to_the_folder() {
        assert_eq!(vsock_backend_arguments(), ["--vm", "guest-cid=3,socket=vhost.sock,uds-path=v.sock"]);
    }

    #[test]
    fn a_hostile_command_line_stays_one_argument() {
        let hostile = "x -device evil,id=a\n-add-fd fd=0,set=0".to_owned();
        let line = arguments(&QemuSpec { kernel_command_line: hostile.clone(), ..spec() });
        assert_eq!(line.len(), arguments(&spec()).len());
        assert!(line.contains(&hostile));
    }

    #[test]
    fn machines_that_cannot_be_are_refused() {
        assert_eq!(check(&spec()), Ok(()));
        let memory = |bytes| check(&QemuSpec { memory: ByteSize::bytes(bytes), ..spec() });
        for bytes in [0, 1, (512 << 20) + 1, 1 << 20, u64::MAX, 1 << 60] {
            assert_eq!(memory(bytes), Err(SpecError::Memory(bytes)));
        }
        for vcpu in [0, 256, u32::MAX] {
            assert_eq!(check(&QemuSpec { vcpu, ..spec() }), Err(SpecError::Vcpu(vcpu)));
        }
        for command_line in ["a\0b".to_owned(), "x".repeat(COMMAND_LINE_SIZE)] {
            let refused = check(&QemuSpec { kernel_command_line: command_line, ..spec() });
            assert_eq!(refused, Err(SpecError::CommandLine));
        }
        let mut disks = spec().disks;
        disks.push(disks[0].clone());
        let twice = check(&QemuSpec { disks, ..spec() });
        assert_eq!(twice, Err(SpecError::Disks(DiskError::Twice("base"))));
    }
}
