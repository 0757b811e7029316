//! Ways into a guest by ssh.

use super::ONE;
use super::fake::{Finished, World};

#[test]
fn ssh_reaches_a_guests_port_and_learns_its_key() {
    let world = World::new();
    world.daemon().has_vm(ONE, "dev");
    let echoed = world.run_with_input(&["internal", "connect", "dev.vm", "22"], b"SSH-2.0-x\r\n\0".to_vec());
    assert_eq!(echoed, Finished { code: Some(0), out: b"SSH-2.0-x\r\n\0".to_vec(), err: String::new() });
    let refused = world.run(&["internal", "connect", "dev.vm", "23"]);
    assert!(
        refused.err.contains("cannot connect to guest port 23: connection refused")
            && refused.err.contains("banger vm ports dev"),
        "{}",
        refused.err
    );
    let key = world.run(&["internal", "known-hosts", "[dev.vm]:2222"]);
    assert_eq!(key.out, b"[dev.vm]:2222 ssh-ed25519 AAAA\n");
}

#[test]
fn a_guest_without_an_ssh_server_is_entered_through_the_agent() {
    let world = World::new();
    world.daemon().has_vm(ONE, "dev");
    let finished = world.run(&["vm", "ssh", "dev", "echo", "through"]);
    assert_eq!(finished, Finished { code: Some(0), out: b"through\n".to_vec(), err: String::new() });
}

#[test]
fn the_ssh_configuration_is_restored_to_the_byte() {
    let world = World::new();
    let config = world.home().join(".ssh/config");
    assert_eq!(world.run(&["ssh-config", "--install"]).code, Some(0));
    assert!(std::fs::read_to_string(&config).unwrap().contains("Include"));
    assert_eq!(world.run(&["ssh-config", "--uninstall"]).code, Some(0));
    assert!(!config.exists(), "a file made for the block stayed without it");
    std::fs::write(&config, "Host a\r\n  User b").unwrap();
    assert_eq!(world.run(&["ssh-config", "--install"]).code, Some(0));
    assert_eq!(world.run(&["ssh-config", "--uninstall"]).code, Some(0));
    assert_eq!(std::fs::read(&config).unwrap(), b"Host a\r\n  User b");
}

#[test]
#[expect(clippy::disallowed_methods, reason = "ssh is asked what it makes of the file")]
fn what_an_ssh_configuration_says_for_every_host_it_still_says_with_the_block_in_it() {
    let world = World::new();
    let config = world.home().join(".ssh/config");
    std::fs::create_dir(world.home().join(".ssh")).unwrap();
    std::fs::write(&config, "User ada\nHost b\n  Port 2222\n").unwrap();
    assert_eq!(world.run(&["ssh-config", "--install"]).code, Some(0));
    let asked = |host: &str, setting: &str| {
        let output = std::process::Command::new("ssh").args(["-G", "-F"]).arg(&config).arg(host).output();
        String::from_utf8(output.unwrap().stdout).unwrap().lines().any(|line| line == setting)
    };
    assert!(asked("a", "user ada") && asked("b", "user ada") && asked("b", "port 2222"));
    assert!(asked("dev.vm", "user root") && asked("dev.vm", "stricthostkeychecking true"));
}
