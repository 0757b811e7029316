//! Taking the installed helper's things off the host, when it is uninstalled: VMs' processes, disks, taps, the bridge, the firewall.
//!
//! Everything is found by its name, and what is absent is gone already. The daemon has stopped its VMs before; what is
//! found here of them is what it could not stop.

use crate::firewall::{self, Firewall, FirewallError};
use crate::inventory::{self, KnownBy, LookError};
use crate::link::{Kind, Netlink};
use crate::process::{self, SignalError};
use crate::settings::carrier_name;
use crate::snapshot::{self, SnapshotError};
use crate::tap::{self, TapError};
use banger_protocol::root_api::Settings;
use std::io;

#[derive(Debug, thiserror::Error)]
pub(crate) enum ClearError {
    #[error("the leftovers of VMs were not listed")]
    Look(#[source] LookError),
    #[error("a VM's processes were not ended")]
    Process(#[source] SignalError),
    #[error("a VM's disk was not removed")]
    Disk(#[source] SnapshotError),
    #[error("a VM's tap was not removed")]
    Tap(#[source] TapError),
    #[error("the firewall was not removed")]
    Firewall(#[source] FirewallError),
    #[error("{link} was not removed")]
    Link {
        link: String,
        #[source]
        source: io::Error,
    },
}

pub(crate) fn clear(settings: &Settings) -> Result<(), ClearError> {
    let left = inventory::inventory(KnownBy::Scope).map_err(ClearError::Look)?;
    for found in &left.processes {
        process::kill_all(&found.vm, KnownBy::Scope).map_err(ClearError::Process)?;
    }
    for vm in &left.snapshots {
        snapshot::delete(vm).map_err(ClearError::Disk)?;
    }
    let mut firewall = Firewall::default();
    for vm in &left.taps {
        tap::delete(vm, &mut firewall).map_err(ClearError::Tap)?;
    }
    firewall::remove(settings).map_err(ClearError::Firewall)?;
    for (name, kind) in
        [(carrier_name(&settings.bridge), Kind::Dummy), (settings.bridge.clone(), Kind::Bridge)]
    {
        let failed = |source| ClearError::Link { link: name.clone(), source };
        let mut netlink = Netlink::open().map_err(failed)?;
        // A link of this name and of another kind is somebody else's.
        if let Some(link) = netlink.link(&name).map_err(failed)?.filter(|link| link.kind == kind) {
            netlink.delete(&link).map_err(failed)?;
        }
    }
    Ok(())
}
