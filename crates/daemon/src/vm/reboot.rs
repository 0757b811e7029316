//! Brings a guest back that rebooted, which ends its VMM like everything else it can do to itself.

use super::release::{Depth, release};
use super::state::{Running, VmState};
use super::{start, view};
use crate::Services;
use crate::operation::{Ended, Handle};
use banger_protocol::daemon_api::vm::VmView;
use banger_protocol::ids::VmId;
use banger_protocol::wire::{ErrorKind, RpcError};
use std::sync::Arc;

/// Begins to start it again, as an operation of nobody's.
///
/// Until that has got to it the VM is on record as running: a daemon that ends before finds it so, and its successor
/// comes here again.
pub(super) fn begin(services: &Arc<Services>, id: &VmId, running: &Running) {
    let vm = match view::must_find(services, id) {
        Ok(vm) => vm,
        Err(error) => {
            tracing::error!(vm = %id, %error, "a guest that rebooted was not restarted");
            return;
        }
    };
    let (again, id, running) = (services.clone(), id.clone(), running.clone());
    services.operations.start("vm.start", vm.name.to_string(), |handle| async move {
        tracing::info!(vm = %id, "the guest rebooted");
        come_back(&again, &id, &running, &handle).await
    });
}

async fn come_back(
    services: &Arc<Services>,
    id: &VmId,
    running: &Running,
    handle: &Handle,
) -> Result<VmView, Ended> {
    let _noted = services.starting.note(id, handle.id());
    let _lock = tokio::select! {
        lock = services.locks.lock(id) => lock,
        () = handle.cancelled() => return Err(Ended::Cancelled),
    };
    let vm = view::must_find(services, id)?;
    if !vm.state.is_up_as(running) {
        return Ok(view::of(&vm));
    }
    if let Err(error) = release(services, id, Depth::Runtime).await {
        let error = RpcError::from_error(ErrorKind::OperationFailed, &error);
        // Nobody watches it any more: on record as running it would stay so.
        let reason = format!("the guest rebooted and could not be started again: {error}");
        services.store.set_vm_state(id, &VmState::Failed { reason }).map_err(RpcError::from)?;
        return Err(error.into());
    }
    start::start_locked(services, &vm, false, handle).await
}
