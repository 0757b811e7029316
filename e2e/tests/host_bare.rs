//! Bare programs, installed without a package and without the jailer.

use banger_e2e::{Checks, Installed, Inventory};

fn id_of(installed: &Installed, vm: &str) -> String {
    installed.json(&["vm", "show", vm])["id"].as_str().expect("an id").to_owned()
}

/// The processes of a VM's VMM, without the kernel's own thread for its memory (`kvm-nx-lpage-recovery`), which is counted
/// with it and has no command line.
fn processes_of(installed: &Installed, vm: &str) -> Vec<String> {
    let scope = format!("/sys/fs/cgroup/banger.slice/banger-{}-vmm.scope/cgroup.procs", id_of(installed, vm));
    let pids = std::fs::read_to_string(scope).expect("it is in its scope");
    let has_command =
        |pid: &&str| std::fs::read(format!("/proc/{pid}/cmdline")).is_ok_and(|line| !line.is_empty());
    let processes: Vec<String> = pids.lines().filter(has_command).map(str::to_owned).collect();
    assert!(!processes.is_empty(), "nothing is in its scope");
    processes
}

/// The user that all of them run as.
fn user_of(installed: &Installed, vm: &str) -> u32 {
    let user = |pid: &String| -> u32 {
        let status = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("it lives");
        let uids = status.lines().find_map(|line| line.strip_prefix("Uid:\t"));
        uids.and_then(|uids| uids.split('\t').next()?.parse().ok()).expect("a number")
    };
    let mut users: Vec<u32> = processes_of(installed, vm).iter().map(user).collect();
    users.dedup();
    assert_eq!(users.len(), 1, "one user has all of it: {users:?}");
    users[0]
}

#[test]
fn without_its_jailer_a_firecracker_runs_as_in_local_mode_and_an_upgrade_leaves_it_so() {
    let before = Inventory::look();
    let installed = Installed::from_folder(&["--no-jailer", "--vm-uids", "300000-400000"]);
    let mut checks = Checks::new();
    let has_firecracker = std::path::Path::new("/usr/local/bin/firecracker").exists();
    let settings = || std::fs::read_to_string("/etc/banger/install.toml").expect("it is there");

    checks.check("it says so in its file, and installing again does not turn it on", || {
        for _ in 0..2 {
            assert!(settings().contains("jailed = false\n"), "{}", settings());
            assert!(settings().contains("vm_uids = \"300000-400000\"\n"), "{}", settings());
            let _ = installed.install(&[]).expect_success();
        }
        let doctor = installed.banger(["doctor"]).run();
        let text = doctor.stdout_text();
        assert!(!has_firecracker || text.contains("WARN  jailer: off"), "{text}");
        assert!(text.contains("PASS  users of VMs: 300000-400000"), "{text}");
    });
    checks.check("ids that somebody has are not given to VMs, and those of root's system neither", || {
        let taken = installed.install(&["--vm-uids", "100000-200000"]);
        let _ = taken.expect_failure(&["/etc/subuid", "--vm-uids"]);
        let _ = installed.install(&["--vm-uids", "0-70000"]).expect_failure(&["is not a range"]);
        assert!(settings().contains("300000-400000"), "{}", settings());
    });
    let _ =
        installed.banger(["vm", "run", "-d", "--name", "demo", "--memory", "512M"]).run().expect_success();
    checks.check("a VM runs as one of those users, and in no jail", || {
        let uid = user_of(&installed, "demo");
        assert!((300_000..=400_000).contains(&uid), "{uid}");
        for pid in processes_of(&installed, "demo") {
            let command = installed.as_root(&["cat", &format!("/proc/{pid}/cmdline")]).expect_success();
            let by_jailer = command.stdout_text().contains("--start-time-us");
            assert!(!by_jailer, "the jailer says this: {}", command.stdout_text());
        }
        let id = id_of(&installed, "demo");
        // A device is given to a Firecracker by its jailer alone; QEMU is handed one.
        let device = Inventory::look().beyond(&before).contains(&format!("device banger-{id}"));
        assert_eq!(device, !has_firecracker, "whether the root disk is the host's device");
        let _ = installed.banger(["vm", "delete", "demo"]).run().expect_success();
    });
    checks.check("a VM from before starts as one of other users, with what it had", || {
        let create = ["vm", "run", "-d", "--name", "moved", "--memory", "512M"];
        let _ = installed.banger(create).run().expect_success();
        let _ = installed.exec("moved", &["sh", "-c", "echo kept > /root/kept && sync"]).expect_success();
        let _ = installed.banger(["vm", "stop", "moved"]).run().expect_success();
        let _ = installed.install(&["--vm-uids", "500000-600000"]).expect_success();
        assert!(settings().contains("former_vm_uids = \"300000-400000\"\n"), "{}", settings());
        let _ = installed.banger(["vm", "start", "moved"]).run().expect_success();
        let uid = user_of(&installed, "moved");
        assert!((500_000..=600_000).contains(&uid), "{uid}");
        let kept = installed.exec("moved", &["cat", "/root/kept"]).expect_success();
        assert_eq!(kept.stdout_text(), "kept\n");
        let _ = installed.banger(["vm", "delete", "moved"]).run().expect_success();
    });
    checks.check("QEMU is handed a device of the host's", || {
        let folder = std::env::home_dir().expect("a home").join(".config/banger");
        std::fs::create_dir_all(&folder).expect("the home is ours");
        std::fs::write(folder.join("config.toml"), "vmm = \"qemu\"\n").expect("the home is ours");
        let _ = installed.system(&["restart"]).expect_success();
        let asked = ["vm", "run", "-d", "--name", "other", "--memory", "512M"];
        let started = installed.banger(asked).run();
        std::fs::remove_file(folder.join("config.toml")).expect("it was made");
        let _ = started.expect_success();
        let view = installed.json(&["vm", "show", "other"]);
        let id = view["id"].as_str().expect("an id");
        let there = Inventory::look().beyond(&before);
        assert!(there.contains(&format!("device banger-{id}")), "{there:?}");
        assert!(there.contains(&format!("unit banger-{id}-vsock_backend.scope")), "it is QEMU: {there:?}");
        let _ = installed.exec("other", &["sh", "-c", "echo x > /etc/on-a-device && sync"]).expect_success();
        let _ = installed.banger(["vm", "delete", "other"]).run().expect_success();
    });
    checks.check("with its jailer it is in a jail again", || {
        let _ = match has_firecracker {
            true => installed.install(&["--jailer"]).expect_success(),
            false => installed.install(&["--jailer"]).expect_failure(&["the jailer is not installed"]),
        };
        assert_eq!(settings().contains("jailed = true\n"), has_firecracker, "{}", settings());
    });
    drop(installed);
    Inventory::assert_nothing_beyond(&before, "by bare programs that were uninstalled");
    checks.finish();
}
