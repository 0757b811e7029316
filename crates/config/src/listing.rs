//! Every setting as a line of its own, for those who ask what is in force.

use crate::{Config, FileSync, RegistryMirrors, Setting, Source};
use std::fmt::Display;
use std::path::PathBuf;

/// One key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    pub key: &'static str,
    /// `None` where nothing was chosen, by anybody.
    pub value: Option<String>,
    pub source: Source,
}

impl Config {
    /// Every key with its value. `found` tells which program a key that names one came to by looking.
    pub fn entries(&self, found: impl Fn(&'static str) -> Option<PathBuf>) -> Vec<Entry> {
        let program = |key, set: &Option<Setting<PathBuf>>| match set {
            Some(set) => entry(key, set, set.value.display()),
            None => {
                let value = found(key).map(|path| path.display().to_string());
                Entry { key, value, source: Source::Host }
            }
        };
        let (stale, mirror) = (&self.auto_stop_stale_after, &self.debian_mirror);
        let defaults = &self.vm_defaults;
        vec![
            entry("log_level", &self.log_level, self.log_level.value.as_str()),
            entry("vmm", &self.vmm, self.vmm.value.as_str()),
            program("firecracker_bin", &self.firecracker_bin),
            program("qemu_bin", &self.qemu_bin),
            program("vsock_backend_bin", &self.vsock_backend_bin),
            entry("root_disk", &self.root_disk, self.root_disk.value.as_str()),
            entry("default_image", &self.default_image, &self.default_image.value),
            entry("default_kernel", &self.default_kernel, &self.default_kernel.value),
            entry("ssh_key_path", &self.ssh_key_path, self.ssh_key_path.value.display()),
            entry(
                "auto_stop_stale_after",
                stale,
                stale.value.map_or_else(|| "off".to_owned(), |after| after.to_string()),
            ),
            entry("stats_poll_interval", &self.stats_poll_interval, self.stats_poll_interval.value),
            match mirror {
                Some(mirror) => entry("debian_mirror", mirror, &mirror.value),
                None => Entry { key: "debian_mirror", value: None, source: Source::BuiltIn },
            },
            self.mirrors_entry(),
            self.file_sync_entry(),
            entry("vm_defaults.vcpu", &defaults.vcpu, defaults.vcpu.value),
            entry("vm_defaults.memory", &defaults.memory, defaults.memory.value),
            entry("vm_defaults.disk_size", &defaults.disk_size, defaults.disk_size.value),
        ]
    }
}

impl Config {
    /// All of them on one line, from where the first is.
    fn mirrors_entry(&self) -> Entry {
        let shown = |one: &Setting<RegistryMirrors>| {
            let mirrors: Vec<String> = one.value.mirrors.iter().map(ToString::to_string).collect();
            format!("{} by {}", one.value.registry, mirrors.join(" "))
        };
        let all: Vec<String> = self.registry_mirrors.iter().map(shown).collect();
        let source = self.registry_mirrors.first().map_or(Source::BuiltIn, |one| one.source);
        Entry { key: "registry_mirrors", value: (!all.is_empty()).then(|| all.join(", ")), source }
    }

    /// All of them on one line, from where the first is.
    fn file_sync_entry(&self) -> Entry {
        let shown = |one: &Setting<FileSync>| format!("{} to {}", one.value.host.display(), one.value.guest);
        let all: Vec<String> = self.file_sync.iter().map(shown).collect();
        let source = self.file_sync.first().map_or(Source::BuiltIn, |one| one.source);
        Entry { key: "file_sync", value: (!all.is_empty()).then(|| all.join(", ")), source }
    }
}

fn entry<T>(key: &'static str, setting: &Setting<T>, shown: impl Display) -> Entry {
    Entry { key, value: Some(shown.to_string()), source: setting.source }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::file::tests::{known_keys, read};
    use std::collections::BTreeSet;

    #[test]
    fn every_key_that_the_file_may_have_is_listed() {
        let listed: BTreeSet<String> =
            read("").unwrap().entries(|_| None).iter().map(|entry| entry.key.to_owned()).collect();
        let top = known_keys("zzz = 1").into_iter().filter(|key| key != "vm_defaults");
        let below = known_keys("[vm_defaults]\nzzz = 1").into_iter().map(|key| format!("vm_defaults.{key}"));
        let expected: BTreeSet<String> = top.chain(below).collect();
        assert_eq!(listed, expected);
    }

    #[test]
    fn a_program_is_the_one_in_the_file_or_the_one_that_was_found() {
        let found = |key| (key == "qemu_bin").then(|| PathBuf::from("/usr/bin/qemu"));
        let one =
            |config: &Config, key| config.entries(found).into_iter().find(|entry| entry.key == key).unwrap();
        let config = read("\nfirecracker_bin = \"/opt/fc\"").unwrap();
        let set = one(&config, "firecracker_bin");
        assert_eq!((set.value.as_deref(), set.source), (Some("/opt/fc"), Source::Config { line: 2 }));
        let looked_for = one(&config, "qemu_bin");
        assert_eq!((looked_for.value.as_deref(), looked_for.source), (Some("/usr/bin/qemu"), Source::Host));
        assert_eq!(one(&config, "vsock_backend_bin").value, None);
    }

    #[test]
    fn every_key_has_its_line_in_the_documentation_and_no_other_has_one() {
        let page = include_str!("../../../docs/configuration.md");
        // What root acts on is written down below, and is no setting of the user's.
        let (page, _) = page.split_once("\n## Where banger is installed").expect("the page has that part");
        let documented: BTreeSet<&str> =
            page.lines().filter_map(|line| Some(line.strip_prefix("| `")?.split_once('`')?.0)).collect();
        let config = read("").unwrap();
        let listed: BTreeSet<&str> = config.entries(|_| None).iter().map(|entry| entry.key).collect();
        assert_eq!(documented, listed);
    }
}
