//! Restarts a VM: another boot of its kernel, with the disks it had.

use super::starting::lock_calling_off;
use super::state::Action;
use super::{start, stop, view};
use crate::Services;
use crate::operation::{Ended, Handle};
use banger_protocol::daemon_api::vm::VmView;
use banger_protocol::ids::VmId;
use std::sync::Arc;

/// Stops a VM as `stop` does and starts it, as one operation: nobody comes in between, and taking the VM down calls
/// it off as it does a start. One that is not running is merely started.
pub(crate) async fn restart(
    services: &Arc<Services>,
    id: &VmId,
    early: bool,
    handle: &Handle,
) -> Result<VmView, Ended> {
    let _lock = lock_calling_off(services, id).await;
    let _noted = services.starting.note(id, handle.id());
    let vm = view::must_find(services, id)?;
    view::allow(&vm, Action::Restart)?;
    if view::allow(&vm, Action::Stop)? {
        handle.stage("stop");
        stop::bring_down(services, &vm, "restarted on request").await?;
    }
    start::start_locked(services, &view::must_find(services, id)?, early, handle).await
}
