//! Opens connections into guests, to be handed to the caller.

use super::state::Action;
use super::view;
use crate::Services;
use crate::client::agent::{self, AgentError};
use crate::store::VmRecord;
use banger_protocol::ids::VmId;
use banger_protocol::names::VmRef;
use banger_protocol::wire::{ErrorKind, RpcError};
use std::os::fd::OwnedFd;
use std::path::Path;
use std::time::Duration;

const LIMIT: Duration = Duration::from_secs(10);

/// A connection to the guest's agent. From here on the daemon has no part in what is said on it.
pub(crate) async fn connect(services: &Services, reference: &VmRef) -> Result<(VmRecord, OwnedFd), RpcError> {
    let vm = view::find(services, reference)?;
    let stream = ask(services, &vm.id, |folder| agent::connect(folder, LIMIT)).await?;
    Ok((vm, stream.into()))
}

/// The VM, if connections into it can be made now.
pub(crate) fn check(services: &Services, reference: &VmRef) -> Result<VmRecord, RpcError> {
    let vm = view::find(services, reference)?;
    view::allow(&vm, Action::Connect)?;
    Ok(vm)
}

/// Has something done that opens a connection to the guest's agent, given the VM's folder.
///
/// Never towards a guest that stands still: who pauses it waits for those who are on their way in.
pub(super) async fn ask<R: Send + 'static>(
    services: &Services,
    id: &VmId,
    asking: impl FnOnce(&Path) -> Result<R, AgentError> + Send + 'static,
) -> Result<R, RpcError> {
    let _passing = services.doors.pass(id).await;
    let vm = view::must_find(services, id)?;
    view::allow(&vm, Action::Connect)?;
    let folder = services.state.vm(id);
    match tokio::task::spawn_blocking(move || asking(&folder)).await {
        Ok(Ok(answer)) => Ok(answer),
        Ok(Err(error)) => {
            let mut told = RpcError::from_error(ErrorKind::Unavailable, &error);
            let message = format!("VM `{}` cannot be reached", vm.name);
            let why = std::mem::replace(&mut told.message, message);
            told.causes.insert(0, why);
            Err(told.with_hint(format!("`banger vm logs {}` shows its console", vm.name)))
        }
        Err(_) => Err(RpcError::new(ErrorKind::OperationFailed, "the connection was lost")),
    }
}
