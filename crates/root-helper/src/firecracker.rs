//! Firecracker's arguments; pure.
//!
//! They are the same for every VM, but for its id, by which Firecracker's own log names it and which is told it by
//! whoever starts it. What machine it shall be comes later over its API, from the owner; nothing of that needs the
//! helper.

use banger_protocol::root_api::{API_SOCKET, FIRECRACKER_LOG, FirecrackerFiles};

/// The arguments of a VM's Firecracker.
///
/// The serial console goes to standard output, so the log goes elsewhere. What it says there at
/// its end tells a guest's reset from a VMM that was killed.
pub(crate) fn arguments() -> Vec<String> {
    let (api, log) = (FirecrackerFiles::in_folder(API_SOCKET), FirecrackerFiles::in_folder(FIRECRACKER_LOG));
    ["--api-sock", &api, "--log-path", &log, "--level", "Info"].map(str::to_owned).to_vec()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_is_the_same_for_every_vm() {
        let expected = "--api-sock /vm/api.sock --log-path /vm/firecracker.log --level Info";
        assert_eq!(arguments().join(" "), expected);
    }
}
