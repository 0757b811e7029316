//! Cleanup: everything a VM can own, removed in reverse order.
//!
//! Each step finds what exists by the VM's ID and ignores what is absent, so this can be called at any moment and any
//! number of times. A failed step does not prevent the later ones; what could not be removed is reported at the end.

use super::effect::{Effect, EffectError, perform};
use super::names;
use crate::Services;
use crate::station::Station;
use banger_protocol::ids::VmId;
use std::sync::Arc;

/// How far down.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Depth {
    /// Everything that only a running VM needs; disks and logs stay.
    Runtime,
    /// The folder too: nothing of the VM is left on the host.
    Everything,
}

/// What could not be removed.
#[derive(Debug, thiserror::Error)]
#[error("something was left behind")]
pub(crate) struct ReleaseError {
    #[source]
    first: EffectError,
    pub others: usize,
}

impl ReleaseError {
    pub(super) fn hint(&self) -> Option<&str> {
        self.first.hint.as_deref()
    }
}

/// Removes what a VM owns. The caller holds the VM's lock.
pub(crate) async fn release(services: &Arc<Services>, vm: &VmId, depth: Depth) -> Result<(), ReleaseError> {
    names::withdraw(services, vm);
    let mut steps = vec![Effect::KillProcesses];
    if matches!(services.station, Station::System(_)) {
        steps.push(Effect::DeleteDevice);
    }
    steps.extend([Effect::DeleteTap, Effect::CloseEgress, Effect::RemoveSockets]);
    if depth == Depth::Everything {
        steps.push(Effect::RemoveFolder);
    }
    let mut errors = Vec::new();
    for step in steps {
        let folder_goes = matches!(step, Effect::RemoveFolder);
        if folder_goes && !errors.is_empty() {
            // Its processes may still be using it, and its name is how they are found again.
            break;
        }
        if let Err(error) = perform(services, vm, step).await {
            tracing::error!(%vm, step = error.step, error = ?error, "a release step failed");
            errors.push(error);
        }
    }
    let others = errors.len().saturating_sub(1);
    match errors.into_iter().next() {
        None => Ok(()),
        Some(first) => Err(ReleaseError { first, others }),
    }
}
