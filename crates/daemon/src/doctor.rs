//! Looks for what would keep banger from working. Reads only; each row says what was found and what to do.

use crate::Services;
use crate::store::{ImageRecord, KernelRecord};
use crate::vm::adopt::unrecorded_folders;
use crate::vm::vmm::{Kvm, NoVmm, choose, find, find_firecracker};
use banger_protocol::daemon_api::system::{DoctorReport, DoctorRow, Verdict};
use banger_protocol::root_api::Acceleration;
use banger_protocol::size::ByteSize;
use std::fs::File;

/// Below this a first image does not fit.
const LEAST_SPACE: u64 = 3 << 30;

pub(crate) fn run(services: &Services) -> DoctorReport {
    let mut rows = vec![architecture(), kvm(services), vmm(services), firecracker(services)];
    rows.extend([tun(), agent(services), namespaces()]);
    rows.extend(network_tools(services));
    rows.extend(tools());
    rows.push(space(services));
    rows.extend(state(services));
    DoctorReport { rows }
}

fn row(verdict: Verdict, subject: &str, finding: impl Into<String>, hint: Option<&str>) -> DoctorRow {
    DoctorRow { verdict, subject: subject.to_owned(), finding: finding.into(), hint: hint.map(str::to_owned) }
}

fn architecture() -> DoctorRow {
    match std::env::consts::ARCH {
        "x86_64" => row(Verdict::Pass, "architecture", "x86_64", None),
        other => row(Verdict::Fail, "architecture", other, Some("banger runs on x86_64 hosts only")),
    }
}

fn kvm(services: &Services) -> DoctorRow {
    let kvm = services.host.kvm;
    let verdict = if kvm == Kvm::Usable { Verdict::Pass } else { Verdict::Warn };
    row(verdict, "KVM", kvm.describe(), kvm.hint())
}

fn vmm(services: &Services) -> DoctorRow {
    let host = &services.host;
    match choose(host, services.config.vmm, 1) {
        Ok(vmm) => {
            let how = match vmm.acceleration() {
                Acceleration::Kvm => "with KVM",
                Acceleration::Tcg => "emulated, because KVM cannot be used",
            };
            row(Verdict::Pass, "VMM", format!("{}, {how}", vmm.name().as_str()), None)
        }
        Err(error) => row(Verdict::Fail, "VMM", error.to_string(), Some(&error.hint())),
    }
}

/// Firecracker is the fastest there is, and not needed.
fn firecracker(services: &Services) -> DoctorRow {
    let subject = "Firecracker";
    match find_firecracker(&services.host) {
        Ok((path, version)) => {
            let finding = format!("{version} at {}", path.display());
            let advice = banger_firecracker::judge(version).advice();
            let verdict = if advice.is_some() { Verdict::Warn } else { Verdict::Pass };
            row(verdict, subject, finding, advice.as_deref())
        }
        Err(error @ NoVmm::NoFirecracker) => row(Verdict::Pass, subject, error.to_string(), None),
        Err(error) => row(Verdict::Warn, subject, error.to_string(), Some(&error.hint())),
    }
}

/// What to do where `/dev/net/tun` does not open.
pub(crate) const TUN_HINT: &str =
    "guests need it: `sudo modprobe tun && sudo chmod 0666 /dev/net/tun`, the mode every desktop has";

fn open_tun() -> std::io::Result<File> {
    File::options().read(true).write(true).open("/dev/net/tun")
}

pub(crate) fn tun_opens() -> bool {
    open_tun().is_ok()
}

fn tun() -> DoctorRow {
    match open_tun() {
        Ok(_) => row(Verdict::Pass, "/dev/net/tun", "opens", None),
        Err(error) => row(Verdict::Fail, "/dev/net/tun", error.to_string(), Some(TUN_HINT)),
    }
}

fn agent(services: &Services) -> DoctorRow {
    match crate::kernel::agent(services) {
        Ok(_) => row(Verdict::Pass, "guest agent", services.agent.display().to_string(), None),
        Err(error) => row(
            Verdict::Fail,
            "guest agent",
            error.to_string(),
            Some("reinstall banger: its programs belong in one folder"),
        ),
    }
}

fn namespaces() -> DoctorRow {
    let read =
        |path: &str| std::fs::read_to_string(path).ok().and_then(|text| text.trim().parse::<u64>().ok());
    let subject = "user namespaces";
    if read("/proc/sys/kernel/unprivileged_userns_clone") == Some(0) {
        let hint = "allow them: `sudo sysctl kernel.unprivileged_userns_clone=1`";
        return row(Verdict::Fail, subject, "the kernel refuses them to ordinary users", Some(hint));
    }
    match read("/proc/sys/user/max_user_namespaces") {
        Some(0) => {
            let hint = "allow them: `sudo sysctl user.max_user_namespaces=15000`";
            row(Verdict::Fail, subject, "the kernel allows none", Some(hint))
        }
        Some(_) if read("/proc/sys/kernel/apparmor_restrict_unprivileged_userns") == Some(1) => {
            let hint = "where starting a VM fails, give banger an AppArmor profile with `userns,`";
            row(Verdict::Warn, subject, "AppArmor restricts them", Some(hint))
        }
        Some(_) => row(Verdict::Pass, subject, "allowed", None),
        None => row(Verdict::Fail, subject, "this kernel has none", Some("use a kernel with CONFIG_USER_NS")),
    }
}

/// Without nft no guest runs, without pasta none has NAT.
fn network_tools(services: &Services) -> [DoctorRow; 2] {
    let tools = &services.network_tools;
    let all = [("nft", tools.nft(), Verdict::Fail), ("pasta", tools.pasta(), Verdict::Warn)];
    all.map(|(program, found, missing)| match found {
        Ok(path) => row(Verdict::Pass, program, path.display().to_string(), None),
        Err(error) => row(missing, program, error.to_string(), Some(&error.hint())),
    })
}

fn tools() -> Vec<DoctorRow> {
    let needed = [
        (
            "mmdebstrap",
            Verdict::Warn,
            "builds images: `sudo apt install mmdebstrap uidmap`, `sudo dnf install mmdebstrap shadow-utils`, or an AUR package on Arch",
        ),
        (
            "ssh",
            Verdict::Warn,
            "for `vm ssh`: `sudo apt install openssh-client`, `sudo dnf install openssh-clients`, `sudo pacman -S openssh`",
        ),
        (
            "git",
            Verdict::Warn,
            "for repositories: `sudo apt install git`, `sudo dnf install git`, `sudo pacman -S git`",
        ),
    ];
    let look = |(program, missing, hint): (&str, Verdict, &str)| match find(program) {
        Some(path) => row(Verdict::Pass, program, path.display().to_string(), None),
        None => row(missing, program, "not found", Some(hint)),
    };
    needed.into_iter().map(look).collect()
}

fn space(services: &Services) -> DoctorRow {
    match rustix::fs::statvfs(services.state.path()) {
        Ok(found) => {
            let free = found.f_bavail * found.f_frsize;
            let finding = format!("{} free at {}", ByteSize::bytes(free), services.state.path().display());
            let hint = "an image takes about 1 GiB: free some space";
            let tight = free < LEAST_SPACE;
            row(if tight { Verdict::Warn } else { Verdict::Pass }, "disk", finding, tight.then_some(hint))
        }
        Err(errno) => row(Verdict::Fail, "disk", errno.to_string(), None),
    }
}

fn state(services: &Services) -> Vec<DoctorRow> {
    let mut rows = Vec::new();
    match services.store.vms() {
        Ok((vms, damaged)) if damaged.is_empty() => {
            rows.push(row(Verdict::Pass, "database", format!("{} VMs recorded", vms.len()), None));
        }
        Ok((_, damaged)) => rows.push(row(
            Verdict::Fail,
            "database",
            format!("records that cannot be read: {}", damaged.join(", ")),
            Some("`banger vm delete ID` removes one with everything it owns; the rest works"),
        )),
        Err(error) => rows.push(row(Verdict::Fail, "database", error.to_string(), None)),
    }
    for path in crate::store::set_aside_in(services.state.path()) {
        let hint = "what could be read of it was taken over: remove the file when you miss nothing";
        rows.push(row(Verdict::Warn, "set aside", path.display().to_string(), Some(hint)));
    }
    let image = services.store.find::<ImageRecord>(services.config.default_image.as_str());
    rows.push(match image {
        Ok(Some(image)) => row(Verdict::Pass, "default image", image.name.to_string(), None),
        Ok(None) | Err(_) => row(
            Verdict::Warn,
            "default image",
            format!("`{}` is not built yet", services.config.default_image),
            Some("the first `banger vm run` builds it"),
        ),
    });
    let kernels = services.store.all::<KernelRecord>().map_or(0, |kernels| kernels.len());
    if kernels == 0 {
        let hint = "the first `banger vm run` gets one";
        rows.push(row(Verdict::Warn, "kernel", "none yet", Some(hint)));
    } else {
        rows.push(row(Verdict::Pass, "kernel", format!("{kernels} present"), None));
    }
    for path in &services.damaged {
        let hint = "delete the folder, then pull again";
        rows.push(row(Verdict::Fail, "set aside", path.display().to_string(), Some(hint)));
    }
    let leaked = unrecorded_folders(services);
    if leaked.is_empty() {
        rows.push(row(Verdict::Pass, "leftovers", "none", None));
    } else {
        let hint = "`banger daemon stop`; the next command removes them";
        rows.push(row(Verdict::Warn, "leftovers", leaked.join(", "), Some(hint)));
    }
    rows
}
