//! Which settings the helper accepts; pure.

use banger_protocol::ids::VmId;
use banger_protocol::root_api::Settings;
use std::net::Ipv4Addr;

/// What is put behind the bridge's name to name the link that gives it a carrier.
const CARRIER_SUFFIX: &str = "-d";
/// IFNAMSIZ without its final NUL.
const LONGEST_LINK_NAME: usize = 15;

#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub(crate) enum SettingsError {
    #[error("`{0}` is not an address with a prefix such as 172.16.0.1/24")]
    Network(String),
    #[error("{0} is not the address of a host in a private network of between /16 and /29")]
    NotAHost(String),
    #[error("`{0}` cannot name a bridge: use 1 to 13 of a-z 0-9 -, a letter first")]
    Bridge(String),
    #[error("the program `{0}` is not named by an absolute path")]
    RelativeProgram(String),
}

/// Reads `172.16.0.1/24`.
pub(crate) fn parse_network(text: &str) -> Result<(Ipv4Addr, u8), SettingsError> {
    let parsed = text.split_once('/').and_then(|(address, prefix)| {
        let digits = prefix.bytes().all(|b| b.is_ascii_digit());
        Some((address.parse().ok()?, digits.then(|| prefix.parse().ok())??))
    });
    parsed.ok_or_else(|| SettingsError::Network(text.to_owned()))
}

pub(crate) fn check(settings: &Settings) -> Result<(), SettingsError> {
    let Settings { qemu, vsock_backend, firecracker, nft, bridge, address, prefix } = settings;
    for program in [qemu, vsock_backend, firecracker, nft].into_iter().flatten() {
        if !program.starts_with('/') {
            return Err(SettingsError::RelativeProgram(program.clone()));
        }
    }
    let fits = (1..=LONGEST_LINK_NAME - CARRIER_SUFFIX.len()).contains(&bridge.len());
    let plain = bridge.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-');
    let letter_first = bridge.starts_with(|c: char| c.is_ascii_lowercase());
    if !(fits && plain && letter_first) || bridge == "lo" {
        return Err(SettingsError::Bridge(bridge.clone()));
    }
    if !(16..=29).contains(prefix) || !address.is_private() || !is_host(*address, *prefix) {
        return Err(SettingsError::NotAHost(format!("{address}/{prefix}")));
    }
    Ok(())
}

/// Whether an address is neither its network's own nor its broadcast.
fn is_host(address: Ipv4Addr, prefix: u8) -> bool {
    let host_bits = u32::MAX.checked_shr(u32::from(prefix)).unwrap_or(0);
    let host = address.to_bits() & host_bits;
    host != 0 && host != host_bits
}

/// Whether a guest can have this address: a host's of the bridge's network, and not the bridge's.
pub(crate) fn is_guests(settings: &Settings, address: Ipv4Addr) -> bool {
    let Settings { address: own, prefix, .. } = *settings;
    let network = |address: Ipv4Addr| address.to_bits() >> (32 - u32::from(prefix));
    network(address) == network(own) && address != own && is_host(address, prefix)
}

/// The name of the link that gives the bridge a carrier when it has no VM.
pub(crate) fn carrier_name(bridge: &str) -> String {
    format!("{bridge}{CARRIER_SUFFIX}")
}

/// The VM a tap belongs to, by its name.
pub(crate) fn vm_of_tap(name: &str) -> Option<VmId> {
    name.strip_prefix("bt")?.parse().ok().filter(|vm: &VmId| vm.tap_name() == name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(bridge: &str, network: &str) -> Settings {
        let (address, prefix) = parse_network(network).unwrap();
        let bridge = bridge.to_owned();
        Settings { qemu: None, vsock_backend: None, firecracker: None, nft: None, bridge, address, prefix }
    }

    #[test]
    fn a_bridge_name_leaves_room_for_its_carrier() {
        for good in ["br-banger", "b", "br-0123456789"] {
            assert_eq!(check(&settings(good, "172.16.0.1/24")), Ok(()));
            assert!(carrier_name(good).len() <= LONGEST_LINK_NAME);
        }
        for bad in ["", "br-01234567890", "../x", "br banger", "lo", "1br", "br/0", "BR", "br\0"] {
            assert!(check(&settings(bad, "172.16.0.1/24")).is_err(), "{bad:?} was accepted");
        }
    }

    #[test]
    fn only_a_host_of_a_private_network_is_accepted() {
        for good in ["172.16.0.1/24", "10.1.2.3/16", "192.168.7.2/29"] {
            assert_eq!(check(&settings("br", good)), Ok(()));
        }
        for bad in
            ["172.16.0.0/24", "172.16.0.255/24", "8.8.8.8/24", "172.16.0.1/8", "10.0.0.1/32", "10.0.0.1/0"]
        {
            assert!(check(&settings("br", bad)).is_err(), "{bad} was accepted");
        }
        for bad in ["", "172.16.0.1", "172.16.0.1/", "172.16.0.1/+8", "172.16.0.1/999", "a/24", "::1/24"] {
            assert!(parse_network(bad).is_err(), "{bad:?} was understood");
        }
    }

    #[test]
    fn a_guest_has_an_address_of_the_bridges_network_that_is_not_the_bridges() {
        let settings = settings("br", "172.16.1.1/23");
        for (address, is_one) in [
            ("172.16.0.1", true),
            ("172.16.1.2", true),
            ("172.16.1.254", true),
            ("172.16.0.0", false),
            ("172.16.1.1", false),
            ("172.16.1.255", false),
            ("172.16.2.2", false),
            ("8.8.8.8", false),
        ] {
            assert_eq!(is_guests(&settings, address.parse().unwrap()), is_one, "{address}");
        }
    }

    #[test]
    fn a_tap_is_traced_to_its_vm() {
        let vm = VmId::random();
        assert_eq!(vm_of_tap(&vm.tap_name()), Some(vm));
        for other in ["bt", "bt0123", "xt0123456789ab", "bt0123456789AB", "br-banger"] {
            assert_eq!(vm_of_tap(other), None);
        }
    }
}
