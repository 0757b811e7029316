//! The guest's disks: waiting for them, joining base and changes, mounting.

use super::cmdline::{Layout, RootDisk};
use super::grow;
use crate::deadline;
use crate::sys::device_mapper::{self, Target};
use rustix::fs::CWD;
use rustix::io::Errno;
use rustix::mount::{MountFlags, mount};
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Device nodes appear within milliseconds of their driver, and within seconds on an emulated, busy machine.
const PATIENCE: Duration = Duration::from_secs(20);

/// Sectors in a chunk of a snapshot: 4 KiB, a page and a block of the file system above.
const CHUNK: u32 = 8;

const JOINED: &str = "banger-root";

/// Why a disk is not where it should be.
#[derive(Debug, thiserror::Error)]
pub(super) enum DiskError {
    #[error("the disk {} did not appear within {} s", .0.display(), PATIENCE.as_secs())]
    Missing(PathBuf),
    #[error("the size of {} cannot be read", .0.display())]
    Size(PathBuf, #[source] io::Error),
    #[error("{base} and {cow} cannot be joined", base = base.display(), cow = cow.display())]
    Join { base: PathBuf, cow: PathBuf, source: io::Error },
    #[error("the directory {} cannot be created", .0.display())]
    Folder(PathBuf, #[source] Errno),
    #[error("{disk} cannot be mounted on {place}", disk = disk.display(), place = place.display())]
    Mount { disk: PathBuf, place: PathBuf, source: Errno },
}

/// Mounts the image's root file system.
pub(super) fn mount_root(layout: &Layout, new_root: &Path) -> Result<(), DiskError> {
    let disk = match layout.root {
        RootDisk::Own(disk) => wait_for(disk)?,
        RootDisk::Joined { base, cow } => join(&wait_for(base)?, &wait_for(cow)?)?,
    };
    mount_disk(&disk, new_root, MountFlags::NOATIME)
}

/// Mounts the work disk and the modules, where there are any.
pub(super) fn mount_others(layout: &Layout, new_root: &Path) -> Result<(), DiskError> {
    if let Some(disk) = layout.work {
        let (disk, place) = (wait_for(disk)?, new_root.join("root"));
        mount_disk(&disk, &place, MountFlags::NOATIME)?;
        grow::fill(&disk, &place);
    }
    if let Some(disk) = layout.modules {
        // With a merged /usr, /lib is a link that leads out of the new root while that is not / yet.
        let merged = std::fs::symlink_metadata(new_root.join("lib")).is_ok_and(|about| about.is_symlink());
        let lib = new_root.join(if merged { "usr/lib" } else { "lib" });
        make_folder(&lib)?;
        mount_disk(&wait_for(disk)?, &lib.join("modules"), MountFlags::RDONLY | MountFlags::NOATIME)?;
    }
    Ok(())
}

/// The device of the disk at `place`, once it is there.
pub(super) fn wait_for(place: usize) -> Result<PathBuf, DiskError> {
    let path = PathBuf::from(format!("/dev/{}", name(place)));
    deadline::retry(PATIENCE, || path.exists().then_some(()))
        .ok_or_else(|| DiskError::Missing(path.clone()))?;
    Ok(path)
}

fn name(place: usize) -> String {
    let letter = u8::try_from(place).ok().and_then(|place| b'a'.checked_add(place)).map_or('?', char::from);
    format!("vd{letter}")
}

fn join(base: &Path, cow: &Path) -> Result<PathBuf, DiskError> {
    let size = Path::new("/sys/class/block").join(base.file_name().unwrap_or_default()).join("size");
    let sectors = std::fs::read_to_string(&size)
        .and_then(|text| text.trim().parse().map_err(io::Error::other))
        .map_err(|source| DiskError::Size(base.to_owned(), source))?;
    // P: the changes outlive the guest; O: a full one is reported as such and not as damage.
    let parameters = format!("{} {} PO {CHUNK}", base.display(), cow.display());
    let target = Target { sectors, kind: "snapshot", parameters: &parameters };
    let joined = device_mapper::create(JOINED, &target).map_err(|source| DiskError::Join {
        base: base.to_owned(),
        cow: cow.to_owned(),
        source,
    })?;
    let path = Path::new("/dev/mapper").join(JOINED);
    // The name udev would give it. The guest's own udev may have no rules for it.
    rustix::fs::symlinkat(format!("../dm-{joined}"), CWD, &path).map_err(|e| DiskError::Join {
        base: base.to_owned(),
        cow: cow.to_owned(),
        source: e.into(),
    })?;
    Ok(path)
}

fn mount_disk(disk: &Path, place: &Path, flags: MountFlags) -> Result<(), DiskError> {
    make_folder(place)?;
    mount(disk, place, "ext4", flags, None).map_err(|source| DiskError::Mount {
        disk: disk.to_owned(),
        place: place.to_owned(),
        source,
    })
}

fn make_folder(place: &Path) -> Result<(), DiskError> {
    match rustix::fs::mkdirat(CWD, place, 0o755.into()) {
        Ok(()) | Err(Errno::EXIST) => Ok(()),
        Err(e) => Err(DiskError::Folder(place.to_owned(), e)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn disks_are_named_as_the_kernel_names_them() {
        assert_eq!(name(0), "vda");
        assert_eq!(name(4), "vde");
        assert_eq!(name(25), "vdz");
    }
}
