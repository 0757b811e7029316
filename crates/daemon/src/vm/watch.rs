//! Notices the end of a guest at once, and that it was not us; one that rebooted comes back. Meanwhile keeps its logs
//! from filling the disk.

use super::boot::first_end;
use super::end::{self, End, Seen};
use super::release::{Depth, release};
use super::state::{Running, VmState};
use super::vmm::VmmName;
use super::{folder, halt, reboot, view};
use crate::Services;
use banger_protocol::ids::VmId;
use banger_protocol::root_api::{
    CONSOLE_LOG, FIRECRACKER_LOG, FIRECRACKER_METRICS, ProcessIdentity, VMM_EVENTS, VMM_LOG,
};
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

/// A VMM that ends closes its connection to the backend a while before it is gone itself, and the backend, which ends
/// of that, may be gone first. For this long the backend's end may be the VMM's.
const VMM_ENDS: Duration = Duration::from_millis(500);

/// How much of a log stays, in bytes.
const KEPT_OF_A_LOG: u64 = 8 << 20;
/// An hour of Firecracker's counters, at some 10 KiB a minute.
const KEPT_OF_METRICS: u64 = 1 << 20;

/// What grows while a VM runs, and how much of each stays.
const KEPT: [(&str, u64); 5] = [
    (CONSOLE_LOG, KEPT_OF_A_LOG),
    (VMM_LOG, KEPT_OF_A_LOG),
    (VMM_EVENTS, KEPT_OF_A_LOG),
    (FIRECRACKER_LOG, KEPT_OF_A_LOG),
    (FIRECRACKER_METRICS, KEPT_OF_METRICS),
];
const LOOK_EVERY: Duration = Duration::from_secs(10);

/// Watches the processes of a running VM until one of them ends.
pub(super) fn spawn(services: &Arc<Services>, id: VmId, running: Running) {
    let services = services.clone();
    tokio::spawn(async move {
        let processes: Vec<ProcessIdentity> = running.processes().collect();
        let halts = running.vmm_name == VmmName::Firecracker;
        let folder = services.state.vm(&id);
        let seen = tokio::select! {
            () = first_end(&processes) => {
                let vmm = tokio::time::timeout(VMM_ENDS, crate::process::ended(running.vmm)).await;
                if vmm.is_ok() { Seen::Vmm } else { Seen::Backend }
            }
            () = halt::halted(&folder, running.console_start), if halts => Seen::Guest,
            never = keep_logs_short(&services, &id) => match never {},
        };
        note_end(&services, &id, &running, seen).await;
    });
}

/// A guest can write without end to its console, and so to the host's disk.
async fn keep_logs_short(services: &Services, id: &VmId) -> Infallible {
    let mut look = tokio::time::interval(LOOK_EVERY);
    loop {
        look.tick().await;
        let folder = services.state.vm(id);
        let looked = tokio::task::spawn_blocking(move || {
            KEPT.map(|(log, kept)| (log, folder::keep_only_the_end(&folder, log, kept)))
        });
        for (log, outcome) in looked.await.into_iter().flatten() {
            match outcome {
                Ok(true) => tracing::info!(vm = %id, log, "the beginning of a long log was given up"),
                Ok(false) => {}
                Err(error) => tracing::debug!(vm = %id, log, %error, "a log was not looked at"),
            }
        }
    }
}

/// Deals with a VM that has ended by itself. A stop, a delete or a restart that was quicker is left alone.
pub(super) async fn note_end(services: &Arc<Services>, id: &VmId, running: &Running, seen: Seen) {
    let end = end::of_guest(&services.state.vm(id), running, seen);
    if end == End::Rebooted {
        return reboot::begin(services, id, running);
    }
    let _lock = services.locks.lock(id).await;
    match view::must_find(services, id) {
        Ok(vm) if vm.state.is_up_as(running) => {}
        Ok(_) | Err(_) => return,
    }
    if let Err(error) = release(services, id, Depth::Runtime).await {
        tracing::error!(vm = %id, ?error, "an ended VM was not released");
    }
    let reason = end.reason();
    tracing::info!(vm = %id, reason, "ended by itself");
    if let Err(error) = services.store.set_vm_state(id, &VmState::Stopped { reason }) {
        tracing::error!(vm = %id, ?error, "the end of a VM was not recorded");
    }
}
