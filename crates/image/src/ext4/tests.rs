//! What is written is read back by another implementation, and judged by e2fsck.

use std::fs::File;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use ext4_view::Ext4;
use tar::EntryType;

use super::{Ext4Writer, Inodes, Options, WriteError, Written};
use crate::layer::Layer;
use crate::testing::{Archive, assert_clean, chain, run, tree};
use crate::tree::Tree;
use crate::{Progress, Stage, Watch};

const MIB: u64 = 1 << 20;
/// The same, for content in memory.
const MIB_LEN: usize = 1 << 20;

fn options(size: u64) -> Options {
    Options { size, label: Some("test".to_owned()), uuid: None, inodes: Inodes::Growing }
}

fn write_to(image: &Path, layers: &[Layer], options: &Options) -> Result<Written, WriteError> {
    let tree = tree(layers).unwrap();
    let file = File::create_new(image).unwrap();
    Ext4Writer::new(&tree, layers, Tree::ROOT).write(&file, options, Watch::none())
}

/// Writes, checks and keeps the file system of one archive.
fn image(archive: Archive) -> (tempfile::TempDir, std::path::PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("image");
    write_to(&path, &[archive.layer()], &options(64 * MIB)).unwrap();
    assert_clean(&path);
    (folder, path)
}

fn debugfs(image: &Path, request: &str) -> String {
    run("debugfs", &["-R", request], image).1
}

#[test]
fn every_kind_of_file_is_read_back_as_it_was_given() {
    let big: Vec<u8> = (0..=250).cycle().take(5 * MIB_LEN).collect();
    let long_target = "t/".repeat(2000);
    let (_folder, path) = image(
        Archive::new()
            .dir("./", 0o751)
            .raw(EntryType::Regular, b"su", b"", 0o6755, b"program")
            .link("su2", "su")
            .pax(&[("uid", b"4000000000"), ("gid", b"70000"), ("mtime", b"1700000000.123456789")])
            .file("dir/big", &big)
            .file("empty", b"")
            .symlink("short", "/usr/bin/../x")
            .pax(&[("linkpath", long_target.as_bytes())])
            .symlink("long", "x")
            .raw(EntryType::Fifo, b"fifo", b"", 0o622, b"")
            .header(
                |header| {
                    header.set_path("device").unwrap();
                    header.set_entry_type(EntryType::Block);
                    header.set_mode(0o660);
                    header.set_device_major(253).unwrap();
                    header.set_device_minor(70_000).unwrap();
                },
                b"",
            ),
    );
    let fs = Ext4::load_from_path(&path).unwrap();
    assert_eq!(fs.read("/dir/big").unwrap(), big);
    assert_eq!(fs.read("/empty").unwrap(), b"");
    assert_eq!(fs.read("/su2").unwrap(), b"program");
    assert_eq!(fs.metadata("/su").unwrap().mode(), 0o6755);
    assert_eq!(fs.metadata("/").unwrap().mode(), 0o751);
    assert_eq!(fs.read_link("/short").unwrap().to_str().unwrap(), "/usr/bin/../x");
    assert_eq!(fs.read_link("/long").unwrap().to_str().unwrap(), long_target);
    let big_stat = debugfs(&path, "stat dir/big");
    // debugfs prints owners as signed numbers.
    assert!(big_stat.contains("User: -294967296   Group: 70000"), "{big_stat}");
    // And nanoseconds as they are stored: shifted by two, below them the bits for years beyond 2038.
    assert!(big_stat.contains(&format!("mtime: 0x6553f100:{:08x}", 123_456_789 << 2)), "{big_stat}");
    assert!(debugfs(&path, "stat su").contains("Links: 2"));
    assert!(debugfs(&path, "stat fifo").contains("Type: FIFO"));
    let device = debugfs(&path, "stat device");
    assert!(device.contains("Type: block special") && device.contains("253:70000"), "{device}");
}

#[test]
fn extended_attributes_and_access_control_lists_are_read_back() {
    let mut list = 2u32.to_le_bytes().to_vec();
    for (tag, perm, id) in
        [(1u16, 7u16, u32::MAX), (2, 5, 1000), (4, 5, u32::MAX), (16, 5, u32::MAX), (32, 0, u32::MAX)]
    {
        list.extend([tag.to_le_bytes(), perm.to_le_bytes()].concat());
        list.extend(id.to_le_bytes());
    }
    let capability = b"\x01\0\0\x02\0\n=\0\0\0\0\0\0\0\0\0\0\0\0\0";
    let large = [b'v'; 3000];
    let (_folder, path) = image(
        Archive::new()
            .pax(&[
                ("SCHILY.xattr.security.capability", capability),
                ("SCHILY.xattr.system.posix_acl_access", &list),
                ("SCHILY.xattr.user.large", &large),
            ])
            .file("f", b"x"),
    );
    let names = debugfs(&path, "ea_list f");
    assert!(names.contains("security.capability (20)"), "{names}");
    assert!(names.contains("user.large (3000)"), "{names}");
    // debugfs converts lists back from the disk's form, with zero for an id that is not stored.
    let value = debugfs(&path, "ea_get -x f system.posix_acl_access");
    let hex: String = list.iter().map(|byte| format!("{byte:02x}")).collect();
    assert!(value.replace([' ', '\n'], "").contains(&hex.replace("ffffffff", "00000000")), "{value} {hex}");
}

#[test]
fn holes_and_zeros_take_no_room() {
    let mut zeros = vec![0; 8 * MIB_LEN];
    zeros[5_000_000] = 1;
    let (_folder, path) = image(
        Archive::new()
            .file("zeros", &zeros)
            .pax(&[("GNU.sparse.map", b"5000,3,104857599,1"), ("GNU.sparse.size", b"104857600")])
            .file("sparse", b"abcd"),
    );
    let fs = Ext4::load_from_path(&path).unwrap();
    assert!(fs.read("/zeros").unwrap() == zeros);
    let sparse = fs.read("/sparse").unwrap();
    assert_eq!(sparse.len(), 104_857_600);
    assert_eq!((&sparse[4999..5004], sparse[104_857_599]), (&b"\0abc\0"[..], b'd'));
    assert_eq!(sparse.iter().filter(|&&byte| byte != 0).count(), 4);
    let written = std::fs::metadata(&path).unwrap().blocks() * 512;
    assert!(written < MIB, "{written} bytes written");
}

#[test]
fn a_large_file_system_costs_next_to_nothing() {
    let folder = tempfile::tempdir().unwrap();
    for (gib, most_written) in [(8, 2 * MIB), (40, 4 * MIB)] {
        let path = folder.path().join(format!("{gib}"));
        write_to(&path, &[Archive::new().file("f", b"x").layer()], &options(gib << 30)).unwrap();
        let metadata = std::fs::metadata(&path).unwrap();
        assert_eq!(metadata.len(), gib << 30);
        assert!(metadata.blocks() * 512 < most_written, "{} bytes written", metadata.blocks() * 512);
        assert_clean(&path);
    }
}

#[test]
fn the_same_input_gives_the_same_bytes_and_other_input_another_uuid() {
    let folder = tempfile::tempdir().unwrap();
    let archive = || Archive::new().file("b", b"1").file("a", b"2").dir("d", 0o755).link("d/l", "a");
    // Another order of the same entries is the same tree.
    let reordered = Archive::new().dir("d", 0o755).file("a", b"2").link("d/l", "a").file("b", b"1");
    let chmod = archive().dir("d", 0o700);
    let content = Archive::new().file("b", b"1").file("a", b"3").dir("d", 0o755).link("d/l", "a");
    let written: Vec<_> = [archive(), archive(), reordered, chmod, content]
        .into_iter()
        .enumerate()
        .map(|(i, archive)| {
            let path = folder.path().join(i.to_string());
            let written = write_to(&path, &[archive.layer()], &options(16 * MIB)).unwrap();
            (written.digest, std::fs::read(path).unwrap())
        })
        .collect();
    assert!(written[0] == written[1] && written[0] == written[2]);
    assert!(written[0].0 != written[3].0 && written[0].1 != written[3].1);
    assert!(written[0].0 != written[4].0 && written[0].1 != written[4].1);
}

#[test]
fn the_size_changes_the_image_and_not_its_digest() {
    let folder = tempfile::tempdir().unwrap();
    let digest = |size| {
        let path = folder.path().join(format!("{size}"));
        write_to(&path, &[Archive::new().file("f", b"x").layer()], &options(size)).unwrap().digest
    };
    assert_eq!(digest(16 * MIB), digest(64 * MIB));
}

#[test]
fn label_and_uuid_are_as_wished() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("image");
    let wished = Options { uuid: Some([0xab; 16]), ..options(16 * MIB) };
    write_to(&path, &[Archive::new().layer()], &wished).unwrap();
    let text = run("dumpe2fs", &["-h"], &path).1;
    assert!(text.contains("abababab-abab-abab-abab-abababababab"), "{text}");
    assert!(text.lines().any(|line| line.starts_with("Filesystem volume name:") && line.ends_with("test")));
}

#[test]
fn a_file_system_can_be_grown_by_the_usual_tool() {
    let (_folder, path) = image(Archive::new().file("f", &[7; 100_000]));
    File::options().write(true).open(&path).unwrap().set_len(4096 * MIB).unwrap();
    assert_eq!(run("e2fsck", &["-fp"], &path).0, 0);
    let (code, text) = run("resize2fs", &[], &path);
    assert_eq!(code, 0, "{text}");
    assert_clean(&path);
    assert_eq!(Ext4::load_from_path(&path).unwrap().read("/f").unwrap(), [7; 100_000]);
}

#[test]
fn lost_and_found_of_an_image_makes_room_for_the_real_one() {
    let (_folder, path) = image(Archive::new().file("lost+found/#12", b"x").file("d/lost+found", b"kept"));
    let fs = Ext4::load_from_path(&path).unwrap();
    assert_eq!(fs.read_dir("/lost+found").unwrap().count(), 2);
    assert_eq!(fs.read("/d/lost+found").unwrap(), b"kept");
}

#[test]
fn wide_and_deep_directories_are_sound() {
    let mut archive = Archive::new();
    for i in 0..3000 {
        archive = archive.file(&format!("wide/{i:0>60}"), b"");
    }
    let deep = "d/".repeat(2000) + "f";
    let (_folder, path) = image(archive.pax(&[("path", deep.as_bytes())]).file("f", b"deep"));
    let fs = Ext4::load_from_path(&path).unwrap();
    assert_eq!(fs.read_dir("/wide").unwrap().count(), 3002);
}

#[test]
fn what_does_not_fit_is_an_error_that_says_so() {
    let folder = tempfile::tempdir().unwrap();
    let layers = [Archive::new().file("f", &vec![1; 20 * MIB_LEN]).layer()];
    let error = write_to(&folder.path().join("a"), &layers, &options(16 * MIB)).unwrap_err();
    let message = "20971520 bytes in 1 files do not fit into a file system of 16777216 bytes";
    assert!(chain(&error).contains(message), "{}", chain(&error));
    let error = write_to(&folder.path().join("b"), &layers, &options(1000)).unwrap_err();
    assert!(matches!(error, WriteError::Geometry { .. }), "{}", chain(&error));
}

#[test]
fn a_layer_that_shrinks_while_it_is_read_is_an_error_that_names_the_file() {
    use std::io::Write as _;
    let folder = tempfile::tempdir().unwrap();
    let source = folder.path().join("layer.tar");
    File::create(&source).unwrap().write_all(&Archive::new().file("dir/f", &[1; 9000]).bytes()).unwrap();
    let file = File::options().read(true).write(true).open(&source).unwrap();
    let limits = crate::layer::Limits::default();
    let layers = [Layer::open("test.tar", &file, folder.path(), &limits, Watch::none()).unwrap()];
    let tree = tree(&layers).unwrap();
    file.set_len(2000).unwrap();
    let out = File::create(folder.path().join("image")).unwrap();
    let error = Ext4Writer::new(&tree, &layers, Tree::ROOT)
        .write(&out, &options(16 * MIB), Watch::none())
        .unwrap_err();
    assert!(chain(&error).contains(r#"cannot write the content of "dir/f""#), "{}", chain(&error));
}

#[test]
fn writing_reports_its_progress_and_stops_when_cancelled() {
    let layers = [Archive::new().file("a", &vec![1; 6 * MIB_LEN]).file("b", &[1; 10]).layer()];
    let tree = tree(&layers).unwrap();
    let seen = std::sync::Mutex::new(Vec::new());
    let cancelled = AtomicBool::new(false);
    let write = |report: &(dyn Fn(Progress) + Sync)| {
        let file = tempfile::tempfile().unwrap();
        let watch = Watch::new(report, &cancelled);
        Ext4Writer::new(&tree, &layers, Tree::ROOT).write(&file, &options(32 * MIB), watch)
    };
    write(&|progress| seen.lock().unwrap().push(progress)).unwrap();
    let seen = seen.into_inner().unwrap();
    assert!(seen.is_sorted_by_key(|progress| progress.done) && seen.len() > 2);
    let total = 6 * MIB + 10;
    assert_eq!(seen.last(), Some(&Progress { stage: Stage::Write, done: total, total }));
    // At once, in the midst of a file.
    let heard = AtomicUsize::new(0);
    let first = |_| {
        heard.fetch_add(1, Ordering::Relaxed);
        cancelled.store(true, Ordering::Relaxed);
    };
    assert!(matches!(write(&first), Err(WriteError::Cancelled)));
    assert_eq!(heard.load(Ordering::Relaxed), 1);
    // And when there is nothing left to write.
    cancelled.store(false, Ordering::Relaxed);
    let last = |progress: Progress| cancelled.store(progress.done == progress.total, Ordering::Relaxed);
    assert!(matches!(write(&last), Err(WriteError::Cancelled)));
}
