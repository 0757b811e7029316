//! Writes the config drive. The format is [`banger_protocol::guest_api::config_drive`]. Pure.

use super::keys::{KeyError, public_of};
use crate::network::Range;
use crate::store::VmRecord;
use banger_protocol::daemon_api::personal::{GitIdentity, Set};
use banger_protocol::guest_api::config_drive::{
    CONFIG_ENTRY, GIT_CONFIG, GIT_CONFIG_MARK, GuestConfig, GuestNetwork,
};
use banger_protocol::image_config::ImageConfig;
use std::io;

/// The whole drive for one start of a VM; `authorized_key` is the public half of banger's own key, and
/// `given` what the user has every guest have.
pub(super) fn render(
    vm: &VmRecord,
    image: ImageConfig,
    range: Range,
    authorized_key: &str,
    given: Set,
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
    let files = [
        (CONFIG_ENTRY, 0o600, config),
        ("etc/hostname", 0o644, format!("{name}\n").into_bytes()),
        ("etc/hosts", 0o644, hosts.into_bytes()),
        ("etc/machine-id", 0o444, format!("{}\n", vm.machine_id).into_bytes()),
        ("etc/resolv.conf", 0o644, format!("nameserver {}\nsearch vm\n", range.bridge).into_bytes()),
        ("etc/ssh/ssh_host_ed25519_key", 0o600, vm.host_key.clone().into_bytes()),
        ("etc/ssh/ssh_host_ed25519_key.pub", 0o644, format!("{public}\n").into_bytes()),
        ("root/.ssh/authorized_keys", 0o600, format!("{authorized_key} banger\n").into_bytes()),
    ];
    let mut files: Vec<(String, u32, Vec<u8>)> =
        files.into_iter().map(|(path, mode, content)| (path.to_owned(), mode, content)).collect();
    if let Some(git) = given.git {
        files.push((GIT_CONFIG.to_owned(), 0o644, git_config(&git).into_bytes()));
    }
    for file in given.files {
        let path = format!("root/{}", file.path);
        // The user's own word goes over what we make up.
        files.retain(|(known, ..)| *known != path);
        files.push((path, file.mode, file.text.into_bytes()));
    }
    Ok(archive(&files).expect("writing to memory does not fail"))
}

/// A configuration of git's. What git would take for more than a value is quoted.
fn git_config(git: &GitIdentity) -> String {
    let mut text = format!("{GIT_CONFIG_MARK}\n[user]\n");
    for (key, value) in [("name", &git.name), ("email", &git.email)] {
        if let Some(value) = value {
            let value = value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
            text.push_str(&format!("\t{key} = \"{value}\"\n"));
        }
    }
    text
}

/// The two zero blocks that end an archive also make its length a multiple of 512, as a disk needs.
fn archive(files: &[(String, u32, Vec<u8>)]) -> io::Result<Vec<u8>> {
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
    use banger_protocol::daemon_api::personal::File;
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
        let file = |path: &str| File { path: path.to_owned(), mode: 0o640, text: "mine\n".to_owned() };
        let git = Some(GitIdentity { name: Some("A \"q\" \\".to_owned()), email: None });
        let given = Set { files: vec![file(".netrc"), file(".ssh/authorized_keys")], git };
        let drive = render(&vm, image, Range::LOCAL, "ssh-ed25519 AAAA", given).unwrap();
        assert_eq!(drive.len() % 512, 0);
        let mut archive = tar::Archive::new(drive.as_slice());
        let mut entries = archive.entries().unwrap();
        let mut first = entries.next().unwrap().unwrap();
        assert_eq!(first.path().unwrap().to_str(), Some(CONFIG_ENTRY));
        let mut text = String::new();
        first.read_to_string(&mut text).unwrap();
        let config: GuestConfig = serde_json::from_str(&text).unwrap();
        assert_eq!((config.hostname.as_str(), config.image.user.as_deref()), ("dev", Some("app")));
        let others: Vec<(String, u32, String)> = entries
            .map(|entry| {
                let mut entry = entry.unwrap();
                let (path, mode) =
                    (entry.path().unwrap().display().to_string(), entry.header().mode().unwrap());
                let mut text = String::new();
                entry.read_to_string(&mut text).unwrap();
                (path, mode, text)
            })
            .collect();
        let of = |path: &str| {
            let [one] = others.iter().filter(|(known, ..)| known == path).collect::<Vec<_>>()[..] else {
                panic!("{path} is not there once")
            };
            (one.1, one.2.as_str())
        };
        assert_eq!(of("etc/ssh/ssh_host_ed25519_key").0, 0o600);
        assert_eq!(of("root/.netrc"), (0o640, "mine\n"));
        assert_eq!(of("root/.ssh/authorized_keys").1, "mine\n");
        let expected = format!("{GIT_CONFIG_MARK}\n[user]\n\tname = \"A \\\"q\\\" \\\\\"\n");
        assert_eq!(of(GIT_CONFIG), (0o644, expected.as_str()));
    }
}
