//! The initrd: the first program, the modules it loads, and the few directories it needs.

use super::BootModule;
use super::cpio::Cpio;

/// Where the first program finds modules; the list names the files beside it, one a line, in the order to load.
const MODULES: &str = "banger/modules";
const LIST: &str = "banger/modules.list";

/// Joins an archive of modules, as [`super::BOOT_MODULES`] holds it or empty, with the static program that becomes
/// `/init`. The same input gives the same bytes.
pub fn initrd(boot_modules: &[u8], agent: &[u8]) -> Vec<u8> {
    let mut cpio = Cpio::default();
    for directory in ["dev", "proc", "sys", "run", "newroot"] {
        cpio.directory(directory, 0o755);
    }
    // Before anything is mounted on /dev, the kernel opens this for the first program's standard streams.
    cpio.char_device("dev/console", 0o600, 5, 1);
    cpio.file("init", 0o755, agent);
    let mut bytes = boot_modules.to_vec();
    bytes.resize(bytes.len().next_multiple_of(4), 0);
    bytes.extend(cpio.finish());
    bytes
}

/// `/banger/modules/NN-name.ko` for each module, uncompressed, and the list.
pub(super) fn modules_archive(modules: &[BootModule]) -> Vec<u8> {
    let mut cpio = Cpio::default();
    cpio.directory("banger", 0o755);
    cpio.directory(MODULES, 0o755);
    let mut list = String::new();
    for (number, BootModule { name, bytes }) in modules.iter().enumerate() {
        let file = format!("{number:02}-{name}.ko");
        cpio.file(&format!("{MODULES}/{file}"), 0o644, bytes);
        list.push_str(&file);
        list.push('\n');
    }
    cpio.file(LIST, 0o644, list.as_bytes());
    cpio.finish()
}
