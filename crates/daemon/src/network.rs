//! The guests' network: one private range, one address for each guest. Pure, but for looking at the host's own addresses.

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
}
