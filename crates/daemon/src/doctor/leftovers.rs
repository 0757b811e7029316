//! Things of VMs that no VM has any more.

use crate::Services;
use crate::paths::StateFolder;
use crate::store::VmRecord;
use banger_protocol::ids::VmId;
use banger_protocol::root_api::InventoryRequest;
use std::collections::BTreeSet;

/// What of VMs can be seen, whether it is somebody's or not.
#[derive(Debug, Default)]
pub(super) struct Seen {
    folders: Vec<String>,
    /// Whose, and its number.
    processes: Vec<(VmId, u32)>,
    taps: Vec<VmId>,
}

impl Seen {
    /// To be looked at before the records are read: a VM has its row before anything else. What lives in the helper's
    /// namespaces is only seen with a helper that a daemon can ask.
    pub(super) fn look(state: &StateFolder, daemon: Option<&Services>) -> Self {
        let folders = std::fs::read_dir(state.vms()).into_iter().flatten().filter_map(Result::ok);
        let folders = folders.filter_map(|entry| entry.file_name().into_string().ok()).collect();
        let processes =
            state.living_vm_processes().into_iter().map(|(vm, process)| (vm, process.pid)).collect();
        let ask = |services: &Services| services.helper.call_if_anything_lives(&InventoryRequest {});
        let taps = match daemon.map(ask).transpose() {
            Ok(inventory) => inventory.flatten().map(|inventory| inventory.taps).unwrap_or_default(),
            Err(error) => {
                tracing::warn!(?error, "the helper's inventory could not be read");
                Vec::new()
            }
        };
        Self { folders, processes, taps }
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
        let taps = self.taps.iter().filter(|vm| !up.contains(vm.as_str()));
        folders
            .map(|name| format!("folder vms/{name}"))
            .chain(processes.map(|(vm, pid)| format!("process {pid} of VM {vm}")))
            .chain(taps.map(|vm| format!("tap {}", vm.tap_name())))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::tests::recorded;
    use crate::vm::VmState;

    #[test]
    fn what_a_vm_that_is_down_or_unknown_has_is_left_over_but_for_a_known_ones_folder() {
        let (down, unreadable, unknown) = (VmId::random(), VmId::random(), VmId::random());
        let seen = Seen {
            folders: [&down, &unreadable, &unknown].map(ToString::to_string).into(),
            processes: vec![(down.clone(), 7), (unreadable.clone(), 8)],
            taps: vec![unknown.clone()],
        };
        let vm = VmRecord { id: down.clone(), state: VmState::Created, ..recorded() };
        let found = seen.unowned(std::slice::from_ref(&vm), &[unreadable.to_string()]);
        let tap = format!("tap {}", unknown.tap_name());
        assert_eq!(found, [format!("folder vms/{unknown}"), format!("process 7 of VM {down}"), tap]);
        let up = VmRecord { state: VmState::Starting, ..vm };
        assert_eq!(Seen { taps: Vec::new(), ..seen }.unowned(&[up], &[]).len(), 3);
    }
}
