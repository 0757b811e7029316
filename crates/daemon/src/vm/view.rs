//! VMs as users see them.

use super::state::{Action, Permission, VmState};
use crate::Services;
use crate::store::VmRecord;
use banger_protocol::daemon_api::vm::{RunningView, VmView};
use banger_protocol::ids::VmId;
use banger_protocol::names::VmRef;
use banger_protocol::wire::{ErrorKind, RpcError};

pub(crate) fn of(vm: &VmRecord) -> VmView {
    VmView {
        id: vm.id.clone(),
        name: vm.name.clone(),
        state: vm.state.name(),
        reason: vm.state.reason().map(str::to_owned),
        image: vm.image.clone(),
        kernel: vm.kernel.clone(),
        address: vm.address,
        vcpu: vm.spec.vcpu,
        memory: vm.spec.memory,
        disk_size: vm.spec.disk_size,
        nat: vm.spec.nat,
        created: vm.created.clone(),
        lease: vm.lease.is_some(),
        running: vm.state.running().map(|running| RunningView {
            pid: running.vmm.pid,
            vmm: running.vmm_name.as_str().to_owned(),
            acceleration: running.acceleration,
            boot_id: running.boot_id.clone(),
            since: running.since.clone(),
        }),
        workspace: vm.workspace.clone(),
        stages: vm.stages.clone(),
    }
}

pub(crate) fn all(services: &Services) -> Result<Vec<VmRecord>, RpcError> {
    Ok(services.store.vms()?.0)
}

/// The VM a user means, who thereby uses it.
pub(crate) fn find(services: &Services, reference: &VmRef) -> Result<VmRecord, RpcError> {
    let vm = look_up(services, reference)?;
    if vm.state.running().is_some() {
        services.activity.touch(&vm.id);
    }
    Ok(vm)
}

/// The VM a user means who only looks at the numbers.
pub(super) fn look_up(services: &Services, reference: &VmRef) -> Result<VmRecord, RpcError> {
    super::resolve(all(services)?, reference)
}

/// The VM as recorded now; it may have gone since its id was looked up.
pub(super) fn must_find(services: &Services, id: &VmId) -> Result<VmRecord, RpcError> {
    services.store.vm(id)?.ok_or_else(|| RpcError::new(ErrorKind::NotFound, format!("VM {id} is gone")))
}

/// Whether there is something to do for `action`; an error says in which state the VM is that forbids it.
pub(super) fn allow(vm: &VmRecord, action: Action) -> Result<bool, RpcError> {
    match vm.state.permits(action) {
        Permission::Go => return Ok(true),
        Permission::AlreadySo => return Ok(false),
        Permission::Refused => {}
    }
    let kind = match &vm.state {
        VmState::Created | VmState::Stopped { .. } | VmState::Failed { .. } => ErrorKind::NotRunning,
        VmState::Starting
        | VmState::Running(_)
        | VmState::Paused(_)
        | VmState::Stopping(_)
        | VmState::Damaged => ErrorKind::Refused,
    };
    let because = vm.state.reason().map(|reason| format!(": {reason}")).unwrap_or_default();
    let (name, state, participle) = (&vm.name, vm.state.name(), action.participle());
    let is = match &vm.state {
        VmState::Created => "has not been started".to_owned(),
        _ => format!("is {state}"),
    };
    Err(RpcError::new(kind, format!("VM `{name}` {is} and cannot be {participle}{because}"))
        .with_hint(vm.state.way_out(action, name)))
}
