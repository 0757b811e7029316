//! Which addresses the guests get: a /24 that nothing on the host leads to already. Pure.

use std::fmt;
use std::net::Ipv4Addr;
use std::str::FromStr;

/// An address with the size of its network: the bridge's, or a route's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Network {
    pub host: Ipv4Addr,
    pub prefix: u8,
}

/// Not an address with a prefix.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not an address with a prefix such as 172.16.0.1/24")]
pub struct NotANetwork(String);

/// No range is left.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("each of the 4096 networks of 172.16.0.0/12 overlaps a route of this host")]
pub struct NoRange;

impl Network {
    fn bits(self, prefix: u8) -> u32 {
        self.host.to_bits().checked_shr(32 - u32::from(prefix)).unwrap_or(0)
    }

    /// Whether any address is in both.
    #[must_use]
    pub fn overlaps(self, other: Self) -> bool {
        let shorter = self.prefix.min(other.prefix);
        self.bits(shorter) == other.bits(shorter)
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.host, self.prefix)
    }
}

impl FromStr for Network {
    type Err = NotANetwork;

    fn from_str(text: &str) -> Result<Self, NotANetwork> {
        let parsed = text.split_once('/').and_then(|(host, prefix)| {
            let digits = !prefix.is_empty() && prefix.bytes().all(|b| b.is_ascii_digit());
            let prefix: u8 = digits.then(|| prefix.parse().ok())??;
            Some(Self { host: host.parse().ok()?, prefix }).filter(|network| network.prefix <= 32)
        });
        parsed.ok_or_else(|| NotANetwork(text.to_owned()))
    }
}

/// The range that was wanted or remembered if no route leads there, else the next /24 of 172.16/12 of which that is
/// true. A route to everywhere is no reason.
///
/// # Errors
/// When none is free.
pub fn choose(wanted: Network, routes: &[Network]) -> Result<Network, NoRange> {
    let free = |range: Network| !routes.iter().any(|route| route.prefix > 0 && route.overlaps(range));
    if free(wanted) {
        return Ok(wanted);
    }
    const ALL: u32 = 1 << 12;
    let base = Ipv4Addr::new(172, 16, 0, 0).to_bits() >> 8;
    let first = (wanted.host.to_bits() >> 8).checked_sub(base).filter(|nth| *nth < ALL).unwrap_or(0);
    let nth =
        |n: u32| Network { host: Ipv4Addr::from_bits(((base + (first + n) % ALL) << 8) | 1), prefix: 24 };
    (0..ALL).map(nth).find(|range| free(*range)).ok_or(NoRange)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn network(text: &str) -> Network {
        text.parse().unwrap()
    }

    #[test]
    fn the_first_range_that_no_route_leads_to_is_taken() {
        let table: [(&str, &[&str], &str); 7] = [
            ("172.16.0.1/24", &[], "172.16.0.1/24"),
            ("172.16.0.1/24", &["0.0.0.0/0", "10.0.0.0/8"], "172.16.0.1/24"),
            ("172.16.0.1/24", &["172.16.0.0/24"], "172.16.1.1/24"),
            ("172.16.0.1/24", &["172.16.0.0/16"], "172.17.0.1/24"),
            ("172.16.0.1/24", &["172.16.0.128/25", "172.16.1.7/32"], "172.16.2.1/24"),
            ("172.31.255.1/24", &["172.31.255.0/24"], "172.16.0.1/24"),
            ("192.168.7.1/24", &["192.168.0.0/16"], "172.16.0.1/24"),
        ];
        for (wanted, routes, chosen) in table {
            let routes: Vec<_> = routes.iter().map(|route| network(route)).collect();
            assert_eq!(choose(network(wanted), &routes), Ok(network(chosen)), "{wanted} {routes:?}");
        }
        assert_eq!(choose(network("172.16.0.1/24"), &[network("172.16.0.0/12")]), Err(NoRange));
    }

    #[test]
    fn what_is_no_network_is_refused() {
        for wrong in
            ["", "172.16.0.1", "172.16.0.1/", "172.16.0.1/33", "172.16.0.1/+8", "a/24", "172.16.0/24"]
        {
            assert!(wrong.parse::<Network>().is_err(), "{wrong}");
        }
        assert_eq!(network("172.16.0.1/24").to_string(), "172.16.0.1/24");
    }
}
