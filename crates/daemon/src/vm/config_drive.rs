//! Writes the config drive. The format is [`banger_protocol::guest_api::config_drive`]. Pure.

use super::keys::{KeyError, public_of};
use crate::network::Range;
use crate::store::VmRecord;
use banger_protocol::guest_api::config_drive::{CONFIG_ENTRY, GuestConfig, GuestNetwork};
use banger_protocol::image_config::ImageConfig;
use std::io;

/// The whole drive for one start of a VM; `authorized_key` is the public half of banger's own key.
pub(super) fn render(
    vm: &VmRecord,
    image: ImageConfig,
    range: Range,
    authorized_key: &str,
) -> Result<Vec<u8>, KeyError> {
    let config = GuestConfig {
        hostname: vm.name.to_string(),
        network: Some(GuestNetwork { address: vm.address, prefix: range.prefix, gateway: range.bridge }),
        image,
    };
    let config = serde_json::to_vec(&config).expect("the guest's config serialises");
    let name = &vm.name;
    let hosts =
        format!("127.0.0.1 localhost\n{} {name}.vm {name}\n::1 localhost ip6-localhost\n", vm.address);
    let public = public_of(&vm.host_key)?;
    let files: [(&str, u32, Vec<u8>); 8] = [
        (CONFIG_ENTRY, 0o600, config),
        ("etc/hostname", 0o644, format!("{name}\n").into_bytes()),
        ("etc/hosts", 0o644, hosts.into_bytes()),
        ("etc/machine-id", 0o444, format!("{}\n", vm.machine_id).into_bytes()),
        ("etc/resolv.conf", 0o644, format!("nameserver {}\nsearch vm\n", range.bridge).into_bytes()),
        ("etc/ssh/ssh_host_ed25519_key", 0o600, vm.host_key.clone().into_bytes()),
        ("etc/ssh/ssh_host_ed25519_key.pub", 0o644, format!("{public}\n").into_bytes()),
        ("root/.ssh/authorized_keys", 0o600, format!("{authorized_key} banger\n").into_bytes()),
    ];
    Ok(archive(&files).expect("writing to memory does not fail"))
}

/// The two zero blocks that end an archive also make its length a multiple of 512, as a disk needs.
fn archive(files: &[(&str, u32, Vec<u8>)]) -> io::Result<Vec<u8>> {
    let mut archive = tar::Builder::new(Vec::new());
    for (path, mode, content) in files {
        let mut header = tar::Header::new_ustar();
        header.set_size(content.len() as u64);
        header.set_mode(*mode);
        archive.append_data(&mut header, path, content.as_slice())?;
    }
    archive.into_inner()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::VmSpec;
    use crate::vm::VmState;
    use std::io::Read;

    #[test]
    fn the_drive_is_a_disk_whose_first_entry_says_who_the_guest_is() {
        let vm = VmRecord {
            id: "0123456789ab".parse().unwrap(),
            name: "dev".parse().unwrap(),
            address: [172, 16, 0, 2].into(),
            image: "i".parse().unwrap(),
            kernel: "k".parse().unwrap(),
            spec: VmSpec {
                vcpu: 1,
                memory: banger_protocol::size::ByteSize::mib(1),
                disk_size: VmSpec::USUAL_DISK_SIZE,
                nat: false,
            },
            state: VmState::Created,
            stages: Vec::new(),
            lease: None,
            host_key: super::super::keys::generate().unwrap(),
            machine_id: "0".repeat(32),
            workspace: None,
            created: String::new(),
        };
        let image = ImageConfig { user: Some("app".to_owned()), ..ImageConfig::default() };
        let drive = render(&vm, image, Range::LOCAL, "ssh-ed25519 AAAA").unwrap();
        assert_eq!(drive.len() % 512, 0);
        let mut archive = tar::Archive::new(drive.as_slice());
        let mut entries = archive.entries().unwrap();
        let mut first = entries.next().unwrap().unwrap();
        assert_eq!(first.path().unwrap().to_str(), Some(CONFIG_ENTRY));
        let mut text = String::new();
        first.read_to_string(&mut text).unwrap();
        let config: GuestConfig = serde_json::from_str(&text).unwrap();
        assert_eq!((config.hostname.as_str(), config.image.user.as_deref()), ("dev", Some("app")));
        let private =
            entries.map(Result::unwrap).find(|e| e.path().unwrap().ends_with("ssh_host_ed25519_key"));
        assert_eq!(private.unwrap().header().mode().unwrap(), 0o600);
    }
}
