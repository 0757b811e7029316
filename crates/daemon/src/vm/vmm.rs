//! Which VMM runs the guests here, and how. [`choose`] is pure; [`Host::look`] collects what it decides on.
//!
//! That `/dev/kvm` opens does not mean that KVM runs an ordinary guest: on hosts whose KVM is itself a guest's
//! paravirtual one, a VM can be made and its kernel then hangs. What tells them apart is real hardware
//! virtualisation: the processor's `vmx` or `svm` flag, or `kvm_intel` or `kvm_amd` loaded.

use crate::config::VmmChoice;
use banger_protocol::root_api::Acceleration;
use std::fs::File;
use std::path::{Path, PathBuf};

/// What this host offers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Host {
    pub qemu: Option<PathBuf>,
    pub vsock_backend: Option<PathBuf>,
    pub kvm: Kvm,
}

/// What was found out about KVM.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kvm {
    Usable,
    NoDevice,
    NotPermitted,
    /// The device opens, and the processor has nothing behind it that an ordinary guest could use.
    NoHardware,
}

impl Kvm {
    /// In words that continue "KVM: …".
    pub(crate) fn describe(self) -> &'static str {
        match self {
            Self::Usable => "usable",
            Self::NoDevice => "there is no /dev/kvm",
            Self::NotPermitted => "/dev/kvm may not be opened by this user",
            Self::NoHardware => {
                "/dev/kvm opens, but the processor has no hardware virtualisation for ordinary guests"
            }
        }
    }

    pub(crate) fn hint(self) -> Option<&'static str> {
        match self {
            Self::Usable => None,
            Self::NoDevice => Some("turn on virtualisation in the firmware, or load kvm_intel or kvm_amd"),
            Self::NotPermitted => {
                Some("add yourself to the group of /dev/kvm: `sudo usermod -aG kvm $USER`, then log in again")
            }
            Self::NoHardware => {
                Some("this host is probably a VM itself: guests are emulated, slowly but correctly")
            }
        }
    }
}

/// The VMM to use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Vmm {
    Qemu { acceleration: Acceleration },
}

impl Vmm {
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Self::Qemu { .. } => "QEMU",
        }
    }

    pub(crate) fn acceleration(&self) -> Acceleration {
        match self {
            Self::Qemu { acceleration } => *acceleration,
        }
    }
}

/// Why no guest can be run here.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub(crate) enum NoVmm {
    #[error("there is no qemu-system-x86_64 on this host")]
    NoQemu,
    #[error("there is no vhost-device-vsock on this host, which QEMU needs to reach its guests")]
    NoVsockBackend,
}

impl NoVmm {
    pub(crate) fn hint(&self) -> &'static str {
        match self {
            Self::NoQemu => {
                "install it: `sudo apt install qemu-system-x86` on Debian, `sudo dnf install qemu-system-x86-core` on Fedora, `sudo pacman -S qemu-system-x86` on Arch"
            }
            Self::NoVsockBackend => "install it: `cargo install vhost-device-vsock --version 0.3.0`",
        }
    }
}

/// The VMM for this host. QEMU is the only one so far, so both choices end there.
pub(crate) fn choose(host: &Host, choice: VmmChoice) -> Result<Vmm, NoVmm> {
    match choice {
        VmmChoice::Auto | VmmChoice::Qemu => choose_qemu(host),
    }
}

fn choose_qemu(host: &Host) -> Result<Vmm, NoVmm> {
    if host.qemu.is_none() {
        return Err(NoVmm::NoQemu);
    }
    if host.vsock_backend.is_none() {
        return Err(NoVmm::NoVsockBackend);
    }
    let acceleration = if host.kvm == Kvm::Usable { Acceleration::Kvm } else { Acceleration::Tcg };
    Ok(Vmm::Qemu { acceleration })
}

impl Host {
    /// Looks for programs, those that are configured and then those beside our own first, and at the processor.
    pub(crate) fn look(qemu: Option<&Path>, vsock_backend: Option<&Path>) -> Self {
        let program = |configured: Option<&Path>, name| {
            configured.map(Path::to_owned).filter(|path| path.is_file()).or_else(|| find(name))
        };
        Self {
            qemu: program(qemu, "qemu-system-x86_64"),
            vsock_backend: program(vsock_backend, "vhost-device-vsock"),
            kvm: look_at_kvm(),
        }
    }
}

/// A program beside this one, in banger's own folder, or in the PATH.
pub(crate) fn find(program: &str) -> Option<PathBuf> {
    let beside = std::env::current_exe().ok().and_then(|own| Some(own.parent()?.to_owned()));
    let path = std::env::var_os("PATH").unwrap_or_default();
    beside
        .into_iter()
        .chain(std::iter::once(PathBuf::from("/usr/lib/banger")))
        .chain(std::env::split_paths(&path))
        .chain(["/usr/sbin", "/usr/bin", "/usr/local/bin"].map(PathBuf::from))
        .filter(|folder| folder.is_absolute())
        .map(|folder| folder.join(program))
        .find(|path| path.is_file())
}

fn look_at_kvm() -> Kvm {
    let opened = File::options().read(true).write(true).open("/dev/kvm");
    let cpuinfo = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let module = ["kvm_intel", "kvm_amd"].iter().any(|name| Path::new("/sys/module").join(name).exists());
    judge_kvm(&opened, has_virtualisation_flag(&cpuinfo) || module)
}

fn judge_kvm(opened: &std::io::Result<File>, hardware: bool) -> Kvm {
    match opened {
        Err(error) if error.kind() == std::io::ErrorKind::PermissionDenied => Kvm::NotPermitted,
        Err(_) => Kvm::NoDevice,
        Ok(_) if hardware => Kvm::Usable,
        Ok(_) => Kvm::NoHardware,
    }
}

fn has_virtualisation_flag(cpuinfo: &str) -> bool {
    cpuinfo
        .lines()
        .filter(|line| line.starts_with("flags"))
        .any(|line| line.split_ascii_whitespace().any(|flag| flag == "vmx" || flag == "svm"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io;

    fn host(kvm: Kvm) -> Host {
        Host { qemu: Some("/q".into()), vsock_backend: Some("/v".into()), kvm }
    }

    #[test]
    fn a_device_that_opens_is_not_enough_for_kvm() {
        let opened = || File::open("/dev/null");
        assert_eq!(judge_kvm(&opened(), true), Kvm::Usable);
        assert_eq!(judge_kvm(&opened(), false), Kvm::NoHardware);
        assert_eq!(judge_kvm(&Err(io::ErrorKind::PermissionDenied.into()), true), Kvm::NotPermitted);
        assert_eq!(judge_kvm(&Err(io::ErrorKind::NotFound.into()), true), Kvm::NoDevice);
    }

    #[test]
    fn only_usable_kvm_accelerates() {
        for kvm in [Kvm::NoDevice, Kvm::NotPermitted, Kvm::NoHardware] {
            assert_eq!(
                choose(&host(kvm), VmmChoice::Auto),
                Ok(Vmm::Qemu { acceleration: Acceleration::Tcg })
            );
        }
        assert_eq!(
            choose(&host(Kvm::Usable), VmmChoice::Qemu),
            Ok(Vmm::Qemu { acceleration: Acceleration::Kvm })
        );
    }

    #[test]
    fn a_missing_program_is_named() {
        assert_eq!(choose(&Host { qemu: None, ..host(Kvm::Usable) }, VmmChoice::Auto), Err(NoVmm::NoQemu));
        assert_eq!(
            choose(&Host { vsock_backend: None, ..host(Kvm::Usable) }, VmmChoice::Auto),
            Err(NoVmm::NoVsockBackend)
        );
    }

    #[test]
    fn the_flag_is_a_word_of_the_flags_line() {
        assert!(has_virtualisation_flag("model name : x\nflags\t\t: fpu svm npt\n"));
        assert!(!has_virtualisation_flag("model name : vmx\nflags\t\t: fpu vmx_like\n"));
    }
}
