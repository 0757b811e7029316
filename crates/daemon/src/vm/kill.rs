//! Kills a VM: it ends now, with what it had not written to its disks lost.

use super::effect::{Effect, perform};
use super::starting::lock_calling_off;
use super::state::{Action, Running, VmState};
use super::{pause, stop, view};
use crate::Services;
use crate::operation::Ended;
use crate::store::VmRecord;
use banger_protocol::daemon_api::vm::{KillSignal, VmView};
use banger_protocol::ids::VmId;
use banger_protocol::root_api::ProcessSignalKind;
use banger_protocol::wire::RpcError;
use std::sync::Arc;
use std::time::Duration;

/// How long a VMM may take to end by itself once it is told to.
const POLITE: Duration = Duration::from_secs(5);

/// Kills a VM, as an operation; one that is not running is left as it is. A start under way is called off first.
pub(crate) async fn kill(services: &Arc<Services>, id: &VmId, signal: KillSignal) -> Result<VmView, Ended> {
    let _lock = lock_calling_off(services, id).await;
    let vm = view::must_find(services, id)?;
    if view::allow(&vm, Action::Kill)? {
        if let (KillSignal::Term, Some(running)) = (signal, vm.state.running()) {
            ask_vmm(services, &vm, running).await?;
        }
        stop::end(services, &vm, "killed on request").await?;
    }
    Ok(view::of(&view::must_find(services, id)?))
}

/// Has the VMM end itself, and waits a while for that. What does not listen is killed with the rest.
async fn ask_vmm(services: &Arc<Services>, vm: &VmRecord, running: &Running) -> Result<(), RpcError> {
    let failed = |e: super::effect::EffectError| e.answer("killed", &vm.name);
    // A process that stands still does not hear a signal.
    if matches!(vm.state, VmState::Paused(_)) && !pause::thaw_or_tell(services, &vm.id, running).await {
        return Ok(());
    }
    let tell = Effect::Signal { process: running.vmm, signal: ProcessSignalKind::Terminate };
    perform(services, &vm.id, tell).await.map_err(failed)?;
    if tokio::time::timeout(POLITE, crate::process::ended(running.vmm)).await.is_err() {
        tracing::warn!(vm = %vm.id, pid = running.vmm.pid, "the VMM does not end by itself");
    }
    Ok(())
}
