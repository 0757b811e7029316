//! The name by which guests know a VM: it has one while it is up.

use crate::Services;
use crate::network::dns::Guest;
use crate::store::VmRecord;
use banger_protocol::ids::VmId;

/// Gives a VM its name; again is the same as once.
pub(super) fn publish(services: &Services, vm: &VmRecord) {
    let (id, name) = (vm.id.clone(), vm.name.clone());
    services.dns.publish(Guest { vm: id, name, address: vm.address, nat: vm.spec.nat });
}

/// Takes a VM's name from it; again is the same as once.
pub(super) fn withdraw(services: &Services, vm: &VmId) {
    services.dns.withdraw(vm);
}
