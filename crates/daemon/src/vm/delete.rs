//! Deletes a VM: whatever it is doing ends, and nothing of it stays.

use super::release::{Depth, release};
use super::starting::lock_calling_off;
use crate::Services;
use crate::operation::Ended;
use crate::store::VmRecord;
use banger_protocol::daemon_api::vm::Deleted;
use banger_protocol::ids::VmId;
use banger_protocol::wire::{ErrorKind, RpcError};
use std::sync::Arc;

/// Deletes a VM, as an operation.
pub(crate) async fn delete(services: &Arc<Services>, vm: &VmRecord) -> Result<Deleted, Ended> {
    remove(services, &vm.id).await?;
    Ok(Deleted { id: vm.id.clone(), name: vm.name.clone() })
}

/// Removes everything of a VM and then its row; repeating it finds nothing to do. Starts under way are called off
/// first.
pub(super) async fn remove(services: &Arc<Services>, id: &VmId) -> Result<(), RpcError> {
    let _lock = lock_calling_off(services, id).await;
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
