//! A machine on which guests are fakes and boot in milliseconds.
//!
//! The fakes take the places of QEMU with its vsock backend, or of Firecracker; what a fake guest does is written in its image, so an
//! image's name is a behaviour. See `crates/fakes`.

use crate::{Sandbox, programs};
use anyhow::{Context as _, Result};
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
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

const QEMU: &str = "fake-qemu";
const VSOCK_BACKEND: &str = "fake-vsock-backend";
const FIRECRACKER: &str = "fake-firecracker";

/// Which VMM's place a fake takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FakeVmm {
    Qemu,
    Firecracker,
}

impl FakeVmm {
    pub const ALL: [Self; 2] = [Self::Qemu, Self::Firecracker];

    /// The process that is the machine.
    #[must_use]
    pub fn program(self) -> &'static str {
        self.programs()[0]
    }

    /// Every process of a VM.
    #[must_use]
    pub fn programs(self) -> &'static [&'static str] {
        match self {
            Self::Qemu => &[QEMU, VSOCK_BACKEND],
            Self::Firecracker => &[FIRECRACKER],
        }
    }
}

/// The programs that stand in for VMMs, in a folder of their own that ends with this.
#[derive(Debug)]
pub(crate) struct Fakes {
    folder: TempDir,
    vmm: FakeVmm,
}

impl Fakes {
    pub(crate) fn program(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// What makes banger use them, in its settings.
    pub(crate) fn settings(&self) -> String {
        let at = |name: &str| self.program(name).display().to_string();
        match self.vmm {
            FakeVmm::Qemu => format!(
                "vmm = \"qemu\"\nqemu_bin = \"{}\"\nvsock_backend_bin = \"{}\"\n",
                at(QEMU),
                at(VSOCK_BACKEND)
            ),
            FakeVmm::Firecracker => {
                format!("vmm = \"firecracker\"\nfirecracker_bin = \"{}\"\n", at(FIRECRACKER))
            }
        }
    }
}

/// Puts images and a kernel into a sandbox, and the fakes into a folder of their own.
pub(crate) fn share_into(sandbox: &Sandbox, vmm: FakeVmm) -> Result<Fakes> {
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
    Ok(Fakes { folder: programs_for_everybody()?, vmm })
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
    for program in [QEMU, VSOCK_BACKEND, FIRECRACKER] {
        let copy = folder.path().join(program);
        fs::copy(programs::find(program), &copy).with_context(|| format!("copying {program}"))?;
        open(&copy)?;
    }
    Ok(folder)
}
