//! Things of VMs that no VM has any more.

use crate::Services;
use crate::paths::StateFolder;
use crate::store::VmRecord;
use banger_protocol::ids::VmId;
use banger_protocol::root_api::{Inventory, InventoryRequest};
use std::collections::BTreeSet;

/// What of VMs can be seen, whether it is somebody's or not.
#[derive(Debug, Default)]
pub(super) struct Seen {
    folders: Vec<String>,
    /// Whose, and its number.
    processes: Vec<(VmId, u32)>,
    /// What the helper holds.
    held: Inventory,
}

impl Seen {
    /// To be looked at before the records are read: a VM has its row before anything else. What lives in the helper's
    /// namespaces is only seen with a helper that a daemon can ask.
    pub(super) fn look(state: &StateFolder, daemon: Option<&Services>) -> Self {
        let folders = std::fs::read_dir(state.vms()).into_iter().flatten().filter_map(Result::ok);
        let folders = folders.filter_map(|entry| entry.file_name().into_string().ok()).collect();
        let mut processes: Vec<(VmId, u32)> =
            state.living_vm_processes().into_iter().map(|(vm, process)| (vm, process.pid)).collect();
        let ask = |services: &Services| services.helper.call_if_anything_lives(&InventoryRequest {});
        let held = match daemon.map(ask).transpose() {
            Ok(inventory) => inventory.flatten().unwrap_or_default(),
            Err(error) => {
                tracing::warn!(?error, "the helper's inventory could not be read");
                Inventory::default()
            }
        };
        // Those of an installed helper are not seen from here.
        processes.extend(held.processes.iter().map(|found| (found.vm.clone(), found.process.pid)));
        processes.sort();
        processes.dedup();
        Self { folders, processes, held }
    }

    /// What belongs to none of these VMs, or to one that is down. `unreadable` are ids whose VM may be anything. Pure.
    pub(super) fn unowned(&self, vms: &[VmRecord], unreadable: &[String]) -> Vec<String> {
        let ids = |is_wanted: fn(&VmRecord) -> bool| -> BTreeSet<&str> {
            let wanted = vms.iter().filter(move |vm| is_wanted(vm)).map(|vm| vm.id.as_str());
            wanted.chain(unreadable.iter().map(String::as_str)).collect()
        };
        let (known, up) = (ids(|_| true), ids(|vm| !vm.state.is_down()));
        let folders = self.folders.iter().filter(|name| !known.contains(name.as_str()));
        let processes = self.processes.iter().filter(|(vm, _)| !up.contains(vm.as_str()));
        let is_down = |vm: &&VmId| !up.contains(vm.as_str());
        let taps = self.held.taps.iter().filter(is_down);
        let devices = self.held.snapshots.iter().filter(is_down);
        let loops = self.held.loops.iter().filter(|found| found.vm.as_ref().is_some_and(|vm| is_down(&vm)));
        folders
            .map(|name| format!("directory vms/{name}"))
            .chain(processes.map(|(vm, pid)| format!("process {pid} of VM {vm}")))
            .chain(taps.map(|vm| format!("tap {}", vm.tap_name())))
            .chain(devices.map(|vm| format!("block device {}", vm.device_name())))
            .chain(loops.map(|found| format!("/dev/loop{}", found.number)))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::tests::recorded;
    use crate::vm::VmState;
    use banger_protocol::root_api::OwnedLoop;

    #[test]
    fn what_a_vm_that_is_down_or_unknown_has_is_left_over_but_for_a_known_ones_folder() {
        let (down, unreadable, unknown) = (VmId::random(), VmId::random(), VmId::random());
        let seen = Seen {
            folders: [&down, &unreadable, &unknown].map(ToString::to_string).into(),
            processes: vec![(down.clone(), 7), (unreadable.clone(), 8)],
            held: Inventory {
                taps: vec![unknown.clone()],
                snapshots: vec![unknown.clone(), unreadable.clone()],
                loops: vec![
                    OwnedLoop { number: 3, vm: Some(unknown.clone()) },
                    OwnedLoop { number: 4, vm: None },
                ],
                ..Inventory::default()
            },
        };
        let vm = VmRecord { id: down.clone(), state: VmState::Created, ..recorded() };
        let found = seen.unowned(std::slice::from_ref(&vm), &[unreadable.to_string()]);
        let tap = format!("tap {}", unknown.tap_name());
        let device = format!("block device {}", unknown.device_name());
        let (folder, process) = (format!("directory vms/{unknown}"), format!("process 7 of VM {down}"));
        assert_eq!(found, [folder, process, tap, device, "/dev/loop3".to_owned()]);
        let up = VmRecord { state: VmState::Starting, ..vm };
        assert_eq!(Seen { held: Inventory::default(), ..seen }.unowned(&[up], &[]).len(), 3);
    }
}
