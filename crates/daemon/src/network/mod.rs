//! The guests' network: one private range, one address for each guest, and a name for each of these ([`dns`]).

pub(crate) mod dns;
pub(crate) mod foreign;
mod host_addresses;

pub(crate) use host_addresses::host_addresses;

use std::collections::BTreeSet;
use std::net::Ipv4Addr;

/// The bridge's address and the size of its network.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Range {
    pub bridge: Ipv4Addr,
    pub prefix: u8,
}

impl Range {
    /// 172.16.0.1/24. In local mode every user's bridge has it: each is in a namespace of its own.
    pub(crate) const LOCAL: Self = Self { bridge: Ipv4Addr::new(172, 16, 0, 1), prefix: 24 };

    /// The lowest free guest address: neither the network's own, nor its broadcast, nor the bridge's.
    pub(crate) fn next_free(self, taken: &BTreeSet<Ipv4Addr>) -> Option<Ipv4Addr> {
        let host_bits = 32 - u32::from(self.prefix);
        let size = 1_u64 << host_bits;
        let network = u64::from(u32::from(self.bridge)) / size * size;
        (network + 1..network + size - 1)
            .filter_map(|address| u32::try_from(address).ok().map(Ipv4Addr::from))
            .find(|address| *address != self.bridge && !taken.contains(address))
    }

    /// Whether the network that begins with `network` and has `prefix` bits in common lies in this one.
    pub(crate) fn contains(self, network: Ipv4Addr, prefix: u8) -> bool {
        let different = network.to_bits() ^ self.bridge.to_bits();
        prefix >= self.prefix && different.leading_zeros() >= u32::from(self.prefix)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_handed_out_lowest_first_and_never_the_bridges() {
        let mut taken = BTreeSet::new();
        while let Some(address) = Range::LOCAL.next_free(&taken) {
            assert!(taken.insert(address));
        }
        assert_eq!(taken.len(), 253);
        assert_eq!(taken.first(), Some(&Ipv4Addr::new(172, 16, 0, 2)));
        assert_eq!(taken.last(), Some(&Ipv4Addr::new(172, 16, 0, 254)));
    }

    #[test]
    fn a_network_lies_in_the_range_or_does_not() {
        let table = [
            ([172, 16, 0, 7], 32, true),
            ([172, 16, 0, 0], 24, true),
            ([172, 16, 0, 0], 16, false),
            ([172, 16, 1, 0], 24, false),
            ([172, 16, 1, 7], 32, false),
            ([10, 0, 0, 1], 32, false),
        ];
        for (network, prefix, lies) in table {
            assert_eq!(Range::LOCAL.contains(network.into(), prefix), lies, "{network:?}/{prefix}");
        }
    }
}
