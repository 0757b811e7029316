//! A VM's disks: which there are, in which order the guest sees them, and where their bytes come from.
//!
//! The root file system is the image's, and the image is never written. What the guest changes goes to a file of
//! the VM's own, in the first way that serves here:
//!
//! | way | the VM's own file | needs |
//! |---|---|---|
//! | dm-snapshot | `changes.img`, only what changed; the host joins the two | the installed helper |
//! | reflink | `root.img`, sharing the image's blocks | a file system that shares blocks |
//! | guest-snapshot | `cow.img`, only what changed; the guest joins the two itself | dm-snapshot in the guest's kernel |
//! | copy | `root.img`, all of the image's data | space and time |
//!
//! A VM keeps the way it was first started with, since its file holds what it wrote. `cow.img` and `changes.img` have the
//! same form, and are never taken for each other: a guest wrote the first, and the host's kernel trusts the second.

use super::effect::Effect;
use super::vmm::Vmm;
use crate::Services;
use crate::store::KernelRecord;
use banger_config::RootDiskChoice;
use banger_protocol::ids::VmId;
use banger_protocol::root_api::{Disk, DiskRole, DiskSource};
use std::path::Path;

/// How a VM's changes to its root file system are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum RootDisk {
    /// A disk of its own, cloned or copied.
    Own,
    /// The image's disk, read-only, and a file of what changed.
    Joined,
    /// A block device of the host's.
    Device,
}

/// How root disks of VMs that are started for the first time are kept here, for the doctor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum RootDiskWay {
    DmSnapshot,
    Reflink,
    GuestSnapshot,
    Copy,
}

/// The VM's own file under a block device of the host's.
pub(super) const CHANGES: &str = "changes.img";

/// The way for a kernel, or for one that is not here yet and joins disks as the catalog's do. Pure.
pub(crate) fn root_disk_way(
    choice: RootDiskChoice,
    devices: bool,
    reflink: bool,
    kernel: Option<&KernelRecord>,
) -> RootDiskWay {
    let kernel_joins = kernel.is_none_or(joins);
    let (has_root, has_cow, has_changes, own_initrd) = (false, false, false, false);
    let here =
        Circumstances { choice, has_root, has_cow, has_changes, devices, reflink, kernel_joins, own_initrd };
    match RootDisk::choose(here) {
        RootDisk::Own if reflink => RootDiskWay::Reflink,
        RootDisk::Own => RootDiskWay::Copy,
        RootDisk::Joined => RootDiskWay::GuestSnapshot,
        RootDisk::Device => RootDiskWay::DmSnapshot,
    }
}

fn joins(kernel: &KernelRecord) -> bool {
    kernel.boot_modules.iter().any(|module| module == "dm_snapshot")
}

/// What the way is chosen by.
#[derive(Clone, Copy, Debug)]
pub(super) struct Circumstances {
    pub choice: RootDiskChoice,
    pub has_root: bool,
    pub has_cow: bool,
    pub has_changes: bool,
    /// Whether the helper can make block devices, and give them to this VMM.
    pub devices: bool,
    pub reflink: bool,
    /// Whether the guest's kernel brings what joins two disks.
    pub kernel_joins: bool,
    /// Whether it is not banger's initrd that mounts the root: nobody would join two disks then.
    pub own_initrd: bool,
}

impl Circumstances {
    pub(super) fn look(services: &Services, vm: &VmId, vmm: Vmm, kernel: Option<&KernelRecord>) -> Self {
        let folder = services.state.vm(vm);
        Self {
            choice: services.config.root_disk.value,
            has_root: folder.join(DiskRole::Root.file_name()).exists(),
            has_cow: folder.join(DiskRole::Cow.file_name()).exists(),
            has_changes: folder.join(CHANGES).exists(),
            devices: services.station.gives_devices_to(vmm.name()),
            reflink: services.reflink,
            kernel_joins: kernel.is_some_and(joins),
            own_initrd: kernel.is_some_and(|kernel| kernel.own_initrd),
        }
    }
}

impl RootDisk {
    /// The way for a start in these circumstances. Pure.
    pub(super) fn choose(here: Circumstances) -> Self {
        match here.choice {
            _ if here.has_root => Self::Own,
            _ if here.has_changes => Self::Device,
            _ if here.has_cow => Self::Joined,
            RootDiskChoice::DmSnapshot => Self::Device,
            RootDiskChoice::Auto if here.devices => Self::Device,
            // Its own first program knows nothing of two disks to be joined.
            _ if here.own_initrd => Self::Own,
            RootDiskChoice::Reflink | RootDiskChoice::Copy => Self::Own,
            RootDiskChoice::GuestSnapshot => Self::Joined,
            RootDiskChoice::Auto if here.reflink || !here.kernel_joins => Self::Own,
            RootDiskChoice::Auto => Self::Joined,
        }
    }

    /// Makes the VM's own file, unless it has it, and what is made of it.
    pub(super) fn prepare(self, rootfs: &Path) -> Vec<Effect> {
        let base = rootfs.to_owned();
        match self {
            Self::Own => vec![Effect::CloneDisk { from: base, name: DiskRole::Root.file_name() }],
            Self::Joined => vec![Effect::MakeCow { base, name: DiskRole::Cow.file_name() }],
            Self::Device => {
                vec![Effect::MakeCow { base: base.clone(), name: CHANGES }, Effect::CreateDevice { base }]
            }
        }
    }

    /// Every disk in the order the guest sees it.
    pub(super) fn disks(self) -> Vec<Disk> {
        let root: &[(DiskRole, DiskSource)] = match self {
            Self::Own => &[(DiskRole::Root, DiskSource::Folder)],
            Self::Device => &[(DiskRole::Root, DiskSource::Snapshot)],
            Self::Joined => &[(DiskRole::Base, DiskSource::Descriptor), (DiskRole::Cow, DiskSource::Folder)],
        };
        let others = [
            (DiskRole::Work, DiskSource::Folder),
            (DiskRole::Modules, DiskSource::Descriptor),
            (DiskRole::Config, DiskSource::Folder),
        ];
        root.iter().chain(&others).map(|&(role, source)| Disk { role, source }).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn here(choice: RootDiskChoice) -> Circumstances {
        Circumstances {
            choice,
            has_root: false,
            has_cow: false,
            has_changes: false,
            devices: false,
            reflink: false,
            kernel_joins: true,
            own_initrd: false,
        }
    }

    #[test]
    fn a_device_goes_first_then_sharing_blocks_goes_before_joining_and_joining_before_copying() {
        let auto = here(RootDiskChoice::Auto);
        assert_eq!(
            RootDisk::choose(Circumstances { devices: true, reflink: true, ..auto }),
            RootDisk::Device
        );
        assert_eq!(RootDisk::choose(Circumstances { reflink: true, ..auto }), RootDisk::Own);
        assert_eq!(RootDisk::choose(auto), RootDisk::Joined);
        assert_eq!(RootDisk::choose(Circumstances { kernel_joins: false, ..auto }), RootDisk::Own);
    }

    #[test]
    fn an_initrd_that_is_not_bangers_gets_one_root_disk_whatever_was_chosen() {
        for choice in [RootDiskChoice::Auto, RootDiskChoice::Copy, RootDiskChoice::GuestSnapshot] {
            let own_initrd = Circumstances { own_initrd: true, ..here(choice) };
            assert_eq!(RootDisk::choose(own_initrd), RootDisk::Own);
        }
    }

    #[test]
    fn a_vm_keeps_the_way_it_was_started_with() {
        for choice in [RootDiskChoice::Auto, RootDiskChoice::Copy, RootDiskChoice::GuestSnapshot] {
            let has_cow = Circumstances { has_cow: true, ..here(choice) };
            assert_eq!(RootDisk::choose(has_cow), RootDisk::Joined);
            let has_changes = Circumstances { has_changes: true, ..here(choice) };
            assert_eq!(RootDisk::choose(has_changes), RootDisk::Device);
            let has_root = Circumstances { has_root: true, devices: true, ..here(choice) };
            assert_eq!(RootDisk::choose(has_root), RootDisk::Own);
        }
    }

    #[test]
    fn the_base_comes_right_before_its_cow_and_is_never_the_vms_own() {
        let disks = RootDisk::Joined.disks();
        assert_eq!(disks[0], Disk { role: DiskRole::Base, source: DiskSource::Descriptor });
        assert_eq!(disks[1].role, DiskRole::Cow);
        assert!(disks[0].read_only());
    }
}
