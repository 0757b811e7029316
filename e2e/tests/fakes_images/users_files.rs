//! Files that a user has: root file systems, and kernels as packages leave them.

use banger_e2e::{LayerTar, Layout, Sandbox};
use serde_json::json;
use std::fs;
use std::path::{Path, PathBuf};

pub(crate) const VERSION: &str = "6.1.0-9-test";

/// An ext4 file system in the home, with these files.
pub(crate) fn rootfs(sandbox: &Sandbox, name: &str, files: &[(&str, &str)]) -> PathBuf {
    let layout = sandbox.home().join(format!("{name}-layout"));
    let layer =
        files.iter().fold(LayerTar::new(), |layer, (path, text)| layer.program(path, text.as_bytes()));
    let _ = Layout::new(&layout).add("v1", "amd64", &json!({}), &[layer.bytes()]);
    let reference = format!("oci:{}", layout.display());
    let pull = ["image", "pull", &reference, "--name", name, "--size", "32M"];
    let _ = sandbox.banger(pull).run().expect_success();
    let file = sandbox.home().join(format!("{name}.ext4"));
    let made = sandbox.json(&["image", "show", name]);
    let made = made["rootfs_path"].as_str().expect("it has one").to_owned();
    fs::copy(made, &file).expect("the home is writable");
    let _ = sandbox.banger(["image", "delete", name]).run().expect_success();
    file
}

/// As much of an ELF file as says that it is a kernel for this machine, and which version.
pub(crate) fn elf_kernel(version: &str) -> Vec<u8> {
    let mut elf = vec![0; 64];
    elf[..6].copy_from_slice(b"\x7fELF\x02\x01");
    elf[0x12] = 62;
    elf.extend(format!("Linux version {version} (a test)\n").bytes());
    elf
}

/// A folder as an unpacked package leaves it.
pub(crate) fn package(folder: &Path, version: &str) {
    let files = [
        (format!("boot/vmlinux-{version}"), elf_kernel(version)),
        (format!("lib/modules/{version}/modules.order"), Vec::new()),
        (format!("lib/modules/{version}/modules.builtin"), Vec::new()),
    ];
    for (name, bytes) in files {
        let path = folder.join(name);
        fs::create_dir_all(path.parent().expect("it lies in a folder")).expect("the home is writable");
        fs::write(path, bytes).expect("the home is writable");
    }
}
