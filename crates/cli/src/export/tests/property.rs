//! Random work in a guest comes out as it is, whatever it is called.
//!
//! `BANGER_PROPTEST_CASES` says how many are tried.

use super::*;
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{PermissionsExt, symlink};

/// How many trees are tried where nobody asks for more.
const CASES: u32 = 12;

#[derive(Clone, Debug)]
enum Step {
    Write { path: Vec<u8>, content: Vec<u8>, executable: bool },
    Link { path: Vec<u8>, target: Vec<u8> },
    Remove { path: Vec<u8> },
    Move { from: Vec<u8>, to: Vec<u8> },
    Commit,
}

fn name() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        8 => "[abc]".prop_map(String::into_bytes),
        1 => Just(b"-x".to_vec()),
        1 => Just(b" sp\tace\n\"q\\".to_vec()),
        1 => Just(b"\xff\xfe".to_vec()),
        1 => Just("ü\u{301}".as_bytes().to_vec()),
        1 => Just(b".gitattributes".to_vec()),
        1 => Just(b".gitignore".to_vec()),
    ]
}

fn path() -> impl Strategy<Value = Vec<u8>> {
    proptest::collection::vec(name(), 1..4).prop_map(|mut names| {
        // git refuses folders of these names.
        let last = names.len() - 1;
        names[..last]
            .iter_mut()
            .filter(|name| name.starts_with(b".git"))
            .for_each(|name| *name = b"d".to_vec());
        names.join(&b'/')
    })
}

fn content() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        Just(Vec::new()),
        Just(b"* text=auto\n*.x -text\na eol=crlf\n".to_vec()),
        Just(b"c\n!a\n".to_vec()),
        "[ab\r\n]{0,12}".prop_map(String::into_bytes),
        proptest::collection::vec(any::<u8>(), 0..40),
        Just(b"no end of line".to_vec()),
        Just(vec![b'z'; 1900]),
        Just((0..400_u32).flat_map(|n| format!("line {n}\n").into_bytes()).collect()),
    ]
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        8 => (path(), content(), any::<bool>())
            .prop_map(|(path, content, executable)| Step::Write { path, content, executable }),
        2 => (path(), prop_oneof![Just(b"a".to_vec()), Just(b"../../etc".to_vec()), Just(b"\xff".to_vec())])
            // `git apply` does not replace a link that leads to itself.
            .prop_map(|(path, target)| {
                let leads_to_itself = path.rsplit(|byte| *byte == b'/').next() == Some(&target);
                Step::Link { path, target: if leads_to_itself { b"elsewhere".to_vec() } else { target } }
            }),
        3 => path().prop_map(|path| Step::Remove { path }),
        2 => (path(), path()).prop_map(|(from, to)| Step::Move { from, to }),
        2 => Just(Step::Commit),
    ]
}

fn below(root: &Path, path: &[u8]) -> PathBuf {
    root.join(OsStr::from_bytes(path))
}

/// Makes way for a file: what is there goes, and what is no folder above it.
fn make_way(root: &Path, path: &Path) {
    let mut above: Vec<&Path> = path.ancestors().skip(1).take_while(|it| *it != root).collect();
    above.reverse();
    for folder in above {
        if folder.symlink_metadata().is_ok_and(|about| !about.is_dir()) {
            fs::remove_file(folder).unwrap();
        }
        let _ = fs::create_dir(folder);
    }
    remove(path);
}

fn remove(path: &Path) {
    match path.symlink_metadata() {
        Ok(about) if about.is_dir() => fs::remove_dir_all(path).unwrap(),
        Ok(_) => fs::remove_file(path).unwrap(),
        Err(_) => {}
    }
}

fn take(root: &Path, step: &Step) {
    match step {
        Step::Write { path, content, executable } => {
            let path = below(root, path);
            make_way(root, &path);
            fs::write(&path, content).unwrap();
            let mode = if *executable { 0o755 } else { 0o644 };
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        }
        Step::Link { path, target } => {
            let path = below(root, path);
            make_way(root, &path);
            symlink(OsStr::from_bytes(target), &path).unwrap();
        }
        Step::Remove { path } => remove_below(root, path),
        Step::Move { from, to } => {
            let from = below(root, from);
            let may_be_folder = !to.windows(4).any(|part| part == b".git");
            let is_plain =
                may_be_folder && is_reached_plainly(root, &from) && from.symlink_metadata().is_ok();
            let to = below(root, to);
            if is_plain && !to.starts_with(&from) && !from.starts_with(&to) {
                let aside = root.join(".git/aside");
                fs::rename(&from, &aside).unwrap();
                make_way(root, &to);
                fs::rename(&aside, &to).unwrap();
            }
        }
        Step::Commit => {
            git_in(root, &["add", "-A"], b"");
            git_in(root, &["commit", "-q", "--allow-empty", "-m", "step"], b"");
        }
    }
}

fn remove_below(root: &Path, path: &[u8]) {
    let path = below(root, path);
    if is_reached_plainly(root, &path) {
        remove(&path);
    }
}

/// Not by way of a link.
fn is_reached_plainly(root: &Path, path: &Path) -> bool {
    let mut above = path.ancestors().skip(1).take_while(|it| *it != root);
    above.all(|folder| folder.symlink_metadata().is_ok_and(|about| about.is_dir()))
}

/// The tree of the files, by an index that knows what was there and nothing of what this crate does.
fn tree_of_files(place: &Place) -> String {
    let git_dir = format!("--git-dir={}", place.there().join(".git").display());
    let copy = place.folder.path().join("index");
    let _ = fs::copy(place.there().join(".git/index"), &copy);
    let with_index = |arguments: &[&str]| {
        let mut command = Tool::find("git").unwrap().command();
        command.env("GIT_INDEX_FILE", &copy).env("HOME", "/nowhere").current_dir(place.there());
        let output = command.arg(&git_dir).args(arguments).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8_lossy(&output.stdout).trim_end().to_owned()
    };
    with_index(&["add", "-A"]);
    let tree = with_index(&["write-tree"]);
    fs::remove_file(copy).unwrap();
    tree
}

fn whole_way(before: &[Step], work: &[Step]) {
    let mut place = Place::new();
    before.iter().for_each(|step| take(&place.here(), step));
    place.commit();
    place.bring_in();

    let empty = place.fetch(Limits::default(), honest).unwrap();
    let patch = empty.patch(empty.first()).unwrap();
    assert_eq!(patch.metadata().unwrap().len(), 0, "work that nobody did");
    drop(empty);

    work.iter().for_each(|step| take(&place.there(), step));
    let head_there = place.git_there(&["rev-parse", "HEAD"]);
    let (here, there) = (snapshot(&place.here()), snapshot(&place.there()));
    let done = place.fetch(Limits::default(), honest).unwrap();
    let mut patch = Vec::new();
    done.patch(done.first()).unwrap().read_to_end(&mut patch).unwrap();
    assert_eq!(files(&snapshot(&place.here())), files(&here), "the host was changed");
    assert_eq!(files(&snapshot(&place.there())), files(&there), "the guest was changed");
    let tree = tree_of_files(&place);
    assert_eq!(done.claim.tree.as_str(), tree, "it is not what git would add");

    git_in(place.folder.path(), &["clone", "-q", "--no-local", "here", "fresh"], b"");
    let fresh = place.folder.path().join("fresh");
    if !patch.is_empty() {
        git_in(&fresh, &["apply", "--index", "--whitespace=nowarn", "-"], &patch);
    }
    assert_eq!(git_in(&fresh, &["write-tree"], b""), tree, "the patch gives another tree");

    let who = ("A".to_owned(), "a@b".to_owned());
    let tip = done.land(&place.repository(), "landed", "dev", who).unwrap();
    drop(done);
    let now = files(&snapshot(&place.here()));
    let of_landing = |path: &PathBuf| {
        let path = path.to_string_lossy();
        path.contains("objects/pack") || path.ends_with("heads/landed")
    };
    let rest: Vec<_> = now.into_iter().filter(|(path, _)| !of_landing(path)).collect();
    let here: Vec<_> = files(&here).into_iter().filter(|(path, _)| !of_landing(path)).collect();
    assert_eq!(rest, here, "landing changed more than a branch");
    match tip {
        Some(tip) => {
            assert_eq!(place.git(&["rev-parse", "landed^{tree}"]), tree);
            assert_eq!(place.git(&["rev-parse", "landed"]), tip.as_str());
            place.git(&["merge-base", "--is-ancestor", &head_there, "landed"]);
            place.git(&["fsck", "--strict", "--no-dangling"]);
        }
        None => assert_eq!(tree, place.git(&["rev-parse", "HEAD^{tree}"])),
    }
    assert!(place.left().is_empty());
}

/// Files and their content, without times and folders.
fn files(snapshot: &[(PathBuf, Vec<u8>, std::time::SystemTime)]) -> Vec<(PathBuf, Vec<u8>)> {
    snapshot.iter().map(|(path, content, _)| (path.clone(), content.clone())).collect()
}

#[test]
fn whatever_is_done_in_a_guest_comes_out_as_it_is_and_nothing_else_changes() {
    let cases =
        std::env::var("BANGER_PROPTEST_CASES").ok().and_then(|cases| cases.parse().ok()).unwrap_or(CASES);
    let config = Config { cases, max_shrink_iters: 200, failure_persistence: None, ..Config::default() };
    let steps = || proptest::collection::vec(step(), 0..12);
    TestRunner::new(config)
        .run(&(steps(), steps()), |(before, work)| {
            whole_way(&before, &work);
            Ok(())
        })
        .map_err(|error| error.to_string().chars().take(4000).collect::<String>())
        .unwrap();
}
