//! Work done in a real guest comes back as it is there.

use banger_e2e::{Checks, Host, Sandbox};
use std::fs;
use std::path::PathBuf;

/// Everything that can be done to files, by somebody who types it there.
const WORK: &str = r#"
set -e
echo committed >> src/1.txt
git commit -q -am 'done in the guest'
echo edited >> src/2.txt
echo new > 'new file'
rm src/3.txt
mv src/4.txt moved.txt
printf '#!/bin/sh\n' > tool
chmod +x tool
head -c 100000 /dev/urandom > binary
ln -s ../elsewhere link
mkdir target
echo ignored > target/out
"#;

fn git(sandbox: &Sandbox, arguments: &[&str]) -> String {
    sandbox.tool("git", arguments).run().expect_success().stdout_text().trim_end().to_owned()
}

fn repository(sandbox: &Sandbox) -> PathBuf {
    let root = sandbox.home().join("project");
    fs::create_dir_all(root.join("src")).expect("a folder");
    let path = root.display().to_string();
    git(sandbox, &["init", "-q", "-b", "main", &path]);
    for (name, value) in [("user.name", "Ada"), ("user.email", "ada@host")] {
        git(sandbox, &["config", "--global", name, value]);
    }
    for number in 0..50 {
        let file = root.join(format!("src/{number}.txt"));
        fs::write(file, format!("line {number}\n").repeat(number + 1)).expect("a file");
    }
    fs::write(root.join(".gitignore"), "target/\n").expect("a file");
    git(sandbox, &["-C", &path, "add", "-A"]);
    git(sandbox, &["-C", &path, "commit", "-q", "-m", "first"]);
    root
}

#[test]
fn work_of_every_kind_comes_back_as_a_patch_and_as_a_branch() {
    let before = Host::look();
    let sandbox = Sandbox::with_image();
    let root = repository(&sandbox);
    let path = root.display().to_string();
    let _ = sandbox.banger(["vm", "run", "-d", "--name", "dev", &path]).run().expect_success();
    let workspace = |words: &[&str]| {
        sandbox.banger(["vm", "workspace"].iter().chain(words).copied()).run().expect_success()
    };
    let refs = |sandbox: &Sandbox| git(sandbox, &["-C", &path, "for-each-ref"]);
    let refs_before = refs(&sandbox);
    let mut checks = Checks::new();

    checks.check("nothing done is nothing exported", || {
        assert_eq!(workspace(&["export", "dev"]).stdout_text(), "");
    });
    let _ = sandbox.exec("dev", &["sh", "-c", WORK]).expect_success();
    let there = "git status --porcelain; git rev-parse HEAD; git for-each-ref; cat .git/index | sha256sum";
    let of_guest = |sandbox: &Sandbox| {
        sandbox.exec("dev", &["sh", "-c", there]).expect_success().stdout_text().to_owned()
    };
    let guest_before = of_guest(&sandbox);

    checks.check("a look shows it", || {
        let stat = workspace(&["diff", "dev", "--stat"]);
        assert!(stat.stdout_text().contains("src/4.txt => moved.txt"), "{}", stat.stdout_text());
        let status = workspace(&["status", "dev"]);
        assert!(status.stdout_text().contains("1 commit, 9 files changed"), "{}", status.stdout_text());
    });
    let patch = sandbox.home().join("work.patch").display().to_string();
    let _ = workspace(&["export", "dev", "-o", &patch]);
    let _ = workspace(&["export", "dev", "--branch", "landed"]);
    assert_eq!(of_guest(&sandbox), guest_before, "the guest's repository was changed");
    let added = "git add -A && git write-tree";
    let tree = sandbox.exec("dev", &["sh", "-c", added]).expect_success().stdout_text().trim_end().to_owned();

    checks.check("the patch gives the guest's tree in a fresh clone", || {
        let fresh = sandbox.home().join("fresh").display().to_string();
        git(&sandbox, &["clone", "-q", &path, &fresh]);
        git(&sandbox, &["-C", &fresh, "apply", "--index", &patch]);
        assert_eq!(git(&sandbox, &["-C", &fresh, "write-tree"]), tree);
    });
    checks.check("the branch has the guest's commit and tree, and nothing else here is new", || {
        assert_eq!(git(&sandbox, &["-C", &path, "rev-parse", "landed^{tree}"]), tree);
        let log = git(&sandbox, &["-C", &path, "log", "--format=%s", "main..landed"]);
        assert_eq!(log, "Uncommitted changes in VM dev\ndone in the guest");
        git(&sandbox, &["-C", &path, "fsck", "--strict"]);
        assert_eq!(git(&sandbox, &["-C", &path, "status", "--porcelain"]), "");
        git(&sandbox, &["-C", &path, "update-ref", "-d", "refs/heads/landed"]);
        assert_eq!(refs(&sandbox), refs_before);
    });
    let _ = sandbox.banger(["vm", "delete", "dev"]).run().expect_success();
    Host::look().assert_same_as(&before);
}
