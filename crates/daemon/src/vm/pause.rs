//! Pauses a VM and lets it go on.
//!
//! A VMM is made to stand still by the signals that stop and continue a process, whichever it is, and never by its own
//! means: after QEMU's `stop` one byte towards the guest ends its vsock for good, and after a pause over Firecracker's
//! API nothing arrives over vsock any more (decision 8). Nothing opens a connection into a paused guest, so the state is
//! written first, then those are waited for who are on their way in.
//!
//! `Paused` is on record for as long as the guest may be standing still: a daemon that finds it so pauses it again.

use super::effect::{Effect, EffectError, perform};
use super::state::{Action, Running, VmState};
use super::view;
use crate::Services;
use crate::operation::Ended;
use banger_protocol::daemon_api::vm::VmView;
use banger_protocol::ids::VmId;
use banger_protocol::root_api::ProcessSignalKind;
use banger_protocol::wire::{ErrorKind, RpcError};
use std::sync::Arc;
use std::time::Duration;

/// Pauses a VM, as an operation; one that is paused is left as it is.
pub(crate) async fn pause(services: &Arc<Services>, id: &VmId) -> Result<VmView, Ended> {
    // Before the lock, too: a start holds it for as long as a guest takes to come up.
    view::allow(&view::must_find(services, id)?, Action::Pause)?;
    let _lock = services.locks.lock(id).await;
    let vm = view::must_find(services, id)?;
    if !view::allow(&vm, Action::Pause)? {
        return Ok(view::of(&vm));
    }
    let running = vm.state.running().expect("what can be paused runs").clone();
    let store = |state| services.store.set_vm_state(id, &state).map_err(RpcError::from);
    store(VmState::Paused(running.clone()))?;
    let frozen = {
        let _shut = services.doors.shut(id).await;
        freeze(services, id, &running).await
    };
    if !crate::process::is_alive(running.vmm) {
        let message = format!("VM `{}` ended before it could be paused", vm.name);
        return Err(RpcError::new(ErrorKind::NotRunning, message).into());
    }
    if let Err(error) = frozen {
        if thaw(services, id, &running).await.is_ok() {
            store(VmState::Running(running))?;
        }
        return Err(error.answer("paused", &vm.name).into());
    }
    tracing::info!(vm = %id, name = %vm.name, "paused");
    Ok(view::of(&view::must_find(services, id)?))
}

/// Lets a paused VM go on, as an operation; one that runs is left as it is.
pub(crate) async fn resume(services: &Arc<Services>, id: &VmId) -> Result<VmView, Ended> {
    view::allow(&view::must_find(services, id)?, Action::Resume)?;
    let _lock = services.locks.lock(id).await;
    let vm = view::must_find(services, id)?;
    if !view::allow(&vm, Action::Resume)? {
        return Ok(view::of(&vm));
    }
    let running = vm.state.running().expect("what can be resumed is paused").clone();
    thaw(services, id, &running).await.map_err(|e| e.answer("resumed", &vm.name))?;
    services.store.set_vm_state(id, &VmState::Running(running)).map_err(RpcError::from)?;
    tracing::info!(vm = %id, name = %vm.name, "resumed");
    Ok(view::of(&view::must_find(services, id)?))
}

/// Makes sure that a VM on record as paused is: the daemon that wrote it down may not have got to it.
pub(super) async fn pause_again(
    services: &Arc<Services>,
    id: &VmId,
    running: &Running,
) -> Result<(), EffectError> {
    if crate::process::stands_still(running.vmm) {
        return Ok(());
    }
    freeze(services, id, running).await
}

/// How long a process that was sent the signal may take to stand still: its threads notice when they next run.
const STANDS: Duration = Duration::from_secs(2);
const LOOK_EVERY: Duration = Duration::from_millis(1);

/// Makes a guest stand still; again is the same as once.
async fn freeze(services: &Arc<Services>, id: &VmId, running: &Running) -> Result<(), EffectError> {
    let stop = Effect::Signal { process: running.vmm, signal: ProcessSignalKind::Stop };
    perform(services, id, stop).await?;
    let stands = async {
        while crate::process::is_alive(running.vmm) && !crate::process::stands_still(running.vmm) {
            tokio::time::sleep(LOOK_EVERY).await;
        }
    };
    if tokio::time::timeout(STANDS, stands).await.is_err() {
        tracing::warn!(vm = %id, "the VMM was told to pause and has not done so yet");
    }
    Ok(())
}

/// Lets a guest go on; again is the same as once.
async fn thaw(services: &Arc<Services>, id: &VmId, running: &Running) -> Result<(), EffectError> {
    let go_on = Effect::Signal { process: running.vmm, signal: ProcessSignalKind::Continue };
    perform(services, id, go_on).await.map(drop)
}

/// Lets a guest go on that is about to be ended; says whether it does. One that does not is ended all the same.
pub(super) async fn thaw_or_tell(services: &Arc<Services>, id: &VmId, running: &Running) -> bool {
    match thaw(services, id, running).await {
        Ok(()) => true,
        Err(error) => {
            tracing::warn!(vm = %id, ?error, "a paused guest is stopped without having resumed");
            false
        }
    }
}
