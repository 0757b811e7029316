//! Where something listens in a guest, and what of it is a web server.

use super::{connect, view};
use crate::Services;
use crate::client::agent::{self, AgentError};
use banger_protocol::daemon_api::vm::PortView;
use banger_protocol::guest_api::{Listener, MOST_LISTENERS};
use banger_protocol::names::{VmName, VmRef};
use banger_protocol::wire::RpcError;
use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

const LIMIT: Duration = Duration::from_secs(5);
/// How long a port may take to answer like a web server, the way to it included.
const HTTP_LIMIT: Duration = Duration::from_secs(2);
/// Ports that are asked, all at once; a guest may tell of any number.
const MOST_ASKED: usize = 32;
/// Longest name of a process that is passed on, in characters; the kernel's have 15.
const LONGEST_NAME: usize = 15;

pub(crate) async fn ports(services: &Services, reference: &VmRef) -> Result<Vec<PortView>, RpcError> {
    let vm = view::find(services, reference)?;
    let name = vm.name;
    connect::ask(services, &vm.id, move |folder| {
        let mut ports = by_port(&name, agent::ports(folder, LIMIT)?);
        find_web_servers(folder, &mut ports)?;
        Ok(ports)
    })
    .await
}

/// One entry for each port, in order. Pure.
fn by_port(name: &VmName, listeners: Vec<Listener>) -> Vec<PortView> {
    let mut ports: BTreeMap<u16, PortView> = BTreeMap::new();
    for Listener { port, address, process } in listeners.into_iter().take(MOST_LISTENERS) {
        let view = ports.entry(port).or_insert_with(|| PortView {
            endpoint: format!("{name}.vm:{port}"),
            port,
            addresses: Vec::new(),
            process: None,
            url: None,
        });
        if !view.addresses.contains(&address) {
            view.addresses.push(address);
        }
        // A guest says this: nothing that a terminal would obey may pass.
        let printable = |name: String| name.chars().filter(|c| !c.is_control()).take(LONGEST_NAME).collect();
        view.process = view.process.take().or(process.map(printable));
    }
    ports.into_values().collect()
}

fn find_web_servers(folder: &Path, ports: &mut [PortView]) -> Result<(), AgentError> {
    std::thread::scope(|scope| {
        let asked: Vec<_> = ports
            .iter_mut()
            .take(MOST_ASKED)
            .map(|view| {
                scope.spawn(move || {
                    // One that cannot be asked is no web server.
                    let is_one = agent::speaks_http(folder, view.port, &view.endpoint, HTTP_LIMIT);
                    view.url = is_one.unwrap_or(false).then(|| format!("http://{}/", view.endpoint));
                })
            })
            .collect();
        for thread in asked {
            thread.join().map_err(|_| AgentError::Unexpected)?;
        }
        Ok(())
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::IpAddr;

    #[test]
    fn a_port_is_told_once_with_every_address_it_is_on() {
        let listener = |port, address: &str, process: Option<&str>| Listener {
            port,
            address: address.parse::<IpAddr>().unwrap(),
            process: process.map(str::to_owned),
        };
        let told = vec![
            listener(8080, "::", None),
            listener(22, "0.0.0.0", Some("sshd")),
            listener(8080, "0.0.0.0", Some("\u{1b}[2Jweb\nserver with a name")),
            listener(8080, "0.0.0.0", Some("other")),
        ];
        let ports = by_port(&"dev".parse().unwrap(), told);
        let endpoints: Vec<_> = ports.iter().map(|view| view.endpoint.as_str()).collect();
        assert_eq!(endpoints, ["dev.vm:22", "dev.vm:8080"]);
        assert_eq!(ports[1].addresses.len(), 2);
        assert_eq!(ports[1].process.as_deref(), Some("[2Jwebserver wi"));
    }
}
