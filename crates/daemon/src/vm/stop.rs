//! Stops a VM: its disks are flushed by the guest itself, then the VMM is ended.

use super::release::{Depth, release};
use super::starting::lock_calling_off;
use super::state::{Action, Permission, VmState};
use super::view;
use crate::Services;
use crate::client::agent;
use crate::operation::Ended;
use banger_protocol::daemon_api::vm::VmView;
use banger_protocol::ids::VmId;
use banger_protocol::wire::{ErrorKind, RpcError};
use std::sync::Arc;
use std::time::Duration;

/// How long a guest may take to flush before it counts as dead.
const FLUSH_LIMIT: Duration = Duration::from_secs(2);

/// Stops a VM, as an operation; one that is not running is left as it is. A start under way is called off first.
pub(crate) async fn stop(services: &Arc<Services>, id: &VmId) -> Result<VmView, Ended> {
    let _lock = lock_calling_off(services, id).await;
    let vm = view::must_find(services, id)?;
    if vm.state.permits(Action::Stop) == Permission::AlreadySo {
        return Ok(view::of(&vm));
    }
    if let Some(running) = vm.state.running() {
        services.store.set_vm_state(id, &VmState::Stopping(running.clone())).map_err(RpcError::from)?;
        flush(services, id).await;
    }
    release(services, id, Depth::Runtime).await.map_err(|e| RpcError {
        hint: e.hint().map(str::to_owned),
        ..RpcError::from_error(ErrorKind::OperationFailed, &e)
    })?;
    let state = VmState::Stopped { reason: "stopped on request".to_owned() };
    services.store.set_vm_state(id, &state).map_err(RpcError::from)?;
    tracing::info!(vm = %id, name = %vm.name, "stopped");
    Ok(view::of(&view::must_find(services, id)?))
}

/// Has the guest write what it holds. A guest that does not answer is stopped all the same.
async fn flush(services: &Services, id: &VmId) {
    let folder = services.state.vm(id);
    let flushed = tokio::task::spawn_blocking(move || agent::sync(&folder, FLUSH_LIMIT));
    match tokio::time::timeout(FLUSH_LIMIT, flushed).await {
        Ok(Ok(Ok(()))) => {}
        Ok(Ok(Err(error))) => tracing::warn!(vm = %id, ?error, "the guest did not flush its disks"),
        Ok(Err(_)) | Err(_) => tracing::warn!(vm = %id, "the guest did not flush its disks in time"),
    }
}
