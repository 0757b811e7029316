//! A repository in a real guest: it is there as it is here, and what changed since follows.

use banger_e2e::{Checks, Host, Sandbox};
use std::fs;
use std::path::{Path, PathBuf};

/// A repository of some size, with a change of every kind.
fn repository(sandbox: &Sandbox) -> PathBuf {
    let root = sandbox.home().join("project");
    fs::create_dir_all(root.join("src")).expect("a folder");
    git(sandbox, &["init", "-q", "-b", "main", &root.display().to_string()]);
    for (name, value) in [("user.name", "Ada"), ("user.email", "ada@host")] {
        git(sandbox, &["config", "--global", name, value]);
    }
    for number in 0..200 {
        write(&root.join(format!("src/{number}.rs")), &format!("fn f{number}() {{}}\n").repeat(number + 1));
    }
    write(&root.join("odd\nname -x"), "odd\n");
    commit(sandbox, &root, "first");
    write(&root.join("src/0.rs"), "changed\n");
    fs::remove_file(root.join("src/1.rs")).expect("it is there");
    write(&root.join("staged"), "new\n");
    git(sandbox, &["-C", &root.display().to_string(), "add", "staged"]);
    root
}

fn write(path: &Path, content: &str) {
    fs::write(path, content).expect("a file");
}

fn commit(sandbox: &Sandbox, root: &Path, message: &str) {
    let root = root.display().to_string();
    git(sandbox, &["-C", &root, "add", "-A"]);
    git(sandbox, &["-C", &root, "commit", "-q", "-m", message]);
}

fn git(sandbox: &Sandbox, arguments: &[&str]) -> String {
    sandbox.tool("git", arguments).run().expect_success().stdout_text().to_owned()
}

#[test]
fn a_repository_is_in_the_guest_as_it_is_here_and_follows() {
    let before = Host::look();
    let sandbox = Sandbox::with_image();
    let root = repository(&sandbox);
    let path = root.display().to_string();
    let status = |sandbox: &Sandbox| git(sandbox, &["-C", &path, "status", "--porcelain"]);
    let mut checks = Checks::new();
    let everywhere = "[[file_sync]]\nhost = \"~/netrc\"\nguest = \"~/.netrc\"\n";
    write(&sandbox.home().join("netrc"), "of mine\n");
    sandbox.configure(everywhere);

    checks.check("a run in it sees what the host sees", || {
        let run = ["vm", "run", &path, "--rm", "--", "git", "status", "--porcelain"];
        assert_eq!(sandbox.banger(run).run().expect_success().stdout_text(), status(&sandbox));
        assert_eq!(sandbox.vm_ids(), [""; 0]);
    });
    let _ = sandbox.banger(["vm", "run", "-d", "--name", "dev", &path]).run().expect_success();
    checks.check("it lies in /root under its own name, with its history and its author", || {
        let told =
            sandbox.exec("dev", &["sh", "-c", "pwd; git log --format=%an; git config --global user.email"]);
        assert_eq!(told.expect_success().stdout_text(), "/root/project\nAda\nada@host\n");
        let _ = sandbox.exec("dev", &["git", "fsck", "--strict"]).expect_success();
    });
    checks.check("what changed here follows, what was done there stays", || {
        let _ =
            sandbox.exec("dev", &["sh", "-c", "echo mine > src/7.rs; echo mine > result"]).expect_success();
        write(&root.join("src/8.rs"), "changed too\n");
        commit(&sandbox, &root, "second");
        let followed = sandbox
            .banger(["vm", "exec", "--auto-prepare", "dev", "--", "git", "status", "--porcelain"])
            .run();
        assert_eq!(followed.expect_success().stdout_text(), " M src/7.rs\n?? result\n");
        let _ = sandbox.exec("dev", &["grep", "-q", "changed too", "src/8.rs"]).expect_success();
    });
    checks.check("what was changed on both sides is not overwritten", || {
        write(&root.join("src/7.rs"), "changed here\n");
        let again = sandbox.banger(["vm", "workspace", "prepare", "dev"]).run();
        let _ = again.expect_failure(&["src/7.rs", "--force"]);
        let _ = sandbox.exec("dev", &["grep", "-q", "mine", "src/7.rs"]).expect_success();
    });
    checks.check("a folder that is no repository follows too", || {
        let folder = sandbox.home().join("plain");
        fs::create_dir_all(folder.join("sub")).expect("a folder");
        for name in ["a", "sub/b", "gone"] {
            write(&folder.join(name), "one\n");
        }
        let path = folder.display().to_string();
        let prepare = || sandbox.banger(["vm", "workspace", "prepare", "dev", &path]).run();
        let _ = prepare().expect_success();
        let _ = sandbox.exec("dev", &["sh", "-c", "echo mine > /root/plain/a"]).expect_success();
        write(&folder.join("sub/b"), "two\n");
        fs::remove_file(folder.join("gone")).expect("it is there");
        let _ = prepare().expect_success();
        let told = sandbox.exec("dev", &["sh", "-c", "cd /root/plain; cat a sub/b; ls"]);
        assert_eq!(told.expect_success().stdout_text(), "mine\ntwo\na\nsub\n");
        write(&folder.join("a"), "three\n");
        let _ = prepare().expect_failure(&[": a", "--force"]);
    });
    checks.check("it survives a restart of the guest, and so does what every guest gets", || {
        let _ = sandbox.banger(["vm", "restart", "dev"]).run().expect_success();
        let _ = sandbox.exec("dev", &["test", "-f", "/root/project/result"]).expect_success();
        let told =
            sandbox.exec("dev", &["sh", "-c", "stat -c %a /root/.netrc; git config --global user.email"]);
        assert_eq!(told.expect_success().stdout_text(), "600\nada@host\n");
    });
    checks.check(
        "what every guest got goes when it is named no longer, and the guest's own settings stay",
        || {
            let own = ["git", "config", "--global", "user.email", "guest@own"];
            let _ = sandbox.exec("dev", &own).expect_success();
            sandbox.configure("");
            let _ = sandbox.banger(["vm", "restart", "dev"]).run().expect_success();
            let told = sandbox.exec("dev", &["sh", "-c", "ls /root/.netrc; git config --global user.email"]);
            assert_eq!(told.expect_success().stdout_text(), "guest@own\n");
        },
    );
    let _ = sandbox.banger(["vm", "delete", "dev"]).run().expect_success();
    Host::look().assert_same_as(&before);
}
