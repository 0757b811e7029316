//! Services that come and go, and services of other versions, under a guest with a command in it.

use banger_e2e::{Checks, Installed, Inventory};
use serde_json::json;
use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::net::UnixListener;
use std::thread::JoinHandle;

const DAEMON: &str = "/run/banger/bangerd.sock";
const HELPER: &str = "/run/banger-root/bangerd-root.sock";
const SERVICES: [&str; 2] = ["bangerd.service", "bangerd-root.service"];

/// Stands in for a service of another version, which is older or newer and says so: it speaks the protocol's first exchange,
/// the only one that versions share.
fn stand_in(
    installed: &Installed,
    socket: &str,
    says: fn(&serde_json::Value) -> serde_json::Value,
) -> JoinHandle<()> {
    let folder = std::path::Path::new(socket).parent().expect("a folder").display().to_string();
    let _ = installed.as_root(&["mkdir", "-p", &folder]).expect_success();
    let own = rustix::process::geteuid().as_raw().to_string();
    let _ = installed.as_root(&["chown", &own, &folder]).expect_success();
    let _ = std::fs::remove_file(socket);
    let listener = UnixListener::bind(socket).expect("its folder is ours by now");
    std::thread::spawn(move || {
        // Until somebody says that it is enough.
        for stream in listener.incoming() {
            let mut stream = stream.expect("somebody connected");
            let mut line = String::new();
            let mut reader = BufReader::new(stream.try_clone().expect("a socket"));
            if reader.read_line(&mut line).unwrap_or_default() == 0 {
                return;
            }
            let Ok(asked) = serde_json::from_str::<serde_json::Value>(&line) else { return };
            let mut answer = says(&asked);
            answer["jsonrpc"] = json!("2.0");
            answer["id"] = asked["id"].clone();
            // Who asked may have gone.
            let _ = writeln!(stream, "{answer}");
        }
    })
}

fn put_back(installed: &Installed, socket: &str, standing: JoinHandle<()>) {
    drop(std::os::unix::net::UnixStream::connect(socket).expect("it still stands in"));
    standing.join().expect("it ends by itself");
    let folder = std::path::Path::new(socket).parent().expect("a folder").display().to_string();
    let _ = installed.as_root(&["rm", "-r", &folder]).expect_success();
    let _ = installed.system(&["restart"]).expect_success();
}

fn newer(_: &serde_json::Value) -> serde_json::Value {
    json!({"result": {"protocol": 9999, "version": "99.0.0", "pid": 1, "settings": {"more": true}, "unheard_of": 1}})
}

fn older(_: &serde_json::Value) -> serde_json::Value {
    json!({"error": {"code": -32000, "message": "this speaks protocol 0", "data": {"kind": "bad_version"}}})
}

#[test]
fn a_command_in_a_guest_outlives_services_that_are_restarted_killed_and_of_other_versions() {
    let installed = Installed::with_image();
    let before = Inventory::look();
    let _ =
        installed.banger(["vm", "run", "-d", "--name", "demo", "--memory", "512M"]).run().expect_success();
    let boot = installed.boot_id("demo");
    let there = Inventory::look();
    let mut checks = Checks::new();
    let asked = ["vm", "exec", "-i", "demo", "--", "sh", "-c", "echo begun; read x; echo ended $x"];
    let mut command = installed.banger(asked).open_stdin().start();
    command.wait_for("begun");

    checks.check(
        "restarted, killed, and both at once, they find their guest again and hold no more than before",
        || {
            for service in SERVICES {
                let _ = installed.as_root(&["systemctl", "restart", service]).expect_success();
                assert_eq!(installed.boot_id("demo"), boot, "{service} was restarted");
                let pid = installed.main_pid(service).to_string();
                let _ = installed.as_root(&["kill", "-9", &pid]).expect_success();
                assert_eq!(installed.boot_id("demo"), boot, "{service} was killed");
                assert_ne!(installed.main_pid(service).to_string(), pid, "{service} has not come back");
            }
            let pids = SERVICES.map(|service| installed.main_pid(service).to_string());
            let _ = installed.as_root(&["kill", "-9", &pids[0], &pids[1]]).expect_success();
            assert_eq!(installed.boot_id("demo"), boot, "both were killed");
            assert_eq!(Inventory::look(), there);
        },
    );
    checks.check("a daemon of another version is not spoken to, and what to type is said", || {
        let _ =
            installed.as_root(&["systemctl", "stop", "bangerd.socket", "bangerd.service"]).expect_success();
        for says in [older as fn(&_) -> _, newer] {
            let standing = stand_in(&installed, DAEMON, says);
            for words in [&["ps"][..], &["vm", "exec", "demo", "--", "true"]] {
                let _ = installed.banger(words).run().expect_failure(&[
                    "which is incompatible with this banger",
                    "sudo banger system install",
                ]);
            }
            put_back(&installed, DAEMON, standing);
            let _ = installed
                .as_root(&["systemctl", "stop", "bangerd.socket", "bangerd.service"])
                .expect_success();
        }
        let _ = installed.system(&["restart"]).expect_success();
        assert_eq!(installed.boot_id("demo"), boot);
    });
    checks.check("a helper of another version is not asked for anything, and what to type is said", || {
        let _ = installed
            .as_root(&["systemctl", "stop", "bangerd-root.socket", "bangerd-root.service"])
            .expect_success();
        for says in [older as fn(&_) -> _, newer] {
            let standing = stand_in(&installed, HELPER, says);
            let failed = installed.banger(["vm", "set", "demo", "--nat", "on"]).run();
            let _ =
                failed.expect_failure(&["the helper is of another version", "sudo banger system restart"]);
            put_back(&installed, HELPER, standing);
            let _ = installed
                .as_root(&["systemctl", "stop", "bangerd-root.socket", "bangerd-root.service"])
                .expect_success();
        }
        let _ = installed.system(&["restart"]).expect_success();
        assert_eq!(installed.boot_id("demo"), boot);
    });
    checks.check("a command or a daemon of another version is told so by whom it asks", || {
        for (socket, hint) in [(DAEMON, "banger system"), (HELPER, "sudo banger system restart")] {
            let mut stream = std::os::unix::net::UnixStream::connect(socket).expect("it listens");
            let asked = match socket {
                DAEMON => json!({"jsonrpc": "2.0", "id": 1, "method": "version", "params": {"protocol": 9999, "version": "99.0.0"}}),
                _ => json!({"jsonrpc": "2.0", "id": 1, "method": "version", "params": {"protocol": 9999}}),
            };
            writeln!(stream, "{asked}").expect("it reads");
            let mut answer = String::new();
            BufReader::new(stream).read_line(&mut answer).expect("it answers");
            assert!(answer.contains("bad_version") && answer.contains(hint), "{socket}: {answer}");
        }
    });
    checks.check("the command went on through all of that", || {
        command.write(b"well\n");
        assert!(command.finish().expect_success().stdout_text().contains("ended well"));
        assert_eq!(installed.boot_id("demo"), boot);
    });
    let _ = installed.banger(["vm", "delete", "demo"]).run().expect_success();
    checks.check("and nothing of it is left", || Inventory::assert_nothing_beyond(&before, "by all of that"));
    checks.finish();
}
