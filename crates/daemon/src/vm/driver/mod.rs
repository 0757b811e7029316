//! Starting a VM's processes, for each VMM in its way. What comes before and after is the same for both.
//!
//! A driver begins where the folder is there, goes on where disks and tap are, and ends with a machine whose processor
//! runs. It undoes nothing: its caller releases.

pub(super) mod firecracker;
mod qemu;

use super::boot::first_end;
use super::effect::EffectError;
use super::vmm::Vmm;
use super::vsock_backend::BackendSilent;
use crate::Services;
use crate::store::VmRecord;
use banger_protocol::root_api::{Acceleration, Disk, DiskRole, ProcessIdentity};
use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;

/// Why there is no machine.
#[derive(Debug, thiserror::Error)]
pub(crate) enum DriverError {
    #[error("its directory could not be used")]
    Folder(#[source] io::Error),
    #[error(transparent)]
    Effect(#[from] EffectError),
    #[error(transparent)]
    Backend(BackendSilent),
}

/// What a machine is made of that was opened for it.
pub(super) struct Parts {
    /// In the order the guest sees them.
    pub disks: Vec<Disk>,
    /// Kernel, initrd, then each disk that is shared.
    pub shared: Vec<OwnedFd>,
    /// Whether the initrd is not banger's, and has to be told where the root is in the kernel's own words.
    pub own_initrd: bool,
}

/// The processes of a guest that boots.
#[derive(Clone, Copy, Debug)]
pub(super) struct Launched {
    pub vmm: ProcessIdentity,
    pub vsock_backend: Option<ProcessIdentity>,
}

/// What can be started as soon as the VM has its folder, and takes a while.
pub(super) struct Begun {
    vsock_backend: Option<ProcessIdentity>,
}

pub(super) async fn begin(services: &Arc<Services>, vmm: Vmm, vm: &VmRecord) -> Result<Begun, DriverError> {
    match vmm {
        Vmm::Firecracker => Ok(Begun { vsock_backend: None }),
        Vmm::Qemu { .. } => Ok(Begun { vsock_backend: Some(qemu::start_vsock_backend(services, vm).await?) }),
    }
}

pub(super) async fn launch(
    services: &Arc<Services>,
    vmm: Vmm,
    vm: &VmRecord,
    begun: Begun,
    parts: Parts,
) -> Result<Launched, DriverError> {
    let Begun { vsock_backend } = begun;
    let vmm = match vmm {
        Vmm::Firecracker => firecracker::launch(services, vm, parts).await?,
        Vmm::Qemu { acceleration } => qemu::launch(services, acceleration, vm, vsock_backend, parts).await?,
    };
    Ok(Launched { vmm, vsock_backend })
}

/// A quiet console (each line costs an exit), a VMM that ends with its guest, `eth0` for the only interface. The
/// self-tests of the kernel's ciphers are left out, and an image's cloud-init has nothing to ask anybody.
const ALWAYS: &str =
    "console=ttyS0 quiet reboot=k panic=1 net.ifnames=0 cloud-init=disabled cryptomgr.notests";

/// The kernel's command line: what every guest is told, what this VMM's machine needs, and the disks in their order.
fn command_line(vmm: Vmm, disks: &[Disk], own_initrd: bool) -> String {
    let machine = match vmm {
        // The keyboard controller is there to reset the machine and has nothing attached that could be probed for.
        Vmm::Firecracker => " i8042.noaux i8042.nomux i8042.dumbkbd",
        Vmm::Qemu { acceleration: Acceleration::Kvm } => "",
        // Protections against a processor that it does not have.
        Vmm::Qemu { acceleration: Acceleration::Tcg } => " mitigations=off",
    };
    let root = if own_initrd { " root=/dev/vda rw" } else { "" };
    let disks: Vec<&str> = disks.iter().map(|disk| disk.role).map(DiskRole::as_str).collect();
    format!("{ALWAYS}{machine}{root} banger.disks={}", disks.join(","))
}

#[cfg(test)]
mod tests {
    use super::*;
    use banger_protocol::root_api::DiskSource;

    #[test]
    fn the_guest_is_told_its_disks_in_the_order_it_gets_them() {
        let disks = [DiskRole::Root, DiskRole::Work].map(|role| Disk { role, source: DiskSource::Folder });
        let line = |vmm| command_line(vmm, &disks, false);
        let kvm = Vmm::Qemu { acceleration: Acceleration::Kvm };
        for vmm in [Vmm::Firecracker, kvm] {
            assert!(line(vmm).ends_with(" banger.disks=root,work"));
            assert!(!line(vmm).contains("mitigations"));
            assert!(!line(vmm).contains(" root="));
            assert!(command_line(vmm, &disks, true).contains(" root=/dev/vda rw "));
        }
    }
}
