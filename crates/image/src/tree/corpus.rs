//! What archives do that most never do: old formats, odd orders, many layers that change their minds; and what
//! somebody would write who wants more than an image. Each ends in exactly one tree, or in a refusal with its reason.

use std::io::Write as _;

use tar::EntryType;

use super::tests::{listing, refusal};
use super::{Kind, Mtime, Tree};
use crate::Watch;
use crate::layer::{Layer, LayerError, Limits};
use crate::testing::{Archive, chain, open, tree};

fn flattened(layers: Vec<Archive>) -> Tree {
    let layers: Vec<_> = layers.into_iter().map(Archive::layer).collect();
    tree(&layers).unwrap_or_else(|error| panic!("{}", chain(&error)))
}

/// Why the last of these layers is not let in; the layers are called by their numbers.
fn refused_layer(layers: Vec<Archive>) -> String {
    let limits = Limits::default();
    let open = |(number, archive): (usize, Archive)| {
        let file = crate::testing::file(&archive.bytes());
        Layer::open(&number.to_string(), &file, std::path::Path::new("/tmp"), &limits, Watch::none()).unwrap()
    };
    let layers: Vec<_> = layers.into_iter().enumerate().map(open).collect();
    match tree(&layers) {
        Err(error @ LayerError::Refused { .. }) => chain(&error),
        Err(error) => panic!("failed, but was not refused: {}", chain(&error)),
        Ok(tree) => panic!("let in: {:?}", listing(&tree)),
    }
}

fn content(layers: &[Layer], path: &str) -> Vec<u8> {
    let tree = tree(layers).unwrap();
    let Kind::File(content) = &tree.node(tree.get(path).unwrap()).kind else { panic!("{path} is no file") };
    content.read(layers).unwrap()
}

/// What GNU tar puts in front of an entry whose name (`L`) or target (`K`) does not fit.
fn gnu_long(archive: Archive, kind: u8, text: &str) -> Archive {
    let mut data = text.as_bytes().to_vec();
    data.push(0);
    archive.header(
        |header| {
            *header = gnu_header(EntryType::new(kind), "././@LongLink", data.len() as u64);
        },
        &data,
    )
}

fn gnu_header(kind: EntryType, path: &str, size: u64) -> tar::Header {
    let mut header = tar::Header::new_gnu();
    header.set_entry_type(kind);
    header.set_path(path).unwrap();
    header.set_mode(0o644);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(1);
    header.set_size(size);
    header
}

macro_rules! flattens {
    ($($name:ident: [$($layer:expr),+ $(,)?] => $wanted:expr;)*) => {
        $(#[test]
        fn $name() {
            let wanted: &[&str] = &$wanted;
            assert_eq!(listing(&flattened(vec![$($layer),+])), wanted);
        })*
    };
}

flattens! {
    a_name_of_gnu_tar_that_does_not_fit_a_header_arrives_whole:
        [gnu_long(Archive::new(), b'L', &format!("d/{}", "n".repeat(255))).file("cut", b"x")]
        => ["d 755 d", &*format!("d/{} 644 f 1", "n".repeat(255))];
    a_target_of_gnu_tar_that_does_not_fit_a_header_arrives_whole:
        [gnu_long(Archive::new(), b'K', &"t/".repeat(300)).symlink("a", "cut")]
        => [&*format!("a 777 l {}", "t/".repeat(300))];
    a_record_counts_more_than_a_long_name_of_gnu_tar:
        [gnu_long(Archive::new().pax(&[("path", b"record")]), b'L', "long").file("cut", b"")] => ["record 644 f 0"];
    records_for_all_entries_say_nothing_about_any:
        [Archive::new().raw(EntryType::XGlobalHeader, b"g", b"", 0o644, b"14 path=other\n").file("a", b"")]
        => ["a 644 f 0"];
    a_prefix_of_a_ustar_header_belongs_to_the_name:
        [Archive::new().header(|header| header.set_path(format!("{}/{}", "p".repeat(120), "n".repeat(90))).unwrap(), b"")]
        => [&*format!("{} 755 d", "p".repeat(120)), &*format!("{}/{} 644 f 0", "p".repeat(120), "n".repeat(90))];
    the_size_of_a_hard_links_target_is_not_content:
        [Archive::new().file("a", b"12345").header(|header| {
            header.set_path("b").unwrap();
            header.set_entry_type(EntryType::Link);
            header.set_link_name("a").unwrap();
            header.set_size(5);
        }, b"").file("c", b"")] => ["a 644 f 5", "b 644 f 5", "c 644 f 0"];
    a_file_of_the_contiguous_kind_is_a_file:
        [Archive::new().raw(EntryType::Continuous, b"a", b"", 0o600, b"xy")] => ["a 600 f 2"];
    a_link_to_a_link_is_a_second_name_of_it:
        [Archive::new().symlink("a", "nowhere").link("b", "a").link("c", "b")]
        => ["a 777 l nowhere", "b 777 l nowhere", "c 777 l nowhere"];
    a_link_to_a_fifo_is_a_second_name_of_it:
        [Archive::new().raw(EntryType::Fifo, b"a", b"", 0o600, b"").link("b", "a")] => ["a 600 p", "b 600 p"];
    a_link_replaces_what_has_its_name:
        [Archive::new().dir("a", 0o755).file("a/x", b"").file("b", b"1"), Archive::new().link("a", "b")]
        => ["a 644 f 1", "b 644 f 1"];
    a_link_to_what_its_own_layer_replaced_is_one_to_the_new_file:
        [Archive::new().file("a", b"1"), Archive::new().file("a", b"22").link("b", "a")] => ["a 644 f 2", "b 644 f 2"];
    a_file_that_becomes_a_folder_and_a_file_again_keeps_nothing:
        [Archive::new().file("a", b"1"), Archive::new().dir("a", 0o700).file("a/x", b""), Archive::new().file("a", b"22")]
        => ["a 644 f 2"];
    a_folder_that_becomes_a_link_loses_what_was_in_it:
        [Archive::new().file("a/x", b"").dir("b", 0o755), Archive::new().symlink("a", "b"), Archive::new().dir("a", 0o711)]
        => ["a 711 d", "b 755 d"];
    a_link_within_one_archive_may_become_a_folder:
        [Archive::new().dir("t", 0o755).symlink("a", "t").dir("a", 0o700).file("a/x", b"")]
        => ["a 700 d", "a/x 644 f 0", "t 755 d"];
    a_device_becomes_a_folder:
        [Archive::new().raw(EntryType::Char, b"a", b"", 0o600, b""), Archive::new().dir("a", 0o700).file("a/x", b"")]
        => ["a 700 d", "a/x 644 f 0"];
    a_folder_that_comes_again_keeps_what_is_in_it:
        [Archive::new().dir("a", 0o700).file("a/x", b""), Archive::new().dir("a/", 0o1777)]
        => ["a 1777 d", "a/x 644 f 0"];
    the_root_takes_the_mode_of_the_last_layer_that_mentions_it:
        [Archive::new().file("a", b""), Archive::new().dir("./", 0o700)] => ["a 644 f 0"];
    a_hidden_folder_that_comes_again_is_empty:
        [Archive::new().dir("a", 0o700).file("a/x", b""), Archive::new().file(".wh.a", b"").dir("a", 0o711)]
        => ["a 711 d"];
    what_a_whiteout_hid_stays_hidden_from_later_layers:
        [Archive::new().file("a/x", b""), Archive::new().file("a/.wh.x", b""), Archive::new().file("a/y", b"")]
        => ["a 755 d", "a/y 644 f 0"];
    a_whiteout_and_what_it_hides_in_the_lowest_layer_are_one_file:
        [Archive::new().file("a/x", b"").file("a/.wh.x", b"")] => ["a 755 d", "a/x 644 f 0"];
    a_whiteout_of_any_kind_hides:
        [Archive::new().file("a", b"").file("b", b"").file("c", b""),
         Archive::new().symlink(".wh.a", "x").dir(".wh.b", 0o755).raw(EntryType::Char, b".wh.c", b"", 0, b"")] => [];
    a_whiteout_of_a_link_leaves_what_it_points_to:
        [Archive::new().dir("t", 0o755).file("t/x", b"").symlink("a", "t"), Archive::new().file(".wh.a", b"")]
        => ["t 755 d", "t/x 644 f 0"];
    a_whiteout_of_one_name_leaves_the_other:
        [Archive::new().file("a", b"1").link("b", "a"), Archive::new().file(".wh.a", b"")] => ["b 644 f 1"];
    a_whiteout_of_a_whiteout_hides_nothing_else:
        [Archive::new().file("a", b""), Archive::new().file(".wh..wh.a", b"")] => ["a 644 f 0"];
    an_opaque_folder_below_a_file_hides_nothing:
        [Archive::new().file("a", b"1"), Archive::new().file("a/.wh..wh..opq", b"")] => ["a 644 f 1"];
    an_opaque_folder_keeps_its_own_mode_and_hides_whole_trees:
        [Archive::new().dir("a", 0o711).file("a/b/c/d", b""), Archive::new().file("a/.wh..wh..opq", b"").file("a/e", b"")]
        => ["a 711 d", "a/e 644 f 0"];
    an_opaque_folder_behind_a_link_hides_nothing:
        [Archive::new().file("t/x", b"").symlink("a", "t"), Archive::new().file("a/.wh..wh..opq", b"")]
        => ["a 777 l t", "t 755 d", "t/x 644 f 0"];
    names_that_only_look_like_whiteouts_are_names:
        [Archive::new().file("a.wh.b", b"").file(".wha", b"").file("wh.c", b"")]
        => [".wha 644 f 0", "a.wh.b 644 f 0", "wh.c 644 f 0"];
    targets_are_kept_as_they_are:
        [Archive::new().symlink("a", "/").symlink("b", "../../../etc//passwd").symlink("c", ".").symlink("d", " ")]
        => ["a 777 l /", "b 777 l ../../../etc//passwd", "c 777 l .", "d 777 l  "];
    names_with_odd_letters_are_names:
        [Archive::new().file("a\nb", b"").file("\u{1b}[31m", b"").file("c:\\d", b"").file("\u{202e}x", b"")]
        => ["\u{1b}[31m 644 f 0", "a\nb 644 f 0", "c:\\d 644 f 0", "\u{202e}x 644 f 0"];
    no_bits_but_a_modes_are_kept:
        [Archive::new().raw(EntryType::Regular, b"a", b"", 0o177_777, b"")] => ["a 7777 f 0"];
}

macro_rules! refused {
    ($($name:ident: $archive:expr => $path:literal, $message:literal;)*) => {
        $(#[test]
        fn $name() {
            let message = refusal($archive);
            let wanted = format!("refused {:?} in layer test.tar: ", $path);
            assert!(message.starts_with(&wanted) && message.contains($message), "{message}");
        })*
    };
}

refused! {
    a_long_name_that_climbs_is_refused:
        gnu_long(Archive::new(), b'L', "a/../../x").file("cut", b"") => "a/../../x", "climbs out";
    a_long_target_of_a_hard_link_that_climbs_is_refused:
        gnu_long(Archive::new(), b'K', "../x").link("a", "cut") => "a", "climbs out";
    a_symlink_in_the_place_of_the_root_is_refused: Archive::new().symlink("/", "/etc") => "/", "is the root";
    a_folder_below_a_device_is_refused:
        Archive::new().raw(EntryType::Block, b"a", b"", 0o600, b"").dir("a/b", 0o755) => "a/b", "not a directory";
    a_link_below_a_link_is_refused:
        Archive::new().file("f", b"").symlink("d", "/").link("d/x", "f") => "d/x", "not a directory";
    a_hard_link_to_a_name_below_a_file_is_refused:
        Archive::new().file("f", b"").link("a", "f/x") => "a", "not in the tree";
    a_hard_link_whose_target_is_not_utf8_is_refused:
        Archive::new().raw(EntryType::Link, b"a", b"\xff", 0o644, b"") => "a", "not UTF-8";
    a_hard_link_to_a_name_that_is_too_long_is_refused:
        Archive::new().pax(&[("linkpath", "n".repeat(256).as_bytes())]).link("a", "b") => "a", "longer than 255";
    a_minor_number_out_of_range_is_refused:
        Archive::new().header(|header| {
            header.set_path("d").unwrap();
            header.set_entry_type(EntryType::Block);
            header.set_device_major(1).unwrap();
            header.set_device_minor(1 << 20).unwrap();
        }, b"") => "d", "1:1048576";
    a_folder_with_a_whiteouts_name_below_a_link_is_still_below_a_link:
        Archive::new().symlink("d", "/").file("d/.wh.x/y", b"") => "d/.wh.x/y", "not a directory";
}

#[test]
fn a_refusal_in_a_later_layer_names_that_layer() {
    let lower = || Archive::new().symlink("lib", "usr/lib").file("etc/passwd", b"x").dir("usr/lib", 0o755);
    for (upper, wanted) in [
        (
            Archive::new().file("lib/x", b""),
            r#"refused "lib/x" in layer 1: its parent "lib" is not a directory"#,
        ),
        (Archive::new().file("etc/passwd/x", b""), r#"its parent "etc/passwd" is not a directory"#),
        // Hidden by the very layer that links to it.
        (
            Archive::new().file("etc/.wh.passwd", b"").link("a", "etc/passwd"),
            r#""etc/passwd", which is not in the tree"#,
        ),
        (Archive::new().file("etc/.wh..wh..opq", b"").link("a", "etc/passwd"), "not in the tree"),
        (Archive::new().link("a", "usr/lib"), r#"a hard link to the directory "usr/lib""#),
    ] {
        let message = refused_layer(vec![lower(), upper]);
        assert!(message.contains("in layer 1: ") && message.contains(wanted), "{message}");
    }
}

#[test]
fn limits_are_for_all_layers_together() {
    let layers = || [Archive::new().file("a", &[0; 6]).layer(), Archive::new().file("b", &[0; 6]).layer()];
    for (limits, message) in [
        (Limits { entries: 1, ..Limits::default() }, "more than 1 entries"),
        (Limits { content_bytes: 11, ..Limits::default() }, "more than 11 bytes of content"),
        (Limits { metadata_bytes: 1, ..Limits::default() }, "names and attributes"),
    ] {
        let error = Tree::from_layers(&layers(), &limits, Watch::none()).unwrap_err();
        assert!(chain(&error).contains(message), "{}", chain(&error));
    }
    // Exactly as much as is allowed is allowed, and what a later layer hides counts all the same.
    let limits = Limits { entries: 2, content_bytes: 12, file_bytes: 6, ..Limits::default() };
    assert!(Tree::from_layers(&layers(), &limits, Watch::none()).is_ok());
}

#[test]
fn a_hundred_thousand_names_in_one_folder_are_one_folder() {
    let mut archive = Archive::new();
    for number in 0..100_000 {
        archive = archive.file(&format!("d/{number:06}"), b"");
    }
    let tree = archive.tree().unwrap();
    let folder = tree.node(tree.get("d").unwrap()).directory().unwrap();
    assert_eq!(folder.iter().count(), 100_000);
    assert!(folder.iter().is_sorted_by_key(|(name, _)| name));
}

#[test]
fn folders_as_deep_as_a_path_can_be_are_walked_and_forgotten_without_recursion() {
    let deep = "d/".repeat(2047) + "f";
    let tree = Archive::new().pax(&[("path", deep.as_bytes())]).file("f", b"").tree().unwrap();
    assert_eq!(tree.walk(Tree::ROOT).count(), 2048);
    assert_eq!(tree.path_to(Tree::ROOT, tree.get(&deep).unwrap()).unwrap(), deep);
}

/// As every version of GNU tar writes them: one byte at 4096, in 1 MiB.
#[test]
fn every_form_of_a_sparse_file_is_the_same_file() {
    let version_0_0: Vec<(&str, &[u8])> = vec![
        ("GNU.sparse.size", b"1048576"),
        ("GNU.sparse.numblocks", b"2"),
        ("GNU.sparse.offset", b"4096"),
        ("GNU.sparse.numbytes", b"1"),
        ("GNU.sparse.offset", b"1048576"),
        ("GNU.sparse.numbytes", b"0"),
    ];
    let version_0_1: Vec<(&str, &[u8])> = vec![
        ("GNU.sparse.map", b"4096,1,1048576,0"),
        ("GNU.sparse.size", b"1048576"),
        ("GNU.sparse.name", b"s"),
    ];
    let mut map = b"2\n4096\n1\n1048576\n0\n".to_vec();
    map.resize(512, 0);
    map.push(b'x');
    let version_1_0: Vec<(&str, &[u8])> = vec![
        ("GNU.sparse.major", b"1"),
        ("GNU.sparse.minor", b"0"),
        ("GNU.sparse.name", b"s"),
        ("GNU.sparse.realsize", b"1048576"),
    ];
    let old = |header: &mut tar::Header| {
        *header = gnu_header(EntryType::GNUSparse, "s", 1);
        let gnu = header.as_gnu_mut().unwrap();
        gnu.realsize.copy_from_slice(b"00004000000\0");
        gnu.sparse[0].offset.copy_from_slice(b"00000010000\0");
        gnu.sparse[0].numbytes.copy_from_slice(b"00000000001\0");
        gnu.sparse[1].offset.copy_from_slice(b"00004000000\0");
        gnu.sparse[1].numbytes.copy_from_slice(b"00000000000\0");
    };
    for (form, archive) in [
        ("0.0", Archive::new().pax(&version_0_0).file("s", b"x")),
        ("0.1", Archive::new().pax(&version_0_1).file("GNUSparseFile.1/s", b"x")),
        ("1.0", Archive::new().pax(&version_1_0).file("GNUSparseFile.1/s", &map)),
        ("old", Archive::new().header(old, b"x")),
    ] {
        let layers = [archive.file("after", b"after").layer()];
        let found = content(&layers, "s");
        assert_eq!((found.len(), found[4096]), (1 << 20, b'x'), "{form}");
        assert_eq!(found.iter().filter(|&&byte| byte != 0).count(), 1, "{form}");
        assert_eq!(content(&layers, "after"), b"after", "{form}");
    }
}

#[test]
fn a_sparse_file_whose_size_is_told_twice_is_not_guessed_at() {
    let mut map = b"1\n0\n3\n".to_vec();
    map.resize(512, 0);
    map.extend(b"abc");
    let records: Vec<(&str, &[u8])> = vec![
        ("GNU.sparse.major", b"1"),
        ("GNU.sparse.minor", b"0"),
        ("GNU.sparse.realsize", b"3"),
        ("size", b"515"),
    ];
    let error = Archive::new().pax(&records).file("s", &map).tree().unwrap_err();
    assert!(chain(&error).ends_with("unusable value for `size`"), "{}", chain(&error));
}

#[test]
fn an_empty_region_of_a_sparse_file_says_nothing_wherever_it_is() {
    let records: Vec<(&str, &[u8])> = vec![("GNU.sparse.map", b"8,0,0,4"), ("GNU.sparse.size", b"16")];
    let layers = [Archive::new().pax(&records).file("s", b"abcd").layer()];
    assert_eq!(content(&layers, "s"), b"abcd\0\0\0\0\0\0\0\0\0\0\0\0");
}

#[test]
fn numbers_that_do_not_fit_eight_digits_are_read_in_base_256() {
    let mut header = gnu_header(EntryType::Regular, "a", 0);
    let bytes = header.as_mut_bytes();
    // uid 3,000,000,000 and a time of -2 seconds.
    bytes[108..116].copy_from_slice(&[0x80, 0, 0, 0, 0xb2, 0xd0, 0x5e, 0]);
    bytes[136..148]
        .copy_from_slice(&[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xfe]);
    let archive = Archive::new().header(|target| *target = header, b"");
    match archive.tree() {
        Ok(tree) => {
            let meta = &tree.node(tree.get("a").unwrap()).meta;
            assert_eq!((meta.uid, meta.mtime), (3_000_000_000, Mtime { seconds: -2, nanos: 0 }));
        }
        Err(error) => panic!("{}", chain(&error)),
    }
}

#[test]
fn times_are_kept_to_the_nanosecond_on_both_sides_of_1970() {
    for (text, seconds, nanos) in [
        ("1700000000.123456789", 1_700_000_000, 123_456_789),
        ("-0.000000001", -1, 999_999_999),
        ("-2147483648", -2_147_483_648, 0),
        ("15032385535.999999999", 15_032_385_535, 999_999_999),
        ("0", 0, 0),
    ] {
        let tree = Archive::new().pax(&[("mtime", text.as_bytes())]).file("a", b"").tree().unwrap();
        assert_eq!(tree.node(tree.get("a").unwrap()).meta.mtime, Mtime { seconds, nanos }, "{text}");
    }
}

#[test]
fn attributes_may_be_empty_and_the_last_of_a_name_counts() {
    let records: Vec<(&str, &[u8])> = vec![
        ("SCHILY.xattr.user.empty", b""),
        ("SCHILY.xattr.user.twice", b"first"),
        ("SCHILY.xattr.user.twice", b"last"),
        // Base64 of another tool, for a name that is there already.
        ("LIBARCHIVE.xattr.user.twice", b"Zm9v"),
        ("SCHILY.xattr.", b"nameless"),
    ];
    let tree = Archive::new().pax(&records).file("a", b"").tree().unwrap();
    let meta = &tree.node(tree.get("a").unwrap()).meta;
    let found: Vec<_> = meta.attributes.iter().map(|each| (each.name(), each.value())).collect();
    assert_eq!(found, [("user.empty", &b""[..]), ("user.twice", &b"last"[..])]);
}

#[test]
fn an_access_control_list_decides_the_mode_of_its_file() {
    let mut list = 2_u32.to_le_bytes().to_vec();
    for (tag, mode) in [(1_u16, 6_u16), (4, 5), (32, 0)] {
        list.extend([tag.to_le_bytes(), mode.to_le_bytes()].concat());
        list.extend(u32::MAX.to_le_bytes());
    }
    let record = [("SCHILY.xattr.system.posix_acl_access", &list[..])];
    let archive = Archive::new().pax(&record).raw(EntryType::Regular, b"a", b"", 0o4777, b"");
    assert_eq!(listing(&archive.tree().unwrap()), ["a 4650 f 0"]);
}

#[test]
fn records_at_the_end_without_an_entry_are_an_archive_that_was_cut_off() {
    let archive = Archive::new().file("a", b"").pax(&[("path", b"b")]).bytes();
    // Without the two closing blocks.
    let error = tree(&[open(&archive[..archive.len() - 1024]).unwrap()]).unwrap_err();
    assert!(
        chain(&error).contains("not a tar archive at byte 512: ends inside a header"),
        "{}",
        chain(&error)
    );
}

#[test]
fn members_of_several_volumes_and_labels_are_refused_by_their_letter() {
    for kind in *b"DMNVXZ" {
        let message = refusal(Archive::new().raw(EntryType::new(kind), b"a", b"", 0o644, b""));
        assert!(message.contains(&format!("type {:?}", char::from(kind))), "{message}");
    }
}

#[test]
fn what_follows_the_closing_blocks_is_not_read() {
    let mut bytes = Archive::new().file("a", b"").bytes();
    bytes.extend(Archive::new().file("b", b"").bytes());
    assert_eq!(listing(&tree(&[open(&bytes).unwrap()]).unwrap()), ["a 644 f 0"]);
}

#[test]
fn a_bomb_in_a_bomb_is_only_a_large_file() {
    let inner = zstd::encode_all(&vec![0; 1 << 20][..], 1).unwrap();
    let layers = [Archive::new().file("bomb.zst", &inner).layer()];
    assert_eq!(content(&layers, "bomb.zst"), inner);
}

#[test]
fn a_window_larger_than_the_usual_tool_takes_is_refused() {
    let mut encoder = zstd::stream::write::Encoder::new(Vec::new(), 1).unwrap();
    encoder.window_log(28).unwrap();
    encoder.include_contentsize(false).unwrap();
    encoder.write_all(&Archive::new().file("a", b"x").bytes()).unwrap();
    let error = open(&encoder.finish().unwrap()).unwrap_err();
    assert!(matches!(error, LayerError::Decompress { .. }), "{}", chain(&error));
    assert!(chain(&error).starts_with("cannot unpack layer test.tar"), "{}", chain(&error));
}

#[test]
fn frames_that_are_to_be_skipped_are_skipped() {
    let tar = Archive::new().file("a", b"x").bytes();
    let whole = zstd::encode_all(&tar[..], 1).unwrap();
    // zstd's format, 3.1.2: a magic number, a length, and what nobody reads.
    let skippable = [&0x184D_2A50_u32.to_le_bytes()[..], &4_u32.to_le_bytes(), b"skip"].concat();
    let stored = [whole, skippable].concat();
    assert_eq!(listing(&tree(&[open(&stored).unwrap()]).unwrap()), ["a 644 f 1"]);
}
