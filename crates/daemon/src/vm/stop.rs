//! Stops a VM: its disks are flushed by the guest itself, then the VMM is ended.

use super::release::{Depth, release};
use super::starting::lock_calling_off;
use super::state::{Action, VmState};
use super::{pause, view};
use crate::Services;
use crate::client::agent;
use crate::operation::Ended;
use crate::store::VmRecord;
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
    if view::allow(&vm, Action::Stop)? {
        bring_down(services, &vm, "stopped on request").await?;
    }
    Ok(view::of(&view::must_find(services, id)?))
}

/// Flushes the guest and ends it. One that is paused goes on for that long. The caller holds the VM's lock.
pub(super) async fn bring_down(
    services: &Arc<Services>,
    vm: &VmRecord,
    reason: &str,
) -> Result<(), RpcError> {
    let id = &vm.id;
    // Still on record as paused: a daemon that ends here has its successor pause it again.
    let stands_still = match &vm.state {
        VmState::Paused(running) => !pause::thaw_or_tell(services, id, running).await,
        _ => false,
    };
    if let Some(running) = vm.state.running() {
        services.store.set_vm_state(id, &VmState::Stopping(running.clone()))?;
        if !stands_still {
            flush(services, id).await;
        }
    }
    end(services, vm, reason).await
}

/// Takes down what there is, whatever it is doing. The caller holds the VM's lock.
pub(super) async fn end(services: &Arc<Services>, vm: &VmRecord, reason: &str) -> Result<(), RpcError> {
    release(services, &vm.id, Depth::Runtime).await.map_err(|e| RpcError {
        hint: e.hint().map(str::to_owned),
        ..RpcError::from_error(ErrorKind::OperationFailed, &e)
    })?;
    services.store.set_vm_state(&vm.id, &VmState::Stopped { reason: reason.to_owned() })?;
    tracing::info!(vm = %vm.id, name = %vm.name, reason, "ended");
    Ok(())
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
