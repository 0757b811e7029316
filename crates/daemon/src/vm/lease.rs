//! VMs that go with the process that asked for them.
//!
//! The daemon ties a lease to the client's connection, which the kernel closes however the client ends. Should the
//! daemon end first, its successor finds the holder in the VM's row and watches the process itself.

use super::{VmState, delete, view};
use crate::Services;
use crate::store::VmRecord;
use banger_protocol::ids::{OperationId, VmId};
use std::sync::Arc;

/// The holder is gone: the VM goes too, unless it failed to come up, so that its log can be read.
pub(crate) async fn end(services: &Arc<Services>, id: VmId, starting: Option<&OperationId>) {
    if let Some(starting) = starting
        && let Err(error) = services.operations.cancel(starting).await
    {
        tracing::debug!(vm = %id, %error, "the start was already forgotten");
    }
    let Ok(vm) = view::must_find(services, &id) else { return };
    if matches!(vm.state, VmState::Failed { .. }) {
        // From now on it is like any other: should somebody start it again, no daemon takes it for abandoned.
        if let Err(error) = services.store.end_lease(&id) {
            tracing::error!(vm = %id, ?error, "a failed VM was not kept");
        }
        return;
    }
    if let Err(error) = delete::remove(services, &id).await {
        tracing::error!(vm = %id, %error, "a leased VM could not be deleted");
    }
}

/// Watches the holder of a VM found at start.
pub(super) fn watch_holder(services: &Arc<Services>, vm: &VmRecord) {
    let Some(lease) = vm.lease.clone() else { return };
    let (services, id) = (services.clone(), vm.id.clone());
    tokio::spawn(async move {
        if let Err(error) = crate::process::ended(lease.process).await {
            tracing::error!(vm = %id, %error, "the holder of a lease cannot be watched");
            return;
        }
        end(&services, id, None).await;
    });
}
