//! The installed system, on a host with systemd: bare programs installed, looked at, damaged, put in order, taken away.

use banger_e2e::{Checks, Finished, Host, Installed};

const SOCKETS: [&str; 2] = ["/run/banger/bangerd.sock", "/run/banger-root/bangerd-root.sock"];

/// A row of the doctor's, as it is shown.
fn row(doctor: &Finished, subject: &str) -> String {
    let text = doctor.stdout_text();
    let is_it = |line: &&str| {
        line.split_once("  ").is_some_and(|(_, rest)| rest.starts_with(&format!("{subject}: ")))
    };
    text.lines().find(is_it).unwrap_or_else(|| panic!("no row `{subject}` in {text}")).to_owned()
}

#[test]
fn the_installed_system_is_looked_after_and_leaves_the_host_as_it_was() {
    let before = Host::look();
    let installed = Installed::from_folder(&[]);
    let mut checks = Checks::new();
    let doctor = || installed.banger(["doctor"]).run();
    let root = |words: &[&str]| drop(installed.as_root(words).expect_success());

    checks.check("its state is healthy and installing it again changes nothing", || {
        let _ = installed.install(&[]).expect_success();
        let _ = installed.banger(["system", "status"]).run().expect_success();
    });
    checks.check("its sockets are the owner's alone", || {
        let told = installed.as_root(&["stat", "--format=%a %u", SOCKETS[0], SOCKETS[1]]).expect_success();
        let uid = rustix::process::geteuid().as_raw();
        assert_eq!(told.stdout_text(), format!("600 {uid}\n600 {uid}\n"));
    });
    checks.check(
        "its doctor finds nothing wrong, and judges what it is and not what an ordinary user needs",
        || {
            let told = doctor().expect_success();
            for subject in [
                "installation",
                "installed programs",
                "users of VMs",
                "socket of the daemon",
                "socket of the helper",
                "bangerd.service",
                "bangerd-root.service",
                "other firewalls",
                "leftovers",
            ] {
                let row = row(&told, subject);
                assert!(row.starts_with("PASS"), "{row}");
            }
            for subject in ["user namespaces", "/dev/net/tun", "pasta"] {
                assert!(!told.stdout_text().contains(subject), "{subject}: {}", told.stdout_text());
            }
        },
    );
    checks.check("its services are exposed as little as was promised", || {
        for (unit, most) in [("bangerd.service", 2.0), ("bangerd-root.service", 4.0)] {
            let found = installed.exposure(unit);
            eprintln!("{unit} is exposed {found} of 10");
            assert!(found <= most, "{unit} has {found}, and {most} was promised");
        }
    });
    checks.check("the doctor names what somebody loosened, and who has to be put right", || {
        let drop_in = "/etc/systemd/system/bangerd-root.service.d/loose.conf";
        let loosen = "mkdir -p ${0%/*} && printf '[Service]\\nNoNewPrivileges=no\\nCapabilityBoundingSet=~CAP_MKNOD\\n' > $0 && \
                      systemctl daemon-reload";
        root(&["sh", "-c", loosen, drop_in]);
        let told = doctor().expect_code(1);
        let found = row(&told, "bangerd-root.service");
        assert!(found.starts_with("FAIL") && found.contains("NoNewPrivileges=no"), "{found}");
        assert!(found.contains("CapabilityBoundingSet="), "{found}");
        assert!(told.stdout_text().contains(&format!("sudo rm {drop_in}")), "{}", told.stdout_text());
        root(&["rm", drop_in]);
        let stale = row(&doctor().expect_code(1), "bangerd-root.service");
        assert!(stale.contains("systemd uses the old ones"), "{stale}");
        let _ = installed.install(&[]).expect_success();
        let _ = doctor().expect_success();
    });
    checks.check("the doctor names a socket, a program and a version that are not as installed", || {
        root(&["chmod", "0660", SOCKETS[1]]);
        let found = row(&doctor().expect_code(1), "socket of the helper");
        assert!(found.starts_with("FAIL") && found.contains("660"), "{found}");
        root(&["chmod", "0775", "/usr/local/lib/banger"]);
        let found = row(&doctor().expect_code(1), "installed programs");
        assert!(found.starts_with("FAIL") && found.contains("/usr/local/lib/banger"), "{found}");
        root(&["sed", "-i", "s/^version = .*/version = \"0.0.1\"/", "/etc/banger/install.toml"]);
        let found = row(&doctor().expect_code(1), "installation");
        assert!(found.starts_with("FAIL") && found.contains("0.0.1"), "{found}");
        // A program of somebody's, and one whose bytes are right as long as somebody's link leads there.
        let script = "cd /usr/local/lib/banger; chown 1000 bangerd; mv banger-vsock-agent real; ln -s real banger-vsock-agent";
        root(&["sh", "-ec", script]);
        // All of it is put right by what the hints say.
        let _ = installed.install(&[]).expect_success();
        let _ = doctor().expect_success();
        let told = installed.as_root(&["sh", "-ec", "cd /usr/local/lib/banger; rm real; stat -c '%u %a %F' . *"]);
        for line in told.expect_success().stdout_text().lines() {
            assert!(["0 755 directory", "0 755 regular file"].contains(&line), "{line}");
        }
    });
    checks.check("the doctor names what is left of VMs that nobody has", || {
        let tap = "btfeedfeedfeed";
        root(&["ip", "tuntap", "add", tap, "mode", "tap"]);
        let found = row(&doctor().expect_success(), "leftovers");
        root(&["ip", "link", "delete", tap]);
        assert!(found.starts_with("WARN") && found.contains(tap), "{found}");
    });

    let small = ["vm", "run", "-d", "--name", "demo", "--memory", "512M"];
    let _ = installed.banger(small).run().expect_success();
    let boot = installed.boot_id("demo");
    checks.check("installed over itself it keeps its guest", || {
        let _ = installed.install(&[]).expect_success();
        assert_eq!(installed.boot_id("demo"), boot);
    });
    checks.check(
        "with its service down every command says what to type, and starts nothing of its own",
        || {
            root(&["systemctl", "stop", "bangerd.socket", "bangerd.service"]);
            for words in [&["ps"][..], &["vm", "run", "--rm", "--", "true"], &["image", "list"]] {
                let failed = installed.banger(words).run().expect_failure(&["sudo banger system restart"]);
                assert_ne!(failed.code(), Some(0));
            }
            let status = installed.banger(["system", "status"]).run();
            assert_eq!(status.code(), Some(1));
            let _ = installed.system(&["restart"]).expect_success();
            assert_eq!(installed.boot_id("demo"), boot);
        },
    );
    checks.check("a unit that somebody changed is told, and put in order by installing", || {
        let unit = "/etc/systemd/system/bangerd-root.service";
        root(&["sed", "-i", "$ a # changed", unit]);
        let status = installed.banger(["system", "status"]).run();
        assert_eq!(status.code(), Some(1));
        assert!(status.stdout_text().contains(unit), "{}", status.stdout_text());
        let _ = installed.install(&[]).expect_success();
        let _ = installed.banger(["system", "status"]).run().expect_success();
    });
    checks.check("it is not root's, and does not become somebody else's", || {
        let root = installed.system(&["install", "--owner", "root"]);
        let _ = root.expect_failure(&["root cannot be the owner"]);
        let other = installed.system(&["install", "--owner", "nobody"]);
        let _ = other.expect_failure(&["the installed banger belongs to"]);
    });
    checks.check("uninstalled it says what it stops, and the host is as it was", || {
        let gone = installed.system(&["uninstall", "--purge"]).expect_success();
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
