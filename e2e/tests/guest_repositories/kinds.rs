//! Repositories as people have them, made here.

use super::git;
use banger_e2e::Sandbox;
use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};

type Fill = fn(&Sandbox, &Path);

/// One of each kind, below `folder`.
pub(crate) fn of_every_kind(sandbox: &Sandbox, folder: &Path) -> Vec<PathBuf> {
    let kinds: [(&str, Fill); 11] = [
        ("tiny", |_, at| write(at, "README", "hello\n")),
        ("unborn", |_, at| write(at, "README", "staged\n")),
        ("many", many),
        ("binary", binary),
        ("long", long),
        ("names", names),
        ("lines", lines),
        ("links", links),
        ("pointers", pointers),
        ("nested", nested),
        ("submodules", submodules),
    ];
    let made = kinds.into_iter().map(|(name, fill)| {
        let at = folder.join(name);
        fs::create_dir_all(&at).expect("a folder");
        git(sandbox, &at, &["init", "-q", "-b", "main"]);
        fill(sandbox, &at);
        if name == "unborn" {
            git(sandbox, &at, &["add", "-A"]);
        } else {
            commit(sandbox, &at, "all of it");
        }
        at
    });
    made.collect()
}

fn write(at: &Path, name: impl AsRef<OsStr>, content: impl AsRef<[u8]>) {
    let path = at.join(Path::new(name.as_ref()));
    fs::create_dir_all(path.parent().expect("it is in a folder")).expect("a folder");
    fs::write(path, content).expect("a file");
}

fn commit(sandbox: &Sandbox, at: &Path, message: &str) {
    git(sandbox, at, &["add", "-A"]);
    git(sandbox, at, &["commit", "-q", "--allow-empty", "-m", message]);
}

fn many(_: &Sandbox, at: &Path) {
    for number in 0..10_500 {
        write(at, format!("src/{}/{number}.rs", number % 97), format!("fn f{number}() {{}}\n").repeat(20));
    }
    write(at, "src/1/1/2/3/4/5/6/7/8/9/deep", "deep\n");
    write(at, "empty", "");
}

fn binary(_: &Sandbox, at: &Path) {
    let mut random = fastrand::Rng::with_seed(1);
    for number in 0..40 {
        let bytes: Vec<u8> = std::iter::repeat_with(|| random.u8(..)).take(500_000).collect();
        write(at, format!("assets/{number}.png"), bytes);
    }
    write(at, "zeros", vec![0; 3_000_000]);
}

fn long(sandbox: &Sandbox, at: &Path) {
    for number in 0..150 {
        write(at, format!("{}.txt", number % 20), format!("{number}\n"));
        commit(sandbox, at, &format!("number {number}"));
    }
    git(sandbox, at, &["checkout", "-q", "--detach", "HEAD~3"]);
}

/// Names of every legal kind: those that a shell, git, a list of lines or a terminal may take for something else.
fn names(_: &Sandbox, at: &Path) {
    let odd: [&[u8]; 14] = [
        b"-dash",
        b"--",
        b" leading and trailing ",
        b"new\nline",
        b"tab\there",
        b"\"quoted\"",
        b"back\\slash",
        b"\xff\xfe no UTF-8",
        "é composed".as_bytes(),
        "e\u{301} decomposed".as_bytes(),
        b"$(touch pwned)",
        b"a:(glob)*?[b]",
        b"UPPER",
        b"upper",
    ];
    for name in odd {
        write(at, OsStr::from_bytes(name), name);
        write(at, OsStr::from_bytes(&[b"below/".as_slice(), name, b"/file"].concat()), name);
    }
    write(at, "x".repeat(255), "long\n");
}

fn lines(_: &Sandbox, at: &Path) {
    write(
        at,
        ".gitattributes",
        "*.bat text eol=crlf\n*.sh text eol=lf\n*.raw -text\n*.auto text=auto\n*.id ident\n*.w working-tree-encoding=UTF-16\n",
    );
    write(at, "run.bat", "one\r\ntwo\r\n");
    write(at, "run.sh", "one\ntwo\n");
    write(at, "kept.raw", "one\r\ntwo\n");
    write(at, "mixed", "one\r\ntwo\n");
    write(at, "some.auto", "one\ntwo\n");
    write(at, "no-end", "no end of line");
    write(at, "marked.id", "$Id$\n");
    for number in 0..20 {
        write(at, format!("more/{number}.bat"), "rem\r\n".repeat(number));
    }
}

fn links(_: &Sandbox, at: &Path) {
    write(at, "folder/file", "x\n");
    for (name, to) in [
        ("to-file", "folder/file"),
        ("to-folder", "folder"),
        ("to-nothing", "no/such"),
        ("outside", "../../.."),
        ("absolute", "/etc/passwd"),
        ("to-itself", "to-itself"),
    ] {
        symlink(to, at.join(name)).expect("a link");
    }
    write(at, "tool", "#!/bin/sh\n");
    fs::set_permissions(at.join("tool"), fs::Permissions::from_mode(0o755)).expect("it is ours");
}

/// What git-lfs leaves where the content was never fetched.
fn pointers(_: &Sandbox, at: &Path) {
    write(at, ".gitattributes", "*.psd filter=lfs diff=lfs merge=lfs -text\n");
    for number in 0..10 {
        let pointer = format!(
            "version https://git-lfs.github.com/spec/v1\noid sha256:{number:064x}\nsize {}\n",
            number + 1000
        );
        write(at, format!("art/{number}.psd"), pointer);
    }
    write(at, "README", "art\n");
}

/// Another repository in a folder that is ignored, with files of no repository beside it.
fn nested(sandbox: &Sandbox, at: &Path) {
    write(at, ".gitignore", "vendor/\n*.log\n");
    write(at, "src/main.c", "int main;\n");
    write(at, "kept/.gitignore", "*\n!.gitignore\n");
    write(at, "kept/ignored", "not sent\n");
    write(at, "build.log", "not sent\n");
    let inner = at.join("vendor/inner");
    fs::create_dir_all(&inner).expect("a folder");
    git(sandbox, &inner, &["init", "-q", "-b", "main"]);
    write(&inner, "file", "inner\n");
    commit(sandbox, &inner, "inner");
}

fn submodules(sandbox: &Sandbox, at: &Path) {
    let other = at.with_file_name("other");
    fs::create_dir_all(&other).expect("a folder");
    git(sandbox, &other, &["init", "-q", "-b", "main"]);
    write(&other, "library.c", "int x;\n");
    commit(sandbox, &other, "library");
    write(at, "src/main.c", "int main;\n");
    for name in ["libs/one", "libs/two"] {
        git(sandbox, at, &["submodule", "--quiet", "add", &other.display().to_string(), name]);
    }
}
