//! Trees sent and received, and senders that lie.

use super::*;
use banger_protocol::guest_api::frame::Kind;
use std::fs::{self, File, Permissions};
use std::io::{Seek, SeekFrom, Write};
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};

type Frames = Vec<(Kind, Vec<u8>)>;

fn sent(source: &Path) -> Frames {
    let mut frames = Frames::new();
    send(source, |kind, payload| {
        frames.push((kind, payload.to_vec()));
        Ok(())
    })
    .unwrap();
    frames
}

fn receiver(to: &Path, name: Option<&str>) -> Receiver {
    Receiver::new(Destination { path: to.to_owned(), name: name.map(Into::into) }, MODES_FROM_HOST)
}

fn lay(frames: &Frames, mut receiver: Receiver) -> Result<(), ReceiveError> {
    for (kind, payload) in frames {
        if receiver.take(*kind, payload)? == Step::Done {
            return Ok(());
        }
    }
    panic!("there was no end")
}

/// Every path below, with its kind, mode, size and time, and what it holds.
fn account(at: &Path) -> Vec<(PathBuf, u32, u64, i64, Vec<u8>)> {
    let mut found = Vec::new();
    let mut waiting = vec![at.to_owned()];
    while let Some(path) = waiting.pop() {
        let about = fs::symlink_metadata(&path).unwrap();
        let (mut size, mut time) = (about.size(), about.mtime());
        let content = if about.is_dir() {
            size = 0;
            waiting.extend(fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
            Vec::new()
        } else if about.is_symlink() {
            time = 0;
            fs::read_link(&path).unwrap().into_os_string().into_encoded_bytes()
        } else {
            fs::read(&path).unwrap()
        };
        found.push((path.strip_prefix(at).unwrap().to_owned(), about.mode(), size, time, content));
    }
    found.sort();
    found
}

fn make_tree(at: &Path) {
    use std::os::unix::ffi::OsStrExt;
    fs::create_dir_all(at.join("folder/deep/deeper")).unwrap();
    fs::write(at.join("folder/script"), "#!/bin/sh").unwrap();
    fs::set_permissions(at.join("folder/script"), Permissions::from_mode(0o4751)).unwrap();
    fs::write(at.join("folder/empty"), "").unwrap();
    fs::write(at.join("folder").join(std::ffi::OsStr::from_bytes(b"odd \xff\n")), "odd").unwrap();
    fs::write(at.join("folder/deep/large"), vec![7; 200_000]).unwrap();
    symlink("../folder/script", at.join("folder/link")).unwrap();
    symlink("/nowhere/at/all", at.join("folder/broken")).unwrap();
    fs::create_dir(at.join("closed")).unwrap();
    fs::write(at.join("closed/inside"), "x").unwrap();
    fs::set_permissions(at.join("closed"), Permissions::from_mode(0o500)).unwrap();
    File::open(at.join("folder/script"))
        .unwrap()
        .set_modified(std::time::UNIX_EPOCH + std::time::Duration::from_secs(1_000_000))
        .unwrap();
}

#[test]
fn a_tree_arrives_with_its_names_modes_times_and_links() {
    let (from, to) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let tree = from.path().join("tree");
    make_tree(&tree);
    let frames = sent(&tree);
    lay(&frames, receiver(to.path(), Some("tree"))).unwrap();
    lay(&frames, receiver(&to.path().join("other"), Some("tree"))).unwrap();
    for copy in ["tree", "other"] {
        assert_eq!(account(&to.path().join(copy)), account(&tree), "{copy}");
    }
    // Once more over what is there; then only what is in it, into a folder of its own.
    lay(&frames, receiver(to.path(), Some("tree"))).unwrap();
    fs::create_dir(to.path().join("contents")).unwrap();
    assert_eq!(name_of(&tree.join(".")), None);
    lay(&sent(&tree.join(".")), receiver(&to.path().join("contents"), None)).unwrap();
    assert_eq!(account(&to.path().join("contents"))[1..], account(&tree)[1..]);
}

#[test]
fn a_hole_stays_one_wherever_it_is() {
    let (from, to) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let path = from.path().join("sparse");
    let mut file = File::create(&path).unwrap();
    file.seek(SeekFrom::Start(64 << 20)).unwrap();
    file.write_all(b"middle").unwrap();
    file.set_len(256 << 20).unwrap();
    lay(&sent(&path), receiver(to.path(), Some("sparse"))).unwrap();
    let copy = to.path().join("sparse");
    let about = fs::metadata(&copy).unwrap();
    assert_eq!(about.len(), 256 << 20);
    assert!(about.blocks() * 512 < 1 << 20, "{} blocks", about.blocks());
    assert!(fs::read(&copy).unwrap() == fs::read(&path).unwrap());
}

#[test]
fn a_single_file_goes_into_a_folder_or_under_a_new_name_or_over_an_old_one() {
    let (from, to) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let source = from.path().join("file");
    fs::write(&source, "new").unwrap();
    let frames = sent(&source);
    fs::write(to.path().join("old"), "old and longer").unwrap();
    symlink("old", to.path().join("link")).unwrap();
    for at in ["", "fresh", "link"] {
        lay(&frames, receiver(&to.path().join(at), Some("file"))).unwrap();
    }
    for at in ["file", "fresh", "link"] {
        assert_eq!(fs::read(to.path().join(at)).unwrap(), b"new", "{at}");
    }
    assert!(!fs::symlink_metadata(to.path().join("link")).unwrap().is_symlink());
    assert_eq!(fs::read(to.path().join("old")).unwrap(), b"old and longer", "it was written through a link");
    for (at, name) in [("no/such/folder", Some("file")), ("absent/", Some("file")), ("", None)] {
        assert!(lay(&frames, receiver(&to.path().join(at), name)).is_err(), "{at}");
    }
    let folder = sent(from.path());
    let refused = lay(&folder, receiver(&to.path().join("old"), Some("folder")));
    assert!(matches!(refused, Err(ReceiveError::NoFolder(_))), "{refused:?}");
    fs::create_dir_all(to.path().join("taken/file")).unwrap();
    assert!(lay(&frames, receiver(&to.path().join("taken"), Some("file"))).is_err());
}

#[test]
fn a_device_that_is_named_as_the_place_stays_one() {
    let (from, to) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    fs::write(from.path().join("file"), "x").unwrap();
    let frames = sent(&from.path().join("file"));
    // Through a link: a test that runs as root does not risk the device.
    symlink("/dev/null", to.path().join("null")).unwrap();
    let _socket = std::os::unix::net::UnixListener::bind(to.path().join("socket")).unwrap();
    for at in ["null", "socket"] {
        let refused = lay(&frames, receiver(&to.path().join(at), Some("file")));
        assert!(matches!(refused, Err(ReceiveError::Special(_))), "{at}: {refused:?}");
    }
}

#[test]
fn what_is_no_file_folder_or_link_stays_behind_and_is_named() {
    let from = tempfile::tempdir().unwrap();
    let _socket = std::os::unix::net::UnixListener::bind(from.path().join("socket")).unwrap();
    fs::write(from.path().join("file"), "x").unwrap();
    let sent = send(from.path(), |_, _| Ok(())).unwrap();
    assert_eq!(sent, Sent { entries: 2, skipped: vec![from.path().join("socket")] });
    assert!(matches!(send(&from.path().join("socket"), |_, _| Ok(())), Err(SendError::Special(_))));
    assert!(matches!(send(&from.path().join("absent"), |_, _| Ok(())), Err(SendError::Read { .. })));
}

/// Sends a tree in which something happens as soon as this entry is told.
fn sent_while(source: &Path, at: &str, what: impl Fn()) -> Result<Frames, SendError> {
    let mut frames = Frames::new();
    send(source, |kind, payload| {
        if kind == Kind::Entry && Entry::parse(payload).unwrap().path == at.as_bytes() {
            what();
        }
        frames.push((kind, payload.to_vec()));
        Ok(())
    })
    .map(|_| frames)
}

#[test]
fn what_vanishes_while_a_tree_is_sent_is_not_missed() {
    let (from, to) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let tree = from.path().join("tree");
    make_tree(&tree);
    let frames =
        sent_while(&tree, "folder/deep", || fs::remove_dir_all(tree.join("folder")).unwrap()).unwrap();
    lay(&frames, receiver(to.path(), Some("tree"))).unwrap();
    assert!(to.path().join("tree/closed/inside").exists());
    assert!(!to.path().join("tree/folder/script").exists());
}

#[test]
fn a_file_that_becomes_shorter_while_it_is_sent_does_not_arrive_as_zeros() {
    let from = tempfile::tempdir().unwrap();
    let path = from.path().join("log");
    for left in [0, 5] {
        fs::write(&path, vec![b'x'; 3 << 20]).unwrap();
        let outcome =
            sent_while(&path, "", || File::options().write(true).open(&path).unwrap().set_len(left).unwrap());
        assert!(matches!(outcome, Err(SendError::Shrank(_))), "{left}: {outcome:?}");
    }
}

#[test]
fn a_guests_modes_make_no_program_that_runs_as_somebody_else() {
    let (from, to) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    make_tree(&from.path().join("tree"));
    let destination = Destination { path: to.path().to_owned(), name: Some("tree".into()) };
    lay(&sent(&from.path().join("tree")), Receiver::new(destination, MODES_FROM_GUEST)).unwrap();
    let script = fs::metadata(to.path().join("tree/folder/script")).unwrap();
    assert_eq!(script.mode() & 0o7777, 0o751);
}

#[test]
fn a_copy_that_breaks_off_leaves_what_was_whole_and_nothing_half() {
    let (from, to) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let tree = from.path().join("tree");
    make_tree(&tree);
    let frames = sent(&tree);
    let whole = account(&tree);
    for count in 0..frames.len() {
        let place = to.path().join(count.to_string());
        fs::create_dir(&place).unwrap();
        let mut receiver = receiver(&place, Some("tree"));
        for (kind, payload) in &frames[..count] {
            assert_eq!(receiver.take(*kind, payload).unwrap(), Step::More);
        }
        drop(receiver);
        if !place.join("tree").exists() {
            continue;
        }
        for (path, _, size, _, content) in account(&place.join("tree")) {
            let original = whole.iter().find(|entry| entry.0 == path);
            let original = original.unwrap_or_else(|| panic!("{} came from nowhere", path.display()));
            assert_eq!((size, &content), (original.2, &original.4), "{} is half there", path.display());
        }
    }
}

fn entry(path: &str, what: What) -> (Kind, Vec<u8>) {
    let modified = Modified { seconds: 0, nanoseconds: 0 };
    (Kind::Entry, Entry { path: path.into(), mode: 0o755, modified, what }.encode())
}

/// What a sender that wants out of the folder, or to be believed, might send.
fn lies() -> Vec<(&'static str, Frames)> {
    let folder = |path| entry(path, What::Folder);
    let file = |path, size| entry(path, What::File { size });
    let link = |path, target: &str| entry(path, What::Link { target: target.into() });
    let data = |bytes: &[u8]| (Kind::Data, bytes.to_vec());
    let hole = |length: u64| (Kind::Hole, length.to_le_bytes().to_vec());
    let root = || folder("");
    vec![
        ("data before anything", vec![data(b"x")]),
        ("an end before anything", vec![(Kind::Done, Vec::new())]),
        ("no root", vec![file("a", 0)]),
        ("two roots", vec![root(), root()]),
        ("a climbing path", vec![root(), file("../outside/planted", 0)]),
        ("a climbing path in the middle", vec![root(), folder("a"), file("a/../../outside/planted", 0)]),
        ("an absolute path", vec![root(), file("/planted", 0)]),
        ("a link out, then through it", vec![root(), link("a", "../../outside"), file("a/planted", 0)]),
        ("an absolute link, then through it", vec![root(), link("a", "OUTSIDE"), file("a/planted", 0)]),
        (
            "a link to a link, then through both",
            vec![root(), link("a", "."), link("b", "a/../../outside"), file("b/planted", 0)],
        ),
        (
            "a folder in place of a link",
            vec![root(), link("a", "OUTSIDE"), folder("a"), file("a/planted", 0)],
        ),
        (
            "a link in place of a folder",
            vec![root(), folder("a"), link("a", "OUTSIDE"), file("a/planted", 0)],
        ),
        ("a link for a root, then below it", vec![link("", "OUTSIDE"), file("planted", 0)]),
        ("a file for a root, then below it", vec![file("", 0), file("planted", 0)]),
        ("below a file", vec![root(), file("a", 0), file("a/planted", 0)]),
        ("below nothing", vec![root(), file("a/planted", 0)]),
        ("more bytes than announced", vec![root(), file("a", 2), data(b"xxx")]),
        ("more holes than announced", vec![root(), file("a", 2), hole(u64::MAX)]),
        ("a hole that is no number", vec![root(), file("a", 2), (Kind::Hole, vec![1])]),
        ("the next file before the end of this", vec![root(), file("a", 2), file("b", 0)]),
        ("an end before the end of a file", vec![root(), file("a", 2), (Kind::Done, Vec::new())]),
        ("a frame of another conversation", vec![root(), (Kind::Stdout, b"x".to_vec())]),
        ("rubbish", vec![(Kind::Entry, vec![0xff; 100])]),
        ("a folder over a file", vec![root(), file("a", 0), folder("a")]),
        ("a file over a folder", vec![root(), folder("a"), file("a", 0)]),
        ("a file of eight exabytes", vec![root(), file("a", i64::MAX as u64), hole(i64::MAX as u64)]),
    ]
}

#[test]
fn a_sender_that_lies_is_refused_and_gets_nothing_out_of_its_folder() {
    for (lie, frames) in lies() {
        let place = tempfile::tempdir().unwrap();
        let (inside, outside) = (place.path().join("inside"), place.path().join("outside"));
        fs::create_dir(&inside).unwrap();
        fs::create_dir(&outside).unwrap();
        let mut receiver = receiver(&inside, Some("tree"));
        let outcome = frames.iter().try_for_each(|(kind, payload)| {
            let absolute = outside.display().to_string();
            let payload = match Entry::parse(payload) {
                Ok(Entry { what: What::Link { target }, path, mode, modified }) if target == b"OUTSIDE" => {
                    Entry { path, mode, modified, what: What::Link { target: absolute.into_bytes() } }
                        .encode()
                }
                _ => payload.clone(),
            };
            receiver.take(*kind, &payload).map(drop)
        });
        drop(receiver);
        assert!(outcome.is_err(), "{lie} was believed");
        assert_eq!(fs::read_dir(&outside).unwrap().count(), 0, "{lie} got out");
        assert!(!place.path().join("planted").exists(), "{lie} got out");
        for (path, ..) in account(&inside) {
            assert!(!path.to_string_lossy().contains("partial"), "{lie} left {}", path.display());
        }
    }
}

#[test]
fn a_link_that_was_there_before_leads_nobody_out() {
    let place = tempfile::tempdir().unwrap();
    let (inside, outside) = (place.path().join("inside"), place.path().join("outside"));
    fs::create_dir_all(inside.join("tree")).unwrap();
    fs::create_dir(&outside).unwrap();
    symlink(&outside, inside.join("tree/folder")).unwrap();
    let from = tempfile::tempdir().unwrap();
    make_tree(&from.path().join("tree"));
    assert!(lay(&sent(&from.path().join("tree")), receiver(&inside, Some("tree"))).is_err());
    assert_eq!(fs::read_dir(&outside).unwrap().count(), 0);
}

#[test]
fn a_sender_of_folders_without_end_does_not_take_all_memory() {
    let to = tempfile::tempdir().unwrap();
    let mut receiver = receiver(to.path(), Some("tree"));
    receiver.room = 10_000;
    let root = entry("", What::Folder);
    receiver.take(root.0, &root.1).unwrap();
    let refused = (0..1000).find_map(|number| {
        let folder = entry(&number.to_string(), What::Folder);
        receiver.take(folder.0, &folder.1).err()
    });
    assert!(matches!(refused, Some(ReceiveError::TooManyFolders)), "{refused:?}");
}

use proptest::prelude::{Just, Strategy, prop_oneof};

/// Paths and targets of few names, so that they meet; some lead out.
fn some_path() -> impl Strategy<Value = Vec<u8>> {
    let name = prop_oneof![8 => Just("a"), 8 => Just("b"), 2 => Just(".."), 1 => Just("."), 1 => Just("")];
    proptest::collection::vec(name, 1..4).prop_map(|names| names.join("/").into_bytes())
}

fn some_frame() -> impl Strategy<Value = (Kind, Vec<u8>)> {
    let what = prop_oneof![
        Just(What::Folder),
        (0_u64..3).prop_map(|size| What::File { size }),
        some_path().prop_map(|target| What::Link { target }),
    ];
    let entry = (some_path(), 0_u32..0o10000, what).prop_map(|(path, mode, what)| {
        let modified = Modified { seconds: 0, nanoseconds: 0 };
        (Kind::Entry, Entry { path, mode, modified, what }.encode())
    });
    let hole = (0_u64..3).prop_map(|length| (Kind::Hole, length.to_le_bytes().to_vec()));
    let data = proptest::collection::vec(0_u8.., 0..3).prop_map(|bytes| (Kind::Data, bytes));
    let rubbish = proptest::collection::vec(0_u8.., 0..40).prop_map(|bytes| (Kind::Entry, bytes));
    prop_oneof![8 => entry, 3 => data, 1 => hole, 1 => rubbish, 1 => Just((Kind::Done, Vec::new()))]
}

proptest::proptest! {
    #[test]
    fn no_frames_make_a_receiver_panic_or_leave_its_folder(
        frames in proptest::collection::vec(some_frame(), 0..30),
    ) {
        let place = tempfile::tempdir().unwrap();
        let inside = place.path().join("inside");
        fs::create_dir(&inside).unwrap();
        for outside in ["a", "b"] {
            fs::write(place.path().join(outside), "untouched").unwrap();
            fs::write(inside.join(outside), "untouched").unwrap();
        }
        let root = entry("", What::Folder);
        let receiver_of_one = || {
            let mut receiver = receiver(&inside, Some("tree"));
            receiver.take(root.0, &root.1).unwrap();
            receiver
        };
        let mut receiver = receiver_of_one();
        // What was laid before it was refused is there for the next one.
        for (kind, payload) in frames {
            if receiver.take(kind, &payload).is_err() || kind == Kind::Done {
                receiver = receiver_of_one();
            }
        }
        drop(receiver);
        for folder in [place.path(), &inside] {
            proptest::prop_assert_eq!(fs::read_dir(folder).unwrap().count(), 3);
            for outside in ["a", "b"] {
                proptest::prop_assert_eq!(fs::read(folder.join(outside)).unwrap(), b"untouched");
            }
        }
    }
}

#[test]
fn of_a_tree_only_what_was_named_arrives_and_nothing_behind_a_link() {
    let place = tempfile::tempdir().unwrap();
    let (from, to) = (place.path().join("from"), place.path().join("to"));
    std::fs::create_dir_all(from.join("a/b")).unwrap();
    std::fs::create_dir(place.path().join("outside")).unwrap();
    std::fs::write(place.path().join("outside/secret"), "secret").unwrap();
    for name in ["a/b/wanted", "a/unwanted", "-\n"] {
        std::fs::write(from.join(name), name).unwrap();
    }
    std::os::unix::fs::symlink("../outside", from.join("link")).unwrap();
    let mut receiver = Receiver::new(Destination { path: to.clone(), name: None }, MODES_FROM_HOST);
    let wanted = [&b"a/b/wanted"[..], b"-\n", b"link", b"link/secret", b"gone", b"-\n/below"];
    let sent = send_some(&from, wanted, |kind, payload| {
        receiver.take(kind, payload).map(drop).map_err(std::io::Error::other)
    });
    // The root, two folders, two files and the link.
    assert_eq!(sent.unwrap().entries, 6);
    assert_eq!(std::fs::read_to_string(to.join("a/b/wanted")).unwrap(), "a/b/wanted");
    assert!(to.join("-\n").is_file() && to.join("link").is_symlink());
    assert!(!to.join("a/unwanted").exists() && !to.join("gone").exists());
}
