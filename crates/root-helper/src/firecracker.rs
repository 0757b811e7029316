//! Firecracker's arguments; pure.
//!
//! They are the same for every VM, but for its id, by which Firecracker's own log names it and which is told it by
//! whoever starts it. What machine it shall be comes later over its API, from the owner; nothing of that needs the
//! helper.

use banger_protocol::root_api::{API_SOCKET, FIRECRACKER_LOG, FIRECRACKER_METRICS, FirecrackerFiles};

/// The arguments of a VM's Firecracker.
///
/// The serial console goes to standard output, so the log goes elsewhere. What it says there at
/// its end tells a guest's reset from a VMM that was killed. Named here, its counters cost a start no call.
pub(crate) fn arguments() -> Vec<String> {
    let files = [API_SOCKET, FIRECRACKER_LOG, FIRECRACKER_METRICS].map(FirecrackerFiles::in_folder);
    let [api, log, metrics] = files.each_ref().map(String::as_str);
    ["--api-sock", api, "--log-path", log, "--level", "Info", "--metrics-path", metrics]
        .map(str::to_owned)
        .to_vec()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_is_the_same_for_every_vm() {
        let expected = "--api-sock /vm/api.sock --log-path /vm/firecracker.log --level Info \
                        --metrics-path /vm/metrics.log";
        assert_eq!(arguments().join(" "), expected);
    }
}
