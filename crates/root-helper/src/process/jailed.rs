//! Firecracker under its jailer: what the jailer is told, and what is in the jail before it begins.
//!
//! The jailer makes the devices, drops everything, and becomes Firecracker, all in the process that was forked for it:
//! its number stays what was answered. It closes every descriptor, so what Firecracker opens is mounted into its root
//! instead, each under the name that [`FirecrackerFiles`] says. Where a file is mounted from is a path that the kernel
//! tells of a descriptor which came with the request; what is found there has to be the very same file.

use super::folder::Folder;
use super::start::StartError;
use crate::owned_file::{self, Use};
use crate::sys::jail::{Bind, Jail, Node};
use crate::sys::root::SITE;
use crate::{firecracker, snapshot};
use banger_protocol::ids::VmId;
use banger_protocol::root_api::{Disk, DiskSource, FirecrackerFiles};
use rustix::fs::{Mode, fstat};
use std::ffi::CString;
use std::io;
use std::os::fd::{AsFd as _, AsRawFd as _, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStringExt as _;
use std::path::Path;

/// A jail that is planned, and who makes use of it.
#[derive(Debug)]
pub(super) struct Plan {
    pub(super) jail: Jail,
    /// The jailer's, its own name not among them.
    pub(super) arguments: Vec<String>,
}

/// Plans the jail of a VM whose files are the owner's, and who is the second of these users. The descriptors are those
/// of the request behind the folder.
pub(super) fn plan(
    vm: &VmId,
    firecracker: &Path,
    folder: &Folder<'_>,
    disks: &[Disk],
    given: &[OwnedFd],
    [owner, uid]: [u32; 2],
) -> Result<Plan, StartError> {
    let prepare = |what| move |source| StartError::Prepare { program: "Firecracker", what, source };
    let program = firecracker.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let base = SITE.to_string_lossy();
    let above = format!("{base}/{program}");
    let whole = format!("{above}/{vm}");
    let root = format!("{whole}/root");
    let inside = |name: &str| text(format!("{root}{name}"));
    let folders = [above, whole, root.clone(), format!("{root}{}", FirecrackerFiles::SHARED)];
    let folders = folders.into_iter().map(text).collect::<io::Result<_>>();

    let mut jail = Jail { folders: folders.map_err(prepare("its jail was not planned"))?, ..Jail::default() };
    let own = bind(folder.descriptor(), inside(FirecrackerFiles::FOLDER), true, false);
    jail.binds.push(own.map_err(prepare("its directory was not found"))?);
    for (number, file) in (FirecrackerFiles::KERNEL..).zip(given) {
        let proven = owned_file::prove("one of its files", file.as_fd(), owner, Use::Reading);
        let proven = proven.map_err(StartError::Given)?;
        let mode =
            fstat(file).map_err(|errno| prepare("one of its files was not looked at")(errno.into()))?.st_mode;
        if !Mode::from_raw_mode(mode).contains(Mode::ROTH) {
            return Err(StartError::ClosedDisk);
        }
        let at = inside(&FirecrackerFiles::descriptor(number));
        let bind = bind(proven.descriptor, at, false, true);
        jail.binds.push(bind.map_err(prepare("one of its files was not found"))?);
    }
    if disks.iter().any(|disk| disk.source == DiskSource::Snapshot) {
        let device = snapshot::device(vm).map_err(StartError::Snapshot)?;
        let at = inside(FirecrackerFiles::SNAPSHOT).map_err(prepare("its disk was not planned"))?;
        jail.nodes.push(Node { at, device, uid });
    }
    let path = firecracker.display().to_string();
    let words = ["--id", vm.as_str(), "--exec-file", &path, "--chroot-base-dir", &base];
    let mut arguments: Vec<String> = words.map(str::to_owned).to_vec();
    arguments.extend([
        "--uid".to_owned(),
        uid.to_string(),
        "--gid".to_owned(),
        uid.to_string(),
        "--".to_owned(),
    ]);
    // The jailer tells Firecracker its id itself.
    arguments.extend(firecracker::arguments());
    Ok(Plan { jail, arguments })
}

fn bind(
    descriptor: BorrowedFd<'_>,
    at: io::Result<CString>,
    is_folder: bool,
    read_only: bool,
) -> io::Result<Bind> {
    let found = fstat(descriptor)?;
    let path = std::fs::read_link(format!("/proc/self/fd/{}", descriptor.as_raw_fd()))?;
    let from = CString::new(path.into_os_string().into_vec())?;
    Ok(Bind { from, identity: (found.st_dev, found.st_ino), at: at?, is_folder, read_only })
}

fn text(path: String) -> io::Result<CString> {
    Ok(CString::new(path)?)
}
