//! Which disks a machine can have, whatever makes it; pure.

use banger_protocol::root_api::{Disk, DiskRole, DiskSource};

/// Disks that are none.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub(crate) enum DiskError {
    #[error("the disk `{0}` is there twice")]
    Twice(&'static str),
    #[error("the disk `{0}` is written to and cannot be a shared file")]
    SharedWritable(&'static str),
    #[error("the disk `{0}` is not a root disk and cannot be the VM's device")]
    NotRoot(&'static str),
}

pub(crate) fn check(disks: &[Disk]) -> Result<(), DiskError> {
    for (at, disk) in disks.iter().enumerate() {
        let word = disk.role.as_str();
        if disks[..at].iter().any(|earlier| earlier.role == disk.role) {
            return Err(DiskError::Twice(word));
        }
        if disk.source == DiskSource::Descriptor && !disk.read_only() {
            return Err(DiskError::SharedWritable(word));
        }
        if disk.source == DiskSource::Snapshot && disk.role != DiskRole::Root {
            return Err(DiskError::NotRoot(word));
        }
    }
    Ok(())
}

/// How many come as descriptors.
pub(crate) fn descriptors(disks: &[Disk]) -> usize {
    disks.iter().filter(|disk| disk.source == DiskSource::Descriptor).count()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_disk_is_there_once_and_a_shared_one_is_only_read() {
        let disk = |role, source| Disk { role, source };
        let base = disk(DiskRole::Base, DiskSource::Descriptor);
        let cow = disk(DiskRole::Cow, DiskSource::Folder);
        assert_eq!(check(&[base.clone(), cow.clone()]), Ok(()));
        assert_eq!(descriptors(&[base.clone(), cow.clone()]), 1);
        assert_eq!(check(&[base, cow.clone(), cow]), Err(DiskError::Twice("cow")));
        let shared_root = disk(DiskRole::Root, DiskSource::Descriptor);
        assert_eq!(check(&[shared_root]), Err(DiskError::SharedWritable("root")));
        assert_eq!(check(&[disk(DiskRole::Root, DiskSource::Snapshot)]), Ok(()));
        assert_eq!(check(&[disk(DiskRole::Work, DiskSource::Snapshot)]), Err(DiskError::NotRoot("work")));
    }
}
