//! A VM's root disk on this host: its image's file, never written, with a file of the VM's own changes over it.
//!
//! ```text
//!   create   prove both files → loop for each → device → table → in force
//!   delete   device; the loops clear themselves
//! ```
//!
//! The device's name and its UUID are computed from the VM's id. A device of this name without this UUID is not ours
//! and is not touched. Any step can be the last one of a helper that was killed: a device without a table is completed
//! by the next `create` and removed by `delete`.
//!
//! The kernel reads the table of what has changed from the file of changes. That is why a file which a guest has
//! written itself, as in a guest-snapshot, must never come here; the daemon calls the two by different names.

use crate::deadline::until_not_busy;
use crate::loop_device;
use crate::owned_file::{self, NotOwned, Use};
use crate::sys::device_mapper::{Control, Status, Table};
use banger_protocol::ids::VmId;
use banger_protocol::root_api::changes_size;
use banger_protocol::wire::{ErrorKind, RpcError};
use std::fs::File;
use std::io;
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::fs::MetadataExt as _;

const SECTOR: u64 = 512;
/// Changes are kept in pieces of 8 sectors, a page.
const CHUNK_SECTORS: u32 = 8;
const KIND: &str = "snapshot";

#[derive(Debug, thiserror::Error)]
pub(crate) enum SnapshotError {
    #[error("the disk {name} was not created: two descriptors belong to it and {got} came")]
    Descriptors { name: String, got: usize },
    #[error("the disk {name} was not created")]
    File {
        name: String,
        #[source]
        source: NotOwned,
    },
    #[error(
        "the disk {name} was not created: its image has {size} bytes, which is not a whole number of sectors"
    )]
    BaseSize { name: String, size: u64 },
    #[error(
        "the disk {name} was not created: the file of its changes has {size} bytes and may have to hold {needed}"
    )]
    TooSmall { name: String, size: u64, needed: u64 },
    #[error("the disk {name} was not created: its {which} is in use as another disk already")]
    Taken { name: String, which: &'static str },
    #[error("the disk {name} was not created: it is there, and of other files")]
    Other { name: String },
    #[error("the disk {name} was not touched: the device of this name is not ours")]
    Foreign { name: String },
    #[error("the disk {name} {what}")]
    Step {
        name: String,
        what: &'static str,
        #[source]
        source: io::Error,
    },
}

impl SnapshotError {
    pub(crate) fn answer(&self) -> RpcError {
        match self {
            Self::Descriptors { .. } | Self::BaseSize { .. } | Self::TooSmall { .. } => {
                RpcError::from_error(ErrorKind::BadRequest, self)
            }
            Self::File { source, .. } => RpcError::from_error(source.answer().kind, self),
            Self::Taken { .. } | Self::Other { .. } | Self::Foreign { .. } => {
                RpcError::from_error(ErrorKind::Refused, self)
            }
            Self::Step { source, .. } if source.kind() == io::ErrorKind::NotFound => {
                RpcError::from_error(ErrorKind::Unavailable, self)
                    .with_hint("sudo modprobe -a loop dm_mod dm_snapshot")
            }
            Self::Step { .. } => RpcError::from_error(ErrorKind::OperationFailed, self),
        }
    }
}

/// Makes the VM's disk, unless it is there; says whether anything changed. The caller lets nobody else make or remove
/// one meanwhile.
pub(crate) fn create(vm: &VmId, owner: u32, given: &[OwnedFd]) -> Result<bool, SnapshotError> {
    let name = vm.device_name();
    let [base, changes] = given else {
        return Err(SnapshotError::Descriptors { name, got: given.len() });
    };
    let not_owned = |source| SnapshotError::File { name: name.clone(), source };
    let base = owned_file::prove("the image's file", base.as_fd(), owner, Use::Reading).map_err(not_owned)?;
    let changes =
        owned_file::prove("the file of changes", changes.as_fd(), owner, Use::Both).map_err(not_owned)?;
    if base.identity == changes.identity {
        return Err(SnapshotError::Taken { name, which: "file of changes" });
    }
    check_sizes(&name, base.size, changes.size)?;
    let failed = |what| {
        let name = name.clone();
        move |source| SnapshotError::Step { name, what, source }
    };
    let control = Control::open().map_err(failed("was not created: the device mapper is not available"))?;
    let existing = find(&control, vm)?;
    let loops =
        loop_device::all().map_err(failed("was not made: the loop devices were not looked through"))?;
    let is_there = existing.as_ref().is_some_and(|status| status.active);
    if is_there {
        let table = control.table(&name).map_err(failed("was not looked at"))?;
        let named = |wanted: &owned_file::OwnedFile<'_>| -> Vec<String> {
            loops.iter().filter(|found| found.holds(wanted)).filter_map(|found| found.name().ok()).collect()
        };
        let (bases, stores) = (named(&base), named(&changes));
        let same = table.as_ref().is_some_and(|table| is_of(table, &bases, &stores));
        return if same { Ok(false) } else { Err(SnapshotError::Other { name }) };
    }
    if loops.iter().any(|found| found.holds(&changes)) {
        return Err(SnapshotError::Taken { name, which: "file of changes" });
    }
    if loops.iter().any(|found| found.holds(&base) && !found.read_only()) {
        return Err(SnapshotError::Taken { name, which: "image" });
    }
    let base_loop =
        loop_device::base(loops, &base).map_err(failed("was not made: its image got no loop device"))?;
    let store =
        loop_device::changes(vm, &changes).map_err(failed("was not made: its changes got no loop device"))?;
    let devices = base_loop.name().and_then(|base| Ok((base, store.name()?)));
    let (base_name, store_name) =
        devices.map_err(failed("was not made: its loop devices were not looked at"))?;
    if existing.is_none() {
        control.create(&name, &uuid(vm)).map_err(failed("was not created"))?;
    }
    let table = table(base.size, &base_name, &store_name);
    control.load(&name, &table).map_err(failed("was made without a table"))?;
    control.resume(&name).map_err(failed("was made and its table is not in force"))?;
    // From here on the table has the loops open.
    drop((base_loop, store));
    Ok(true)
}

/// Removes the VM's disk, if it is there; says whether it was.
pub(crate) fn delete(vm: &VmId) -> Result<bool, SnapshotError> {
    let name = vm.device_name();
    let failed = |what| {
        let name = name.clone();
        move |source| SnapshotError::Step { name, what, source }
    };
    let control = match Control::open() {
        // Without a device mapper there are no devices.
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
        control => control.map_err(failed("was not removed"))?,
    };
    if find(&control, vm)?.is_none() {
        return Ok(false);
    }
    until_not_busy(|| control.remove(&name)).map_err(failed("was not removed"))?;
    Ok(true)
}

/// The number of the VM's device, as in `st_rdev`, for who makes a node of it.
pub(crate) fn device(vm: &VmId) -> Result<u64, SnapshotError> {
    let name = vm.device_name();
    let failed = |source| SnapshotError::Step { name: name.clone(), what: "was not found", source };
    let control = Control::open().map_err(failed)?;
    let found = find(&control, vm)?.filter(|status| status.active);
    found.map(|status| status.device).ok_or_else(|| failed(io::ErrorKind::NotFound.into()))
}

/// Opens the VM's device for its VMM.
pub(crate) fn open(vm: &VmId) -> Result<File, SnapshotError> {
    let device = device(vm)?;
    let failed = |source| SnapshotError::Step { name: vm.device_name(), what: "was not opened", source };
    // The kernel's own name for it, which says nothing of whose it is.
    let path = format!("/dev/dm-{}", rustix::fs::minor(device));
    let file = File::options().read(true).write(true).open(path).map_err(failed)?;
    if file.metadata().map_err(failed)?.rdev() != device {
        return Err(failed(io::ErrorKind::NotFound.into()));
    }
    Ok(file)
}

/// VMs that have a device, or the beginning of one.
pub(crate) fn all() -> io::Result<Vec<VmId>> {
    let control = match Control::open() {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        control => control?,
    };
    let vm_of = |name: &String| name.strip_prefix("banger-")?.parse::<VmId>().ok();
    let named: Vec<_> = control.names()?.iter().filter_map(vm_of).collect();
    let is_ours =
        |vm: &VmId| control.status(&vm.device_name()).map(|found| found.is_some_and(|s| s.uuid == uuid(vm)));
    named.into_iter().filter_map(|vm| is_ours(&vm).map(|ours| ours.then_some(vm)).transpose()).collect()
}

fn find(control: &Control, vm: &VmId) -> Result<Option<Status>, SnapshotError> {
    let name = vm.device_name();
    match control.status(&name) {
        Ok(Some(status)) if status.uuid != uuid(vm) => Err(SnapshotError::Foreign { name }),
        Ok(found) => Ok(found),
        Err(source) => Err(SnapshotError::Step { name, what: "was not looked up", source }),
    }
}

/// By which a device of ours is told from one that only has the name.
fn uuid(vm: &VmId) -> String {
    format!("BANGER-{vm}")
}

fn check_sizes(name: &str, base: u64, changes: u64) -> Result<(), SnapshotError> {
    if base == 0 || !base.is_multiple_of(SECTOR) {
        return Err(SnapshotError::BaseSize { name: name.to_owned(), size: base });
    }
    let needed =
        base.checked_add(base / 100).and_then(|sum| sum.checked_add(32 << 20)).map(|_| changes_size(base));
    match needed {
        Some(needed) if changes >= needed => Ok(()),
        _ => {
            let needed = needed.unwrap_or(u64::MAX);
            Err(SnapshotError::TooSmall { name: name.to_owned(), size: changes, needed })
        }
    }
}

/// `Documentation/admin-guide/device-mapper/snapshot.rst`; `P` is for a store that outlasts the device.
fn table(base_size: u64, base: &str, store: &str) -> Table {
    Table {
        length: base_size / SECTOR,
        kind: KIND.to_owned(),
        parameters: format!("{base} {store} P {CHUNK_SECTORS}"),
    }
}

/// Whether a table is of one of these bases and one of these stores.
fn is_of(table: &Table, bases: &[String], stores: &[String]) -> bool {
    let mut words = table.parameters.split(' ');
    let has =
        |names: &[String], word: Option<&str>| word.is_some_and(|word| names.iter().any(|name| name == word));
    table.kind == KIND && has(bases, words.next()) && has(stores, words.next())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_is_known_by_its_two_devices() {
        let names = |names: &[&str]| names.iter().map(|&name| name.to_owned()).collect::<Vec<_>>();
        let made = table(4096, "7:0", "7:1");
        assert_eq!(made.length, 8);
        assert_eq!(made.parameters, "7:0 7:1 P 8");
        assert!(is_of(&made, &names(&["7:4", "7:0"]), &names(&["7:1"])));
        assert!(!is_of(&made, &names(&["7:1"]), &names(&["7:0"])));
        assert!(!is_of(&made, &[], &names(&["7:1"])));
        assert!(!is_of(&Table { kind: "linear".to_owned(), ..made }, &names(&["7:0"]), &names(&["7:1"])));
    }

    #[test]
    fn a_file_of_changes_holds_every_change_there_can_be() {
        let base = 1 << 30;
        assert!(check_sizes("d", base, changes_size(base)).is_ok());
        for (base, changes) in
            [(0, 1 << 40), (513, 1 << 40), (base, base), (base, changes_size(base) - 1), (!511, u64::MAX)]
        {
            assert!(check_sizes("d", base, changes).is_err(), "{base} {changes}");
        }
    }
}
