//! A kernel package made here, and what comes out of it.

use std::collections::BTreeMap;

use ext4_view::Ext4;

use super::compressed::Compression;
use super::compressed::testing::compress;
use super::module::testing::fake;
use super::{BOOT_MODULES, Facts, ImportError, MODULES, VMLINUX, bzimage, import_tar, initrd};
use crate::Watch;
use crate::testing::{Archive, assert_clean, chain, file};

const VERSION: &str = "6.1.0-10-cloud-amd64";

/// An ELF file is all a kernel has to be here.
fn vmlinux() -> Vec<u8> {
    fake(&["kernel"])
}

fn bzimage() -> Vec<u8> {
    bzimage::testing::wrap(&compress(Compression::Zstd, &vmlinux()))
}

fn package() -> Archive {
    let module = |archive: Archive, path: &str, fields: &[&str]| {
        archive.file(&format!("./usr/lib/modules/{VERSION}/kernel/{path}"), &fake(fields))
    };
    let mut archive = Archive::new()
        .symlink("lib", "usr/lib")
        .file(&format!("boot/vmlinuz-{VERSION}"), &bzimage())
        .file("boot/vmlinuz-6.1.0-9-cloud-amd64", b"older")
        .file("boot/config-7.0", b"of another")
        .file(&format!("boot/config-{VERSION}"), b"CONFIG_VETH=m\n")
        .file(&format!("usr/lib/modules/{VERSION}/modules.builtin"), b"kernel/fs/ext4/ext4.ko\n")
        .file(&format!("usr/lib/modules/{VERSION}/modules.builtin.modinfo"), b"ext4.alias=fs-ext4\0")
        .file(
            &format!("usr/lib/modules/{VERSION}/modules.order"),
            b"kernel/virtio_ring.ko\nkernel/virtio.ko\n",
        )
        .symlink(&format!("usr/lib/modules/{VERSION}/build"), "/usr/src/headers")
        .file("usr/lib/modules/5.0/kernel/old.ko", b"not looked at");
    archive = module(archive, "virtio_ring.ko", &["depends="]);
    archive = module(archive, "virtio.ko", &["depends=virtio_ring"]);
    archive = module(archive, "virtio_blk.ko", &["depends=virtio,virtio_ring", "alias=virtio:d00000002v*"]);
    archive = module(archive, "net/virtio_net.ko", &["depends=net-failover", "alias=virtio:d00000001v*"]);
    archive = module(archive, "net/net_failover.ko", &["depends=failover"]);
    archive = module(archive, "net/failover.ko", &["depends="]);
    archive =
        module(archive, "fuse.ko", &["alias=devname:fuse", "alias=char-major-10-229", "softdep=pre: x"]);
    let packed = compress(Compression::Xz, &fake(&["depends=dm-bufio", "alias=a-b[c-d]"]));
    archive.file(&format!("usr/lib/modules/{VERSION}/kernel/dm-snapshot.ko.xz"), &packed).file(
        &format!("usr/lib/modules/{VERSION}/kernel/dm-bufio.ko.gz"),
        &compress(Compression::Gzip, &fake(&["depends="])),
    )
}

fn imported(archive: Archive) -> (tempfile::TempDir, Facts) {
    let folder = tempfile::tempdir().unwrap();
    let facts = import_tar(&file(&archive.bytes()), folder.path(), Watch::none())
        .unwrap_or_else(|error| panic!("{}", chain(&error)));
    (folder, facts)
}

/// Names and contents of concatenated archives, as the kernel would unpack them.
fn unpack(mut bytes: &[u8]) -> BTreeMap<String, (u32, Vec<u8>)> {
    let mut files = BTreeMap::new();
    while !bytes.is_empty() {
        if bytes[..4] == [0; 4] {
            bytes = &bytes[4..];
            continue;
        }
        assert_eq!(&bytes[..6], b"070701");
        let field = |i: usize| {
            let digits = std::str::from_utf8(&bytes[6 + 8 * i..14 + 8 * i]).unwrap();
            u32::from_str_radix(digits, 16).unwrap()
        };
        let (mode, size, name_size) = (field(1), field(6) as usize, field(11) as usize);
        let name = std::str::from_utf8(&bytes[110..110 + name_size - 1]).unwrap().to_owned();
        let start = (110 + name_size).next_multiple_of(4);
        let content = bytes[start..start + size].to_vec();
        bytes = &bytes[(start + size).next_multiple_of(4)..];
        if name != "TRAILER!!!" {
            files.insert(name, (mode, content));
        }
    }
    files
}

#[test]
fn the_newest_kernel_of_a_package_comes_out_as_elf() {
    let (folder, facts) = imported(package());
    assert_eq!((&*facts.version, facts.arch), (VERSION, "x86_64"));
    let written = std::fs::read(folder.path().join(VMLINUX)).unwrap();
    assert_eq!(written, vmlinux());
    assert_eq!(facts.vmlinux, crate::Sha256::of(&written));
    assert_eq!(facts.module_count, 9);
}

#[test]
fn boot_modules_come_in_an_order_in_which_they_load() {
    let (folder, facts) = imported(package());
    let wanted = [
        "virtio_ring",
        "virtio",
        "virtio_blk",
        "failover",
        "net_failover",
        "virtio_net",
        "dm_bufio",
        "dm_snapshot",
    ];
    assert_eq!(facts.boot_modules, wanted);
    assert_eq!(facts.missing, ["vmw_vsock_virtio_transport"]);
    let files = unpack(&std::fs::read(folder.path().join(BOOT_MODULES)).unwrap());
    let list = String::from_utf8(files["banger/modules.list"].1.clone()).unwrap();
    let names: Vec<String> = wanted.iter().enumerate().map(|(i, name)| format!("{i:02}-{name}.ko")).collect();
    assert_eq!(list.lines().collect::<Vec<_>>(), names);
    // The initrd has nothing to unpack modules with.
    assert_eq!(files["banger/modules/07-dm_snapshot.ko"].1, fake(&["depends=dm-bufio", "alias=a-b[c-d]"]));
}

#[test]
fn the_modules_file_system_has_what_modprobe_reads() {
    let (folder, _) = imported(package());
    assert_clean(&folder.path().join(MODULES));
    let fs = Ext4::load_from_path(folder.path().join(MODULES)).unwrap();
    let read = |name: &str| fs.read(&*format!("/{VERSION}/{name}")).unwrap();
    let text = |name: &str| String::from_utf8(read(name)).unwrap();
    assert_eq!(text("config"), "CONFIG_VETH=m\n");
    assert!(
        text("modules.dep").starts_with("kernel/virtio_ring.ko:\nkernel/virtio.ko: kernel/virtio_ring.ko\n")
    );
    let net = "kernel/net/virtio_net.ko: kernel/net/net_failover.ko kernel/net/failover.ko\n";
    assert!(text("modules.dep").contains(net), "{}", text("modules.dep"));
    assert!(text("modules.dep").contains("kernel/dm-snapshot.ko.xz: kernel/dm-bufio.ko.gz\n"));
    assert!(text("modules.alias").contains("alias virtio:d00000002v* virtio_blk\n"));
    assert!(text("modules.alias").contains("alias a-b[c-d] dm_snapshot\n"));
    assert_eq!(text("modules.devname"), "fuse fuse c10:229\n");
    assert_eq!(text("modules.softdep"), "softdep fuse pre: x\n");
    for name in ["dep", "alias", "symbols", "builtin", "builtin.alias"] {
        assert_eq!(read(&format!("modules.{name}.bin"))[..4], [0xb0, 0x07, 0xf4, 0x57], "{name}");
    }
    assert!(!fs.exists(&*format!("/{VERSION}/build")).unwrap());
    assert!(!fs.exists("/5.0").unwrap());
}

#[test]
fn a_kernel_with_everything_built_in_has_no_modules_to_load() {
    let archive = Archive::new()
        .file("boot/vmlinux-6.1", &vmlinux())
        .file("lib/modules/6.1/modules.builtin", b"k/virtio_blk.ko\nk/virtio_net.ko\n");
    let (folder, facts) = imported(archive);
    assert!(facts.boot_modules.is_empty());
    assert_eq!(facts.missing, ["vmw_vsock_virtio_transport"]);
    assert_clean(&folder.path().join(MODULES));
    let (_folder, facts) = imported(Archive::new().file("boot/vmlinux-6.1", &vmlinux()));
    assert_eq!(facts.module_count, 0);
}

#[test]
fn modules_are_found_where_merged_systems_keep_them() {
    let archive = Archive::new()
        .dir("lib", 0o755)
        .file("boot/vmlinux-6.1", &vmlinux())
        .file("usr/lib/modules/6.1/kernel/vsock.ko", &fake(&["depends="]));
    let (folder, facts) = imported(archive);
    assert_eq!(facts.boot_modules, ["vsock"]);
    let fs = Ext4::load_from_path(folder.path().join(MODULES)).unwrap();
    assert!(fs.exists("/6.1/modules.dep.bin").unwrap());
}

#[test]
fn the_same_package_gives_the_same_bytes() {
    let ((first, facts), (second, again)) = (imported(package()), imported(package()));
    assert_eq!(facts, again);
    for file in [VMLINUX, MODULES, BOOT_MODULES] {
        let read = |folder: &tempfile::TempDir| std::fs::read(folder.path().join(file)).unwrap();
        assert!(read(&first) == read(&second), "{file}");
    }
}

#[test]
fn an_initrd_holds_the_program_the_modules_and_a_console() {
    let (folder, _) = imported(package());
    let modules = std::fs::read(folder.path().join(BOOT_MODULES)).unwrap();
    let bytes = initrd(&modules, b"agent");
    let files = unpack(&bytes);
    assert_eq!(files["init"], (0o100_755, b"agent".to_vec()));
    assert_eq!(files["dev/console"].0, 0o020_600);
    for directory in ["dev", "proc", "sys", "run", "newroot"] {
        assert_eq!(files[directory].0, 0o040_755);
    }
    assert!(files.contains_key("banger/modules/00-virtio_ring.ko"));
    assert_eq!(initrd(&modules, b"agent"), bytes);
    assert!(unpack(&initrd(b"", b"agent")).contains_key("init"));
}

#[test]
fn packages_that_cannot_be_used_say_why_and_leave_nothing() {
    let cases = [
        (Archive::new().file("boot/config-6.1", b""), "no kernel"),
        (Archive::new().file("boot/vmlinuz-..", &vmlinux()), "no kernel"),
        (Archive::new().file("boot/vmlinuz-6.1 quiet", &vmlinux()), "no kernel"),
        (
            Archive::new().file("boot/vmlinuz-6.1", b"MZ"),
            "boot/vmlinuz-6.1: neither an ELF file nor a bzImage",
        ),
        (Archive::new().file("boot/vmlinuz-6.1", b"\x7fELF"), "a machine that is not supported"),
        (Archive::new().symlink("boot/vmlinuz-6.1", "../etc/passwd"), "cannot read boot/vmlinuz-6.1"),
        (
            package().file(&format!("lib/../usr/lib/modules/{VERSION}/kernel/x.ko"), b"x"),
            "x.ko of the package is not",
        ),
        (
            package().file(&format!("usr/lib/modules/{VERSION}/x.ko.xz"), b"\xfd7zXZ\0cut"),
            "cannot read x.ko.xz of the package",
        ),
        (package().file("../x", b""), "climbs out"),
    ];
    for (archive, message) in cases {
        let folder = tempfile::tempdir().unwrap();
        let error = import_tar(&file(&archive.bytes()), folder.path(), Watch::none()).unwrap_err();
        assert!(chain(&error).contains(message), "{}", chain(&error));
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
    }
}

#[test]
fn a_cancelled_import_leaves_nothing() {
    use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
    for step in 0.. {
        let folder = tempfile::tempdir().unwrap();
        let (steps, cancelled) = (AtomicU64::new(0), AtomicBool::new(false));
        let report = |_| {
            cancelled.fetch_or(steps.fetch_add(1, Ordering::Relaxed) == step, Ordering::Relaxed);
        };
        match import_tar(&file(&package().bytes()), folder.path(), Watch::new(&report, &cancelled)) {
            Err(ImportError::Cancelled) => assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0),
            Err(error) => panic!("{}", chain(&error)),
            Ok(_) => {
                assert!(step > 5, "only {step} steps");
                break;
            }
        }
    }
}
