//! Which VMM runs the guests here, and how. [`choose`] is pure; [`Host::look`] collects what it decides on.
//!
//! That `/dev/kvm` opens does not mean that KVM runs an ordinary guest: on hosts whose KVM is itself a guest's
//! paravirtual one, a VM can be made and its kernel then hangs. What tells them apart is real hardware
//! virtualisation: the processor's `vmx` or `svm` flag, or `kvm_intel` or `kvm_amd` loaded.

use super::program::{Program, WrongProgram};
use banger_config::{Config, VmmChoice};
use banger_firecracker::{Verdict, Version, judge};
use banger_protocol::root_api::{Acceleration, Settings};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use serde::{Deserialize, Serialize};
use std::fs::File;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

/// The API refuses more (`MAX_SUPPORTED_VCPUS` in src/vmm/src/vmm_config/machine_config.rs).
const MOST_VCPUS_OF_FIRECRACKER: u32 = 32;
/// How long a program may take to say its version.
const VERSION_LIMIT: Duration = Duration::from_secs(2);

/// What this host offers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Host {
    pub qemu: Program,
    pub vsock_backend: Program,
    pub firecracker: Program,
    /// `None` when there is none, or it does not run or does not say.
    pub firecracker_version: Option<Version>,
    pub kvm: Kvm,
}

/// What was found out about KVM.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kvm {
    Usable,
    NoDevice,
    NotPermitted,
    /// We are root and may open the device; the users that our VMs run as may not.
    RootOnly,
    /// The device opens, and the processor has nothing behind it that an ordinary guest could use.
    NoHardware,
}

impl Kvm {
    /// In words that continue "KVM: …".
    pub(crate) fn describe(self) -> &'static str {
        match self {
            Self::Usable => "usable",
            Self::NoDevice => "/dev/kvm does not exist",
            Self::NotPermitted => "this user may not open /dev/kvm",
            Self::RootOnly => "only root may open /dev/kvm, and VMs run as other users",
            Self::NoHardware => {
                "/dev/kvm exists, but the CPU does not support hardware virtualization of ordinary guests"
            }
        }
    }

    pub(crate) fn hint(self) -> Option<&'static str> {
        match self {
            Self::Usable => None,
            Self::NoDevice => Some("enable virtualization in the firmware, or load kvm_intel or kvm_amd"),
            Self::NotPermitted => {
                Some("add your user to the kvm group: `sudo usermod -aG kvm $USER`, then log in again")
            }
            Self::RootOnly => Some("give it to the kvm group: `chgrp kvm /dev/kvm && chmod 0660 /dev/kvm`"),
            Self::NoHardware => {
                Some("this host is probably a VM: guests are emulated, which is slow but works")
            }
        }
    }
}

/// The VMM to use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Vmm {
    /// Always with KVM: it knows nothing else.
    Firecracker,
    Qemu {
        acceleration: Acceleration,
    },
}

impl Vmm {
    pub(crate) fn name(self) -> VmmName {
        match self {
            Self::Firecracker => VmmName::Firecracker,
            Self::Qemu { .. } => VmmName::Qemu,
        }
    }

    pub(crate) fn acceleration(self) -> Acceleration {
        match self {
            Self::Firecracker => Acceleration::Kvm,
            Self::Qemu { acceleration } => acceleration,
        }
    }
}

/// Which program runs a guest. Written in records as it is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum VmmName {
    Firecracker,
    #[serde(rename = "QEMU")]
    Qemu,
}

impl VmmName {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Firecracker => "Firecracker",
            Self::Qemu => "QEMU",
        }
    }
}

/// Why no guest can be run here.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub(crate) enum NoVmm {
    #[error("qemu-system-x86_64 is not installed")]
    NoQemu,
    #[error("vhost-device-vsock is not installed, which QEMU needs to reach its guests")]
    NoVsockBackend,
    #[error("firecracker is not installed")]
    NoFirecracker,
    #[error("Firecracker supports at most {MOST_VCPUS_OF_FIRECRACKER} virtual CPUs, not {0}")]
    TooManyVcpus(u32),
    #[error("{path} is Firecracker {found}: too old for this kernel's devices")]
    OldFirecracker { path: String, found: Version },
    #[error("{path} does not report its Firecracker version")]
    StrangeFirecracker { path: String },
    #[error(transparent)]
    WrongProgram(#[from] WrongProgram),
}

impl NoVmm {
    pub(crate) fn hint(&self) -> String {
        match self {
            Self::NoQemu => format!("install it: {}", crate::packages::install("qemu-system-x86_64")),
            Self::NoVsockBackend => {
                "install it: `cargo install vhost-device-vsock --version 0.3.0`".to_owned()
            }
            Self::WrongProgram(_) => "fix that line, or remove it to let banger find the program".to_owned(),
            Self::TooManyVcpus(_) => "use QEMU instead: `vmm = \"auto\"` in config.toml".to_owned(),
            Self::NoFirecracker | Self::OldFirecracker { .. } | Self::StrangeFirecracker { .. } => format!(
                "put Firecracker {} or newer into the PATH or name it in config.toml as `firecracker_bin`, or use QEMU: `vmm = \"qemu\"`",
                banger_firecracker::LEAST
            ),
        }
    }
}

/// The VMM for this host: Firecracker where there is one that KVM can carry, else QEMU. A VMM that the settings name
/// is taken at their word: whether KVM serves Firecracker is then for Firecracker to say. So is a program they name.
pub(crate) fn choose(host: &Host, choice: VmmChoice, vcpu: u32) -> Result<Vmm, NoVmm> {
    let carries_firecracker = host.kvm == Kvm::Usable && vcpu <= MOST_VCPUS_OF_FIRECRACKER;
    match choice {
        VmmChoice::Auto => {
            let programs = [&host.firecracker, &host.qemu, &host.vsock_backend];
            if let Some(wrong) = programs.into_iter().find_map(Program::wrong) {
                return Err(wrong.clone().into());
            }
            match find_firecracker(host) {
                Ok(_) if carries_firecracker => Ok(Vmm::Firecracker),
                Err(error) if carries_firecracker && host.names_firecracker() => Err(error),
                Ok(_) | Err(_) => choose_qemu(host),
            }
        }
        VmmChoice::Qemu => choose_qemu(host),
        VmmChoice::Firecracker if vcpu > MOST_VCPUS_OF_FIRECRACKER => Err(NoVmm::TooManyVcpus(vcpu)),
        VmmChoice::Firecracker => find_firecracker(host).map(|_| Vmm::Firecracker),
    }
}

/// The Firecracker that could be used here, or what keeps it from that.
pub(crate) fn find_firecracker(host: &Host) -> Result<(&Path, Version), NoVmm> {
    let path = usable(&host.firecracker, NoVmm::NoFirecracker)?;
    let shown = match &host.firecracker {
        Program::Named { path, place } => format!("{} (`firecracker_bin` in {place})", path.display()),
        Program::Found(_) | Program::Absent | Program::Wrong(_) => path.display().to_string(),
    };
    match host.firecracker_version {
        None => Err(NoVmm::StrangeFirecracker { path: shown }),
        Some(found) if judge(found) == Verdict::TooOld => Err(NoVmm::OldFirecracker { path: shown, found }),
        Some(found) => Ok((path, found)),
    }
}

fn choose_qemu(host: &Host) -> Result<Vmm, NoVmm> {
    usable(&host.qemu, NoVmm::NoQemu)?;
    usable(&host.vsock_backend, NoVmm::NoVsockBackend)?;
    let acceleration = if host.kvm == Kvm::Usable { Acceleration::Kvm } else { Acceleration::Tcg };
    Ok(Vmm::Qemu { acceleration })
}

fn usable(program: &Program, absent: NoVmm) -> Result<&Path, NoVmm> {
    match (program.path(), program.wrong()) {
        (_, Some(wrong)) => Err(wrong.clone().into()),
        (path, None) => path.ok_or(absent),
    }
}

impl Host {
    /// Looks for programs, those that are configured and then those beside our own first, and at the processor.
    pub(crate) fn look(config: &Config) -> Self {
        let look = |key, named, name| Program::look(config, key, named, name);
        let firecracker = look("firecracker_bin", config.firecracker_bin.as_ref(), "firecracker");
        Self {
            qemu: look("qemu_bin", config.qemu_bin.as_ref(), "qemu-system-x86_64"),
            vsock_backend: look("vsock_backend_bin", config.vsock_backend_bin.as_ref(), "vhost-device-vsock"),
            firecracker_version: firecracker.path().and_then(ask_for_version),
            firecracker,
            kvm: look_at_kvm(rustix::process::geteuid().is_root()),
        }
    }

    /// What the installed helper runs, whatever this user's settings name.
    pub(crate) fn installed(settings: &Settings) -> Self {
        let program =
            |path: &Option<String>| path.as_ref().map_or(Program::Absent, |path| Program::Found(path.into()));
        let firecracker = program(&settings.firecracker);
        Self {
            qemu: program(&settings.qemu),
            vsock_backend: program(&settings.vsock_backend),
            firecracker_version: firecracker.path().and_then(ask_for_version),
            firecracker,
            kvm: look_at_kvm(true),
        }
    }

    fn names_firecracker(&self) -> bool {
        matches!(self.firecracker, Program::Named { .. })
    }
}

/// What `firecracker --version` says. One that says nothing is given up: the daemon waits for this.
fn ask_for_version(firecracker: &Path) -> Option<Version> {
    #[expect(clippy::disallowed_methods, reason = "an absolute path, a cleared environment, no input")]
    let mut command = Command::new(firecracker);
    command.arg("--version").env_clear().stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
    let mut child = command.spawn().ok()?;
    let stdout = child.stdout.take()?;
    let mut readable = [PollFd::new(&stdout, PollFlags::IN)];
    let limit = Timespec::try_from(VERSION_LIMIT).ok()?;
    let mut said = [0; 256];
    let length = match poll(&mut readable, Some(&limit)) {
        Ok(1..) => rustix::io::read(&stdout, &mut said).unwrap_or(0),
        Ok(0) | Err(_) => 0,
    };
    // It has said what it has to say, or will not.
    let _ = child.kill();
    let _ = child.wait();
    Version::parse(&String::from_utf8_lossy(&said[..length])).ok()
}

/// Where VMs run as users of their own, what matters is whether these may open the device, and not whether we may.
fn look_at_kvm(vms_have_users: bool) -> Kvm {
    let device = Path::new("/dev/kvm");
    let (opened, for_vms) = if vms_have_users {
        let found = std::fs::metadata(device);
        let for_vms = found.as_ref().is_ok_and(opens_to_vms);
        (found.map(drop), for_vms)
    } else {
        (File::options().read(true).write(true).open(device).map(drop), true)
    };
    let cpuinfo = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let module = ["kvm_intel", "kvm_amd"].iter().any(|name| Path::new("/sys/module").join(name).exists());
    judge_kvm(&opened, for_vms, has_virtualisation_flag(&cpuinfo) || module)
}

/// Whether users without rights open the device: all of them, or those of its group, which the helper leaves to VMs.
fn opens_to_vms(device: &std::fs::Metadata) -> bool {
    let (mode, group) = (device.mode(), device.gid());
    mode & 0o006 == 0o006 || (group != 0 && mode & 0o060 == 0o060)
}

fn judge_kvm(opened: &std::io::Result<()>, for_vms: bool, hardware: bool) -> Kvm {
    match opened {
        Err(error) if error.kind() == std::io::ErrorKind::PermissionDenied => Kvm::NotPermitted,
        Err(_) => Kvm::NoDevice,
        Ok(_) if !hardware => Kvm::NoHardware,
        Ok(_) if !for_vms => Kvm::RootOnly,
        Ok(_) => Kvm::Usable,
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
    use banger_config::Machine;
    use banger_protocol::local_paths::{Environment, LocalPaths};
    use std::io;
    use std::path::PathBuf;

    fn host(kvm: Kvm) -> Host {
        Host {
            qemu: Program::Found("/q".into()),
            vsock_backend: Program::Found("/v".into()),
            firecracker: Program::Absent,
            firecracker_version: None,
            kvm,
        }
    }

    fn with_firecracker(kvm: Kvm, version: &str) -> Host {
        let firecracker_version = Version::parse(&format!("Firecracker v{version}")).ok();
        Host { firecracker: Program::Found("/f".into()), firecracker_version, ..host(kvm) }
    }

    #[test]
    fn a_program_that_the_settings_name_is_not_passed_over() {
        let wrong = |key: &str| {
            let text = format!("\n{key} = \"/no/such/program\"");
            let config = Config::parse(&text, &paths(), &Machine::look()).unwrap();
            Host { kvm: Kvm::Usable, ..Host::look(&config) }
        };
        for key in ["firecracker_bin", "qemu_bin", "vsock_backend_bin"] {
            let host = wrong(key);
            let said = choose(&host, VmmChoice::Auto, 1).unwrap_err().to_string();
            let place = "config.toml:2 names /no/such/program, which does not exist";
            assert!(said.starts_with(&format!("`{key}` in ")) && said.ends_with(place), "{said}");
        }
        let of_another_vmm = wrong("firecracker_bin");
        assert!(!matches!(choose(&of_another_vmm, VmmChoice::Qemu, 1), Err(NoVmm::WrongProgram(_))));

        let path = "/f".into();
        let named = |version| Host {
            firecracker: Program::Named { path: PathBuf::clone(&path), place: "/c:3".to_owned() },
            ..with_firecracker(Kvm::Usable, version)
        };
        let said = choose(&named("1.7.0"), VmmChoice::Auto, 1).unwrap_err().to_string();
        assert!(said.contains("`firecracker_bin` in /c:3"), "{said}");
        assert_eq!(choose(&named("1.16.1"), VmmChoice::Auto, 1), Ok(Vmm::Firecracker));
    }

    fn paths() -> LocalPaths {
        let home = Some(std::ffi::OsStr::new("/home/ada"));
        LocalPaths::find(&Environment { home, ..Environment::default() }).unwrap()
    }

    #[test]
    fn firecracker_is_taken_where_kvm_carries_it() {
        let emulated = Ok(Vmm::Qemu { acceleration: Acceleration::Tcg });
        let accelerated = Ok(Vmm::Qemu { acceleration: Acceleration::Kvm });
        let auto = |host: &Host| choose(host, VmmChoice::Auto, 2);
        assert_eq!(auto(&with_firecracker(Kvm::Usable, "1.16.1")), Ok(Vmm::Firecracker));
        assert_eq!(auto(&with_firecracker(Kvm::Usable, "9.0.0")), Ok(Vmm::Firecracker));
        assert_eq!(auto(&with_firecracker(Kvm::NoHardware, "1.16.1")), emulated);
        for useless in ["1.7.0", "strange"] {
            assert_eq!(auto(&with_firecracker(Kvm::Usable, useless)), accelerated, "{useless}");
        }
        assert_eq!(choose(&with_firecracker(Kvm::Usable, "1.16.1"), VmmChoice::Qemu, 2), accelerated);
    }

    #[test]
    fn a_machine_too_large_for_firecracker_is_qemus() {
        let host = with_firecracker(Kvm::Usable, "1.16.1");
        assert_eq!(choose(&host, VmmChoice::Auto, 32), Ok(Vmm::Firecracker));
        assert_eq!(choose(&host, VmmChoice::Auto, 33), Ok(Vmm::Qemu { acceleration: Acceleration::Kvm }));
        assert_eq!(choose(&host, VmmChoice::Firecracker, 33), Err(NoVmm::TooManyVcpus(33)));
    }

    #[test]
    fn a_program_that_does_not_say_its_version_is_given_up() {
        let folder = tempfile::tempdir().unwrap();
        let program = folder.path().join("firecracker");
        let says = |script: &str| {
            std::fs::write(&program, format!("#!/bin/sh\n{script}\n")).unwrap();
            let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
            std::fs::set_permissions(&program, mode).unwrap();
            ask_for_version(&program).map(|version| version.to_string())
        };
        assert_eq!(says("echo Firecracker v1.16.1; sleep 60").as_deref(), Some("1.16.1"));
        assert_eq!(says("exec sleep 60"), None);
        assert_eq!(says("exit 1"), None);
    }

    #[test]
    fn a_firecracker_that_was_asked_for_is_not_replaced_by_qemu() {
        let asked = |host: &Host| choose(host, VmmChoice::Firecracker, 2);
        assert_eq!(asked(&with_firecracker(Kvm::NoHardware, "1.8.0")), Ok(Vmm::Firecracker));
        assert_eq!(asked(&host(Kvm::Usable)), Err(NoVmm::NoFirecracker));
        let old = asked(&with_firecracker(Kvm::Usable, "1.7.9"));
        assert!(matches!(old, Err(NoVmm::OldFirecracker { .. })), "{old:?}");
        let strange = asked(&with_firecracker(Kvm::Usable, "?"));
        assert!(matches!(strange, Err(NoVmm::StrangeFirecracker { .. })), "{strange:?}");
    }

    #[test]
    fn a_device_that_opens_is_not_enough_for_kvm() {
        let opened = || File::open("/dev/null");
        assert_eq!(judge_kvm(&opened().map(drop), true, true), Kvm::Usable);
        assert_eq!(judge_kvm(&opened().map(drop), true, false), Kvm::NoHardware);
        assert_eq!(judge_kvm(&opened().map(drop), false, true), Kvm::RootOnly);
        assert_eq!(judge_kvm(&Err(io::ErrorKind::PermissionDenied.into()), true, true), Kvm::NotPermitted);
        assert_eq!(judge_kvm(&Err(io::ErrorKind::NotFound.into()), true, true), Kvm::NoDevice);
    }

    #[test]
    fn a_device_of_mode_0600_is_not_open_to_vms() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("kvm");
        let opens = |mode| {
            let file = File::create(&path).unwrap();
            file.set_permissions(std::os::unix::fs::PermissionsExt::from_mode(mode)).unwrap();
            opens_to_vms(&file.metadata().unwrap())
        };
        assert!(opens(0o666));
        assert!(!opens(0o600));
        assert!(!opens(0o604));
    }

    #[test]
    fn only_usable_kvm_accelerates() {
        for kvm in [Kvm::NoDevice, Kvm::NotPermitted, Kvm::RootOnly, Kvm::NoHardware] {
            assert_eq!(
                choose(&host(kvm), VmmChoice::Auto, 2),
                Ok(Vmm::Qemu { acceleration: Acceleration::Tcg })
            );
        }
        assert_eq!(
            choose(&host(Kvm::Usable), VmmChoice::Qemu, 2),
            Ok(Vmm::Qemu { acceleration: Acceleration::Kvm })
        );
    }

    #[test]
    fn a_missing_program_is_named() {
        assert_eq!(
            choose(&Host { qemu: Program::Absent, ..host(Kvm::Usable) }, VmmChoice::Auto, 2),
            Err(NoVmm::NoQemu)
        );
        assert_eq!(
            choose(&Host { vsock_backend: Program::Absent, ..host(Kvm::Usable) }, VmmChoice::Auto, 2),
            Err(NoVmm::NoVsockBackend)
        );
    }

    #[test]
    fn the_flag_is_a_word_of_the_flags_line() {
        assert!(has_virtualisation_flag("model name : x\nflags\t\t: fpu svm npt\n"));
        assert!(!has_virtualisation_flag("model name : vmx\nflags\t\t: fpu vmx_like\n"));
    }
}
