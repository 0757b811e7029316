//! What stands at the other end of the socket, and what does not.

use super::ONE;
use super::fake::{Finished, World, in_background};
use std::io::Read;

#[test]
fn whoever_comes_to_a_daemon_that_is_ending_tries_again() {
    let world = World::new();
    let daemon = world.daemon();
    daemon.has_vm(ONE, "dev");
    for line in [&["vm", "list", "-q"][..], &["ps", "-q"]] {
        daemon.hangs_up(3);
        let finished = world.run(line);
        assert_eq!((finished.code, finished.err.as_str()), (Some(0), ""));
        assert_eq!(finished.out, format!("{ONE}\n").into_bytes());
    }
}

/// Listens where the daemon should, says so, and prints what it is told.
const IMPOSTOR: &str = r#"use IO::Socket::UNIX; my $s = IO::Socket::UNIX->new(Local => $ARGV[0], Listen => 1) or die $!;

    chmod 0666, $ARGV[0]; $| = 1; print "ready\n"; my $c = $s->accept; print while <$c>;"#;

#[test]
#[expect(clippy::disallowed_methods, reason = "another user's process is started")]
fn another_users_process_at_the_socket_is_told_nothing() {
    let world = World::new();
    let open = std::os::unix::fs::PermissionsExt::from_mode;
    std::fs::create_dir(&world.paths.runtime).unwrap();
    std::fs::set_permissions(world.home(), open(0o755)).unwrap();
    std::fs::set_permissions(&world.paths.runtime, open(0o777)).unwrap();
    let as_another: &[&str] = if rustix::process::geteuid().is_root() {
        &["setpriv", "--reuid=12345", "--regid=12345", "--clear-groups"]
    } else {
        &["unshare", "--map-auto", "--setuid=7", "--setgid=7"]
    };
    let mut impostor = std::process::Command::new(as_another[0]);
    impostor.args(&as_another[1..]).args(["perl", "-e", IMPOSTOR]).arg(&world.paths.socket);
    let mut impostor = in_background(&mut impostor);
    impostor.stdout.as_mut().unwrap().read_exact(&mut [0; 6]).unwrap();
    let finished = world.run(&["vm", "run", "--rm", "--", "true"]);
    assert_eq!(finished.code, Some(125), "{}", finished.err);
    assert!(finished.err.contains("belongs to a process of uid"), "{}", finished.err);
    assert_eq!(Finished::from(impostor).out, b"");
}

#[test]
fn a_daemon_of_another_protocol_is_refused_with_a_way_out() {
    let world = World::new();
    world.daemon().speaks_protocol(999);
    let finished = world.run(&["ps"]);
    assert_eq!(finished.code, Some(1));
    assert!(
        finished.err.contains("banger daemon stop") && finished.err.contains("VMs keep running"),
        "{}",
        finished.err
    );
}
