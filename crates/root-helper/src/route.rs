//! One request in, one answer line out. The only place that knows every request.

use crate::inventory::{self, LookError};
use crate::process::{SignalError, StartError};
use crate::{Helper, bridge, process, tap};
use banger_protocol::root_api::{Changed, RootCall, Version, VersionReply};
use banger_protocol::wire::{ErrorKind, Method, RpcError, encode_response};
use banger_protocol::{PROTOCOL_VERSION, VERSION};
use std::os::fd::OwnedFd;
use std::sync::{MutexGuard, PoisonError};

/// Does what was asked and renders the answer.
pub(crate) fn route(helper: &Helper, id: u64, call: RootCall, descriptors: Vec<OwnedFd>) -> Vec<u8> {
    let bridge = &helper.settings.bridge;
    if !descriptors.is_empty() && !matches!(call, RootCall::ProcessStart(_)) {
        let refused = RpcError::new(ErrorKind::BadRequest, format!("{} takes no descriptors", call.method()));
        return encode_response::<()>(id, &Err(refused));
    }
    match call {
        RootCall::Version(call) => reply(&call, id, version(helper, &call)),
        RootCall::NetworkEnsure(call) => {
            let _links = links(helper);
            reply(&call, id, bridge::ensure(&helper.settings).map(changed).map_err(|e| e.answer()))
        }
        RootCall::TapCreate(call) => {
            let _links = links(helper);
            reply(
                &call,
                id,
                tap::create(&call.vm, helper.uid_of(&call.vm).unwrap_or(0), bridge)
                    .map(changed)
                    .map_err(|e| e.answer()),
            )
        }
        RootCall::TapDelete(call) => {
            let _links = links(helper);
            reply(&call, id, tap::delete(&call.vm).map(changed).map_err(|e| e.answer()))
        }
        RootCall::ProcessStart(call) => {
            let asked = call.clone();
            reply(&asked, id, process::start(helper, call, descriptors).map_err(|e: StartError| e.answer()))
        }
        RootCall::ProcessSignal(call) => {
            let outcome = process::signal(&call.vm, call.process, call.signal);
            reply(&call, id, outcome.map(changed).map_err(|e: SignalError| e.answer()))
        }
        RootCall::ProcessKillAll(call) => {
            // One that is being started is found when it has been.
            let _none_starts = helper.turns.take(&call.vm);
            reply(&call, id, process::kill_all(&call.vm).map_err(|e| e.answer()))
        }
        RootCall::InventoryRequest(call) => {
            reply(&call, id, inventory::inventory().map_err(|e: LookError| e.answer()))
        }
        RootCall::Shutdown(call) => {
            let removed =
                helper.socket.remove().map_err(|e| RpcError::from_error(ErrorKind::OperationFailed, &e));
            reply(&call, id, removed.map(|()| changed(true)))
        }
    }
}

fn version(helper: &Helper, call: &Version) -> Result<VersionReply, RpcError> {
    if call.protocol != PROTOCOL_VERSION {
        let message = format!("this bangerd-root speaks protocol {PROTOCOL_VERSION}, not {}", call.protocol);
        return Err(RpcError::new(ErrorKind::BadVersion, message).with_hint(
            "bangerd and bangerd-root are of different builds: banger daemon stop, then try again",
        ));
    }
    Ok(VersionReply {
        protocol: PROTOCOL_VERSION,
        version: VERSION.to_owned(),
        pid: std::process::id(),
        settings: helper.settings.clone(),
    })
}

/// The VM a request is about, for the log.
pub(crate) fn vm_of(call: &RootCall) -> Option<&str> {
    let vm = match call {
        RootCall::Version(_)
        | RootCall::NetworkEnsure(_)
        | RootCall::InventoryRequest(_)
        | RootCall::Shutdown(_) => return None,
        RootCall::TapCreate(call) => &call.vm,
        RootCall::TapDelete(call) => &call.vm,
        RootCall::ProcessStart(call) => &call.vm,
        RootCall::ProcessSignal(call) => &call.vm,
        RootCall::ProcessKillAll(call) => &call.vm,
    };
    Some(vm.as_str())
}

/// Ties an answer to the method it is for.
fn reply<M: Method>(_asked: &M, id: u64, outcome: Result<M::Reply, RpcError>) -> Vec<u8> {
    match &outcome {
        // Looking changes nothing and is asked for often.
        Ok(_) if matches!(M::NAME, "version" | "inventory") => tracing::debug!("done"),
        Ok(_) => tracing::info!("done"),
        Err(error) => tracing::error!(kind = ?error.kind, %error, "not done"),
    }
    encode_response(id, &outcome)
}

fn links(helper: &Helper) -> MutexGuard<'_, ()> {
    helper.network.lock().unwrap_or_else(PoisonError::into_inner)
}

fn changed(changed: bool) -> Changed {
    Changed { changed }
}
