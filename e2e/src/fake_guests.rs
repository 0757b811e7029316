//! A machine on which guests are fakes and boot in milliseconds.
//!
//! The fakes take the places of QEMU and its vsock backend; what a fake guest does is written in its image, so an
//! image's name is a behaviour. See `crates/fakes`.

use crate::{Sandbox, programs};
use anyhow::{Context as _, Result};
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use tempfile::TempDir;

/// Images and what their guests do. The first is what VMs are made of that name none.
const IMAGES: &[(&str, &str)] = &[
    ("debian-bookworm", "{}"),
    // Boots when it is let go on.
    ("held", r#"{"boot":"when_told"}"#),
    // Has its agent at once, and is usable when it is let go on.
    ("agent-only", r#"{"boot":"agent_only"}"#),
    ("boot-fails", r#"{"boot":"fails"}"#),
    ("babbler", r#"{"boot":"babbles"}"#),
    ("no-machine", r#"{"vmm":"refuses"}"#),
    ("short-lived", r#"{"vmm":"ends","boot":"when_told"}"#),
    ("never-syncs", r#"{"sync":"ignored"}"#),
    ("liar", r#"{"answers":"lies"}"#),
];
/// Bytes of a work disk for which nobody wished another size.
const WORK_DISK: u64 = 8 << 30;
const KERNEL: &str = "debian-bookworm-cloud";

pub(crate) const QEMU: &str = "fake-qemu";
pub(crate) const VSOCK_BACKEND: &str = "fake-vsock-backend";

/// Puts images and a kernel into a sandbox and the fakes into a folder of their own, which is returned.
pub(crate) fn share_into(sandbox: &Sandbox) -> Result<TempDir> {
    for (name, behaviour) in IMAGES {
        let manifest = format!(
            r#"{{"name":"{name}","source":"a fake","kernel":"{KERNEL}","digest":"","entries":1,"has_init":true,"has_sshd":false,"created":"2026-01-01T00:00:00Z"}}"#
        );
        let files = [("rootfs.ext4", "root"), ("work-seed.ext4", *behaviour), ("manifest.json", &manifest)];
        let folder = sandbox.state().join("images").join(name);
        make(&folder, &files)?;
        let seed = fs::File::options().write(true).open(folder.join("work-seed.ext4"));
        seed.and_then(|seed| seed.set_len(WORK_DISK)).context("giving the work seed its size")?;
    }
    let manifest = format!(
        r#"{{"name":"{KERNEL}","source":"a fake","version":"6.1.0","arch":"x86_64","sha256":"","boot_modules":["dm_snapshot"],"created":"2026-01-01T00:00:00Z"}}"#
    );
    let files = [
        ("vmlinux", "kernel"),
        ("modules.ext4", "modules"),
        ("boot-modules.cpio", ""),
        ("manifest.json", &manifest),
    ];
    make(&sandbox.state().join("kernels").join(KERNEL), &files)?;
    programs_for_everybody()
}

fn make(folder: &Path, files: &[(&str, &str)]) -> Result<()> {
    fs::create_dir_all(folder).with_context(|| format!("making {}", folder.display()))?;
    for (name, text) in files {
        fs::write(folder.join(name), text).with_context(|| format!("writing {name}"))?;
    }
    Ok(())
}

/// Copies where everybody may go: started by root, VMs run as users of their own, to whom a checkout is closed.
fn programs_for_everybody() -> Result<TempDir> {
    let folder = tempfile::Builder::new()
        .prefix("banger-fakes-")
        .tempdir()
        .context("making a folder for the fakes")?;
    let open = |path: &Path| {
        fs::set_permissions(path, fs::Permissions::from_mode(0o755))
            .with_context(|| format!("opening {} to everybody", path.display()))
    };
    open(folder.path())?;
    for program in [QEMU, VSOCK_BACKEND] {
        let copy = folder.path().join(program);
        fs::copy(programs::find(program), &copy).with_context(|| format!("copying {program}"))?;
        open(&copy)?;
    }
    Ok(folder)
}
