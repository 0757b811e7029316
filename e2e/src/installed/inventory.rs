//! Everything that VMs of an installed banger can leave on a host, looked for where the kernel, udev and systemd keep it,
//! and not where banger says that it is.

use super::sudo;
use crate::Invocation;
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// The first and the last of the users that VMs run as, where nothing else was chosen.
const VM_UIDS: std::ops::RangeInclusive<u32> = 0x7000_0000..=0x70ff_ffff;
const STATE: &str = "/var/lib/banger";
/// The slice of all VMs' scopes.
const SLICE: &str = "/banger.slice";
/// Where a jail is for its VM, and where the jailer makes one by itself; the host's own view has nothing there.
const JAILS: [&str; 3] = ["/sys/vm", "/sys/firecracker", "/srv/jailer"];

/// What is there of VMs, a line each.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Inventory(BTreeSet<String>);

impl Inventory {
    /// Looks.
    ///
    /// # Panics
    /// When the host does not let itself be looked at.
    #[must_use]
    pub fn look() -> Self {
        let mut found = BTreeSet::new();
        let mut add =
            |kind: &str, names: Vec<String>| found.extend(names.iter().map(|name| format!("{kind} {name}")));
        add("device", devices());
        add("loop", loops());
        add("udev", udev());
        add("link", names_below("/sys/class/net").into_iter().filter(|name| is_tap(name)).collect());
        add("rule", rules());
        add(
            "cgroup",
            names_below(&format!("/sys/fs/cgroup{SLICE}"))
                .into_iter()
                .filter(|name| name.ends_with(".scope"))
                .collect(),
        );
        add("unit", units());
        add("process", processes());
        add("mount", mounts());
        add("jail", JAILS.iter().flat_map(|folder| names_below(folder)).collect());
        add("folder", names_below(&format!("{STATE}/vms")));
        Self(found)
    }

    /// What is here and was not there.
    #[must_use]
    pub fn beyond(&self, before: &Self) -> Vec<String> {
        self.0.difference(&before.0).cloned().collect()
    }

    /// Looks until nothing is there that was not before: systemd forgets a scope a moment after its last process has gone.
    ///
    /// # Panics
    /// When something stays.
    pub fn assert_nothing_beyond(before: &Self, when: &str) {
        let begun = Instant::now();
        loop {
            let left = Self::look().beyond(before);
            if left.is_empty() {
                return;
            }
            let passed = begun.elapsed();
            assert!(passed < MOMENT, "left over {when}: {left:?}");
            eprintln!("still there after {passed:.1?} {when}: {left:?}");
            std::thread::park_timeout(Duration::from_millis(100));
        }
    }
}

/// How long what has ended may be remembered, on a host whose one processor is emulated.
const MOMENT: Duration = Duration::from_secs(10);

/// A tap's name: `bt` and a VM's id.
fn is_tap(name: &str) -> bool {
    name.strip_prefix("bt").is_some_and(is_id)
}

fn is_id(text: &str) -> bool {
    text.len() == 12 && text.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
}

fn names_below(folder: &str) -> Vec<String> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect()
}

fn devices() -> Vec<String> {
    let name = |block: String| fs::read_to_string(format!("/sys/block/{block}/dm/name")).ok();
    let names = names_below("/sys/block").into_iter().filter_map(name);
    names.map(|name| name.trim().to_owned()).filter(|name| name.starts_with("banger-")).collect()
}

/// Every one that is in use. What the kernel calls the file behind it depends on whose mounts it was opened in, and on
/// whether these are still there.
fn loops() -> Vec<String> {
    let is_used =
        |block: &String| fs::exists(format!("/sys/block/{block}/loop/backing_file")).unwrap_or(true);
    names_below("/sys/block").into_iter().filter(|name| name.starts_with("loop")).filter(is_used).collect()
}

/// What udev remembers of devices, theirs and those that have gone.
fn udev() -> Vec<String> {
    let folder = Path::new("/run/udev/data");
    let is_ours = |path: &PathBuf| {
        fs::read_to_string(path)
            .is_ok_and(|text| text.lines().any(|line| line.starts_with("E:DM_NAME=banger-")))
    };
    let files = names_below("/run/udev/data").into_iter().map(|name| folder.join(name));
    files.filter(is_ours).map(|path| path.display().to_string()).collect()
}

fn rules() -> Vec<String> {
    let told = sudo(&["nft", "list", "ruleset"]).expect_success();
    let words = told.stdout_text().split(|c: char| !c.is_ascii_alphanumeric());
    words.filter(|word| is_tap(word)).map(str::to_owned).collect::<BTreeSet<_>>().into_iter().collect()
}

fn units() -> Vec<String> {
    let words = ["list-units", "--all", "--plain", "--no-legend", "banger-*.scope"];
    let told = Invocation::new(Path::new("/usr/bin/systemctl"), words).run().expect_success();
    let names = told.stdout_text().lines().filter_map(|line| line.split_ascii_whitespace().next());
    names.map(str::to_owned).collect()
}

/// Those that run as users of VMs, whatever they call themselves, and those in a VM's scope, whoever they are.
fn processes() -> Vec<String> {
    let is_vms = |pid: &String| {
        let groups = fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap_or_default();
        if groups.contains(SLICE) {
            return true;
        }
        let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
        let uids = status.lines().find_map(|line| line.strip_prefix("Uid:")).unwrap_or_default();
        uids.split_ascii_whitespace()
            .filter_map(|uid| uid.parse::<u32>().ok())
            .any(|uid| VM_UIDS.contains(&uid))
    };
    names_below("/proc")
        .into_iter()
        .filter(|name| name.bytes().all(|b| b.is_ascii_digit()))
        .filter(is_vms)
        .map(|pid| {
            let name = fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
            format!("{pid} {}", name.trim_end())
        })
        .collect()
}

fn mounts() -> Vec<String> {
    let table = fs::read_to_string("/proc/self/mounts").unwrap_or_default();
    let places = table.lines().filter_map(|line| line.split(' ').nth(1));
    places
        .filter(|place| place.contains("banger") || JAILS.iter().any(|jails| place.starts_with(jails)))
        .map(str::to_owned)
        .collect()
}
