//! The guests' network where it is the host's own: that no other firewall stops it, and that guests have their names.

use super::{pass, row};
use crate::Services;
use crate::network::{dns, foreign};
use banger_protocol::daemon_api::system::{DoctorRow, Verdict};
use banger_protocol::ids::VmId;
use banger_protocol::root_api::{FirewallForeign, ForeignChain};
use banger_protocol::wire::{ErrorKind, RpcError};
use banger_system::{Install, RESTART};
use std::net::{IpAddr, Ipv4Addr, ToSocketAddrs as _};
use std::sync::mpsc::channel;
use std::time::Duration;

/// How long the host's resolver may take; it answers for names of this machine.
const ANSWER: Duration = Duration::from_secs(5);

pub(super) fn rows(install: &Install, daemon: &Services) -> [DoctorRow; 2] {
    [firewalls(install, daemon), names(daemon)]
}

fn firewalls(install: &Install, daemon: &Services) -> DoctorRow {
    let subject = "other firewalls";
    match daemon.helper.call(&FirewallForeign {}, &[]) {
        Ok(closed) => told(&closed, &install.settings.bridge),
        Err(error) => {
            let why = RpcError::from_error(ErrorKind::OperationFailed, &error);
            let finding = format!("not known whether they let guests with --nat through: {why}");
            row(Verdict::Warn, subject, finding, error.hint().as_deref())
        }
    }
}

/// Pure.
fn told(closed: &[ForeignChain], bridge: &str) -> DoctorRow {
    let subject = "other firewalls";
    let Some(first) = closed.first() else { return pass(subject, "let guests with --nat through") };
    let names: Vec<String> = closed.iter().map(foreign::name).collect();
    let finding = format!("{} drops what guests with --nat send or are answered", names.join(", and "));
    row(Verdict::Warn, subject, finding, Some(&foreign::command(first, bridge)))
}

/// Asks as every program of the host does, for a name that exists while it is asked for.
fn names(daemon: &Services) -> DoctorRow {
    let subject = "names on the host";
    if !daemon.dns.is_served() {
        return pass(subject, "no VM has run yet; the first one creates the bridge");
    }
    let (vm, address) = (VmId::random(), daemon.range.bridge);
    let name = format!("doctor-{vm}");
    let Ok(parsed) = name.parse() else { return row(Verdict::Fail, subject, name, None) };
    daemon.dns.publish(dns::Guest { vm: vm.clone(), name: parsed, address, nat: false });
    let found = ask(format!("{name}.vm"));
    daemon.dns.withdraw(&vm);
    answered(&found, address)
}

/// Nobody answers for longer than is waited; who then still asks does so without us.
fn ask(name: String) -> Result<Vec<IpAddr>, String> {
    let (sender, receiver) = channel();
    std::thread::spawn(move || {
        let found = (name.as_str(), 0).to_socket_addrs();
        // Nobody waits any more.
        let _ = sender
            .send(found.map(|all| all.map(|one| one.ip()).collect()).map_err(|error| error.to_string()));
    });
    receiver.recv_timeout(ANSWER).unwrap_or_else(|_| Err(format!("no answer within {} s", ANSWER.as_secs())))
}

/// Pure.
fn answered(found: &Result<Vec<IpAddr>, String>, address: Ipv4Addr) -> DoctorRow {
    let subject = "names on the host";
    let finding = match found {
        Ok(all) if all.contains(&IpAddr::V4(address)) => {
            return pass(subject, "the host's resolver asks banger about `.vm`");
        }
        Ok(all) => format!("the host's resolver resolves a guest to {all:?}, which is wrong"),
        Err(error) => format!("the host's resolver does not ask banger about `.vm`: {error}"),
    };
    let hint = format!(
        "sudo systemctl restart systemd-resolved, then {RESTART}; without systemd-resolved names of guests work only through `banger ssh-config`"
    );
    row(Verdict::Warn, subject, finding, Some(&hint))
}

#[cfg(test)]
mod tests {
    use super::*;
    use banger_protocol::root_api::ForeignKind;

    #[test]
    fn a_chain_that_stops_guests_is_named_with_what_to_type() {
        assert_eq!(told(&[], "br-x").verdict, Verdict::Pass);
        let [family, table, chain] = ["inet", "strict", "forward"].map(str::to_owned);
        let found = told(&[ForeignChain { family, table, chain, kind: ForeignKind::Other }], "br-x");
        assert_eq!(found.verdict, Verdict::Warn);
        assert!(found.finding.contains("`inet strict`"), "{}", found.finding);
        assert!(
            found
                .hint
                .is_some_and(|hint| hint.contains("nft insert rule inet strict forward iifname br-x accept"))
        );
    }

    #[test]
    fn only_the_guests_own_address_is_an_answer() {
        let address = Ipv4Addr::new(172, 16, 0, 1);
        assert_eq!(answered(&Ok(vec![address.into()]), address).verdict, Verdict::Pass);
        for wrong in [Ok(Vec::new()), Ok(vec![Ipv4Addr::LOCALHOST.into()]), Err("no".to_owned())] {
            assert_eq!(answered(&wrong, address).verdict, Verdict::Warn);
        }
    }
}
