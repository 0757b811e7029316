//! Looks at running VMs every now and then: what they use, and whether anybody uses them. One that nobody has used for
//! as long as the settings say is stopped, as its user would have done it.

use super::activity::{is_connected, is_stale};
use super::state::{Running, VmState};
use super::{stop, view};
use crate::Services;
use crate::operation::Ended;
use crate::store::VmRecord;
use banger_protocol::daemon_api::vm::VmView;
use banger_protocol::ids::VmId;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::task::block_in_place;
use tokio::time::{MissedTickBehavior, interval};

pub(crate) async fn look_after(services: Arc<Services>) {
    let mut look = interval(services.config.stats_poll_interval.value.duration());
    look.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        look.tick().await;
        let stale = block_in_place(|| look_at_all(&services));
        for vm in stale {
            let (services, name) = (services.clone(), vm.name.to_string());
            let operations = services.clone();
            let work = |_| async move { stop_unused(&services, &vm.id).await };
            operations.operations.start("vm.stop", name, work);
        }
    }
}

fn limit(services: &Services) -> Option<Duration> {
    services.config.auto_stop_stale_after.value.map(|after| after.duration())
}

/// Takes down what each running VM uses, and returns those that nobody uses.
fn look_at_all(services: &Services) -> Vec<VmRecord> {
    let vms = match view::all(services) {
        Ok(vms) => vms,
        Err(error) => {
            tracing::warn!(%error, "running VMs were not looked at");
            return Vec::new();
        }
    };
    let up: BTreeSet<&VmId> = vms.iter().filter(|vm| vm.state.running().is_some()).map(|vm| &vm.id).collect();
    services.activity.keep_only(|vm| up.contains(vm));
    for vm in &vms {
        if let Some(usage) = vm.state.running().and_then(|running| crate::process::usage(running.vmm)) {
            services.activity.sample(&vm.id, Instant::now(), usage.cpu);
        }
    }
    vms.into_iter().filter(|vm| is_unused(services, vm)).collect()
}

/// Whether it is to be stopped. That somebody is in it counts from when they were last seen.
fn is_unused(services: &Services, vm: &VmRecord) -> bool {
    let VmState::Running(running) = &vm.state else { return false };
    let Some(limit) = limit(services) else { return false };
    if is_connected(running, &services.state.vm(&vm.id)) {
        services.activity.touch(&vm.id);
    }
    let unused = services.activity.unused_for(&vm.id);
    is_stale(&vm.state, vm.lease.is_some(), unused, Some(limit))
}

/// Stops a VM unless somebody has come meanwhile.
async fn stop_unused(services: &Arc<Services>, id: &VmId) -> Result<VmView, Ended> {
    let _lock = services.locks.lock(id).await;
    let stopping = {
        // Whoever is on their way in is waited for, and seen; whoever comes later finds it being stopped.
        let _shut = services.doors.shut(id).await;
        begin_to_stop(services, id)?
    };
    let vm = view::must_find(services, id)?;
    if let Some(running) = stopping {
        tracing::info!(vm = %id, name = %vm.name, pid = running.vmm.pid, "unused: stopping");
        stop::bring_down(services, &vm, &reason(services)).await?;
    }
    Ok(view::of(&view::must_find(services, id)?))
}

/// Writes down that it is being stopped, if it still is to be.
fn begin_to_stop(services: &Services, id: &VmId) -> Result<Option<Running>, Ended> {
    let vm = view::must_find(services, id)?;
    let VmState::Running(running) = vm.state.clone() else { return Ok(None) };
    if !is_unused(services, &vm) {
        return Ok(None);
    }
    services
        .store
        .set_vm_state(id, &VmState::Stopping(running.clone()))
        .map_err(|e| Ended::Failed(e.into()))?;
    Ok(Some(running))
}

fn reason(services: &Services) -> String {
    let setting = &services.config.auto_stop_stale_after;
    let after = setting.value.map_or_else(String::new, |after| format!(" for {after}"));
    format!("unused{after}: `auto_stop_stale_after` in {}", services.config.place(setting.source))
}
