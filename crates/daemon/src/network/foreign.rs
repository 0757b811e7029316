//! Other firewalls of the host that stop guests, and what to type about each. Pure.

use banger_protocol::root_api::{ForeignChain, ForeignKind};

/// Which chain it is, as nft calls it.
pub(crate) fn name(chain: &ForeignChain) -> String {
    let ForeignChain { family, table, chain, .. } = chain;
    format!("the chain `{chain}` of the table `{family} {table}`")
}

/// What lets guests on this bridge through it: the exact command.
pub(crate) fn command(chain: &ForeignChain, bridge: &str) -> String {
    let ForeignChain { family, table, chain, kind } = chain;
    match kind {
        ForeignKind::Docker => "sudo banger system install --firewall=docker".to_owned(),
        ForeignKind::Firewalld => "sudo banger system install --firewall=firewalld".to_owned(),
        ForeignKind::Other => {
            let insert = |direction: &str| {
                format!("sudo nft insert rule {family} {table} {chain} {direction} {bridge} accept")
            };
            format!("{} && {}", insert("iifname"), insert("oifname"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_kind_of_firewall_has_its_command() {
        let chain = |kind| {
            let [family, table, chain] = ["ip", "filter", "FORWARD"].map(str::to_owned);
            ForeignChain { family, table, chain, kind }
        };
        let commands = [ForeignKind::Docker, ForeignKind::Firewalld, ForeignKind::Other]
            .map(|kind| command(&chain(kind), "br-x"));
        assert_eq!(
            commands,
            [
                "sudo banger system install --firewall=docker",
                "sudo banger system install --firewall=firewalld",
                "sudo nft insert rule ip filter FORWARD iifname br-x accept && \
                 sudo nft insert rule ip filter FORWARD oifname br-x accept",
            ]
        );
        assert_eq!(name(&chain(ForeignKind::Other)), "the chain `FORWARD` of the table `ip filter`");
    }
}
