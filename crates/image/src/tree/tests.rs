//! Layers as they should be, and layers as somebody hostile would write them.

use tar::EntryType;

use super::{Kind, Mtime, Tree};
use crate::layer::{LayerError, Limits};
use crate::testing::{Archive, chain, open, open_with, tree};
use crate::{Progress, Stage, Watch};

/// Every path with its kind, mode and size or target.
pub(super) fn listing(tree: &Tree) -> Vec<String> {
    tree.walk(Tree::ROOT)
        .map(|step| {
            let node = tree.node(step.node);
            let path = tree.path_to(Tree::ROOT, step.parent).map_or(String::new(), |parent| parent + "/");
            let kind = match &node.kind {
                Kind::Directory(_) => "d".to_owned(),
                Kind::File(content) => format!("f {}", content.size()),
                Kind::Symlink(target) => format!("l {target}"),
                Kind::CharDevice { major, minor } => format!("c {major}:{minor}"),
                Kind::BlockDevice { major, minor } => format!("b {major}:{minor}"),
                Kind::Fifo => "p".to_owned(),
            };
            format!("{path}{} {:o} {kind}", step.name, node.meta.mode)
        })
        .collect()
}

fn paths(layers: Vec<Archive>) -> Vec<String> {
    let layers: Vec<_> = layers.into_iter().map(Archive::layer).collect();
    let tree = tree(&layers).unwrap();
    listing(&tree).into_iter().map(|line| line.split(' ').next().unwrap().to_owned()).collect()
}

pub(super) fn refusal(archive: Archive) -> String {
    match archive.tree() {
        Err(error @ LayerError::Refused { .. }) => chain(&error),
        Err(error) => panic!("failed, but was not refused: {}", chain(&error)),
        Ok(tree) => panic!("let in: {:?}", listing(&tree)),
    }
}

#[test]
fn every_kind_of_entry_arrives() {
    let archive = Archive::new()
        .dir("./", 0o755)
        .dir("./bin/", 0o755)
        .raw(EntryType::Regular, b"./bin/su", b"", 0o4755, b"12345")
        .link("bin/su2", "./bin/su")
        .symlink("/bin/sh", "/usr/bin/../bin/dash")
        .raw(EntryType::Fifo, b"pipe", b"", 0o600, b"")
        .dir("tmp", 0o1777)
        .header(
            |header| {
                header.set_path("null").unwrap();
                header.set_entry_type(EntryType::Char);
                header.set_device_major(1).unwrap();
                header.set_device_minor(3).unwrap();
            },
            b"",
        )
        .header(
            |header| {
                header.set_path("vda").unwrap();
                header.set_entry_type(EntryType::Block);
                header.set_device_major(253).unwrap();
                header.set_device_minor(70_000).unwrap();
            },
            b"",
        );
    let tree = archive.tree().unwrap();
    assert_eq!(
        listing(&tree),
        [
            "bin 755 d",
            "bin/sh 777 l /usr/bin/../bin/dash",
            "bin/su 4755 f 5",
            "bin/su2 4755 f 5",
            "null 644 c 1:3",
            "pipe 600 p",
            "tmp 1777 d",
            "vda 644 b 253:70000",
        ]
    );
    assert_eq!(tree.get("bin/su"), tree.get("bin/su2"));
}

#[test]
fn extended_records_override_the_header() {
    let long = format!("{}/{}", "d".repeat(200), "f".repeat(255));
    let capability = b"\x01\0\0\x02\0\n=\0\xff\0\0\0\0\0\0\0\0\0\0\0";
    let archive = Archive::new()
        .pax(&[
            ("path", long.as_bytes()),
            ("uid", b"4000000000"),
            ("gid", b"3"),
            ("mtime", b"-1.25"),
            ("SCHILY.xattr.security.capability", capability),
            ("SCHILY.xattr.user.note", b"two\nlines=yes\n"),
            ("SCHILY.xattr.com.apple.provenance", b"x"),
        ])
        .file("short", b"content");
    let tree = archive.tree().unwrap();
    let node = tree.node(tree.get(&long).unwrap());
    assert_eq!((node.meta.uid, node.meta.gid), (4_000_000_000, 3));
    assert_eq!(node.meta.mtime, Mtime { seconds: -2, nanos: 750_000_000 });
    let attributes: Vec<_> = node.meta.attributes.iter().map(|a| (a.name(), a.value())).collect();
    assert_eq!(
        attributes,
        [("security.capability", &capability[..]), ("user.note", &b"two\nlines=yes\n"[..])]
    );
}

#[test]
fn times_outside_the_file_system_are_clamped_to_it() {
    for (text, seconds) in [("99999999999999", 15_032_385_535), ("-99999999999", -2_147_483_648)] {
        let tree = Archive::new().pax(&[("mtime", text.as_bytes())]).file("f", b"").tree().unwrap();
        assert_eq!(tree.node(tree.get("f").unwrap()).meta.mtime, Mtime { seconds, nanos: 0 });
    }
}

#[test]
fn directories_nobody_mentioned_are_made() {
    let tree = Archive::new().file("a/b/c", b"").tree().unwrap();
    assert_eq!(listing(&tree), ["a 755 d", "a/b 755 d", "a/b/c 644 f 0"]);
}

#[test]
fn an_old_archive_marks_directories_by_a_slash() {
    let tree = Archive::new().file("old/", b"").file("old/f", b"").tree().unwrap();
    assert_eq!(listing(&tree), ["old 644 d", "old/f 644 f 0"]);
}

#[test]
fn the_later_of_two_entries_of_one_name_counts() {
    let cases: [(Archive, &[&str]); 5] = [
        (Archive::new().file("a", b"1").file("./a", b"22"), &["a 644 f 2"]),
        (Archive::new().dir("a", 0o700).file("a/f", b"").dir("a/", 0o711), &["a 711 d", "a/f 644 f 0"]),
        (Archive::new().dir("a", 0o700).file("a/f", b"").file("a", b"1"), &["a 644 f 1"]),
        (Archive::new().symlink("a", "x").dir("a", 0o700).file("a/f", b""), &["a 700 d", "a/f 644 f 0"]),
        (Archive::new().file("a", b"1").link("b", "a").file("a", b"22"), &["a 644 f 2", "b 644 f 1"]),
    ];
    for (archive, wanted) in cases {
        assert_eq!(listing(&archive.tree().unwrap()), wanted);
    }
}

#[test]
fn a_whiteout_hides_what_is_below_and_nothing_of_its_own_layer() {
    let base = || Archive::new().file("a/x", b"").file("a/y", b"").file("b/z", b"");
    let cases: [(Archive, &[&str]); 9] = [
        (Archive::new().file("a/.wh.x", b""), &["a", "a/y", "b", "b/z"]),
        (Archive::new().file(".wh.a", b""), &["b", "b/z"]),
        (Archive::new().file("a/new", b"").file("a/.wh..wh..opq", b""), &["a", "a/new", "b", "b/z"]),
        (Archive::new().file("a/x", b"").file("a/.wh.x", b""), &["a", "a/x", "a/y", "b", "b/z"]),
        (Archive::new().file("a/new", b"").file(".wh.a", b""), &["a", "a/new", "b", "b/z"]),
        (Archive::new().file("a/.wh.nothing", b"").file("none/.wh.x", b""), &["a", "a/x", "a/y", "b", "b/z"]),
        (Archive::new().file("a/x/.wh.y", b""), &["a", "a/x", "a/y", "b", "b/z"]),
        (Archive::new().file("a/.wh..wh.plnk", b""), &["a", "a/x", "a/y", "b", "b/z"]),
        (Archive::new().file(".wh..wh..opq", b""), &[]),
    ];
    for (top, wanted) in cases {
        assert_eq!(paths(vec![base(), top]), wanted);
    }
}

#[test]
fn odd_whiteouts_hide_what_they_name_and_nothing_more() {
    let lower = || Archive::new().dir("a", 0o755).file("a/x", b"").symlink("link", "a").file("b", b"");
    let with = |names: &[&str]| {
        let upper = names.iter().fold(Archive::new(), |archive, name| archive.file(name, b""));
        paths(vec![lower(), upper])
    };
    let untouched = ["a", "a/x", "b", "link"];
    // Without a name, above the root, through a link, below a file, of what is not there, left over from aufs.
    for odd in
        [".wh.", "a/.wh..", "a/.wh...", "link/.wh.x", "b/.wh.x", ".wh.nothing", ".wh..wh.plnk", "c/.wh.x"]
    {
        assert_eq!(with(&[odd]), untouched, "{odd}");
    }
    assert_eq!(with(&[".wh..wh..opq"]), [""; 0]);
    assert_eq!(with(&["new", ".wh..wh..opq"]), ["new"]);
    assert_eq!(with(&["./a/../a/.wh.x"]), ["a", "b", "link"]);
    assert_eq!(with(&[".wh.link", "link"]), untouched);
}

#[test]
fn a_layer_may_replace_a_symlink_by_a_directory_and_back() {
    let link = || Archive::new().symlink("lib", "usr/lib").file("usr/lib/a", b"");
    let directory = || Archive::new().dir("lib", 0o755).file("lib/b", b"");
    assert_eq!(paths(vec![link(), directory()]), ["lib", "lib/b", "usr", "usr/lib", "usr/lib/a"]);
    assert_eq!(paths(vec![link(), directory(), link()]), ["lib", "usr", "usr/lib", "usr/lib/a"]);
}

#[test]
fn a_hard_link_may_reach_into_a_lower_layer() {
    let layers =
        [Archive::new().file("a", b"lower").layer(), Archive::new().link("b", "a").file("a", b"new").layer()];
    let tree = tree(&layers).unwrap();
    assert_eq!(listing(&tree), ["a 644 f 3", "b 644 f 5"]);
}

#[test]
fn holes_of_a_sparse_file_stay_holes() {
    let archive = Archive::new()
        .pax(&[
            ("GNU.sparse.major", b"1"),
            ("GNU.sparse.minor", b"0"),
            ("GNU.sparse.name", b"sparse"),
            ("GNU.sparse.realsize", b"1048576"),
        ])
        .file("GNUSparseFile.0/sparse", &{
            let mut data = b"2\n4096\n3\n1048576\n0\n".to_vec();
            data.resize(512, 0);
            data.extend(b"abc");
            data
        })
        .file("after", b"after");
    let layers = [archive.layer()];
    let tree = tree(&layers).unwrap();
    assert_eq!(listing(&tree), ["after 644 f 5", "sparse 644 f 1048576"]);
    let Kind::File(content) = &tree.node(tree.get("sparse").unwrap()).kind else { panic!() };
    assert_eq!(content.stored(), 3);
    assert_eq!(content.read(&layers).unwrap()[4095..4100], *b"\0abc\0");
}

macro_rules! refused {
    ($($name:ident: $archive:expr => $message:literal;)*) => {
        $(#[test]
        fn $name() {
            let message = refusal($archive);
            assert!(message.contains($message), "{message}");
            assert!(message.contains("test.tar"), "the layer is not named: {message}");
        })*
    };
}

refused! {
    a_path_that_climbs_is_refused: Archive::new().file("../etc/passwd", b"") => "climbs out";
    an_absolute_path_that_climbs_is_refused: Archive::new().file("/../x", b"") => "climbs out";
    a_path_that_climbs_from_below_is_refused: Archive::new().dir("a", 0o755).file("a/../../x", b"") => "climbs out";
    a_climbing_directory_is_refused: Archive::new().dir("..", 0o755) => "climbs out";
    a_climbing_path_in_a_record_is_refused:
        Archive::new().pax(&[("path", b"../../x")]).file("innocent", b"") => "climbs out";
    a_climbing_whiteout_is_refused: Archive::new().file("../.wh.x", b"") => "climbs out";
    a_hard_link_out_is_refused: Archive::new().link("a", "../etc/shadow") => "climbs out";
    a_hard_link_to_a_host_file_is_refused: Archive::new().link("a", "/etc/shadow") => "not in the tree";
    a_hard_link_to_a_later_entry_is_refused: Archive::new().link("a", "b").file("b", b"") => "not in the tree";
    a_hard_link_to_itself_is_refused: Archive::new().file("a", b"").link("a", "./a") => "not in the tree";
    a_hard_link_through_a_symlink_is_refused:
        Archive::new().symlink("d", "/").file("f", b"").link("a", "d/f") => "not in the tree";
    a_hard_link_to_a_directory_is_refused: Archive::new().dir("d", 0o755).link("a", "d") => "to the directory";
    a_hard_link_to_the_root_is_refused: Archive::new().link("a", "/") => "to the directory";
    a_hard_link_without_target_is_refused: Archive::new().link("a", "") => "without a target";
    a_symlink_without_target_is_refused: Archive::new().symlink("a", "") => "without a target";
    a_symlink_whose_record_takes_the_target_away_is_refused:
        Archive::new().pax(&[("linkpath", b"")]).symlink("a", "b") => "without a target";
    an_entry_below_a_symlink_is_refused:
        Archive::new().symlink("d", "/etc").file("d/passwd", b"") => "not a directory";
    an_entry_deep_below_a_symlink_is_refused:
        Archive::new().symlink("a/d", ".").file("a/d/b/c/e", b"") => "not a directory";
    an_entry_below_a_file_is_refused: Archive::new().file("f", b"").file("f/x", b"") => "not a directory";
    a_directory_below_a_fifo_is_refused:
        Archive::new().raw(EntryType::Fifo, b"p", b"", 0o644, b"").dir("p/x", 0o755) => "not a directory";
    an_entry_below_a_hard_link_is_refused:
        Archive::new().file("f", b"").link("l", "f").file("l/x", b"") => "not a directory";
    a_root_that_is_a_file_is_refused: Archive::new().raw(EntryType::Symlink, b"./", b"x", 0o777, b"") => "is the root";
    a_root_file_is_refused: Archive::new().file(".", b"") => "is the root";
    a_name_that_is_not_utf8_is_refused:
        Archive::new().raw(EntryType::Regular, b"caf\xe9", b"", 0o644, b"") => "not UTF-8";
    a_target_that_is_not_utf8_is_refused:
        Archive::new().raw(EntryType::Symlink, b"a", b"\xff", 0o777, b"") => "not UTF-8";
    a_name_with_a_nul_is_refused: Archive::new().pax(&[("path", b"a\0b")]).file("x", b"") => "NUL";
    a_target_with_a_nul_is_refused: Archive::new().pax(&[("linkpath", b"a\0b")]).symlink("x", "y") => "NUL";
    a_name_of_256_bytes_is_refused:
        Archive::new().pax(&[("path", "n".repeat(256).as_bytes())]).file("x", b"") => "name is longer than 255";
    a_path_of_4096_bytes_is_refused:
        Archive::new().pax(&[("path", "d/".repeat(2049).as_bytes())]).file("x", b"") => "path is longer than 4095";
    a_target_of_4096_bytes_is_refused:
        Archive::new().pax(&[("linkpath", "d/".repeat(2048).as_bytes())]).symlink("x", "y") => "longer than 4095";
    an_owner_beyond_32_bits_is_refused: Archive::new().pax(&[("uid", b"4294967296")]).file("x", b"") => "owner 4294967296";
    a_group_beyond_32_bits_is_refused: Archive::new().pax(&[("gid", b"99999999999")]).file("x", b"") => "owner 99999999999";
    an_unknown_type_is_refused: Archive::new().raw(EntryType::new(b'M'), b"a", b"", 0o644, b"") => "type 'M'";
    attributes_larger_than_a_block_are_refused:
        Archive::new().pax(&[("SCHILY.xattr.user.a", &[b'x'; 4090])]).file("x", b"") => "extended attributes";
    a_broken_access_control_list_is_refused:
        Archive::new().pax(&[("SCHILY.xattr.system.posix_acl_access", b"\x02\0\0\0junk")]).file("x", b"")
            => "not an access control list";
    a_device_out_of_range_is_refused:
        Archive::new().header(|header| {
            header.set_path("d").unwrap();
            header.set_entry_type(EntryType::Char);
            header.set_device_major(4096).unwrap();
            header.set_device_minor(0).unwrap();
        }, b"") => "4096:0";
    overlapping_regions_of_a_sparse_file_are_refused:
        sparse(b"0,8,4,8", b"16", &[b'x'; 16]) => "map of holes";
    regions_behind_the_end_of_a_sparse_file_are_refused:
        sparse(b"0,8,16,8", b"20", &[b'x'; 16]) => "map of holes";
    regions_that_are_not_in_the_archive_are_refused:
        sparse(b"0,8,4096,800", b"9000", &[b'x'; 16]) => "map of holes";
    regions_that_overflow_are_refused:
        sparse(b"18446744073709551615,8", b"20", &[b'x'; 8]) => "map of holes";
    a_sparse_file_of_an_exabyte_is_refused:
        sparse(b"0,8", b"1152921504606846976", &[b'x'; 8]) => "larger than";
}

fn sparse(map: &[u8], size: &[u8], data: &[u8]) -> Archive {
    Archive::new().pax(&[("GNU.sparse.map", map), ("GNU.sparse.size", size)]).file("sparse", data)
}

#[test]
fn a_refusal_names_the_path_inside_the_layer() {
    let error = Archive::new().file("ok", b"").file("dir/../../x", b"").tree().unwrap_err();
    assert_eq!(chain(&error), r#"refused "dir/../../x" in layer test.tar: the path climbs out of the image"#);
}

#[test]
fn a_map_of_holes_without_end_is_not_read_into_memory() {
    let version: [(&str, &[u8]); 3] =
        [("GNU.sparse.major", b"1"), ("GNU.sparse.minor", b"0"), ("GNU.sparse.realsize", b"1")];
    let error = Archive::new().pax(&version).file("bomb", &vec![b'1'; 6 << 20]).tree().unwrap_err();
    assert!(chain(&error).ends_with("header is longer than 4194304 bytes"), "{}", chain(&error));
}

#[test]
fn limits_end_a_bomb() {
    let limits =
        Limits { entries: 3, content_bytes: 10, file_bytes: 8, metadata_bytes: 40, ..Limits::default() };
    let cases = [
        (Archive::new().dir("a", 0).dir("b", 0).dir("c", 0).dir("d", 0), "more than 3 entries"),
        (Archive::new().file("a", &[0; 9]), "larger than 8 bytes"),
        (Archive::new().file("a", &[0; 8]).file("a", &[0; 8]), "more than 10 bytes of content"),
        (Archive::new().symlink(&"x".repeat(30), &"y".repeat(30)), "names and attributes"),
    ];
    for (archive, message) in cases {
        let error = Tree::from_layers(&[archive.layer()], &limits, Watch::none()).unwrap_err();
        assert!(chain(&error).contains(message), "{}", chain(&error));
    }
}

#[test]
fn damaged_archives_say_where() {
    let whole = Archive::new().file("a", &[1; 600]).file("b", b"x").bytes();
    let cut_content = &whole[..512 + 100];
    let cut_header = &whole[..512 + 1024 + 100];
    let mut garbage = whole.clone();
    garbage[512 + 1024 + 5] ^= 0xff;
    let bad_record = Archive::new().pax(&[("size", b"-5")]).file("a", b"").bytes();
    for (bytes, message) in [
        (cut_content, r#"layer test.tar ends in the middle of "a""#),
        (cut_header, "layer test.tar is not a tar archive at byte 1536: ends inside a header"),
        (&garbage, "layer test.tar is not a tar archive at byte 1536"),
        (&bad_record, "unusable value for `size`"),
        (b"this is no archive at all", "not a tar archive at byte 0"),
    ] {
        let error = tree(&[open(bytes).unwrap()]).unwrap_err();
        assert!(chain(&error).contains(message), "{}", chain(&error));
    }
}

#[test]
fn a_size_that_wraps_around_is_not_followed() {
    let archive = Archive::new().pax(&[("size", b"18446744073709551615")]).file("a", b"");
    assert!(matches!(archive.tree(), Err(LayerError::Truncated { .. })));
}

#[test]
fn an_archive_may_end_without_its_closing_blocks() {
    let whole = Archive::new().file("a", b"x").bytes();
    for end in [1024, 1024 + 512] {
        assert_eq!(listing(&tree(&[open(&whole[..end]).unwrap()]).unwrap()), ["a 644 f 1"]);
    }
    assert!(listing(&tree(&[open(b"").unwrap()]).unwrap()).is_empty());
}

#[test]
fn any_prefix_and_any_flipped_byte_ends_in_a_tree_or_an_error() {
    let whole = Archive::new()
        .pax(&[("path", b"long/name"), ("mtime", b"1.5"), ("SCHILY.xattr.user.a", b"b")])
        .file("x", b"content")
        .dir("d", 0o755)
        .link("d/l", "long/name")
        .symlink("s", "t")
        .bytes();
    for end in 0..whole.len() {
        let _ = tree(&[open(&whole[..end]).unwrap()]);
    }
    for at in 0..whole.len() {
        let mut bytes = whole.clone();
        bytes[at] ^= 0x55;
        let _ = open(&bytes).and_then(|layer| tree(&[layer]));
    }
}

#[test]
fn compressed_layers_read_like_plain_ones() {
    use std::io::Write as _;
    let plain = Archive::new().dir("d", 0o700).file("d/f", &[7; 5000]).bytes();
    let (first, second) = plain.split_at(700);
    let mut gzip = Vec::new();
    for part in [first, second] {
        let mut encoder = flate2::write::GzEncoder::new(&mut gzip, flate2::Compression::fast());
        encoder.write_all(part).unwrap();
        encoder.finish().unwrap();
    }
    let zstd = zstd::encode_all(&plain[..], 3).unwrap();
    let wanted = listing(&tree(&[open(&plain).unwrap()]).unwrap());
    for compressed in [gzip, zstd] {
        assert_eq!(listing(&tree(&[open(&compressed).unwrap()]).unwrap()), wanted);
        let cut = open(&compressed[..compressed.len() - 20]).unwrap_err();
        assert!(matches!(cut, LayerError::Decompress { .. }), "{}", chain(&cut));
    }
}

#[test]
fn a_layer_that_unpacks_to_too_much_is_refused() {
    let zeros = zstd::encode_all(&vec![0; 1 << 20][..], 3).unwrap();
    let error = open_with(&zeros, &Limits { expanded_bytes: 1 << 19, ..Limits::default() }).unwrap_err();
    assert_eq!(chain(&error), "layer test.tar unpacks to more than 524288 bytes");
    let zeros = zstd::encode_all(std::io::Read::take(std::io::repeat(0), 65 << 20), 3).unwrap();
    let error = open_with(&zeros, &Limits::default()).unwrap_err();
    assert!(matches!(error, LayerError::Expands { .. }));
}

#[test]
fn indexing_reports_its_progress_and_can_be_cancelled() {
    use std::sync::Mutex;
    use std::sync::atomic::AtomicBool;
    let layers = [Archive::new().file("a", &[0; 5000]).layer(), Archive::new().file("b", b"").layer()];
    let seen = Mutex::new(Vec::new());
    let report = |progress: Progress| seen.lock().unwrap().push(progress);
    let cancelled = AtomicBool::new(false);
    Tree::from_layers(&layers, &Limits::default(), Watch::new(&report, &cancelled)).unwrap();
    let total = layers[0].len() + layers[1].len();
    assert_eq!(seen.lock().unwrap().last(), Some(&Progress { stage: Stage::Index, done: total, total }));
    let cancelled = AtomicBool::new(true);
    let error = Tree::from_layers(&layers, &Limits::default(), Watch::new(&report, &cancelled)).unwrap_err();
    assert!(matches!(error, LayerError::Cancelled));
}

#[test]
fn what_claims_to_be_larger_than_any_kernel_is_not_read_into_memory() {
    let layers = [sparse(b"0,8", b"536870913", &[b'x'; 8]).layer()];
    let tree = tree(&layers).unwrap();
    let Kind::File(content) = &tree.node(tree.get("sparse").unwrap()).kind else { panic!("it is a file") };
    assert!(content.read(&layers).unwrap_err().to_string().contains("larger than 536870912 bytes"));
}
