//! What lies where in the state folder.
//!
//! ```text
//! banger.db           the database; `banger.db.damaged-<time>` is one that was set aside
//! daemon.lock         held by the one daemon; `start.lock` by whoever starts it
//! egress.pid          whose number it is that carries guests' traffic out, and `egress.log` what it said at its start
//! bangerd.log         what the daemon said, and `helper.log` what the helper said
//! ssh/id_ed25519      banger's own key, for getting into guests
//! images/<name>/      manifest.json, rootfs.ext4, work-seed.ext4
//! kernels/<name>/     manifest.json, vmlinux, initrd.img, modules.ext4, boot-modules.cpio
//! vms/<id>/           a VM's disks, sockets and logs
//! ```
//!
//! A folder whose name starts with `.tmp-` is being made; at the daemon's start it is nobody's and removed.

use crate::client::pasta::Place;
use banger_protocol::ids::VmId;
use banger_protocol::root_api::ProcessIdentity;
use std::collections::BTreeMap;
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};

/// The state folder.
#[derive(Clone, Debug)]
pub(crate) struct StateFolder(PathBuf);

impl StateFolder {
    /// Makes the folder and its sub-folders, private to the owner.
    pub(crate) fn make(path: PathBuf) -> io::Result<Self> {
        for folder in
            [path.clone(), path.join("images"), path.join("kernels"), path.join("vms"), path.join("ssh")]
        {
            std::fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
        }
        Ok(Self(path))
    }

    /// The folder, if there is one.
    pub(crate) fn find(path: &Path) -> Option<Self> {
        path.is_dir().then(|| Self(path.to_owned()))
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }

    pub(crate) fn database(&self) -> PathBuf {
        self.0.join("banger.db")
    }

    /// What every guest is given of the user's own.
    pub(crate) fn personal(&self) -> PathBuf {
        self.0.join("personal.json")
    }

    /// The same while it is being written.
    pub(crate) fn personal_draft(&self) -> PathBuf {
        self.0.join("personal.new")
    }

    pub(crate) fn helper_log(&self) -> PathBuf {
        self.0.join("helper.log")
    }

    pub(crate) fn egress(&self) -> Place {
        Place { mark: self.0.join("egress.pid"), log: self.0.join("egress.log") }
    }

    pub(crate) fn images(&self) -> PathBuf {
        self.0.join("images")
    }

    pub(crate) fn kernels(&self) -> PathBuf {
        self.0.join("kernels")
    }

    pub(crate) fn vms(&self) -> PathBuf {
        self.0.join("vms")
    }

    pub(crate) fn vm(&self, id: &VmId) -> PathBuf {
        self.vms().join(id.as_str())
    }

    /// Any living process that works in the folder of one of our VMs.
    pub(crate) fn living_vm_process(&self) -> Option<ProcessIdentity> {
        self.living_vm_processes().pop().map(|(_, process)| process)
    }

    /// Every living process that works in the folder of one of our VMs, with that VM.
    ///
    /// This is how a VM is found of which nobody wrote down that it was started. Its process has a root directory of
    /// its own and calls the folder by another path, so the folder is known by what it is.
    pub(crate) fn living_vm_processes(&self) -> Vec<(VmId, ProcessIdentity)> {
        let identity = |path: &Path| std::fs::metadata(path).map(|found| (found.dev(), found.ino())).ok();
        let folders = std::fs::read_dir(self.vms()).into_iter().flatten().filter_map(Result::ok);
        let vm_of = |folder: std::fs::DirEntry| {
            Some((identity(&folder.path())?, folder.file_name().to_str()?.parse::<VmId>().ok()?))
        };
        let vms: BTreeMap<_, _> = folders.filter_map(vm_of).collect();
        let processes = std::fs::read_dir("/proc").into_iter().flatten().filter_map(Result::ok);
        let look = |entry: std::fs::DirEntry| {
            let pid = entry.file_name().to_str()?.parse().ok()?;
            // A shell may work there too; only the VMs' own processes have left our namespaces.
            if crate::process::shares_our_user_namespace(pid) != Some(false) {
                return None;
            }
            let vm = vms.get(&identity(&entry.path().join("cwd"))?)?;
            Some((vm.clone(), crate::process::identify(pid)?))
        };
        processes.filter_map(look).collect()
    }
}
