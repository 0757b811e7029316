//! The Debian package over a guest's whole life: installed, upgraded under it, removed, and purged.

use banger_e2e::{Checks, Host, Installed, Inventory, Invocation, later_package};
use std::path::Path;

const PROGRAMS: [&str; 2] = ["/usr/lib/banger/bangerd", "/usr/lib/banger/bangerd-root"];
const SERVICES: [&str; 2] = ["bangerd.service", "bangerd-root.service"];

/// The bytes that a service runs, whatever lies under its program's name by now.
fn digest_of_running(installed: &Installed, unit: &str) -> String {
    let program = format!("/proc/{}/exe", installed.main_pid(unit));
    let told = installed.as_root(&["sha256sum", &program]).expect_success();
    told.stdout_text().split(' ').next().unwrap_or_default().to_owned()
}

fn digest(path: &str) -> String {
    let told = Invocation::new(Path::new("/usr/bin/sha256sum"), [path]).run().expect_success();
    told.stdout_text().split(' ').next().unwrap_or_default().to_owned()
}

/// Names and modes of everything that packages and administrators own, without what dpkg writes down.
fn files() -> String {
    let words = [
        "/etc",
        "/usr",
        "/opt",
        "/srv",
        "/var/lib",
        "-xdev",
        "-path",
        "/var/lib/dpkg",
        "-prune",
        "-o",
        "-path",
        "/var/lib/systemd",
        "-prune",
        "-o",
        "-path",
        "/var/lib/private",
        "-prune",
        "-o",
        "-printf",
        "%p %m %U %G %l\\n",
    ];
    let words = ["--non-interactive", "--", "find"].into_iter().chain(words);
    let told = Invocation::new(Path::new("/usr/bin/sudo"), words).run().expect_success();
    let mut lines: Vec<&str> = told.stdout_text().lines().collect();
    lines.sort_unstable();
    lines.join("\n")
}

fn assert_same_files(before: &str, when: &str) {
    let after = files();
    let [was, is] =
        [before, after.as_str()].map(|text| text.lines().collect::<std::collections::BTreeSet<_>>());
    let differences: Vec<_> = was.symmetric_difference(&is).take(20).collect();
    assert!(differences.is_empty(), "{when}: {differences:#?}");
}

#[test]
fn the_package_is_upgraded_under_a_running_command_and_goes_without_a_trace() {
    let (host, inventory, before) = (Host::look(), Inventory::look(), files());
    let installed = Installed::with_image();
    let mut checks = Checks::new();

    checks.check("what it brings is root's alone, and where packages put things", || {
        let owners =
            installed.as_root(&["stat", "--format=%a %U %n", "/usr/bin/banger", PROGRAMS[0], PROGRAMS[1]]);
        for line in owners.expect_success().stdout_text().lines() {
            assert!(line.starts_with("755 root "), "{line}");
        }
        for path in ["/usr/lib/udev/rules.d/58-banger.rules", "/usr/lib/systemd/system/bangerd-root.service"]
        {
            assert!(Path::new(path).exists(), "{path} is missing");
        }
        // A small host tells dpkg to leave manual pages out.
        let listed = installed.as_root(&["dpkg", "--listfiles", "banger"]).expect_success();
        assert!(listed.stdout_text().contains("/usr/share/man/man1/banger.1.gz"), "{}", listed.stdout_text());
        for path in ["/usr/local/bin/banger", "/etc/systemd/system/bangerd.service"] {
            assert!(!Path::new(path).exists(), "{path} is the package's business");
        }
    });
    let _ =
        installed.banger(["vm", "run", "-d", "--name", "demo", "--memory", "512M"]).run().expect_success();
    let boot = installed.boot_id("demo");
    checks.check("upgraded it runs what is new, and guest and command go on", || {
        let asked = ["vm", "exec", "-i", "demo", "--", "sh", "-c", "echo begun; read x; echo ended"];
        let mut command = installed.banger(asked).open_stdin().start();
        command.wait_for("begun");
        let old = SERVICES.map(|unit| digest_of_running(&installed, unit));
        let (_folder, later) = later_package();
        let _ = installed.as_root(&["dpkg", "--install", &later.display().to_string()]).expect_success();
        for ((unit, program), old) in SERVICES.into_iter().zip(PROGRAMS).zip(old) {
            let running = digest_of_running(&installed, unit);
            assert_ne!(running, old, "{unit} is the old one");
            assert_eq!(running, digest(program), "{unit} is not what was installed");
        }
        command.write(b"\n");
        assert!(command.finish().expect_success().stdout_text().contains("ended"));
        assert_eq!(installed.boot_id("demo"), boot);
        let _ = installed.banger(["system", "status"]).run().expect_success();
    });
    checks.check(
        "removed it has said what it stops, and keeps images and VMs for when it comes back",
        || {
            let gone = installed.as_root(&["dpkg", "--remove", "banger"]).expect_success();
            let told = format!("{}{}", String::from_utf8_lossy(&gone.stdout), gone.stderr_text());
            assert!(told.contains("stopping demo"), "{told}");
            for path in ["/usr/bin/banger", PROGRAMS[0], "/etc/banger", "/run/banger", "/run/banger-root"] {
                assert!(!Path::new(path).exists(), "{path} is left");
            }
            assert!(Path::new("/var/lib/banger/banger.db").exists(), "VMs are gone");
            let left: Vec<_> = Inventory::look().beyond(&inventory);
            assert!(left.iter().all(|line| line.starts_with("folder ")), "{left:?}");
            Host::look().assert_same_as(&host);
        },
    );
    checks.check("purged it was never there", || {
        let _ = installed.as_root(&["dpkg", "--purge", "banger"]).expect_success();
        Inventory::assert_nothing_beyond(&inventory, "by purging");
        Host::look().assert_same_as(&host);
        assert_same_files(&before, "purged");
    });
    checks.finish();
}
