//! Commands that run in a workspace, and files that go along with every VM.

use super::{Scene, read};
use std::os::unix::fs::{PermissionsExt, symlink};

#[test]
fn commands_run_in_the_workspace_and_whoever_moved_on_is_told() {
    let scene = Scene::with_files();
    scene.prepared(&[]);
    let exec = |words: &[&str]| scene.world.run(&[&["vm", "exec", "dev"], words].concat());
    let finished = exec(&["--", "git", "rev-parse", "--show-toplevel"]);
    assert_eq!(finished.out, format!("{}\n", scene.guest().display()).into_bytes());
    assert_eq!(finished.err, "");
    assert_eq!(exec(&["--guest-path", "/usr", "--", "pwd"]).out, b"/usr\n");
    scene.write("file", "second\n");
    scene.commit("second");
    let finished = exec(&["--", "cat", "file"]);
    assert!(finished.out == b"one\n" && finished.err.contains("has changed since"), "{}", finished.err);
    let finished = exec(&["--auto-prepare", "--", "cat", "file"]);
    assert_eq!((finished.out.as_slice(), finished.err.as_str()), (&b"second\n"[..], ""));
}

#[test]
fn run_brings_a_folder_along_and_a_dry_run_makes_nothing() {
    let scene = Scene::with_files();
    scene.daemon.has_default_image();
    let (host, guest) = (scene.host(), scene.guest());
    let path = host.to_str().unwrap();
    let run = |words: &[&str]| scene.world.run(&[&["vm", "run", path][..], words].concat());
    let listed = run(&["--dry-run"]);
    let text = String::from_utf8(listed.out).unwrap();
    assert!(text.contains("A file\n") && text.contains("A new\\nline \\xff\n"), "{text}");
    assert_eq!(scene.daemon.vm_names(), ["dev"]);
    let finished =
        run(&["--rm", "--guest-path", guest.to_str().unwrap(), "--", "git", "status", "--porcelain", "-b"]);
    assert_eq!((finished.code, finished.out.as_slice()), (Some(0), &b"## main\n"[..]), "{}", finished.err);
    assert_eq!(scene.daemon.vm_names(), ["dev"]);

    let finished = scene.world.run(&["vm", "run", "/none/such", "--rm", "--", "true"]);
    assert!(finished.code == Some(125) && finished.err.contains("after `--`"), "{}", finished.err);
    let finished = scene.world.run(&["vm", "run", "--include-untracked"]);
    assert_eq!(finished.code, Some(2));
    assert_eq!(scene.daemon.vm_names(), ["dev"]);
}

#[test]
fn tools_that_a_repository_names_are_installed_and_found_or_it_is_said_why_not() {
    let scene = Scene::with_files();
    scene.daemon.has_default_image();
    scene.write(".tool-versions", "node 22\n");
    scene.commit("tools");
    let (host, guest) = (scene.host(), scene.guest());
    let (path, place) = (host.to_str().unwrap(), guest.to_str().unwrap());
    let run = |words: &[&str]| {
        scene.world.run(&[&["vm", "run", path, "--rm", "--guest-path", place, "--force"][..], words].concat())
    };
    let refused = run(&["--", "true"]);
    assert!(refused.code == Some(125) && refused.err.contains("--no-bootstrap"), "{}", refused.err);
    assert!(!guest.exists(), "a VM was made for it");
    let without = run(&["--no-bootstrap", "--", "true"]);
    assert_eq!((without.code, without.err.as_str()), (Some(0), ""));

    let lacking = run(&["--nat", "--", "true"]);
    assert!(lacking.code == Some(0) && lacking.err.contains("no mise"), "{}", lacking.err);
    let bin = scene.daemon.guest_home().join("bin");
    std::fs::create_dir(&bin).unwrap();
    let script = "[ $1 = -C ] && shift 2; case $1 in install) echo half; echo no such version >&2; exit 3;; exec) shift 2; echo by mise; exec \"$@\";; esac\n";
    std::fs::write(bin.join("mise"), format!("#!/bin/sh\n{script}")).unwrap();
    std::fs::set_permissions(bin.join("mise"), PermissionsExt::from_mode(0o755)).unwrap();
    let failed = run(&["--nat", "--", "echo", "ran"]);
    assert_eq!((failed.code, failed.out.as_slice()), (Some(0), &b"by mise\nran\n"[..]), "{}", failed.err);
    assert!(failed.err.contains("banger-bootstrap.log"), "{}", failed.err);
    let log = read(guest.join(".git/banger-bootstrap.log"));
    assert!(log.contains("half") && log.contains("no such version"), "{log}");
    scene.assert_same_status();
}

#[test]
fn what_every_guest_gets_is_handed_over_before_a_start_and_the_rest_goes_in_when_it_is_up() {
    let scene = Scene::with_files();
    scene.daemon.has_default_image();
    let home = scene.world.home();
    let config = home.join(".config/banger/config.toml");
    std::fs::create_dir_all(config.parent().unwrap()).unwrap();
    std::fs::create_dir_all(home.join("many/below")).unwrap();
    std::fs::write(home.join("settings"), "mine\n").unwrap();
    std::fs::write(home.join("many/below/tool"), "#!/bin/sh\n").unwrap();
    std::fs::set_permissions(home.join("many/below/tool"), PermissionsExt::from_mode(0o755)).unwrap();
    std::fs::write(home.join("bytes"), [0xff, 0]).unwrap();
    std::fs::write(home.join("long"), "x".repeat(100_000)).unwrap();
    symlink("/etc/hostname", home.join("elsewhere")).unwrap();
    let one = |host: &str, name: &str| {
        format!("[[file_sync]]\nhost = \"~/{host}\"\nguest = \"/root/sub/{name}\"\n")
    };
    let names =
        [("settings", "a"), ("many", "m"), ("bytes", "b"), ("long", "l"), ("gone", "x"), ("elsewhere", "y")];
    std::fs::write(&config, names.map(|(host, name)| one(host, name)).concat()).unwrap();
    let stat = ["vm", "run", "--rm", "--", "stat", "-c", "%a %s", "/root/sub/b", "/root/sub/l"];
    let finished = scene.world.run(&stat);
    assert_eq!(
        (finished.code, finished.out.as_slice()),
        (Some(0), &b"600 2\n600 100000\n"[..]),
        "{}",
        finished.err
    );
    for words in ["gone does not exist", "elsewhere was not copied: it leads outside your home directory"] {
        assert!(finished.err.contains(words), "{}", finished.err);
    }
    let given = scene.daemon.given();
    let files: Vec<_> =
        given.files.iter().map(|file| (file.path.as_str(), file.mode, file.text.as_str())).collect();
    assert_eq!(files, [("sub/a", 0o600, "mine\n"), ("sub/m/below/tool", 0o755, "#!/bin/sh\n")]);
    assert_eq!(given.git.unwrap().email.as_deref(), Some("ada@host"));

    // What is there no more is not handed over any longer.
    std::fs::write(&config, "").unwrap();
    assert_eq!(scene.world.run(&["vm", "run", "--rm", "--", "true"]).code, Some(0));
    assert!(scene.daemon.given().files.is_empty());
}

#[test]
fn what_came_over_the_connection_goes_with_the_next_start_when_it_is_named_no_longer() {
    let scene = Scene::with_files();
    let home = scene.world.home();
    let config = home.join(".config/banger/config.toml");
    std::fs::create_dir_all(config.parent().unwrap()).unwrap();
    std::fs::create_dir_all(home.join("many")).unwrap();
    for name in ["long", "many/one", "many/two"] {
        std::fs::write(home.join(name), [0xff; 100]).unwrap();
    }
    let names = |names: &[&str]| {
        let one = |name: &&str| format!("[[file_sync]]\nhost = \"~/{name}\"\nguest = \"~/sub/{name}\"\n");
        std::fs::write(&config, names.iter().map(one).collect::<String>()).unwrap();
        let started = scene.world.run(&["vm", "start", "dev"]);
        assert!(started.code == Some(0) && !started.err.contains("warning"), "{}", started.err);
    };
    let there = || {
        let sub = scene.daemon.guest_home().join("sub");
        ["long", "many/one", "many/two", "own"].map(|name| sub.join(name).exists())
    };
    names(&["long", "many"]);
    std::fs::write(scene.daemon.guest_home().join("sub/own"), "the guest's\n").unwrap();
    assert_eq!(there(), [true; 4]);
    std::fs::remove_file(home.join("many/two")).unwrap();
    names(&["long", "many"]);
    assert_eq!(there(), [true, true, false, true]);
    names(&["many"]);
    assert_eq!(there(), [false, true, false, true]);
    // The config drive's from now on, which the agent looks after.
    std::fs::write(home.join("many/one"), "text\n").unwrap();
    names(&["many"]);
    assert_eq!(there(), [false, true, false, true]);
    names(&[]);
    assert_eq!(there(), [false, true, false, true]);
}
