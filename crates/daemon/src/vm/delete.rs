//! Deletes a VM: whatever it is doing ends, and nothing of it stays.

use super::release::{Depth, release};
use super::starting::lock_calling_off;
use super::view;
use crate::Services;
use crate::operation::Ended;
use crate::store::VmRecord;
use banger_protocol::daemon_api::vm::Deleted;
use banger_protocol::ids::VmId;
use banger_protocol::wire::{ErrorKind, RpcError};
use std::sync::Arc;

/// Deletes a VM, as an operation.
pub(crate) async fn delete(
    services: &Arc<Services>,
    vm: &VmRecord,
    unless_running: bool,
) -> Result<Deleted, Ended> {
    if unless_running {
        remove_if_down(services, &vm.id).await?;
    } else {
        remove(services, &vm.id).await?;
    }
    Ok(Deleted { id: vm.id.clone(), name: vm.name.clone() })
}

/// As [`remove`], but nothing is stopped or called off for it.
async fn remove_if_down(services: &Arc<Services>, id: &VmId) -> Result<(), RpcError> {
    // Before the lock, too: a start holds it for as long as a guest takes to come up.
    refuse_if_up(services, &view::must_find(services, id)?)?;
    let _lock = services.locks.lock(id).await;
    refuse_if_up(services, &view::must_find(services, id)?)?;
    remove_locked(services, id).await
}

fn refuse_if_up(services: &Services, vm: &VmRecord) -> Result<(), RpcError> {
    if vm.state.is_down() && !services.starting.includes(&vm.id) {
        return Ok(());
    }
    let message = format!("VM `{}` was not deleted: it is {}", vm.name, vm.state.name());
    let hint = format!("`banger vm delete {}` stops it first", vm.name);
    Err(RpcError::new(ErrorKind::Refused, message).with_hint(hint))
}

/// Removes everything of a VM and then its row; repeating it finds nothing to do. Starts under way are called off
/// first.
pub(super) async fn remove(services: &Arc<Services>, id: &VmId) -> Result<(), RpcError> {
    let _lock = lock_calling_off(services, id).await;
    remove_locked(services, id).await
}

async fn remove_locked(services: &Arc<Services>, id: &VmId) -> Result<(), RpcError> {
    release(services, id, Depth::Everything).await.map_err(|e| {
        RpcError {
            message: format!("VM {id} was not deleted"),
            ..RpcError::from_error(ErrorKind::OperationFailed, &e)
        }
        .with_hint(e.hint().unwrap_or("run the command again; `banger doctor` shows what is left"))
    })?;
    services.store.delete_vm(id)?;
    tracing::info!(vm = %id, "deleted");
    Ok(())
}
