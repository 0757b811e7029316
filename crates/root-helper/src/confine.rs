//! What a VM's process may still do: who it runs as and which files it reaches.
//!
//! The guest is assumed to take over its VMM. What it then has is its VM's own folder, files that everybody may
//! read, and the devices that make a VM: no capability, no network but the tap it was handed, no signal to a
//! process outside its own confinement.

use crate::namespace::VM_UIDS;
use banger_protocol::ids::VmId;
use landlock::{
    ABI, Access as _, AccessFs, AccessNet, BitFlags, PathBeneath, PathFd, Ruleset, RulesetAttr as _,
    RulesetCreated, RulesetCreatedAttr as _, RulesetError, Scope,
};
use std::os::fd::{BorrowedFd, OwnedFd};
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

/// The newest version of landlock known here; an older kernel enforces what it has of it.
const NEWEST: ABI = ABI::V9;

/// Programs, their libraries and what they come with. A program may be a script that starts the real one.
const SYSTEM: [&str; 6] = ["/usr", "/bin", "/lib", "/lib64", "/nix/store", "/gnu/store"];
const READ_ONLY: [&str; 3] = ["/etc/ld.so.cache", "/proc", "/dev/urandom"];
const DEVICES: [&str; 2] = ["/dev/null", KVM];
const TAPS: &str = "/dev/net/tun";
const KVM: &str = "/dev/kvm";

/// The user and group id of a VM's processes when the helper is real root: the first of [`VM_UIDS`] plus the
/// last 24 bits of the VM's id. Two VMs that share these still differ in their folders.
pub(crate) fn vm_uid(vm: &VmId) -> u32 {
    let digits = vm.as_str();
    let low = u32::from_str_radix(&digits[digits.len() - 6..], 16).expect("an id is hexadecimal digits");
    VM_UIDS.start + low
}

/// The group that owns `/dev/kvm`, the only one a VM's process keeps; never root's.
pub(crate) fn kvm_group() -> Option<u32> {
    std::fs::metadata(KVM).ok().map(|device| device.gid()).filter(|group| *group != 0)
}

/// What a process is let to beside what all are.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Reach<'a> {
    pub(crate) program: &'a Path,
    pub(crate) folder: BorrowedFd<'a>,
    /// Files that others read too.
    pub(crate) shared: &'a [BorrowedFd<'a>],
    /// Whether it opens its tap itself.
    pub(crate) taps: bool,
}

/// The files a process reaches: those of its folder, these shared files for reading, and the system. In the folder
/// it makes plain files and sockets and nothing else: no link or pipe that others could be caught with, no program.
/// `None` where the kernel has no landlock.
pub(crate) fn files(reach: &Reach<'_>) -> Result<Option<OwnedFd>, RulesetError> {
    let Reach { program, folder, shared, taps } = *reach;
    let execute = AccessFs::ReadFile | AccessFs::ReadDir | AccessFs::Execute;
    let read = AccessFs::ReadFile | AccessFs::ReadDir;
    let own = read
        | AccessFs::WriteFile
        | AccessFs::Truncate
        | AccessFs::MakeReg
        | AccessFs::MakeSock
        | AccessFs::ResolveUnix
        | AccessFs::RemoveFile;
    let device = AccessFs::ReadFile | AccessFs::WriteFile | AccessFs::IoctlDev;

    let mut ruleset = Ruleset::default()
        .handle_access(AccessFs::from_all(NEWEST))?
        .handle_access(AccessNet::from_all(ABI::V4))?
        .scope(Scope::from_all(NEWEST))?
        .create()?
        .add_rule(PathBeneath::new(folder, own))?;
    for file in shared {
        ruleset = ruleset.add_rule(PathBeneath::new(file, AccessFs::ReadFile))?;
    }
    for path in SYSTEM {
        ruleset = allow(ruleset, Path::new(path), execute)?;
    }
    for path in READ_ONLY {
        ruleset = allow(ruleset, Path::new(path), read)?;
    }
    for path in DEVICES.into_iter().chain(taps.then_some(TAPS)) {
        ruleset = allow(ruleset, Path::new(path), device)?;
    }
    // A program installed elsewhere, with the libraries and firmware beside it.
    ruleset = allow(ruleset, program, AccessFs::ReadFile | AccessFs::Execute)?;
    if let Some(prefix) = program.parent().and_then(Path::parent) {
        for beside in ["lib", "lib64", "share/qemu"] {
            ruleset = allow(ruleset, &prefix.join(beside), execute)?;
        }
    }
    Ok(ruleset.into())
}

/// Adds a rule for a path, unless this host has none such.
fn allow(
    ruleset: RulesetCreated,
    path: &Path,
    access: BitFlags<AccessFs>,
) -> Result<RulesetCreated, RulesetError> {
    let Ok(place) = PathFd::new(path) else { return Ok(ruleset) };
    // The kernel refuses rights that only a directory has on anything else.
    let access = if path.is_dir() { access } else { access & AccessFs::from_file(NEWEST) };
    ruleset.add_rule(PathBeneath::new(place, access))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_vms_uid_comes_from_its_id_and_stays_in_its_range() {
        let uid = |id: &str| vm_uid(&id.parse().unwrap());
        assert_eq!(uid("000000000000"), 0x6000_0000);
        assert_eq!(uid("abcdef00002a"), 0x6000_002a);
        assert_eq!(uid("ffffffffffff"), 0x60ff_ffff);
        assert!(VM_UIDS.contains(&uid("ffffffffffff")));
    }
}
