//! What a VM's process may still do: who it runs as and which files it reaches.
//!
//! The guest is assumed to take over its VMM. What it then has is its VM's own folder, files that everybody may
//! read, and the devices that make a VM: no capability, no process but itself, no file of the owner's.
//!
//! Which files those are is said once, in [`Reach::places`], and held twice: nothing else exists in the root directory
//! that [`root`] makes for it, on any kernel, and [`rules`] has landlock refuse the rest where there is landlock.

pub(crate) mod root;
pub(crate) mod rules;

use banger_protocol::ids::VmId;
use banger_system::VmUids;
use std::os::fd::BorrowedFd;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

/// Programs, their libraries and what they come with. A program may be a script that starts the real one.
const SYSTEM: [&str; 6] = ["/usr", "/bin", "/lib", "/lib64", "/nix/store", "/gnu/store"];
const READ_ONLY: [&str; 2] = ["/etc/ld.so.cache", "/dev/urandom"];
const DEVICES: [&str; 2] = ["/dev/null", KVM];
const TAPS: &str = "/dev/net/tun";
const KVM: &str = "/dev/kvm";
/// What a program that is installed elsewhere has beside its folder.
const BESIDE: [&str; 3] = ["lib", "lib64", "share/qemu"];

/// The user and group id of a VM's processes when the helper is real root, from the last 24 bits of the VM's id. Two VMs
/// that share these still differ in their folders.
pub(crate) fn vm_uid(vm: &VmId, uids: VmUids) -> u32 {
    let digits = vm.as_str();
    let low = u32::from_str_radix(&digits[digits.len() - 6..], 16).expect("an id is hexadecimal digits");
    uids.of(low)
}

/// The group that owns `/dev/kvm`, the only one a VM's process keeps; never root's.
pub(crate) fn kvm_group() -> Option<u32> {
    std::fs::metadata(KVM).ok().map(|device| device.gid()).filter(|group| *group != 0)
}

/// What a process is let to beside what all are.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Reach<'a> {
    /// By its real path, no part of which is a link.
    pub(crate) program: &'a Path,
    pub(crate) folder: BorrowedFd<'a>,
    /// Files that others read too.
    pub(crate) shared: &'a [BorrowedFd<'a>],
    /// Whether it opens its tap itself.
    pub(crate) taps: bool,
}

/// What a place is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Purpose {
    Programs,
    Reading,
    Device,
}

impl Reach<'_> {
    /// What it reaches of the host by name, whether or not this host has it. Its own part of `/proc`, which nobody can
    /// name before it exists, comes on top.
    fn places(&self) -> Vec<(PathBuf, Purpose)> {
        let system = SYSTEM.map(|path| (path.into(), Purpose::Programs));
        let prefix = self.program.parent().and_then(Path::parent);
        let beside = prefix.into_iter().flat_map(|prefix| BESIDE.map(|name| prefix.join(name)));
        let beside = beside.map(|path| (path, Purpose::Programs));
        let program = (self.program.to_owned(), Purpose::Programs);
        let files = READ_ONLY.map(|path| (path.into(), Purpose::Reading));
        let devices = DEVICES.into_iter().chain(self.taps.then_some(TAPS));
        let devices = devices.map(|path| (path.into(), Purpose::Device));
        system.into_iter().chain(beside).chain([program]).chain(files).chain(devices).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_vms_uid_comes_from_its_id_and_stays_in_its_range() {
        let uid = |id: &str| vm_uid(&id.parse().unwrap(), VmUids::USUAL);
        assert_eq!(uid("000000000000"), 0x7000_0000);
        assert_eq!(uid("abcdef00002a"), 0x7000_002a);
        assert_eq!(uid("ffffffffffff"), 0x70ff_ffff);
        let few: VmUids = "200000-300000".parse().unwrap();
        assert!(few.contains(vm_uid(&"ffffffffffff".parse().unwrap(), few)));
    }
}
