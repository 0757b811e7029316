//! One kernel module: what its `.modinfo` says about it.

use super::elf::Elf;

/// Longer strings are no alias of any real device, and the index nests as deep as its keys are long.
const MAX_ALIAS: usize = 512;

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Module {
    /// With underscores, as the kernel has it.
    pub(super) name: String,
    /// Below `lib/modules/<version>/`.
    pub(super) path: String,
    /// Names of modules that must be loaded before.
    pub(super) depends: Vec<String>,
    pub(super) aliases: Vec<String>,
    pub(super) softdeps: Vec<String>,
    /// Symbols it exports.
    pub(super) exports: Vec<String>,
}

impl Module {
    /// None when the file is not a module.
    pub(super) fn read(path: &str, bytes: &[u8]) -> Option<Self> {
        let elf = Elf::parse(bytes)?;
        let mut module = Self {
            name: name_of(path)?,
            path: path.to_owned(),
            depends: Vec::new(),
            aliases: Vec::new(),
            softdeps: Vec::new(),
            exports: Vec::new(),
        };
        for (key, value) in fields(elf.section(".modinfo")?) {
            match key {
                "depends" => {
                    module.depends =
                        value.split(',').filter(|name| !name.is_empty()).map(canonical).collect();
                }
                "alias" if value.len() <= MAX_ALIAS => module.aliases.push(value.to_owned()),
                "softdep" => module.softdeps.push(value.to_owned()),
                _ => {}
            }
        }
        let exports = elf.symbols().filter_map(|symbol| symbol.strip_prefix("__ksymtab_"));
        module.exports = exports.filter(|name| name.len() <= MAX_ALIAS).map(str::to_owned).collect();
        module.exports.sort_unstable();
        module.exports.dedup();
        Some(module)
    }
}

/// `kernel/drivers/net/virtio-net.ko.xz` is `virtio_net`.
pub(super) fn name_of(path: &str) -> Option<String> {
    let file = path.rsplit('/').next().unwrap_or(path);
    let stem = [".ko", ".ko.xz", ".ko.zst", ".ko.gz"].iter().find_map(|end| file.strip_suffix(end))?;
    Some(canonical(stem))
}

/// Module names are compared with underscores everywhere.
pub(super) fn canonical(name: &str) -> String {
    name.trim().replace('-', "_")
}

/// NUL-terminated `key=value` strings.
pub(super) fn fields(section: &[u8]) -> impl Iterator<Item = (&str, &str)> {
    section.split(|&byte| byte == 0).filter_map(|field| std::str::from_utf8(field).ok()?.split_once('='))
}

/// The smallest ELF file with a `.modinfo`, for tests.
#[cfg(test)]
pub(super) fn fake(fields: &[&str]) -> Vec<u8> {
    let mut info = Vec::new();
    for field in fields {
        info.extend(field.as_bytes());
        info.push(0);
    }
    let names = b"\0.modinfo\0.shstrtab\0";
    let (info_at, names_at) = (64, 64 + info.len());
    let headers_at = names_at + names.len();
    let mut elf = vec![0; 64];
    elf[..6].copy_from_slice(b"\x7fELF\x02\x01");
    elf[0x12..0x14].copy_from_slice(&62u16.to_le_bytes());
    elf[0x28..0x30].copy_from_slice(&(headers_at as u64).to_le_bytes());
    elf[0x3c..0x3e].copy_from_slice(&3u16.to_le_bytes());
    elf[0x3e..0x40].copy_from_slice(&2u16.to_le_bytes());
    elf.extend(&info);
    elf.extend(names);
    for (name, offset, size) in [(0u32, 0, 0), (1, info_at, info.len()), (10, names_at, names.len())] {
        let mut header = [0; 64];
        header[..4].copy_from_slice(&name.to_le_bytes());
        header[24..32].copy_from_slice(&(offset as u64).to_le_bytes());
        header[32..40].copy_from_slice(&(size as u64).to_le_bytes());
        elf.extend(header);
    }
    elf
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_module_says_what_it_needs_and_what_it_drives() {
        let bytes = fake(&["alias=virtio:d00000001v*", "depends=net-failover,virtio", "softdep=pre: a", "x"]);
        let module = Module::read("kernel/drivers/net/virtio-net.ko.xz", &bytes).unwrap();
        assert_eq!(module.name, "virtio_net");
        assert_eq!(module.depends, ["net_failover", "virtio"]);
        assert_eq!(module.aliases, ["virtio:d00000001v*"]);
        assert_eq!(module.softdeps, ["pre: a"]);
    }

    #[test]
    fn a_damaged_file_is_no_module_and_no_panic() {
        let whole = fake(&["depends=a"]);
        for end in 0..whole.len() {
            assert!(Module::read("a.ko", &whole[..end]).is_none());
        }
        for at in 0..whole.len() {
            let mut bytes = whole.clone();
            bytes[at] ^= 0xff;
            let _ = Module::read("a.ko", &bytes);
        }
        assert!(Module::read("README", &whole).is_none());
    }
}
