//! What somebody tries in the first hour with an installed banger, one after the other, as its owner.

use banger_e2e::{Checks, Installed, Inventory};
use std::time::{Duration, Instant};

const SMALL: [&str; 2] = ["--memory", "512M"];

fn run<'a>(words: &[&'a str], command: &[&'a str]) -> Vec<&'a str> {
    [&["vm", "run"], words, &SMALL, &["--"], command].concat()
}

fn state_of(installed: &Installed, vm: &str) -> String {
    installed.json(&["vm", "show", vm])["state"].as_str().expect("a state").to_owned()
}

/// Waits until a check holds, as long as a guest may take.
fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(60);
    while !holds() {
        assert!(Instant::now() < deadline, "{what} did not come");
        std::thread::park_timeout(Duration::from_millis(200));
    }
}

#[test]
fn the_first_hour_with_an_installed_banger() {
    let installed = Installed::with_image();
    let before = Inventory::look();
    let mut checks = Checks::new();
    let banger = |words: &[&str]| installed.banger(words).run();

    checks.check("an invalid spec is refused and leaves no row", || {
        for wrong in [
            &["--vcpu", "0"][..],
            &["--memory", "1M"],
            &["--image", "no-such-image"],
            &["--name", "Not_A_Name"],
        ] {
            let _ = banger(&[&["vm", "create"], wrong].concat()).expect_failure(&[]);
        }
        assert_eq!(banger(&["ps", "-q"]).expect_success().stdout_text(), "");
    });
    checks.check("a bare run prints what the command prints, and leaves nothing", || {
        let told = installed.banger(run(&["--rm"], &["echo", "a  b"])).run().expect_success();
        assert_eq!(told.stdout_text(), "a  b\n");
        Inventory::assert_nothing_beyond(&before, "by a run");
    });
    checks.check("two runs at once do not know of each other, and each has its exit code", || {
        let second = installed.banger(run(&["--rm"], &["sh", "-c", "hostname; exit 9"])).start();
        let first = installed.banger(run(&["--rm"], &["sh", "-c", "hostname; exit 7"])).run();
        let (first, second) = (first.expect_code(7), second.finish().expect_code(9));
        assert_ne!(first.stdout_text(), second.stdout_text());
        Inventory::assert_nothing_beyond(&before, "by two runs");
    });

    let _ = banger(&[&["vm", "run", "-d", "--name", "demo"][..], &SMALL].concat()).expect_success();
    checks.check("-d leaves a VM behind that runs", || {
        assert_eq!(state_of(&installed, "demo"), "running");
    });
    checks.check("its root disk is a device of the host's, which the guest does not join", || {
        let devices = Inventory::look().beyond(&before);
        let id = installed.json(&["vm", "show", "demo"])["id"].as_str().expect("an id").to_owned();
        assert!(devices.contains(&format!("device banger-{id}")), "{devices:?}");
        let told = installed.exec("demo", &["findmnt", "-no", "SOURCE", "/"]).expect_success();
        assert!(!told.stdout_text().contains("mapper"), "the guest joins nothing: {}", told.stdout_text());
    });
    let serve = "use IO::Socket::INET; my $s = IO::Socket::INET->new(Listen => 4, LocalAddr => '0.0.0.0', LocalPort => 8000, \
                 ReuseAddr => 1) or die; while (my $c = $s->accept) { my $l = <$c>; \
                 print $c \"HTTP/1.0 200 OK\\r\\nContent-Length: 6\\r\\n\\r\\nhello\\n\"; close $c }";
    let _ = banger(&["vm", "exec", "-d", "demo", "--", "perl", "-e", serve]).expect_success();
    let reach_by_name = |when: &str| {
        let curl = ["curl", "--silent", "--show-error", "--max-time", "20", "http://demo.vm:8000/"];
        until(&format!("{when}: an answer of demo.vm"), || installed.as_root(&curl).code() == Some(0));
        assert_eq!(installed.as_root(&curl).expect_success().stdout_text(), "hello\n", "{when}");
        let told = installed.as_root(&["getent", "hosts", "demo.vm"]).expect_success();
        let address = told.stdout_text().split(' ').next().unwrap_or_default().to_owned();
        let back = installed.as_root(&["getent", "hosts", &address]).expect_success();
        assert!(back.stdout_text().contains("demo.vm"), "{when}: {}", back.stdout_text());
    };
    checks.check("it is reached from the host by its name, and its address has that name", || {
        reach_by_name("at first")
    });
    checks.check("ports shows what listens, by name", || {
        let told = banger(&["vm", "ports", "demo"]).expect_success();
        assert!(told.stdout_text().contains("demo.vm:8000"), "{}", told.stdout_text());
    });
    checks.check("ssh reaches it by its name, with what ssh-config writes into a home", || {
        let home = tempfile::tempdir().expect("a temporary folder");
        let config = home.path().join(".ssh/config");
        let install = installed.banger(["ssh-config", "--install"]).env("HOME", home.path());
        let _ = install.run().expect_success();
        let ssh =
            ["-F", config.to_str().expect("text"), "-o", "StrictHostKeyChecking=yes", "demo.vm", "hostname"];
        let ssh = banger_e2e::Invocation::new(std::path::Path::new("/usr/bin/ssh"), ssh);
        let told = ssh.env("HOME", home.path()).env("PATH", "/usr/bin:/bin").run().expect_success();
        assert_eq!(told.stdout_text(), "demo\n");
        let uninstall = installed.banger(["ssh-config", "--uninstall"]).env("HOME", home.path());
        let _ = uninstall.run().expect_success();
        let left = std::fs::read_to_string(&config).unwrap_or_default();
        assert!(!left.contains("banger"), "{left}");
    });
    checks.check("its name is known again after resolved was restarted", || {
        let _ = installed.as_root(&["systemctl", "restart", "systemd-resolved.service"]).expect_success();
        reach_by_name("after resolved was restarted");
    });
    checks.check("its name is known again after the bridge was removed and remade", || {
        for link in ["br-banger", "br-banger-d"] {
            let _ = installed.as_root(&["ip", "link", "delete", link]).expect_success();
        }
        // Whatever needs the bridge makes it again.
        for nat in ["on", "off"] {
            let _ = banger(&["vm", "set", "demo", "--nat", nat]).expect_success();
        }
        reach_by_name("after the bridge was remade");
    });
    checks.check("the doctor has asked the host's resolver itself", || {
        let told = banger(&["doctor"]);
        assert!(
            told.stdout_text().contains("PASS  names on the host: the host's resolver asks banger"),
            "{}",
            told.stdout_text()
        );
    });
    let _ = installed
        .exec("demo", &["sh", "-c", "echo kept > /root/work; echo kept > /etc/root-disk; sync"])
        .expect_success();
    let boot = installed.boot_id("demo");
    checks.check("stopped, given more memory and started, it has that, its data, and another boot", || {
        let memory = || {
            let told =
                installed.exec("demo", &["sed", "-n", "s/MemTotal: *\\([0-9]*\\) kB/\\1/p", "/proc/meminfo"]);
            told.expect_success().stdout_text().trim().parse::<u64>().expect("a number of KiB")
        };
        let before = memory();
        for words in [
            &["vm", "stop", "demo"][..],
            &["vm", "set", "demo", "--memory", "640M"],
            &["vm", "start", "demo"],
        ] {
            let _ = banger(words).expect_success();
        }
        assert!(memory() >= before + (100 << 10), "{before} KiB became {}", memory());
        let told = installed.exec("demo", &["cat", "/root/work", "/etc/root-disk"]).expect_success();
        assert_eq!(told.stdout_text(), "kept\nkept\n");
        assert_ne!(installed.boot_id("demo"), boot);
    });
    checks.check("restart is another boot", || {
        let boot = installed.boot_id("demo");
        let _ = banger(&["vm", "restart", "demo"]).expect_success();
        assert_ne!(installed.boot_id("demo"), boot);
    });
    checks.check("killed with -9 it is stopped, and its device is gone", || {
        let there = Inventory::look().beyond(&before);
        let processes = there.iter().filter_map(|line| line.strip_prefix("process "));
        let pids: Vec<&str> = processes.filter_map(|process| process.split(' ').next()).collect();
        assert!(!pids.is_empty(), "{there:?}");
        let _ = installed.as_root(&[&["kill", "-9"], &pids[..]].concat()).expect_success();
        until("its end", || state_of(&installed, "demo") == "stopped");
        until("the end of its device", || {
            let left = Inventory::look().beyond(&before);
            left.iter().all(|line| line.starts_with("folder "))
        });
    });
    checks.check("prune removes it, after showing it", || {
        let pruned = banger(&["vm", "prune", "--force"]).expect_success();
        let told = format!("{}{}", pruned.stdout_text(), pruned.stderr_text());
        assert!(told.contains("demo"), "{told}");
        assert_eq!(banger(&["ps", "-q"]).expect_success().stdout_text(), "");
        Inventory::assert_nothing_beyond(&before, "by pruning");
    });
    checks.finish();
}
