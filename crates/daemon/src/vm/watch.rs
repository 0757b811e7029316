//! Notices the end of a guest at once, and that it was not us.

use super::boot::first_end;
use super::release::{Depth, release};
use super::state::{Running, VmState};
use super::view;
use crate::Services;
use banger_protocol::ids::VmId;
use banger_protocol::root_api::ProcessIdentity;
use std::sync::Arc;
use std::time::Duration;

/// A VMM that ends closes its connection to the backend a while before it is gone itself, and the backend, which ends
/// of that, may be gone first. For this long the backend's end may be the VMM's.
const VMM_ENDS: Duration = Duration::from_millis(500);

/// Watches the processes of a running VM until one of them ends.
pub(super) fn spawn(services: &Arc<Services>, id: VmId, running: Running) {
    let services = services.clone();
    tokio::spawn(async move {
        let processes: Vec<ProcessIdentity> = running.processes().collect();
        first_end(&processes).await;
        let vmm_ended = tokio::time::timeout(VMM_ENDS, crate::process::ended(running.vmm)).await.is_ok();
        let reason =
            if vmm_ended { "the guest shut down, or its VMM was ended" } else { "its vsock backend ended" };
        note_end(&services, &id, &running, reason).await;
    });
}

/// Writes down that a VM has ended by itself. A stop, a delete or a restart that was quicker is left alone.
pub(super) async fn note_end(services: &Arc<Services>, id: &VmId, running: &Running, reason: &str) {
    let _lock = services.locks.lock(id).await;
    match view::must_find(services, id) {
        Ok(vm) if vm.state == VmState::Running(running.clone()) => {}
        Ok(_) | Err(_) => return,
    }
    if let Err(error) = release(services, id, Depth::Runtime).await {
        tracing::error!(vm = %id, ?error, "an ended VM was not released");
    }
    tracing::info!(vm = %id, reason, "ended by itself");
    if let Err(error) = services.store.set_vm_state(id, &VmState::Stopped { reason: reason.to_owned() }) {
        tracing::error!(vm = %id, ?error, "the end of a VM was not recorded");
    }
}
