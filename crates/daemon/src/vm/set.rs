//! Changes what a VM is made of, from its next start on.

use super::state::Action;
use super::{create, view};
use crate::Services;
use banger_config::Machine;
use banger_protocol::daemon_api::vm::{Check, Set, VmView};
use banger_protocol::wire::{ErrorKind, RpcError};

/// Changes a VM that is not running; the same limits hold as when it was made.
pub(crate) async fn set(services: &Services, request: &Set) -> Result<VmView, RpcError> {
    if request.vcpu.is_none() && request.memory.is_none() {
        return Err(RpcError::new(ErrorKind::BadRequest, "there is nothing to change"));
    }
    let id = view::find(services, &request.vm)?.id;
    // Before the lock, too: a start holds it for as long as a guest takes to come up.
    view::allow(&view::must_find(services, &id)?, Action::Set)?;
    let _lock = services.locks.lock(&id).await;
    let vm = view::must_find(services, &id)?;
    view::allow(&vm, Action::Set)?;
    // Its disk is as large as it is.
    let wanted = Check { name: None, vcpu: request.vcpu, memory: request.memory, disk_size: None };
    let spec = create::decide_spec(&wanted, vm.spec.clone(), &Machine::look())?;
    services.store.set_vm_spec(&id, &spec)?;
    Ok(view::of(&view::must_find(services, &id)?))
}
