//! What stands between a guest and the ssh of its user: the configuration, and the way to a port.

use banger_e2e::Sandbox;
use std::fs;
use std::time::{Duration, Instant};

fn ok(sandbox: &Sandbox, arguments: &[&str]) {
    let _ = sandbox.banger(arguments).run().expect_success();
}

#[test]
fn ssh_finds_its_way_from_the_users_own_configuration_wherever_banger_lies() {
    let sandbox = Sandbox::with_fake_guests();
    ok(&sandbox, &["vm", "create", "--name", "dev"]);
    let config = sandbox.home().join(".ssh/config");
    fs::create_dir(config.parent().expect("it has one")).expect("the sandbox is writable");
    fs::write(&config, "Host *\n  User ada\n").expect("the sandbox is writable");

    let banger = sandbox.copy_of_banger("it's 100% \"odd\" $HOME");
    let settings = sandbox.home().join("set tings");
    let install = |flag: &str| {
        let words = [banger.to_str().expect("it is text"), "ssh-config", flag];
        // Another place for the generated file; the daemon that runs has its own settings.
        let _ = sandbox.tool("env", words).env("XDG_CONFIG_HOME", &settings).run().expect_success();
    };
    install("--install");
    let ssh = |words: &[&str]| {
        let all = ["-F", config.to_str().expect("it is text")].into_iter().chain(words.iter().copied());
        sandbox.tool("ssh", all).run()
    };
    let means = ssh(&["-G", "dev.vm"]).expect_success();
    assert!(means.stdout_text().contains("\nuser root\n"), "{}", means.stdout_text());
    assert!(ssh(&["-G", "elsewhere"]).stdout_text().contains("user ada\n"));
    // Our own program is started and reaches the guest, which has nothing at this port.
    let refused = ssh(&["-o", "BatchMode=yes", "dev.vm", "true"]);
    assert!(refused.stderr_text().contains("port 22 of the guest"), "{}", refused.stderr_text());
    install("--uninstall");
    assert_eq!(fs::read_to_string(&config).expect("it is there"), "Host *\n  User ada\n");
    assert!(!settings.join("banger/ssh_config").exists());
    ok(&sandbox, &["vm", "delete", "dev"]);
    sandbox.assert_nothing_left();
}

#[test]
fn a_port_that_refuses_is_waited_for_until_the_guest_has_started_up() {
    let sandbox = Sandbox::with_fake_guests();
    ok(&sandbox, &["vm", "create", "--early", "--name", "late", "--image", "agent-only"]);
    let begun = Instant::now();
    let waiting = sandbox.banger(["internal", "connect", "late.vm", "22"]).start();
    // Longer than it takes to notice that a port refuses for good.
    let connects = || sandbox.running("banger").iter().any(|process| process.command.contains("connect"));
    sandbox.until("a while has passed", || begun.elapsed() > Duration::from_millis(2500));
    assert!(connects(), "it gave up on a guest that is starting up");
    sandbox.let_go();
    let gave_up = waiting.finish().expect_failure(&["cannot connect to guest port 22", "vm ports late"]);
    assert!(gave_up.took < Duration::from_secs(30), "{:?}", gave_up.took);
    ok(&sandbox, &["vm", "delete", "late"]);
    sandbox.assert_nothing_left();
}

#[test]
fn a_guest_that_is_not_running_is_not_waited_for() {
    let sandbox = Sandbox::with_fake_guests();
    ok(&sandbox, &["vm", "create", "--no-start", "--name", "off"]);
    let refused = sandbox.banger(["internal", "connect", "off.vm", "22"]).run();
    let refused = refused.expect_failure(&["VM `off`", "banger vm start off"]);
    assert!(refused.took < Duration::from_secs(5), "{:?}", refused.took);
    ok(&sandbox, &["vm", "delete", "off"]);
    sandbox.assert_nothing_left();
}
