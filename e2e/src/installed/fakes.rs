//! Fakes in the places of the host's QEMU and of its vsock backend, which an installation takes for the real ones.

use super::sudo;
use crate::programs;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use tempfile::TempDir;

/// Found before the distribution's.
const QEMU: &str = "/usr/local/bin/qemu-system-x86_64";
const IMAGE: &str = "debian-bookworm";
const KERNEL: &str = "debian-bookworm-cloud";
/// A device takes whole sectors, and a work disk is what the settings say.
const ROOT: u64 = 1 << 20;
const WORK: u64 = 8 << 30;

/// They are there until this is dropped.
#[derive(Debug)]
pub(super) struct Fakes {
    folder: TempDir,
    settings: PathBuf,
}

impl Fakes {
    pub(super) fn put_in_place() -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        for name in ["banger", "bangerd", "bangerd-root", "banger-vsock-agent"] {
            fs::copy(programs::find(name), folder.path().join(name)).expect("the folder is ours");
        }
        // What is installed is looked for beside the other programs.
        let backend = folder.path().join("vhost-device-vsock");
        fs::copy(programs::find("fake-vsock-backend"), backend).expect("the folder is ours");
        let qemu = programs::find("fake-qemu").display().to_string();
        let _ = sudo(&["install", "-m", "0755", &qemu, QEMU]).expect_success();
        let home = PathBuf::from(std::env::var_os("HOME").expect("there is a home"));
        let settings = home.join(".config/banger/config.toml");
        fs::create_dir_all(settings.parent().expect("it lies in a folder")).expect("the home is ours");
        // The host may have a Firecracker as well.
        fs::write(&settings, "vmm = \"qemu\"\n").expect("the home is ours");
        Self { folder, settings }
    }

    pub(super) fn programs(&self) -> PathBuf {
        self.folder.path().to_owned()
    }
}

impl Drop for Fakes {
    fn drop(&mut self) {
        let _ = sudo(&["rm", "-f", QEMU]);
        let _ = fs::remove_file(&self.settings);
    }
}

/// An image whose guests are fakes, for the daemon of this state folder, which belongs to who runs the test.
pub(super) fn add_image(state: &Path) {
    let image = format!(
        r#"{{"name":"{IMAGE}","source":"a fake","kernel":"{KERNEL}","digest":"","entries":1,"has_init":true,"has_sshd":false,"created":"2026-01-01T00:00:00Z"}}"#
    );
    let kernel = format!(
        r#"{{"name":"{KERNEL}","source":"a fake","version":"6.1.0","arch":"x86_64","sha256":"","boot_modules":["dm_snapshot"],"created":"2026-01-01T00:00:00Z"}}"#
    );
    let files: [(&str, &str, &str, Option<u64>); 7] = [
        ("images", "rootfs.ext4", "root", Some(ROOT)),
        ("images", "work-seed.ext4", "{}", Some(WORK)),
        ("images", "manifest.json", &image, None),
        ("kernels", "vmlinux", "kernel", None),
        ("kernels", "modules.ext4", "modules", None),
        ("kernels", "boot-modules.cpio", "", None),
        ("kernels", "manifest.json", &kernel, None),
    ];
    for (kind, name, text, size) in files {
        let folder = state.join(kind).join(if kind == "images" { IMAGE } else { KERNEL });
        fs::create_dir_all(&folder).expect("the state is ours");
        let path = folder.join(name);
        fs::write(&path, text).expect("the state is ours");
        let file = fs::File::options().write(true).open(&path).expect("it was made");
        file.set_len(size.unwrap_or(text.len() as u64)).expect("it is ours");
        // VMs run as users of their own.
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).expect("it is ours");
    }
}
