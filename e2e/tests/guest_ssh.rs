//! The tools people already have reach a guest, and trust it from the first connection on.

use banger_e2e::{Checks, Sandbox};
use std::fs;

#[test]
fn ssh_scp_and_rsync_work_without_a_question() {
    let sandbox = Sandbox::with_image();
    let home = sandbox.home();
    // Program and key lie where their names have to be written with care.
    let banger = sandbox.copy_of_banger("it's 100% \"odd\"");
    fs::create_dir(home.join("a key's folder")).expect("the sandbox is writable");
    sandbox.configure(&format!("ssh_key_path = \"{}\"\n", home.join("a key's folder/100% id").display()));
    let _ = sandbox.banger(["vm", "create", "--name", "dev"]).run().expect_success();
    let install = [banger.to_str().expect("it is text"), "ssh-config", "--install"];
    let _ = sandbox.tool("env", install).run().expect_success();
    // ssh looks into the home that the user database names, not into the sandbox's: it is told the file.
    let config = home.join(".ssh/config");
    let ssh = format!("ssh -F {} -o StrictHostKeyChecking=yes", config.display());
    let options = ["-F", config.to_str().expect("a plain path"), "-o", "StrictHostKeyChecking=yes"];
    let text = "through the tunnel\n".repeat(10_000);
    fs::write(home.join("file"), &text).expect("the sandbox is writable");
    let mut checks = Checks::new();

    checks.check("vm ssh runs a command and passes its code", || {
        let uname = sandbox.banger(["vm", "ssh", "dev", "--", "uname", "-a"]).run().expect_success();
        assert!(uname.stdout_text().starts_with("Linux dev "), "{}", uname.stdout_text());
        let _ = sandbox.banger(["vm", "ssh", "dev", "--", "exit", "42"]).run().expect_code(42);
    });
    checks.check("ssh knows the guest's key before it has ever met it", || {
        let run = sandbox.tool("ssh", options.iter().copied().chain(["dev.vm", "hostname"])).run();
        assert_eq!(run.expect_success().stdout_text(), "dev\n");
    });
    checks.check("scp copies there and back", || {
        let at = |arguments: [&str; 2]| {
            let all = options.iter().copied().chain(arguments);
            let _ = sandbox.tool("scp", all).current_dir(&home).run().expect_success();
        };
        at(["file", "dev.vm:/root/copied"]);
        at(["dev.vm:/root/copied", "back"]);
        assert_eq!(fs::read_to_string(home.join("back")).expect("it was copied"), text);
    });
    checks.check("sftp fetches a file", || {
        let all = options.iter().copied().chain(["dev.vm:/root/copied", "fetched"]);
        let _ = sandbox.tool("sftp", all).current_dir(&home).run().expect_success();
        assert_eq!(fs::read_to_string(home.join("fetched")).expect("it was fetched"), text);
    });
    checks.check("rsync copies a folder", || {
        let tree = home.join("tree/a/b");
        fs::create_dir_all(&tree).expect("the sandbox is writable");
        fs::write(tree.join("c"), "deep\n").expect("the sandbox is writable");
        let rsync = sandbox.tool("rsync", ["-a", "-e", &ssh, "tree/", "dev.vm:/root/tree/"]);
        let _ = rsync.current_dir(&home).run().expect_success();
        assert_eq!(
            sandbox.exec("dev", &["cat", "/root/tree/a/b/c"]).expect_success().stdout_text(),
            "deep\n"
        );
    });
    checks.check("another VM of the same name has another key, and is trusted as well", || {
        let _ = sandbox.banger(["vm", "delete", "dev"]).run().expect_success();
        let _ = sandbox.banger(["vm", "create", "--name", "dev"]).run().expect_success();
        let run = sandbox.tool("ssh", options.iter().copied().chain(["dev.vm", "true"])).run();
        let _ = run.expect_success();
    });
    let _ = sandbox.banger(["vm", "delete", "dev"]).run().expect_success();
    checks.finish();
}
