//! The installed system, on a host with systemd: made, used, restarted under a running guest, and taken away.

use banger_e2e::{Checks, Host, Installed};

#[test]
fn the_installed_system_serves_its_owner_outlives_its_services_and_leaves_the_host_as_it_was() {
    let before = Host::look();
    let installed = Installed::with_image();
    let mut checks = Checks::new();

    checks.check("its state is healthy and installing it again changes nothing", || {
        let _ = installed.install().expect_success();
        let _ = installed.banger(["system", "status"]).run().expect_success();
    });
    checks.check("its sockets are the owner's alone", || {
        let sockets = ["/run/banger/bangerd.sock", "/run/banger-root/bangerd-root.sock"];
        let told = installed.as_root(&["stat", "--format=%a %u", sockets[0], sockets[1]]).expect_success();
        let uid = rustix::process::geteuid().as_raw();
        assert_eq!(told.stdout_text(), format!("600 {uid}\n600 {uid}\n"));
    });
    checks.check(
        "its doctor finds nothing wrong, and judges what it is and not what an ordinary user needs",
        || {
            let told = installed.banger(["doctor"]).run().expect_success();
            let text = told.stdout_text();
            for row in ["installation", "installed programs", "socket of the daemon", "socket of the helper"]
            {
                assert!(text.contains(&format!("PASS  {row}: ")), "{row}: {text}");
            }
            for row in ["user namespaces", "/dev/net/tun", "pasta"] {
                assert!(!text.contains(row), "{row}: {text}");
            }
        },
    );
    checks.check("its services are exposed as little as was promised", || {
        for (unit, most) in [("bangerd.service", 2.0), ("bangerd-root.service", 4.0)] {
            let found = installed.exposure(unit);
            assert!(found <= most, "{unit} has {found}, and {most} was promised");
        }
    });
    checks.check("a command's exit code comes back, and nothing of its VM stays", || {
        let run = installed.banger(["vm", "run", "--rm", "--", "sh", "-c", "exit 7"]).run();
        let _ = run.expect_code(7);
        assert_eq!(installed.banger(["ps", "-q"]).run().expect_success().stdout_text(), "");
    });

    let _ = installed.banger(["vm", "run", "-d", "--name", "demo", "--nat"]).run().expect_success();
    let boot = installed.boot_id("demo");
    checks.check("a guest has its name on the host, and its address that name", || {
        let told = installed.as_root(&["getent", "hosts", "demo.vm"]).expect_success();
        let address = told.stdout_text().split(' ').next().unwrap_or_default().to_owned();
        let back = installed.as_root(&["getent", "hosts", &address]).expect_success();
        assert!(back.stdout_text().contains("demo.vm"), "{}", back.stdout_text());
        // What resolved knows of the bridge goes with the bridge.
        let _ = installed.as_root(&["systemctl", "restart", "systemd-resolved.service"]).expect_success();
        let _ = installed.as_root(&["getent", "hosts", "demo.vm"]).expect_success();
    });
    checks.check("services that are restarted find their guest", || {
        let _ = installed.as_root(&["/usr/local/bin/banger", "system", "restart"]).expect_success();
        assert_eq!(installed.boot_id("demo"), boot);
    });
    checks.check("services that are killed come back by themselves and find their guest", || {
        for unit in ["bangerd.service", "bangerd-root.service"] {
            let _ = installed
                .as_root(&["systemctl", "kill", "--signal=KILL", "--kill-whom=main", unit])
                .expect_success();
            assert_eq!(installed.boot_id("demo"), boot, "{unit}");
        }
    });
    checks.check("installed over itself it keeps its guest", || {
        let _ = installed.install().expect_success();
        assert_eq!(installed.boot_id("demo"), boot);
    });
    checks.check(
        "with its service down every command says what to type, and starts nothing of its own",
        || {
            let units = ["bangerd.socket", "bangerd.service"];
            let _ = installed.as_root(&["systemctl", "stop", units[0], units[1]]).expect_success();
            for words in [&["ps"][..], &["vm", "run", "--rm", "--", "true"], &["image", "list"]] {
                let failed = installed.banger(words).run().expect_failure(&["sudo banger system restart"]);
                assert_ne!(failed.code(), Some(0));
            }
            let status = installed.banger(["system", "status"]).run();
            assert_eq!(status.code(), Some(1));
            let _ = installed.as_root(&["/usr/local/bin/banger", "system", "restart"]).expect_success();
            assert_eq!(installed.boot_id("demo"), boot);
        },
    );
    checks.check("a unit that somebody changed is told, and put in order by installing", || {
        let unit = "/etc/systemd/system/bangerd-root.service";
        let _ = installed.as_root(&["sed", "-i", "$ a # changed", unit]).expect_success();
        let status = installed.banger(["system", "status"]).run();
        assert_eq!(status.code(), Some(1));
        assert!(status.stdout_text().contains(unit), "{}", status.stdout_text());
        let _ = installed.install().expect_success();
        let _ = installed.banger(["system", "status"]).run().expect_success();
    });
    checks.check("it is not root's, and does not become somebody else's", || {
        let banger = "/usr/local/bin/banger";
        let root = installed.as_root(&[banger, "system", "install", "--owner", "root"]);
        let _ = root.expect_failure(&["cannot be root's"]);
        let other = installed.as_root(&[banger, "system", "install", "--owner", "nobody"]);
        let _ = other.expect_failure(&["the installed banger is"]);
    });
    checks.check(
        "a guest that is stopped, changed and started is another boot with what it was given",
        || {
            for words in [
                &["vm", "stop", "demo"][..],
                &["vm", "set", "--memory", "512M", "demo"],
                &["vm", "start", "demo"],
            ] {
                let _ = installed.banger(words).run().expect_success();
            }
            assert_ne!(installed.boot_id("demo"), boot);
            let asked = ["vm", "exec", "demo", "--", "awk", "/^MemTotal/ { print $2 }", "/proc/meminfo"];
            let told = installed.banger(asked).run().expect_success();
            let kib: u64 = told.stdout_text().trim().parse().expect("a number of KiB");
            assert!((400 << 10..512 << 10).contains(&kib), "{kib} KiB");
        },
    );
    checks.check("uninstalled it says what it stops, and the host is as it was", || {
        let gone =
            installed.as_root(&["/usr/local/bin/banger", "system", "uninstall", "--purge"]).expect_success();
        assert!(gone.stderr_text().contains("stopping demo"), "{}", gone.stderr_text());
        for path in [
            "/etc/banger",
            "/usr/local/bin/banger",
            "/usr/local/lib/banger",
            "/var/lib/banger",
            "/var/cache/banger",
        ] {
            assert!(!std::path::Path::new(path).exists(), "{path} is left");
        }
        let units = installed.as_root(&["systemctl", "list-unit-files", "--no-legend", "banger*"]);
        assert_eq!(units.stdout_text(), "");
        let tables = installed.as_root(&["nft", "list", "tables"]).expect_success();
        assert!(!tables.stdout_text().contains("banger"), "{}", tables.stdout_text());
        Host::look().assert_same_as(&before);
    });
    checks.finish();
}
