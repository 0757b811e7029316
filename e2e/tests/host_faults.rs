//! Every effect that an installed banger has on its host goes wrong once, and its daemon dies at each of them once: nothing
//! of a VM is left anywhere on the host. Guests are fakes, the host is real: device mapper, loops, scopes, rules, udev.

#![expect(clippy::print_stdout, reason = "which calls came to grief is of interest where one left something")]

use banger_e2e::{Checks, Installed, Inventory, Mishap, Traced, Tracer};
use std::collections::BTreeMap;
use std::num::NonZeroUsize;
use std::time::Duration;

const CREATE: &[&str] = &["vm", "create", "--name", "dev", "--nat"];
const DELETE: &[&str] = &["vm", "delete", "dev"];

const HELPER: &str = "bangerd-root.service";

/// What a create does, in the words of its errors, and how many effects each is.
const CREATE_STEPS: [(&str, u32); 10] = [
    ("create the VM's directory", 1),
    ("start the vsock backend", 1),
    ("write the config drive", 1),
    ("create the root disk", 2),
    ("create the work disk", 1),
    ("set up the network", 1),
    ("start the DNS server", 1),
    ("create the tap device", 1),
    ("set up NAT", 1),
    ("start the VMM", 1),
];
const DELETE_STEPS: [(&str, u32); 6] = [
    ("end the VM's processes", 1),
    ("remove the root disk's device", 1),
    ("remove the tap device", 1),
    ("remove NAT", 1),
    ("remove the VM's sockets", 1),
    ("remove the VM's directory", 1),
];

fn each(steps: &[(&'static str, u32)]) -> Vec<&'static str> {
    steps.iter().flat_map(|(step, times)| (0..*times).map(move |_| *step)).collect()
}

/// Has the daemon do something wrong, and not the one after it.
fn plan(installed: &Installed, fault: &str) {
    let script = "systemctl reset-failed bangerd.service; systemctl set-environment BANGER_FAULT=$0 && \
                  systemctl restart bangerd.service && systemctl unset-environment BANGER_FAULT";
    let _ = installed.as_root(&["sh", "-c", script, fault]).expect_success();
}

/// As whoever sees that something went wrong would: with the command for it. A daemon that died is back by then.
fn clear_away(installed: &Installed) {
    let left = installed.banger(["ps", "-q"]).run().expect_success();
    if !left.stdout_text().trim().is_empty() {
        let _ = installed.banger(DELETE).run().expect_success();
    }
}

#[test]
fn whatever_goes_wrong_on_the_host_nothing_of_a_vm_is_left_on_it() {
    let installed = Installed::with_fake_guests();
    let before = Inventory::look();
    let mut checks = Checks::new();

    checks.check("what is looked at shows whatever could be left", || planted_leaks_are_seen(&installed));
    checks.check("a VM is all over the host while it is up, and nowhere when it is deleted", || {
        let _ = installed.banger(CREATE).run().expect_success();
        let there = Inventory::look().beyond(&before);
        for kind in [
            "device banger-",
            "loop loop",
            "udev /",
            "link bt",
            "rule bt",
            "cgroup banger-",
            "unit banger-",
            "process ",
            "folder ",
        ] {
            assert!(there.iter().any(|line| line.starts_with(kind)), "no {kind}: {there:#?}");
        }
        let _ = installed.banger(DELETE).run().expect_success();
        Inventory::assert_nothing_beyond(&before, "by a VM that was deleted");
    });
    checks.check("every effect of a create fails once, and the error names it", || {
        for (index, step) in each(&CREATE_STEPS).into_iter().enumerate() {
            plan(&installed, &format!("fail:{index}"));
            let _ = installed.banger(CREATE).run().expect_failure(&["made to fail", step]);
            clear_away(&installed);
            Inventory::assert_nothing_beyond(&before, &format!("by failing to {step}"));
        }
    });
    checks.check("the daemon dies at every effect of a create", || {
        for (index, step) in each(&CREATE_STEPS).into_iter().enumerate() {
            plan(&installed, &format!("abort:{index}"));
            let _ = installed.banger(CREATE).run().expect_failure(&[]);
            clear_away(&installed);
            Inventory::assert_nothing_beyond(&before, &format!("by dying after it could {step}"));
        }
    });
    checks.check("every effect of a delete fails once, and the daemon dies at each", || {
        for (index, step) in each(&DELETE_STEPS).into_iter().enumerate() {
            for fault in ["fail", "abort"] {
                let _ = installed.banger(CREATE).run().expect_success();
                plan(&installed, &format!("{fault}:{index}"));
                let words: &[&str] = if fault == "fail" { &["made to fail", step] } else { &[] };
                let _ = installed.banger(DELETE).run().expect_failure(words);
                clear_away(&installed);
                Inventory::assert_nothing_beyond(&before, &format!("by {fault} of {step}"));
            }
        }
    });
    checks.check("a call of the helper's is refused by the kernel, or is its last", || {
        calls_come_to_grief(&installed, &before);
    });
    checks.check("the helper is killed while VMs come and go", || {
        // A create with a fake guest takes a second or two here: each time the helper is at something else.
        for after in [0, 150, 300, 450, 600, 900].map(Duration::from_millis) {
            // Number 0 would be everybody's who kills.
            let _ = installed.as_root(&["systemctl", "start", HELPER]).expect_success();
            let pid = installed.main_pid(HELPER).to_string();
            let creating = installed.banger(CREATE).start();
            std::thread::park_timeout(after);
            let _ = installed.as_root(&["kill", "-KILL", &pid]).expect_success();
            // Whether it was in time to be harmed or not: a create that failed says so, and one that did not is whole.
            if creating.finish().code() == Some(0) {
                let _ = installed.banger(["vm", "exec", "dev", "--", "true"]).run().expect_success();
            }
            clear_away(&installed);
            assert_ne!(
                installed.main_pid(HELPER).to_string(),
                pid,
                "it was not killed, or has not come back"
            );
            let _ = installed.as_root(&["systemctl", "reset-failed", HELPER]).expect_success();
            Inventory::assert_nothing_beyond(&before, &format!("by a helper killed after {after:?}"));
        }
    });
    checks.finish();
}

/// Of the helper's calls so many, unless `BANGER_E2E_CALLS` says another number.
const CALLS: NonZeroUsize = NonZeroUsize::new(12).expect("it is none");

/// Makes a VM and deletes it while the helper is watched.
fn come_and_go(installed: &Installed, mishap: Option<(Mishap, &str, u32)>) -> (Traced, bool) {
    let _ = installed.as_root(&["systemctl", "reset-failed", HELPER]).expect_success();
    let _ = installed.as_root(&["systemctl", "start", HELPER]).expect_success();
    let tracer = Tracer::attach(installed.main_pid(HELPER), mishap);
    let done = [CREATE, DELETE].map(|words| installed.banger(words).run().code() == Some(0));
    (tracer.end(), done == [true, true])
}

fn calls_come_to_grief(installed: &Installed, before: &Inventory) {
    let (asked, is_well) = come_and_go(installed, None);
    assert!(is_well, "being watched is enough to fail");
    let all: Vec<(&str, u32)> = asked
        .calls
        .iter()
        .flat_map(|(call, most)| (1..=*most).map(move |nth| (call.as_str(), nth)))
        .collect();
    let wanted =
        std::env::var("BANGER_E2E_CALLS").map_or(CALLS, |number| number.parse().expect("a number from 1"));
    let every = all.len().div_ceil(wanted.get());
    let chosen: Vec<_> = all.iter().skip(every / 2).step_by(every).collect();
    let mut befell = BTreeMap::from([(Mishap::Refused, 0), (Mishap::Last, 0)]);
    for (call, nth) in &chosen {
        for mishap in [Mishap::Refused, Mishap::Last] {
            let (seen, is_well) = come_and_go(installed, Some((mishap, call, *nth)));
            *befell.entry(mishap).or_default() += u32::from(seen.befell);
            println!("{call} {nth} {mishap:?}: befell: {}, went well all the same: {is_well}", seen.befell);
            clear_away(installed);
            Inventory::assert_nothing_beyond(before, &format!("by {mishap:?} of {call} {nth}"));
        }
    }
    println!("{befell:?} of {} came to grief, of the {} calls in {:?}", chosen.len(), all.len(), asked.calls);
    // Not every thread asks the same of the kernel each time.
    assert!(befell.values().all(|times| *times > 0), "{befell:?}: one of the two never happened");
}

/// Leaves something of each kind and takes it away again.
fn planted_leaks_are_seen(installed: &Installed) {
    let before = Inventory::look();
    let id = "feedfeedfeed";
    let device = format!("banger-{id}");
    let (tap, scope) = (format!("bt{id}"), format!("banger-{id}-vmm.scope"));
    let (jail, file) = (format!("/srv/jailer/firecracker/{id}"), "/var/lib/banger/leak.img");
    let plants: [(&str, Vec<&str>, Vec<&str>); 8] = [
        (
            "device",
            vec!["dmsetup", "create", &device, "--table", "0 8 zero"],
            vec!["dmsetup", "remove", &device],
        ),
        (
            "loop",
            vec!["sh", "-c", "truncate -s 1M $0 && losetup --find $0", file],
            vec!["sh", "-c", "losetup -j $0 | cut -d: -f1 | xargs losetup -d; rm $0", file],
        ),
        ("link", vec!["ip", "tuntap", "add", &tap, "mode", "tap"], vec!["ip", "link", "delete", &tap]),
        (
            "rule",
            vec![
                "sh",
                "-c",
                "nft add table inet leak && nft add chain inet leak c && nft add rule inet leak c iifname $0 accept",
                &tap,
            ],
            vec!["nft", "delete", "table", "inet", "leak"],
        ),
        (
            "unit",
            vec![
                "systemd-run",
                "--quiet",
                "--slice=banger.slice",
                "--scope",
                "--unit",
                &scope,
                "sh",
                "-c",
                "sleep 300 > /dev/null 2>&1 &",
            ],
            vec!["systemctl", "stop", &scope],
        ),
        ("jail", vec!["mkdir", "-p", &jail], vec!["rm", "-r", "/srv/jailer"]),
        (
            "mount",
            vec!["sh", "-c", "mkdir -p $0 && mount -t tmpfs none $0", "/run/banger-leak"],
            vec!["umount", "/run/banger-leak"],
        ),
        (
            "folder",
            vec!["mkdir", "/var/lib/banger/vms/feedfeedfeed"],
            vec!["rmdir", "/var/lib/banger/vms/feedfeedfeed"],
        ),
    ];
    for (kind, plant, take) in plants {
        let _ = installed.as_root(&plant).expect_success();
        let seen = Inventory::look().beyond(&before);
        let _ = installed.as_root(&take).expect_success();
        assert!(seen.iter().any(|line| line.starts_with(kind)), "a {kind} was left and not seen: {seen:?}");
        if kind == "device" {
            assert!(
                seen.iter().any(|line| line.starts_with("udev")),
                "what udev remembers was not seen: {seen:?}"
            );
        }
        if kind == "unit" {
            assert!(seen.iter().any(|line| line.starts_with("cgroup")), "its cgroup was not seen: {seen:?}");
        }
    }
    let _ = installed.as_root(&["udevadm", "settle"]);
    Inventory::assert_nothing_beyond(&before, "by what was taken away");
    let id = "1879048193";
    let script = "setpriv --reuid $0 --regid $0 --clear-groups sleep 300 > /dev/null 2>&1 & echo $!";
    let started = installed.as_root(&["sh", "-c", script, id]).expect_success();
    let seen = Inventory::look().beyond(&before);
    let _ = installed.as_root(&["kill", started.stdout_text().trim()]).expect_success();
    assert!(seen.iter().any(|line| line.starts_with("process")), "a process was left and not seen: {seen:?}");
}
