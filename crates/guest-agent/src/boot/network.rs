//! What the image's own network services are told, so that they leave the guest's address alone and know who knows names.
//!
//! The address is there before any of them starts. A common `DHCP=yes` file for every interface would make
//! networkd take it away again; ifupdown and NetworkManager would ask a DHCP server that does not exist and hold
//! up the boot. All of it goes to `/run`, which is new at every boot: the image is not changed.

use super::image_init::ImageInit;
use super::netlink::INTERFACE;
use crate::serve::MARK_USABLE;
use banger_protocol::guest_api::config_drive::GuestNetwork;
use std::path::Path;

/// Runs once `sysinit.target` is reached. Without default dependencies, or it would be ordered before that target.
const USABLE_UNIT: &str = "[Unit]
Description=Tell the host that this guest is usable
DefaultDependencies=no
After=sysinit.target systemd-tmpfiles-setup.service

[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart=/run/banger/agent ";

/// The domain that all guests are in.
const DOMAIN: &str = "vm";

#[derive(Debug, PartialEq, Eq)]
struct RunFile {
    path: String,
    content: String,
}

/// Writes the files for whatever the image may hold. One that cannot be written is named on the console.
pub(super) fn tell_services(network: Option<&GuestNetwork>, init: ImageInit) {
    for file in files(network, init) {
        let path = Path::new(&file.path);
        let written = path
            .parent()
            .map_or(Ok(()), std::fs::create_dir_all)
            .and_then(|()| std::fs::write(path, &file.content));
        if let Err(e) = written {
            super::kernel_log(&format!("{} not written: {e}", file.path));
        }
    }
}

fn files(network: Option<&GuestNetwork>, init: ImageInit) -> Vec<RunFile> {
    let file = |path: &str, content: String| RunFile { path: path.to_owned(), content };
    // cloud-init would rename the host and remake its keys.
    let mut files = vec![file("/run/cloud-init/disabled", String::new())];
    if let ImageInit::Systemd(_) = init {
        // Not in the folders of other inits: /run/systemd/system is how programs recognise systemd.
        files
            .push(file("/run/systemd/system/banger-usable.service", format!("{USABLE_UNIT}{MARK_USABLE}\n")));
        files.push(file(
            "/run/systemd/system/sysinit.target.d/banger.conf",
            "[Unit]\nWants=banger-usable.service\n".to_owned(),
        ));
        // Busy until the end, being read-only it needs no unmounting, and the attempt would be a failed unit.
        for unit in ["lib-modules.mount", "usr-lib-modules.mount"] {
            files.push(file(
                &format!("/run/systemd/system/{unit}.d/banger.conf"),
                "[Unit]\nDefaultDependencies=no\n".to_owned(),
            ));
        }
    }
    let Some(network) = network else { return files };
    if let ImageInit::Systemd(_) = init {
        files.push(file("/run/systemd/network/00-banger.network", networkd(network)));
    }
    files.push(file("/run/network/ifstate", format!("lo=lo\n{INTERFACE}={INTERFACE}\n")));
    files.push(file(
        "/run/NetworkManager/conf.d/00-banger.conf",
        format!("[keyfile]\nunmanaged-devices=interface-name:{INTERFACE}\n"),
    ));
    files
}

/// The domain is searched, so that the other guests are known by their bare names, and none of it is signed: a resolved
/// that insists on signatures would believe nothing about it.
fn networkd(network: &GuestNetwork) -> String {
    let GuestNetwork { address, prefix, gateway } = network;
    format!(
        "[Match]\nName={INTERFACE}\n\n[Network]\nAddress={address}/{prefix}\nGateway={gateway}\nDNS={gateway}\n\
         Domains={DOMAIN}\nDNSSECNegativeTrustAnchors={DOMAIN}\nLLMNR=no\nMulticastDNS=no\nDHCP=no\n\
         LinkLocalAddressing=no\nIPv6AcceptRA=no\nKeepConfiguration=yes\n"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn network() -> GuestNetwork {
        GuestNetwork { address: [172, 16, 0, 2].into(), prefix: 24, gateway: [172, 16, 0, 1].into() }
    }

    fn paths(network: Option<&GuestNetwork>, init: ImageInit) -> Vec<String> {
        files(network, init).into_iter().map(|file| file.path).collect()
    }

    #[test]
    fn networkd_is_given_the_same_address_and_resolver_and_told_to_keep_them() {
        let expected = "[Match]\nName=eth0\n\n[Network]\nAddress=172.16.0.2/24\nGateway=172.16.0.1\nDNS=172.16.0.1\n\
                        Domains=vm\nDNSSECNegativeTrustAnchors=vm\nLLMNR=no\nMulticastDNS=no\nDHCP=no\n\
                        LinkLocalAddressing=no\nIPv6AcceptRA=no\nKeepConfiguration=yes\n";
        assert_eq!(networkd(&network()), expected);
    }

    #[test]
    fn nothing_makes_a_guest_without_systemd_look_like_one_with_it() {
        for init in [ImageInit::None, ImageInit::Other("/sbin/init")] {
            assert!(paths(Some(&network()), init).iter().all(|path| !path.starts_with("/run/systemd")));
        }
    }

    #[test]
    fn a_guest_without_a_network_keeps_its_network_services() {
        let paths = paths(None, ImageInit::Systemd("/sbin/init"));
        assert!(paths.iter().all(|path| !path.contains("etwork")), "{paths:?}");
        assert!(paths.iter().any(|path| path.ends_with("banger-usable.service")));
    }
}
