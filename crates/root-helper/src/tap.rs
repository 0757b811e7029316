//! A VM's tap: an isolated port of the bridge whose name is computed from the VM's ID.
//!
//! A link of that name that is not a tap is not banger's and is not touched. The owner is recorded on the tap, and the
//! firewall's rules for it follow from that record: first it is written, then the firewall is opened, then the tap comes up.

use crate::firewall::{Firewall, FirewallError, Guest, guest_of};
use crate::link::{self, Kind, Link, Netlink};
use crate::settings;
use crate::sys::{spawn, tun};
use banger_protocol::ids::VmId;
use banger_protocol::root_api::{Settings, TapCreate};
use banger_protocol::wire::{ErrorKind, RpcError};
use std::fs::File;
use std::io;
use std::net::Ipv4Addr;
use std::os::unix::fs::PermissionsExt as _;

const DEVICE: &str = "/dev/net/tun";

#[derive(Debug, thiserror::Error)]
pub(crate) enum TapError {
    #[error("the tap {name} {what}")]
    Step {
        name: String,
        what: &'static str,
        #[source]
        source: io::Error,
    },
    #[error("the tap {name} was not made or opened: {DEVICE} cannot be opened")]
    Device {
        name: String,
        #[source]
        source: io::Error,
    },
    #[error("the tap {name} was not touched: a link of this name exists that is not a tap")]
    Foreign { name: String },
    #[error("the tap {name} was not created: the bridge {bridge} does not exist")]
    NoBridge { name: String, bridge: String },
    #[error("the tap {name} was not opened: it does not exist")]
    Absent { name: String },
    #[error("the tap {name} was not made: {address} is not an address of a guest")]
    NotAGuest { name: String, address: Ipv4Addr },
    #[error(transparent)]
    Firewall(FirewallError),
}

impl TapError {
    pub(crate) fn answer(&self) -> RpcError {
        match self {
            Self::Step { .. } => RpcError::from_error(ErrorKind::OperationFailed, self),
            Self::Device { .. } => {
                RpcError::from_error(ErrorKind::Unavailable, self).with_hint(device_hint())
            }
            Self::Foreign { .. } => RpcError::from_error(ErrorKind::Refused, self),
            Self::NotAGuest { .. } => RpcError::from_error(ErrorKind::BadRequest, self),
            Self::Firewall(error) => error.answer(),
            Self::NoBridge { .. } | Self::Absent { .. } => RpcError::from_error(ErrorKind::NotFound, self),
        }
    }
}

/// Makes the VM's tap a port of the bridge, unless it is one; says whether anything changed. The user id is that of
/// the VM's processes, one of which may open the tap itself.
pub(crate) fn create(
    request: &TapCreate,
    uid: u32,
    settings: &Settings,
    firewall: &mut Firewall,
) -> Result<bool, TapError> {
    let guest = guest_of(request);
    let (name, bridge) = (guest.tap.clone(), &settings.bridge);
    if !settings::is_guests(settings, guest.address) {
        return Err(TapError::NotAGuest { name, address: guest.address });
    }
    let failed = |what| {
        let name = name.clone();
        move |source| TapError::Step { name, what, source }
    };
    let mut netlink = Netlink::open().map_err(failed("was not made: netlink is not available"))?;
    let bridge_link = netlink.link(bridge).map_err(failed("was not made: its bridge was not looked up"))?;
    let Some(bridge_link) = bridge_link.filter(|link| link.kind == Kind::Bridge) else {
        return Err(TapError::NoBridge { name, bridge: bridge.clone() });
    };
    // A tap has one user at a time, and a copy of the descriptor would be another one.
    let alone = spawn::without_children();
    let (tap, made) = match find(&mut netlink, &name)? {
        Some(tap) => {
            let device = open_device(&name)?;
            match tun::attach(&device, &name).and_then(|()| tun::give_to(&device, uid)) {
                // Its VM has it already.
                Err(error) if error.raw_os_error() == Some(libc::EBUSY) => {}
                outcome => outcome.map_err(failed("was not given to its VM"))?,
            }
            (tap, false)
        }
        None => {
            let device = open_device(&name)?;
            tun::attach(&device, &name)
                .and_then(|()| tun::give_to(&device, uid))
                .and_then(|()| tun::persist(&device))
                .map_err(failed("was not created"))?;
            (find(&mut netlink, &name)?.ok_or_else(|| TapError::Absent { name: name.clone() })?, true)
        }
    };
    drop(alone);
    let mut changed = made | link::disable_ipv6(&name).map_err(failed("was left down: IPv6 stays on"))?;
    changed |=
        netlink.set_alias(&tap, &guest.alias()).map_err(failed("was left down: nothing stands on it"))?;
    firewall.admit(&guest, Guest::of(&tap).as_ref()).map_err(TapError::Firewall)?;
    Ok(changed | netlink.make_port(&tap, &bridge_link).map_err(failed("was not connected to its bridge"))?)
}

/// Removes the VM's tap with what was let through it, if it is there; says whether it was.
pub(crate) fn delete(vm: &VmId, firewall: &mut Firewall) -> Result<bool, TapError> {
    let name = vm.tap_name();
    let failed = |source| TapError::Step { name: name.clone(), what: "was not removed", source };
    let mut netlink = Netlink::open().map_err(failed)?;
    let Some(tap) = find(&mut netlink, &name)? else { return Ok(false) };
    if let Some(guest) = Guest::of(&tap) {
        firewall.expel(&guest).map_err(TapError::Firewall)?;
    }
    netlink.delete(&tap).map_err(failed)?;
    Ok(true)
}

/// Opens the VM's existing tap for its VMM.
pub(crate) fn open(vm: &VmId) -> Result<File, TapError> {
    let name = vm.tap_name();
    let failed = |source| TapError::Step { name: name.clone(), what: "was not opened", source };
    let mut netlink = Netlink::open().map_err(failed)?;
    // Looked up first: attaching to a name that nobody has makes a tap without a bridge.
    find(&mut netlink, &name)?.ok_or_else(|| TapError::Absent { name: name.clone() })?;
    let device = open_device(&name)?;
    tun::attach(&device, &name).map_err(failed)?;
    Ok(device)
}

fn find(netlink: &mut Netlink, name: &str) -> Result<Option<Link>, TapError> {
    let failed = |source| TapError::Step { name: name.to_owned(), what: "was not looked up", source };
    match netlink.link(name).map_err(failed)? {
        Some(link) if link.kind != Kind::Tap => Err(TapError::Foreign { name: name.to_owned() }),
        found => Ok(found),
    }
}

fn open_device(name: &str) -> Result<File, TapError> {
    let failed = |source| TapError::Device { name: name.to_owned(), source };
    File::options().read(true).write(true).open(DEVICE).map_err(failed)
}

fn device_hint() -> String {
    match std::fs::metadata(DEVICE) {
        Ok(found) => {
            let mode = found.permissions().mode() & 0o7777;
            format!("its mode is {mode:04o}, desktops and servers have 0666: sudo chmod 0666 {DEVICE}")
        }
        Err(_) => format!("sudo modprobe tun; in a container, pass it in: --device {DEVICE}"),
    }
}
