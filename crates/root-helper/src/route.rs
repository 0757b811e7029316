//! One request in, one answer line out, with its descriptors. The only place that knows every request.

use crate::firewall::Firewall;
use crate::inventory::{self, LookError};
use crate::process::{SignalError, StartError};
use crate::snapshot::{self, SnapshotError};
use crate::station::Station;
use crate::{Helper, bridge, dns, firewall, process, resolver, tap};
use banger_protocol::root_api::{Changed, ForeignChain, NetworkEnsure, RootCall, Version, VersionReply};
use banger_protocol::wire::{ErrorKind, Method, RpcError, encode_response};
use banger_protocol::{PROTOCOL_VERSION, VERSION};
use std::os::fd::OwnedFd;
use std::sync::{MutexGuard, PoisonError};

/// Does what was asked and renders the answer. What it carries is put among the descriptors `carried`.
pub(crate) fn route(
    helper: &Helper,
    id: u64,
    call: RootCall,
    descriptors: Vec<OwnedFd>,
    carried: &mut Vec<OwnedFd>,
) -> Vec<u8> {
    if !descriptors.is_empty() && !matches!(call, RootCall::ProcessStart(_) | RootCall::SnapshotCreate(_)) {
        let refused = RpcError::new(ErrorKind::BadRequest, format!("{} takes no descriptors", call.method()));
        return encode_response::<()>(id, &Err(refused));
    }
    match call {
        RootCall::Version(call) => reply(&call, id, version(helper, &call)),
        RootCall::NetworkEnsure(call) => {
            let mut firewall = network(helper);
            reply(&call, id, ensure_network(helper, &mut firewall, &call).map(changed))
        }
        RootCall::FirewallForeign(call) => reply(&call, id, foreign(helper)),
        RootCall::DnsListen(call) => {
            let opened = dns::listen(helper.settings.address).map_err(|e| e.answer());
            let opened = opened.map(|sockets| {
                carried.extend(sockets.into_iter().flatten());
                if !carried.is_empty() && helper.station.is_the_hosts() {
                    resolver::tell(&helper.settings);
                }
                changed(!carried.is_empty())
            });
            reply(&call, id, opened)
        }
        RootCall::TapCreate(call) => {
            let mut firewall = network(helper);
            let uid = helper.uid_of(&call.vm).unwrap_or(0);
            let outcome = tap::create(&call, uid, &helper.settings, &mut firewall);
            if call.nat && outcome.is_ok() && helper.station.is_opened_by_docker() {
                firewall::open_dockers(&helper.settings);
            }
            reply(&call, id, outcome.map(changed).map_err(|e| e.answer()))
        }
        RootCall::TapDelete(call) => {
            let mut firewall = network(helper);
            reply(&call, id, tap::delete(&call.vm, &mut firewall).map(changed).map_err(|e| e.answer()))
        }
        RootCall::SnapshotCreate(call) => {
            let made = snapshots(helper, |owner| snapshot::create(&call.vm, owner, &descriptors));
            reply(&call, id, made)
        }
        RootCall::SnapshotDelete(call) => reply(&call, id, snapshots(helper, |_| snapshot::delete(&call.vm))),
        RootCall::ProcessStart(call) => {
            let asked = call.clone();
            reply(&asked, id, process::start(helper, call, descriptors).map_err(|e: StartError| e.answer()))
        }
        RootCall::ProcessSignal(call) => {
            let outcome = process::signal(&call.vm, call.process, call.signal, helper.station.known_by());
            reply(&call, id, outcome.map(changed).map_err(|e: SignalError| e.answer()))
        }
        RootCall::ProcessKillAll(call) => {
            // One that is being started is found when it has been.
            let _none_starts = helper.turns.take(&call.vm);
            reply(&call, id, process::kill_all(&call.vm, helper.station.known_by()).map_err(|e| e.answer()))
        }
        RootCall::InventoryRequest(call) => reply(
            &call,
            id,
            inventory::inventory(helper.station.known_by()).map_err(|e: LookError| e.answer()),
        ),
        RootCall::Shutdown(call) => reply(&call, id, helper.station.leave().map(|()| changed(true))),
    }
}

fn version(helper: &Helper, call: &Version) -> Result<VersionReply, RpcError> {
    if call.protocol != PROTOCOL_VERSION {
        let message = format!("this bangerd-root speaks protocol {PROTOCOL_VERSION}, not {}", call.protocol);
        let both = "bangerd and bangerd-root are of different builds";
        return Err(RpcError::new(ErrorKind::BadVersion, message).with_hint(match helper.station {
            Station::Local { .. } => format!("{both}: `banger daemon stop`, then try again"),
            Station::System { .. } => format!("{both}: `{}`", banger_system::RESTART),
        }));
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
        | RootCall::FirewallForeign(_)
        | RootCall::DnsListen(_)
        | RootCall::InventoryRequest(_)
        | RootCall::Shutdown(_) => return None,
        RootCall::TapCreate(call) => &call.vm,
        RootCall::TapDelete(call) => &call.vm,
        RootCall::SnapshotCreate(call) => &call.vm,
        RootCall::SnapshotDelete(call) => &call.vm,
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
        Ok(_) if matches!(M::NAME, "version" | "inventory" | "firewall.foreign") => tracing::debug!("done"),
        Ok(_) => tracing::info!("done"),
        Err(error) => tracing::error!(kind = ?error.kind, %error, "not done"),
    }
    encode_response(id, &outcome)
}

/// The rules come before the bridge on which something could arrive.
fn ensure_network(helper: &Helper, firewall: &mut Firewall, call: &NetworkEnsure) -> Result<bool, RpcError> {
    let ruled = firewall.ensure(&helper.settings, &call.barred).map_err(|e| e.answer())?;
    let bridged = bridge::ensure(&helper.settings).map_err(|e| e.answer())?;
    if bridged && helper.station.is_the_hosts() {
        resolver::tell(&helper.settings);
    }
    Ok(bridged | ruled)
}

/// In namespaces of its own there is no firewall but the helper's.
fn foreign(helper: &Helper) -> Result<Vec<ForeignChain>, RpcError> {
    match helper.station.is_the_hosts() {
        true => firewall::foreign(&helper.settings).map_err(|e| e.answer()),
        false => Ok(Vec::new()),
    }
}

/// The host's own block devices: only the installed helper has them.
fn snapshots(
    helper: &Helper,
    act: impl FnOnce(u32) -> Result<bool, SnapshotError>,
) -> Result<Changed, RpcError> {
    match &helper.station {
        Station::Local { .. } => {
            let message = "block devices are out of reach of a helper that runs as an ordinary user";
            Err(RpcError::new(ErrorKind::Unavailable, message))
        }
        Station::System { owner, .. } => {
            let _alone = helper.disks.lock().unwrap_or_else(PoisonError::into_inner);
            act(owner.uid).map(changed).map_err(|e| e.answer())
        }
    }
}

fn network(helper: &Helper) -> MutexGuard<'_, Firewall> {
    helper.network.lock().unwrap_or_else(PoisonError::into_inner)
}

fn changed(changed: bool) -> Changed {
    Changed { changed }
}
