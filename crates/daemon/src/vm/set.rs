//! Changes what a VM is made of, from its next start on, and whether it reaches the world, at once.

use super::effect::{self, EffectError};
use super::state::Action;
use super::{create, egress, names, view};
use crate::Services;
use crate::store::{VmRecord, VmSpec};
use banger_config::Machine;
use banger_protocol::daemon_api::vm::{Check, Set, VmView};
use banger_protocol::root_api::DiskRole;
use banger_protocol::size::ByteSize;
use banger_protocol::wire::{ErrorKind, RpcError};
use std::sync::Arc;

/// Changes a VM; the same limits hold as when it was made.
pub(crate) async fn set(services: &Arc<Services>, request: &Set) -> Result<VmView, RpcError> {
    let machine = request.vcpu.is_some() || request.memory.is_some() || request.disk_size.is_some();
    let action = match (machine, request.nat) {
        (true, _) => Action::Set,
        (false, Some(_)) => Action::SetNat,
        (false, None) => return Err(RpcError::new(ErrorKind::BadRequest, "nothing to change")),
    };
    let id = view::find(services, &request.vm)?.id;
    // Before the lock, too: a start holds it for as long as a guest takes to come up.
    view::allow(&view::must_find(services, &id)?, action)?;
    let _lock = services.locks.lock(&id).await;
    let vm = view::must_find(services, &id)?;
    view::allow(&vm, action)?;
    let Set { vm: _, vcpu, memory, disk_size, nat } = *request;
    let wanted = Check { name: None, vcpu, memory, disk_size, nat };
    let spec = create::decide_spec(&wanted, vm.spec.clone(), &Machine::look())?;
    let has_disk = services.state.vm(&id).join(DiskRole::Work.file_name()).exists();
    check_growth(vm.spec.disk_size, spec.disk_size, has_disk)?;
    if spec.nat != vm.spec.nat {
        create::check_tools(services, spec.nat)?;
    }
    if let Err(error) = change(services, &vm, &spec).await {
        keep_network_as_recorded(services, &vm, &spec).await;
        return Err(error.answer("changed", &vm.name));
    }
    let vm = view::must_find(services, &id)?;
    if vm.state.running().is_some() {
        // Whose questions about the world are passed on.
        names::publish(services, &vm);
    }
    Ok(view::of(&vm))
}

/// A disk that a guest has written to is never made smaller; its next start makes it as large as wanted. Pure.
fn check_growth(now: ByteSize, wanted: ByteSize, has_disk: bool) -> Result<(), RpcError> {
    if has_disk && wanted < now {
        let message = format!("a work disk of {now} cannot be shrunk to {wanted}");
        return Err(RpcError::new(ErrorKind::BadRequest, message)
            .with_hint(format!("--disk-size must be {now} or more; for a smaller disk, create a new VM")));
    }
    Ok(())
}

/// Has a running guest reach the world or not, and writes down what it is made of. The old is what is written down until
/// all is so: a daemon that ends in between has its successor see to that.
async fn change(services: &Arc<Services>, vm: &VmRecord, spec: &VmSpec) -> Result<(), EffectError> {
    if changes_network(vm, spec) {
        egress::connect(services, vm, spec.nat).await?;
    }
    effect::write_down(services, |store| store.set_vm_spec(&vm.id, spec))
}

fn changes_network(vm: &VmRecord, spec: &VmSpec) -> bool {
    spec.nat != vm.spec.nat && vm.state.running().is_some()
}

/// After a change that did not come to its end.
async fn keep_network_as_recorded(services: &Arc<Services>, vm: &VmRecord, wanted: &VmSpec) {
    if !changes_network(vm, wanted) {
        return;
    }
    let kept = match view::must_find(services, &vm.id) {
        Ok(now) => egress::connect(services, &now, now.spec.nat).await.map_err(|error| format!("{error:?}")),
        Err(error) => Err(error.message),
    };
    if let Err(error) = kept {
        tracing::error!(vm = %vm.id, error, "its network is not as recorded");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_disk_that_no_guest_has_written_to_can_become_smaller() {
        let [small, large] = [ByteSize::mib(512), ByteSize::mib(1024)];
        for (now, wanted, has_disk, allowed) in [
            (small, large, true, true),
            (small, small, true, true),
            (large, small, true, false),
            (large, small, false, true),
            (small, large, false, true),
        ] {
            assert_eq!(check_growth(now, wanted, has_disk).is_ok(), allowed, "{now} {wanted} {has_disk}");
        }
    }
}
