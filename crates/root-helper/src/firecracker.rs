//! Firecracker's arguments; pure.
//!
//! They are the same for every VM but for its id, by which Firecracker's own log names it. What machine it shall be
//! comes later over its API, from the owner; nothing of that needs the helper.

use banger_protocol::ids::VmId;
use banger_protocol::root_api::{API_SOCKET, FIRECRACKER_LOG};

/// The arguments of a VM's Firecracker.
///
/// The serial console goes to standard output, so the log goes elsewhere. What it says there at
/// its end tells a guest's reset from a VMM that was killed.
pub(crate) fn arguments(vm: &VmId) -> Vec<String> {
    let words =
        ["--id", vm.as_str(), "--api-sock", API_SOCKET, "--log-path", FIRECRACKER_LOG, "--level", "Info"];
    words.map(str::to_owned).to_vec()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_is_relative_to_the_folder_and_the_same_for_every_vm() {
        let id: VmId = "0123456789ab".parse().unwrap();
        let expected = "--id 0123456789ab --api-sock api.sock --log-path firecracker.log --level Info";
        assert_eq!(arguments(&id).join(" "), expected);
    }
}
