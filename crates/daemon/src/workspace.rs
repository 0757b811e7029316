//! What of the user's files is in a VM: who may change it now, and what lies there.
//!
//! The copying is the command's, which has the user's session and speaks to the guest itself. A VM's turn keeps two
//! commands from mixing their copies; it is no lock of the VM's, so stopping, deleting and listing never wait for it. It
//! belongs to a connection and ends with that: whoever is killed in the middle of a copy leaves the turn to the next.

use crate::Services;
use crate::serve::Client;
use crate::vm::{connect, view};
use banger_protocol::daemon_api::workspace::{Record, Turn, Workspace, WorkspaceStatus};
use banger_protocol::names::VmRef;
use banger_protocol::wire::{ErrorKind, RpcError};

/// Gives the connection the VM's turn, after whoever has it. Of a VM that does not run there is none.
pub(crate) async fn prepare(
    services: &Services,
    client: &Client,
    reference: &VmRef,
) -> Result<Turn, RpcError> {
    let id = connect::check(services, reference)?.id;
    if !client.has_turn(&id) {
        let turn = tokio::select! {
            turn = services.workspace_turns.lock(&id) => turn,
            () = client.gone.cancelled() => {
                return Err(RpcError::new(ErrorKind::Cancelled, "the waiting client has disconnected"));
            }
        };
        client.take_turn(id.clone(), turn);
    }
    // It may have ended while we waited.
    let by_id = VmRef(id.to_string());
    match connect::check(services, &by_id) {
        Ok(vm) => Ok(Turn { id: vm.id, name: vm.name, workspace: vm.workspace }),
        Err(error) => {
            client.end_turn(&id);
            Err(error)
        }
    }
}

/// Remembers what was laid. The guest may have ended since; its disk keeps what it has.
pub(crate) fn record(services: &Services, client: &Client, request: Record) -> Result<Workspace, RpcError> {
    let vm = view::find(services, &request.vm)?;
    if !client.has_turn(&vm.id) {
        let message = format!("the workspace of VM `{}` is not this connection's to change", vm.name);
        return Err(
            RpcError::new(ErrorKind::Refused, message).with_hint("ask for `vm.workspace.prepare` first")
        );
    }
    let workspace = Workspace { prepared: crate::store::now(), ..request.workspace };
    if !services.store.set_workspace(&vm.id, &workspace)? {
        return Err(RpcError::new(ErrorKind::NotFound, format!("VM `{}` is gone", vm.name)));
    }
    client.end_turn(&vm.id);
    tracing::info!(vm = %vm.id, name = %vm.name, guest_path = workspace.guest_path, "workspace prepared");
    Ok(workspace)
}

pub(crate) fn status(services: &Services, reference: &VmRef) -> Result<WorkspaceStatus, RpcError> {
    let vm = view::find(services, reference)?;
    let busy = services.workspace_turns.is_held(&vm.id);
    Ok(WorkspaceStatus { id: vm.id, name: vm.name, workspace: vm.workspace, busy })
}
