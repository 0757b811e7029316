//! What the daemon does first: hold what it has written down against what there is.
//!
//! | recorded | found | then |
//! |---|---|---|
//! | running | its processes | adopted: watched again, nothing in the guest notices |
//! | running, paused | a tap with another NAT than is recorded | made as recorded |
//! | paused | its processes | adopted and paused again, should the former daemon not have got to it |
//! | running, paused | not all of them | released, stopped; started again if the guest rebooted |
//! | starting, leased | anything | removed: nobody waits for it any more |
//! | starting | anything | released, failed: somebody was interrupted |
//! | stopping | anything | stopped as if nothing had come between, a living guest's disks flushed |
//! | something unreadable | anything | left as it is, told by the doctor |
//! | nothing | a folder, a tap or a process of ours | removed |
//!
//! The last line holds only in a database that is known to be complete. One that has just been made, be it that the
//! former was damaged or that somebody took it away, first gets a row for each folder, tap and process there is:
//! what a user has in a VM is never removed because a file beside it broke.

use super::end::Seen;
use super::release::{Depth, release};
use super::{VmState, connect, delete, egress, lease, names, pause, stop, view, watch};
use crate::Services;
use crate::client::agent;
use crate::store::{ReserveError, VmRecord};
use banger_protocol::ids::VmId;
use banger_protocol::root_api::{Inventory, InventoryRequest};
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

const AGENT_LIMIT: Duration = Duration::from_secs(10);

/// Brings records and host together. Errors are logged and do not keep the daemon from serving.
pub(crate) async fn adopt(services: &Arc<Services>) {
    if let Err(error) = complete(services).await {
        tracing::error!(?error, "VMs without a record could not be recorded: nothing was adopted");
        return;
    }
    let (vms, damaged) = match services.store.vms() {
        Ok(found) => found,
        Err(error) => {
            tracing::error!(?error, "the VMs could not be read: nothing was adopted");
            return;
        }
    };
    let known: BTreeSet<VmId> =
        vms.iter().map(|vm| vm.id.clone()).chain(damaged.iter().filter_map(|id| id.parse().ok())).collect();
    for id in strays(services, &known).await {
        tracing::warn!(vm = %id, "removing leftovers without a record");
        if let Err(error) = release(services, &id, Depth::Everything).await {
            tracing::error!(vm = %id, ?error, "a stray was not removed");
        }
    }
    for vm in &vms {
        adopt_one(services, vm).await;
    }
    reconnect(services, &vms).await;
}

/// Brings the network of guests that are up to what is recorded of them.
async fn reconnect(services: &Arc<Services>, vms: &[VmRecord]) {
    let Some(inventory) = look(services).await else { return };
    let differs = |vm: &&VmRecord| vm.spec.nat != inventory.nat.contains(&vm.id);
    for vm in vms.iter().filter(|vm| inventory.taps.contains(&vm.id)).filter(differs) {
        let (services, id) = (services.clone(), vm.id.clone());
        // By itself: one that comes up again holds its lock until it has.
        tokio::spawn(async move {
            let _lock = services.locks.lock(&id).await;
            let Ok(vm) = view::must_find(&services, &id) else { return };
            if vm.state.running().is_some()
                && let Err(error) = egress::connect(&services, &vm, vm.spec.nat).await
            {
                tracing::error!(vm = %id, ?error, "a guest's network is not as recorded");
            }
        });
    }
    answer_guests(services).await;
}

/// Adopted guests have lost who answered them with the daemon before.
async fn answer_guests(services: &Arc<Services>) {
    if !view::all(services).is_ok_and(|vms| vms.iter().any(|vm| vm.state.running().is_some())) {
        return;
    }
    let again = services.clone();
    let served = tokio::task::spawn_blocking(move || again.dns.serve(&again.helper)).await;
    match served {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::error!(?error, "guests' questions about names are not answered"),
        Err(error) => tracing::error!(%error, "guests' questions about names are not answered"),
    }
}

/// Gives everything that belongs to a VM a row, unless that was done before.
async fn complete(services: &Arc<Services>) -> Result<(), ReserveError> {
    if services.store.is_complete()? {
        return Ok(());
    }
    for id in strays(services, &BTreeSet::new()).await {
        services.store.record_lost_vm(&id, |taken| services.range.next_free(taken))?;
    }
    Ok(services.store.mark_complete()?)
}

async fn adopt_one(services: &Arc<Services>, vm: &VmRecord) {
    let end_as = |state| async move {
        if let Err(error) = release(services, &vm.id, Depth::Runtime).await {
            tracing::error!(vm = %vm.id, ?error, "an interrupted VM was not released");
        }
        if let Err(error) = services.store.set_vm_state(&vm.id, &state) {
            tracing::error!(vm = %vm.id, ?error, "the end of a VM was not recorded");
        }
    };
    match &vm.state {
        VmState::Running(running) | VmState::Paused(running) => {
            if running.processes().all(crate::process::is_alive) {
                tracing::info!(vm = %vm.id, name = %vm.name, pid = running.vmm.pid, "adopted");
                names::publish(services, vm);
                watch::spawn(services, vm.id.clone(), running.clone());
                if let VmState::Paused(_) = vm.state {
                    if let Err(error) = pause::pause_again(services, &vm.id, running).await {
                        tracing::error!(vm = %vm.id, ?error, "a paused VM may have resumed");
                    }
                } else {
                    check_agent(services, vm.id.clone(), running.boot_id.clone());
                }
                lease::watch_holder(services, vm);
                return;
            }
            let seen = if crate::process::is_alive(running.vmm) { Seen::Backend } else { Seen::Nothing };
            watch::note_end(services, &vm.id, running, seen).await;
        }
        VmState::Starting if vm.lease.is_some() => {
            if let Err(error) = delete::remove(services, &vm.id).await {
                tracing::error!(vm = %vm.id, %error, "an abandoned VM was not removed");
            }
            return;
        }
        VmState::Starting => {
            let reason = "the daemon ended while the VM was starting".to_owned();
            end_as(VmState::Failed { reason }).await;
        }
        VmState::Stopping(_) => {
            if let Err(error) = stop::stop(services, &vm.id).await {
                tracing::error!(vm = %vm.id, ?error, "an interrupted stop was not finished");
            }
        }
        // Whether it should run is not known: its processes are left alone until the user says.
        VmState::Damaged => return,
        VmState::Created | VmState::Stopped { .. } | VmState::Failed { .. } => {}
    }
    lease::watch_holder(services, vm);
}

/// Asks an adopted guest who it is. A guest that is silent or another than expected is told in the log only: its
/// processes are the ones we started, and ending them is the user's decision.
fn check_agent(services: &Arc<Services>, id: VmId, boot_id: String) {
    let services = services.clone();
    tokio::spawn(async move {
        match connect::ask(&services, &id, |folder| agent::health(folder, AGENT_LIMIT)).await {
            Ok(health) if health.boot_id == boot_id => tracing::debug!(vm = %id, "the agent answers"),
            Ok(health) => {
                tracing::warn!(vm = %id, expected = boot_id, found = health.boot_id, "another boot than recorded")
            }
            Err(error) => tracing::warn!(vm = %id, %error, "the agent of an adopted guest does not answer"),
        }
    });
}

/// Ids that have a folder, a tap, a device or a process, and no row.
async fn strays(services: &Arc<Services>, known: &BTreeSet<VmId>) -> BTreeSet<VmId> {
    let folders = std::fs::read_dir(services.state.vms()).into_iter().flatten().filter_map(Result::ok);
    let mut found: BTreeSet<VmId> =
        folders.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect();
    if let Some(inventory) = look(services).await {
        found.extend(inventory.taps);
        found.extend(inventory.snapshots);
        found.extend(inventory.processes.into_iter().map(|process| process.vm));
    }
    found.difference(known).cloned().collect()
}

/// What the helper holds, if there is anything.
async fn look(services: &Arc<Services>) -> Option<Inventory> {
    let helper = services.helper.clone();
    match tokio::task::spawn_blocking(move || helper.call_if_anything_lives(&InventoryRequest {})).await {
        Ok(Ok(found)) => return found,
        Ok(Err(error)) => tracing::error!(?error, "the helper's inventory could not be read"),
        Err(error) => tracing::error!(%error, "the helper's inventory could not be read"),
    }
    None
}
