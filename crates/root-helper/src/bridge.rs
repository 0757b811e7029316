//! The bridge that VMs' taps are ports of.
//!
//! It has the host's address in the guests' network. One dummy link is always its port, where the kernel has
//! dummies: a bridge without a port has no carrier, and what watches links (systemd-resolved) leaves one
//! without carrier alone.

use crate::link::{self, Kind, Link, Netlink};
use crate::settings::carrier_name;
use banger_protocol::root_api::{MacAddress, Settings};
use banger_protocol::wire::{ErrorKind, RpcError};
use netlink_packet_route::link::InfoKind;
use std::io;

#[derive(Debug, thiserror::Error)]
pub(crate) enum BridgeError {
    #[error("the bridge {name} was not set up: {step}")]
    Step {
        name: String,
        step: &'static str,
        #[source]
        source: io::Error,
    },
    #[error("the bridge {bridge} was not set up: {link} is a link of another kind")]
    Foreign { bridge: String, link: String },
}

impl BridgeError {
    pub(crate) fn answer(&self) -> RpcError {
        match self {
            Self::Step { .. } => RpcError::from_error(ErrorKind::OperationFailed, self),
            Self::Foreign { .. } => RpcError::from_error(ErrorKind::Refused, self),
        }
    }
}

/// Makes what is missing of the bridge and says whether anything was.
pub(crate) fn ensure(settings: &Settings) -> Result<bool, BridgeError> {
    let name = &settings.bridge;
    let failed = |step| move |source| BridgeError::Step { name: name.clone(), step, source };
    let mut netlink = Netlink::open().map_err(failed("netlink is not available"))?;

    let (bridge, made) = find_or_add(&mut netlink, settings, name, Kind::Bridge)?;
    let mut changed = made | link::disable_ipv6(name).map_err(failed("IPv6 stays on"))?;
    // Without one of its own it has that of one of its ports, and guests remember what it was.
    let mac = MacAddress::of_guest(settings.address);
    changed |= netlink.set_mac(&bridge, mac).map_err(failed("it has no MAC of its own"))?;
    changed |= ensure_carrier(&mut netlink, settings, &bridge)?;
    let (address, prefix) = (settings.address, settings.prefix);
    changed |= netlink.add_address(&bridge, address, prefix).map_err(failed("it has no address"))?;
    changed |= netlink.bring_up(&bridge).map_err(failed("it stays down"))?;
    Ok(changed)
}

fn ensure_carrier(netlink: &mut Netlink, settings: &Settings, bridge: &Link) -> Result<bool, BridgeError> {
    let name = carrier_name(&bridge.name);
    let failed = |source| BridgeError::Step { name: bridge.name.clone(), step: "it has no carrier", source };
    let (dummy, made) = match find_or_add(netlink, settings, &name, Kind::Dummy) {
        // The kernel is built without dummies. Guests do not need it.
        Err(BridgeError::Step { source, .. }) if source.raw_os_error() == Some(libc::EOPNOTSUPP) => {
            tracing::debug!(bridge = bridge.name, "this kernel has no dummy links");
            return Ok(false);
        }
        found => found?,
    };
    let changed = made | link::disable_ipv6(&name).map_err(failed)?;
    Ok(changed | netlink.make_port(&dummy, bridge).map_err(failed)?)
}

fn find_or_add(
    netlink: &mut Netlink,
    settings: &Settings,
    name: &str,
    kind: Kind,
) -> Result<(Link, bool), BridgeError> {
    let bridge = &settings.bridge;
    let failed = |step| move |source| BridgeError::Step { name: bridge.clone(), step, source };
    match netlink.link(name).map_err(failed("its links were not looked up"))? {
        Some(link) if link.kind == kind => Ok((link, false)),
        Some(link) => Err(BridgeError::Foreign { bridge: bridge.clone(), link: link.name }),
        None => {
            let info = if kind == Kind::Bridge { InfoKind::Bridge } else { InfoKind::Dummy };
            Ok((netlink.add(name, info).map_err(failed("a link was not created"))?, true))
        }
    }
}
