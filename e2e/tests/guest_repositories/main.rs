//! Repositories of every kind in a real guest: each is there as it is here, and what is done there comes back to the byte.
//!
//! They are made by [`kinds`]. With `BANGER_E2E_REPOSITORIES=FOLDER` they are those in the folder instead, each below its
//! name, bare or not, which is how repositories of other people are tried. Every one prints a line.

mod kinds;

use banger_e2e::{Checks, Host, Sandbox};
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// A large one is packed, sent and checked out in a guest that may be emulated.
const LONGEST: Duration = Duration::from_mins(15);

/// Everything that can be done to files, by somebody who types it there. `$1` is the place; the others are tracked files, or
/// nothing: one to commit a change of, one to edit, one to remove and one to rename.
const WORK: &str = r#"
set -e
cd "$1"
if [ -n "$2" ]; then echo committed >> "$2"; git add -f -- "$2"; fi
git commit -q --allow-empty -m 'done in the guest'
if [ -n "$3" ]; then echo edited >> "$3"; fi
if [ -n "$4" ]; then rm -- "$4"; fi
if [ -n "$5" ]; then mv -- "$5" "$5 renamed"; fi
mkdir -p 'banger tries/é'
echo new > 'banger tries/é/new'
printf '#!/bin/sh\n' > 'banger tries/executable'
chmod +x 'banger tries/executable'
head -c 100000 /dev/urandom > 'banger tries/binary'
ln -s ../elsewhere 'banger tries/link'
"#;

/// What is there as a tree, by git's own idea of it and beside the index.
const TREE: &str = "cd \"$1\" && cp .git/index /tmp/index && export GIT_INDEX_FILE=/tmp/index && git add -A && git write-tree";

fn git(sandbox: &Sandbox, repository: &Path, arguments: &[&str]) -> String {
    let place = repository.display().to_string();
    let words = [&["-C", &place][..], arguments].concat();
    let done = sandbox.tool("git", words).limit(LONGEST).run().expect_success();
    done.stdout_text().trim_end_matches('\n').to_owned()
}

fn banger(sandbox: &Sandbox, words: &[&str]) -> String {
    sandbox.banger(words).limit(LONGEST).run().expect_success().stdout_text().to_owned()
}

fn there(sandbox: &Sandbox, script: &str, arguments: &[&str]) -> String {
    let words = [&["vm", "exec", "dev", "--", "sh", "-c", script, "sh"][..], arguments].concat();
    banger(sandbox, &words).trim_end_matches('\n').to_owned()
}

/// The repositories in a folder: a working tree is copied as it is, with its submodules, and a bare one cloned.
fn copies_of(sandbox: &Sandbox, folder: &Path) -> Vec<PathBuf> {
    let mut found: Vec<_> = fs::read_dir(folder).expect("a folder of repositories").flatten().collect();
    found.sort_by_key(fs::DirEntry::file_name);
    let into = sandbox.home().join("copied");
    fs::create_dir_all(&into).expect("a folder");
    let copies = found.into_iter().map(|entry| {
        let copy = into.join(entry.file_name());
        let (from, to) = (entry.path().display().to_string(), copy.display().to_string());
        if entry.path().join(".git").exists() {
            let words = ["-a", "--reflink=auto", "--", &from, &to];
            let _ = sandbox.tool("cp", words).limit(LONGEST).run().expect_success();
        } else {
            git(sandbox, &sandbox.home(), &["clone", "-q", "--no-hardlinks", &from, &to]);
        }
        copy
    });
    copies.collect()
}

/// Four tracked files from here and there in a repository, as far as it has them. No attribute of git's is among them.
fn chosen(sandbox: &Sandbox, repository: &Path) -> [String; 4] {
    let listed = git(sandbox, repository, &["-c", "core.quotePath=true", "ls-files", "--stage"]);
    let regular = listed.lines().filter_map(|line| line.strip_prefix("100644 ")?.split_once('\t'));
    // A name that git quotes is left to those that are made for it.
    let plain: Vec<&str> =
        regular.map(|(_, path)| path).filter(|path| !path.contains('"') && !path.contains(".git")).collect();
    let at = |number: usize| plain.get(plain.len() * number / 5 + number).map_or("", |path| *path);
    let mut taken = Vec::new();
    [0, 1, 2, 3].map(|number| {
        let path = at(number);
        let path = if taken.contains(&path) { "" } else { path };
        taken.push(path);
        path.to_owned()
    })
}

/// Brings it in, works on it there and brings that back. What is printed of it.
fn there_and_back(sandbox: &Sandbox, repository: &Path) -> String {
    let name = repository.file_name().expect("it has a name").to_string_lossy().into_owned();
    let place = format!("/root/{name}");
    let path = repository.display().to_string();
    let submodules = repository.join(".gitmodules").exists();
    let mode: &[&str] = if submodules { &["--mode", "full_copy"] } else { &[] };
    let prepare = [&["vm", "workspace", "prepare", "dev", &path][..], mode].concat();
    let began = Instant::now();
    banger(sandbox, &prepare);
    let first = began.elapsed();
    let status = ["status", "--porcelain"];
    let same = |when: &str| {
        let inside = there(sandbox, "cd \"$1\" && git status --porcelain", &[&place]);
        assert_eq!(inside, git(sandbox, repository, &status), "{name}: the status {when}");
    };
    same("at first");
    if git(sandbox, repository, &["rev-parse", "--revs-only", "HEAD"]).is_empty() {
        // Nothing to apply a patch to.
        let _ = sandbox.exec("dev", &["rm", "-rf", &place]).expect_success();
        return format!("{name}: no commit yet; status alike");
    }
    assert_eq!(
        banger(sandbox, &["vm", "workspace", "export", "dev"]),
        "",
        "{name}: nothing done was exported"
    );

    let files = chosen(sandbox, repository);
    let dirty = git(sandbox, repository, &status);
    there(sandbox, WORK, &[&[place.as_str()][..], &files.each_ref().map(String::as_str)].concat());
    let patch = sandbox.home().join(format!("{name}.patch")).display().to_string();
    banger(sandbox, &["vm", "workspace", "export", "dev", "--base-commit", "HEAD", "-o", &patch]);
    let tree = there(sandbox, TREE, &[&place]);
    let fresh = sandbox.home().join(format!("{name}.fresh"));
    let to = fresh.display().to_string();
    git(sandbox, repository, &["clone", "-q", "--no-hardlinks", &path, &to]);
    git(sandbox, &fresh, &["apply", "--index", "--whitespace=nowarn", &patch]);
    assert_eq!(git(sandbox, &fresh, &["write-tree"]), tree, "{name}: the patch gives another tree");
    assert_eq!(git(sandbox, repository, &status), dirty, "{name}: something was changed here");
    fs::remove_dir_all(&fresh).expect("it is ours");

    // What changes here follows.
    fs::write(repository.join("banger was here"), "new here\n").expect("a file");
    git(sandbox, repository, &["add", "banger was here"]);
    let began = Instant::now();
    banger(sandbox, &["vm", "workspace", "prepare", "dev", &path]);
    let second = began.elapsed();
    assert_eq!(there(sandbox, "cat \"$1/banger was here\"", &[&place]), "new here", "{name}");
    assert_eq!(there(sandbox, "cat \"$1/banger tries/é/new\"", &[&place]), "new", "{name}");
    let count = git(sandbox, repository, &["ls-files"]).lines().count();
    let _ = sandbox.exec("dev", &["rm", "-rf", &place]).expect_success();
    format!(
        "{name}: {count} files; status alike, tree {tree} came back; prepared in {:.1} s, again in {:.1} s",
        first.as_secs_f64(),
        second.as_secs_f64()
    )
}

#[test]
fn repositories_of_every_kind_go_there_and_come_back() {
    let before = Host::look();
    let sandbox = Sandbox::with_image();
    let home = sandbox.home();
    for (name, value) in [("user.name", "Ada"), ("user.email", "ada@host"), ("protocol.file.allow", "always")]
    {
        git(&sandbox, &home, &["config", "--global", name, value]);
    }
    let repositories = match std::env::var_os("BANGER_E2E_REPOSITORIES") {
        Some(folder) => copies_of(&sandbox, Path::new(&folder)),
        None => kinds::of_every_kind(&sandbox, &home.join("made")),
    };
    let _ = sandbox.banger(["vm", "run", "-d", "--name", "dev"]).run().expect_success();
    let mut checks = Checks::new();
    for repository in &repositories {
        checks.check("a repository goes there and comes back", || {
            eprintln!("{}", there_and_back(&sandbox, repository));
        });
    }
    eprintln!("{} repositories", repositories.len());
    let _ = sandbox.banger(["vm", "delete", "dev"]).run().expect_success();
    Host::look().assert_same_as(&before);
}
