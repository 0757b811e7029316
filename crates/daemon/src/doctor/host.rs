//! The machine: what runs guests on it, and what guests need of its kernel.

use super::{pass, row};
use crate::vm::program::Program;
use crate::vm::vmm::{Host, Kvm, NoVmm, Vmm, choose, find_firecracker};
use banger_config::Config;
use banger_protocol::daemon_api::system::{DoctorRow, Verdict};
use banger_protocol::root_api::Acceleration;
use std::fs::File;

pub(super) fn rows(config: &Config, host: &Host) -> Vec<DoctorRow> {
    let chosen = choose(host, config.vmm.value, 1);
    let qemu_runs_guests = !matches!(chosen, Ok(Vmm::Firecracker));
    let mut rows = vec![architecture(), kvm(host), vmm(config, &chosen), firecracker(host)];
    rows.push(of_qemu("QEMU", &host.qemu, qemu_runs_guests, &NoVmm::NoQemu));
    rows.push(of_qemu("vhost-device-vsock", &host.vsock_backend, qemu_runs_guests, &NoVmm::NoVsockBackend));
    rows
}

/// What whoever is not root needs of a host to make networks and run guests.
pub(super) fn of_an_ordinary_user() -> [DoctorRow; 2] {
    [tun(), namespaces()]
}

fn architecture() -> DoctorRow {
    match std::env::consts::ARCH {
        "x86_64" => pass("architecture", "x86_64"),
        other => row(Verdict::Fail, "architecture", other, Some("banger runs on x86_64 hosts only")),
    }
}

fn kvm(host: &Host) -> DoctorRow {
    let verdict = if host.kvm == Kvm::Usable { Verdict::Pass } else { Verdict::Warn };
    row(verdict, "KVM", host.kvm.describe(), host.kvm.hint())
}

fn vmm(config: &Config, chosen: &Result<Vmm, NoVmm>) -> DoctorRow {
    match chosen {
        Ok(vmm) => {
            let how = match vmm.acceleration() {
                Acceleration::Kvm => "with KVM",
                Acceleration::Tcg => "emulated, because KVM is not usable",
            };
            let why = match config.vmm.value {
                banger_config::VmmChoice::Auto => "the best one that works on this host".to_owned(),
                choice => format!("chosen by `vmm = \"{}\"`", choice.as_str()),
            };
            pass("VMM", format!("{}, {how}; {why}", vmm.name().as_str()))
        }
        Err(error) => row(Verdict::Fail, "VMM", error.to_string(), Some(&error.hint())),
    }
}

/// Firecracker is the fastest there is, and not needed.
fn firecracker(host: &Host) -> DoctorRow {
    let subject = "Firecracker";
    match find_firecracker(host) {
        Ok((path, version)) => {
            let finding = format!("{version} at {}", path.display());
            let advice = banger_firecracker::judge(version).advice();
            let verdict = if advice.is_some() { Verdict::Warn } else { Verdict::Pass };
            row(verdict, subject, finding, advice.as_deref())
        }
        Err(error @ NoVmm::NoFirecracker) => pass(subject, error.to_string()),
        Err(error) => row(Verdict::Warn, subject, error.to_string(), Some(&error.hint())),
    }
}

/// A program that only guests under QEMU need.
fn of_qemu(subject: &str, program: &Program, is_needed: bool, absent: &NoVmm) -> DoctorRow {
    match program.path() {
        Some(path) => pass(subject, path.display().to_string()),
        None if is_needed => row(Verdict::Fail, subject, absent.to_string(), Some(&absent.hint())),
        None => pass(subject, format!("{absent}; Firecracker runs the guests here")),
    }
}

/// What to do where `/dev/net/tun` does not open.
pub(crate) const TUN_HINT: &str = "guests need it: `sudo modprobe tun && sudo chmod 0666 /dev/net/tun`";

fn open_tun() -> std::io::Result<File> {
    File::options().read(true).write(true).open("/dev/net/tun")
}

pub(crate) fn tun_opens() -> bool {
    open_tun().is_ok()
}

fn tun() -> DoctorRow {
    match open_tun() {
        Ok(_) => pass("/dev/net/tun", "opens"),
        Err(error) => row(Verdict::Fail, "/dev/net/tun", error.to_string(), Some(TUN_HINT)),
    }
}

/// Not guessed from settings: the helper tries, and knows which setting it is when it may not.
fn namespaces() -> DoctorRow {
    let subject = "user namespaces";
    match crate::client::probe_namespaces() {
        Ok(()) => pass(subject, "allowed"),
        Err(error) => row(Verdict::Fail, subject, error.to_string(), error.hint().as_deref()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_only_qemu_needs_is_missed_only_where_qemu_runs_the_guests() {
        let verdict = |needed| of_qemu("QEMU", &Program::Absent, needed, &NoVmm::NoQemu).verdict;
        assert_eq!((verdict(true), verdict(false)), (Verdict::Fail, Verdict::Pass));
        let hint = of_qemu("QEMU", &Program::Absent, true, &NoVmm::NoQemu).hint.unwrap();
        assert!(hint.contains(&crate::packages::install("qemu-system-x86_64")), "{hint}");
    }
}
