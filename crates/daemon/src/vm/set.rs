//! Changes what a VM is made of, from its next start on, and whether it reaches the world, at once.

use super::effect::EffectError;
use super::state::Action;
use super::{create, egress, names, view};
use crate::Services;
use crate::store::VmRecord;
use banger_config::Machine;
use banger_protocol::daemon_api::vm::{Check, Set, VmView};
use banger_protocol::wire::{ErrorKind, RpcError};
use std::sync::Arc;

/// Changes a VM; the same limits hold as when it was made.
pub(crate) async fn set(services: &Arc<Services>, request: &Set) -> Result<VmView, RpcError> {
    let action = match (request.vcpu.is_some() || request.memory.is_some(), request.nat) {
        (true, _) => Action::Set,
        (false, Some(_)) => Action::SetNat,
        (false, None) => return Err(RpcError::new(ErrorKind::BadRequest, "there is nothing to change")),
    };
    let id = view::find(services, &request.vm)?.id;
    // Before the lock, too: a start holds it for as long as a guest takes to come up.
    view::allow(&view::must_find(services, &id)?, action)?;
    let _lock = services.locks.lock(&id).await;
    let vm = view::must_find(services, &id)?;
    view::allow(&vm, action)?;
    // Its disk is as large as it is.
    let wanted =
        Check { name: None, vcpu: request.vcpu, memory: request.memory, disk_size: None, nat: request.nat };
    let spec = create::decide_spec(&wanted, vm.spec.clone(), &Machine::look())?;
    if spec.nat != vm.spec.nat {
        create::check_tools(services, spec.nat)?;
        if vm.state.running().is_some() {
            let changed = change_nat(services, &vm, spec.nat).await;
            changed.map_err(|error| error.answer("changed", &vm.name))?;
        }
    }
    services.store.set_vm_spec(&id, &spec)?;
    let vm = view::must_find(services, &id)?;
    if vm.state.running().is_some() {
        // Whose questions about the world are passed on.
        names::publish(services, &vm);
    }
    Ok(view::of(&vm))
}

/// Has a running guest reach the world or not, or leaves it as it was. What is written down is the old until it is so:
/// a daemon that ends in between has its successor see to that.
async fn change_nat(services: &Arc<Services>, vm: &VmRecord, nat: bool) -> Result<(), EffectError> {
    let outcome = egress::connect(services, vm, nat).await;
    if outcome.is_err()
        && let Err(error) = egress::connect(services, vm, vm.spec.nat).await
    {
        tracing::error!(vm = %vm.id, ?error, "its network is not as recorded");
    }
    outcome
}
