//! Opens connections into guests, to be handed to the caller.

use super::state::{Action, Permission};
use super::view;
use crate::Services;
use crate::client::agent::{self, AgentError};
use banger_protocol::ids::VmId;
use banger_protocol::names::VmRef;
use banger_protocol::wire::{ErrorKind, RpcError};
use std::os::fd::OwnedFd;
use std::time::Duration;

const LIMIT: Duration = Duration::from_secs(10);

/// A connection to the guest's agent. From here on the daemon has no part in what is said on it.
pub(crate) async fn connect(services: &Services, reference: &VmRef) -> Result<(VmId, OwnedFd), RpcError> {
    let vm = view::find(services, reference)?;
    if vm.state.permits(Action::Connect) != Permission::Go {
        let because = vm.state.reason().map(|reason| format!(": {reason}")).unwrap_or_default();
        let message = format!("VM `{}` is {}{because}", vm.name, vm.state.name());
        return Err(RpcError::new(ErrorKind::NotRunning, message)
            .with_hint(format!("start it: `banger vm start {}`", vm.name)));
    }
    let folder = services.state.vm(&vm.id);
    let connected = tokio::task::spawn_blocking(move || agent::connect(&folder, LIMIT)).await;
    let failed = |error: &AgentError| {
        RpcError {
            message: format!("VM `{}` cannot be reached", vm.name),
            ..RpcError::from_error(ErrorKind::Unavailable, error)
        }
        .with_hint(format!("`banger vm logs {}` shows its console", vm.name))
    };
    match connected {
        Ok(Ok(stream)) => Ok((vm.id, stream.into())),
        Ok(Err(error)) => Err(failed(&error)),
        Err(_) => Err(RpcError::new(ErrorKind::OperationFailed, "the connection broke off")),
    }
}
