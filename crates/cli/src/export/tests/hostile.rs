//! Guests that send what no honest one would. Each is refused with its reason, and nothing is written.

use super::*;
use std::time::Duration;

/// A repository in which anything can be made, for the guest to send.
struct Forge<'a> {
    place: &'a Place,
    /// Everything that was made.
    made: std::cell::RefCell<Vec<String>>,
}

impl<'a> Forge<'a> {
    fn new(place: &'a Place) -> Self {
        Self { place, made: Vec::new().into() }
    }

    fn object(&self, kind: &str, bytes: &[u8]) -> String {
        let arguments = ["hash-object", "-t", kind, "-w", "--literally", "--stdin"];
        let oid = git_in(&self.place.there(), &arguments, bytes);
        self.made.borrow_mut().push(oid.clone());
        oid
    }

    fn blob(&self, text: &str) -> String {
        self.object("blob", text.as_bytes())
    }

    fn tree(&self, entries: &[(&str, &[u8], &str)]) -> String {
        let mut bytes = Vec::new();
        for (mode, name, oid) in entries {
            bytes.extend(mode.bytes());
            bytes.push(b' ');
            bytes.extend(*name);
            bytes.push(0);
            bytes.extend((0..40).step_by(2).map(|at| u8::from_str_radix(&oid[at..at + 2], 16).unwrap()));
        }
        self.object("tree", &bytes)
    }

    fn commit(&self, tree: &str) -> String {
        let parent = self.place.head.as_ref().unwrap();
        let who = "A <a@b> 1700000000 +0000";
        let text = format!("tree {tree}\nparent {parent}\nauthor {who}\ncommitter {who}\n\nx\n");
        self.object("commit", text.as_bytes())
    }

    /// All that was made, as a pack.
    fn pack(&self) -> Vec<u8> {
        let list: String = self.made.borrow().iter().map(|oid| format!("{oid}\n")).collect();
        raw_git_in(&self.place.there(), &["pack-objects", "--stdout", "-q"], list.as_bytes())
    }
}

fn place() -> Place {
    let mut place = Place::new();
    fs::write(place.here().join("a"), "a\n").unwrap();
    fs::write(place.here().join(".gitmodules"), "[submodule \"s\"]\n\tpath = s\n\turl = https://host/s\n")
        .unwrap();
    place.commit();
    place.bring_in();
    place
}

/// Sends this as its answer.
fn liar(head: &str, tree: &str, pack: Vec<u8>) -> impl Fn(UnixStream) + Clone + Send + 'static {
    let text = format!("banger-export 1\nhead {head}\ntree {tree}\n\n").into_bytes();
    let bytes = [text, pack].concat();
    move |mut stream: UnixStream| {
        let _ = frame::read(&mut stream);
        for piece in bytes.chunks(frame::MAX_PAYLOAD) {
            if frame::write(&mut stream, Kind::Stdout, piece).is_err() {
                return;
            }
        }
        let _ = frame::write_json(&mut stream, Kind::Exit, &Exit::Code(0));
    }
}

/// The causes of a failure, from the outermost on.
fn told(error: &dyn std::error::Error) -> String {
    let chain = std::iter::successors(Some(error), |error| error.source());
    chain.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}

/// Fetches and does all that can be done with it: what is it refused for?
fn refusal(place: &Place, limits: Limits, guest: impl Fn(UnixStream) + Clone + Send + 'static) -> String {
    let before = snapshot(&place.here());
    let everything = || -> Result<(), String> {
        let work = place.fetch(limits, guest).map_err(|error| told(&error))?;
        work.patch(work.first()).map_err(|error| told(&error))?;
        let who = ("A".to_owned(), "a@b".to_owned());
        work.land(&place.repository(), "landed", "dev", who).map_err(|error| told(&error))?;
        Ok(())
    };
    let refused = everything().expect_err("it was taken");
    assert!(snapshot(&place.here()) == before, "the repository was written to; {refused}");
    assert!(place.left().is_empty(), "a quarantine was left; {refused}");
    refused
}

fn refused(place: &Place, guest: impl Fn(UnixStream) + Clone + Send + 'static) -> String {
    refusal(place, Limits::default(), guest)
}

#[test]
fn a_repository_in_any_spelling_is_refused_with_its_path() {
    let place = place();
    for name in
        [".git", ".GIT", ".Git ", ".git.", "git~1", "GIT~1", ".g\u{200c}it", ".git::$INDEX_ALLOCATION"]
    {
        let forge = Forge::new(&place);
        let blob = forge.blob("[core]\n\thooksPath = .\n");
        let inner = forge.tree(&[("100644", b"config", &blob)]);
        let evil = forge.tree(&[("40000", name.as_bytes(), &inner)]);
        let tree = forge.tree(&[("40000", b"sub", &evil)]);
        let said = refused(&place, liar("-", &tree, forge.pack()));
        assert!(said.contains("\"sub") && said.contains("git refuses"), "{name}: {said}");
    }
}

#[test]
fn what_the_users_own_objects_already_are_is_judged_too() {
    let place = place();
    // Fetched once from somewhere by a git that did not mind: nothing of it is in what the guest sends.
    for name in [".git", "git~1", ".g\u{200c}it"] {
        let forge = Forge::new(&place);
        let blob = forge.blob("x");
        let inner = forge.tree(&[("100644", b"config", &blob)]);
        let tree = forge.tree(&[("40000", name.as_bytes(), &inner)]);
        let pack = raw_git_in(&place.there(), &["pack-objects", "--stdout", "-q"], b"");
        raw_git_in(&place.here(), &["unpack-objects", "-q"], &forge.pack());
        let said = refused(&place, liar("-", &tree, pack));
        assert!(said.contains("git refuses") && said.contains(name), "{name}: {said}");
    }
}

#[test]
fn a_submodule_is_in_no_patch_either() {
    let place = place();
    let forge = Forge::new(&place);
    let tree = forge.tree(&[("160000", b"s", place.head.as_ref().unwrap())]);
    let work = place.fetch(Limits::default(), liar("-", &tree, forge.pack())).unwrap();
    let said = told(&work.patch(work.first()).expect_err("it was taken"));
    assert!(said.contains("\"s\" is a new submodule"), "{said}");
}

#[test]
fn a_path_that_leads_elsewhere_is_refused() {
    let place = place();
    for name in [&b".."[..], b".", b"a/b", b"../x", b"", b"/etc"] {
        let forge = Forge::new(&place);
        let blob = forge.blob("x");
        let evil = forge.tree(&[("100644", name, &blob)]);
        let tree = forge.tree(&[("40000", b"sub", &evil)]);
        let said = refused(&place, liar("-", &tree, forge.pack()));
        assert!(said.contains("git refuses"), "{name:?}: {said}");
    }
}

#[test]
fn a_file_below_a_link_is_refused() {
    let place = place();
    let forge = Forge::new(&place);
    let target = forge.blob("/etc");
    let file = forge.blob("x");
    let below = forge.tree(&[("100644", b"passwd", &file)]);
    let tree = forge.tree(&[("120000", b"way", &target), ("40000", b"way", &below)]);
    let said = refused(&place, liar("-", &tree, forge.pack()));
    assert!(said.contains("git refuses") && said.contains("duplicate"), "{said}");
}

#[test]
fn submodules_are_refused_whether_new_or_elsewhere_or_under_another_name() {
    let place = place();
    let forge = Forge::new(&place);
    let link = place.head.clone().unwrap();
    let there = forge.blob("[submodule \"s\"]\n\tpath = s\n\turl = https://evil/s\n");
    let command =
        forge.blob("[submodule \"s\"]\n\tpath = s\n\turl = https://host/s\n\tupdate = !touch /tmp/x\n");
    let dash = forge.blob("[submodule \"s\"]\n\tpath = s\n\turl = -u./x\n");
    let no_config = forge.blob("[submodule");
    let file = forge.blob("x");
    for (mode, name, oid, reason) in [
        ("160000", &b"s"[..], &link, "\"s\" is a new submodule"),
        ("100644", b".gitmodules", &there, "https://evil/s"),
        ("100644", b".gitmodules", &command, ".gitmodules"),
        ("100644", b".gitmodules", &dash, ".gitmodules"),
        ("100644", b".gitmodules", &no_config, ".gitmodules"),
        ("100644", b".GITMODULES", &there, "spelling of .gitmodules"),
        ("120000", b".gitmodules", &file, ".gitmodules"),
    ] {
        let forge = Forge::new(&place);
        forge.made.borrow_mut().extend((mode != "160000").then(|| oid.clone()));
        let tree = forge.tree(&[(mode, name, oid)]);
        let said = refused(&place, liar("-", &tree, forge.pack()));
        assert!(said.contains(reason), "{mode} {name:?}: {said}");
    }
}

#[test]
fn submodules_can_be_taken_away() {
    let place = place();
    let forge = Forge::new(&place);
    let empty = forge.blob("");
    let tree = forge.tree(&[("100644", b".gitmodules", &empty)]);
    let work = place.fetch(Limits::default(), liar("-", &tree, forge.pack())).unwrap();
    work.patch(work.first()).unwrap();
}

#[test]
fn a_submodule_in_a_commit_on_the_way_is_not_landed() {
    let place = place();
    let forge = Forge::new(&place);
    let evil = forge.tree(&[("160000", b"s", place.head.as_ref().unwrap())]);
    let first = forge.commit(&evil);
    let clean = place.git(&["rev-parse", "HEAD^{tree}"]);
    let who = "A <a@b> 1700000000 +0000";
    let text = format!("tree {clean}\nparent {first}\nauthor {who}\ncommitter {who}\n\nx\n");
    let head = forge.object("commit", text.as_bytes());
    let said = refused(&place, liar(&head, &clean, forge.pack()));
    assert!(said.contains("\"s\" is a new submodule"), "{said}");
}

#[test]
fn objects_that_git_does_not_make_are_refused() {
    let place = place();
    let clean = place.git(&["rev-parse", "HEAD^{tree}"]);
    let forge = |make: &dyn Fn(&Forge) -> (String, String)| {
        let forge = Forge::new(&place);
        let (head, tree) = make(&forge);
        (head, tree, forge.pack())
    };
    let cases = [
        (
            "no author",
            forge(&|f| (f.object("commit", format!("tree {clean}\n\nx").as_bytes()), clean.clone())),
        ),
        ("no tree", forge(&|f| ("-".into(), f.object("tree", b"100644 x\0short")))),
        (
            "mode",
            forge(&|f| {
                ("-".into(), {
                    let b = f.blob("x");
                    f.tree(&[("100666", b"x", &b)])
                })
            }),
        ),
        (
            "zero",
            forge(&|f| {
                ("-".into(), {
                    let b = f.blob("x");
                    f.tree(&[("0100644", b"x", &b)])
                })
            }),
        ),
        (
            "twice",
            forge(&|f| {
                ("-".into(), {
                    let b = f.blob("x");
                    f.tree(&[("100644", b"x", &b), ("100644", b"x", &b)])
                })
            }),
        ),
        (
            "order",
            forge(&|f| {
                ("-".into(), {
                    let b = f.blob("x");
                    f.tree(&[("100644", b"y", &b), ("100644", b"x", &b)])
                })
            }),
        ),
        (
            "missing",
            forge(&|f| {
                ("-".into(), {
                    f.blob("y");
                    f.tree(&[("100644", b"x", &"7".repeat(40))])
                })
            }),
        ),
        ("a file for a tree", forge(&|f| ("-".into(), f.blob("x")))),
        (
            "a tree for a commit",
            forge(&|f| {
                f.blob("x");
                (clean.clone(), clean.clone())
            }),
        ),
        (
            "of another kind",
            forge(&|f| {
                ("-".into(), {
                    let b = f.blob("x");
                    f.tree(&[("40000", b"x", &b)])
                })
            }),
        ),
    ];
    for (name, (head, tree, pack)) in cases {
        let said = refused(&place, liar(&head, &tree, pack));
        assert!(said.contains("refused") || said.contains("git"), "{name}: {said}");
    }
}

#[test]
fn what_is_no_pack_or_half_of_one_is_refused() {
    let place = place();
    let tree = place.git(&["rev-parse", "HEAD^{tree}"]);
    let forge = Forge::new(&place);
    let new = forge.tree(&[("100644", b"x", &forge.blob("x"))]);
    let pack = forge.pack();
    for bytes in
        [b"".to_vec(), b"diff --git a/x b/x\n".to_vec(), pack[..pack.len() / 2].to_vec(), vec![0; 100_000]]
    {
        let said = refused(&place, liar("-", &tree, bytes));
        assert!(said.contains("is not a pack"), "{said}");
    }
    let mut flipped = pack.clone();
    flipped[pack.len() / 2] ^= 1;
    let said = refused(&place, liar("-", &new, flipped));
    assert!(said.contains("is not a pack"), "{said}");
}

#[test]
fn output_without_end_or_without_a_beginning_is_cut_off() {
    let place = place();
    let flood = |first: Vec<u8>| {
        move |mut stream: UnixStream| {
            let _ = frame::read(&mut stream);
            let mut send = |bytes: &[u8]| frame::write(&mut stream, Kind::Stdout, bytes);
            let mut more = send(&first);
            while more.is_ok() {
                more = send(&[b'x'; 60_000]);
            }
        }
    };
    let limits = Limits { received: 1 << 20, silence: Duration::from_millis(300), ..Limits::default() };
    let tree = "a".repeat(40);
    let begun = format!("banger-export 1\nhead -\ntree {tree}\n\nPACK").into_bytes();
    let said = refusal(&place, limits, flood(begun));
    assert!(said.contains("more than 1048576 bytes"), "{said}");
    let said = refusal(&place, limits, flood(Vec::new()));
    assert!(said.contains("an invalid answer"), "{said}");
    let said = refusal(&place, limits, |stream| {
        std::thread::park_timeout(Duration::from_secs(5));
        drop(stream);
    });
    assert!(said.contains("nothing came for too long"), "{said}");
}

#[test]
fn more_than_anybody_has_is_refused_by_number_and_by_size() {
    let place = place();
    let forge = Forge::new(&place);
    let blobs: Vec<String> = (0..20).map(|n| forge.blob(&format!("{n}").repeat(50_000))).collect();
    let names: Vec<String> = (10..30).map(|n| format!("f{n}")).collect();
    let entries: Vec<_> =
        names.iter().zip(&blobs).map(|(name, blob)| ("100644", name.as_bytes(), blob.as_str())).collect();
    let tree = forge.tree(&entries);
    let pack = forge.pack();
    assert!(pack.len() < 100_000, "it is larger than it looks");
    for (limits, reason) in [
        (Limits { objects: 10, ..Limits::default() }, "more than 10 new"),
        (Limits { file: 60_000, ..Limits::default() }, "more than 60000"),
        (Limits { unpacked: 500_000, ..Limits::default() }, "more than 500000 bytes"),
    ] {
        let said = refusal(&place, limits, liar("-", &tree, pack.clone()));
        assert!(said.contains(reason), "{said}");
    }
    let work = place.fetch(Limits { patch: 1000, ..Limits::default() }, liar("-", &tree, pack)).unwrap();
    let said = told(&work.patch(work.first()).unwrap_err());
    assert!(said.contains("more to say than 1000 bytes"), "{said}");
}

#[test]
fn git_may_use_only_so_much_memory_on_it() {
    let place = place();
    let forge = Forge::new(&place);
    let tree = forge.tree(&[("100644", b"zeros", &forge.object("blob", &vec![0; 200 << 20]))]);
    let limits = Limits { memory: 100 << 20, ..Limits::default() };
    let said = refusal(&place, limits, liar("-", &tree, forge.pack()));
    assert!(said.contains("git") || said.contains("pack"), "{said}");
}
