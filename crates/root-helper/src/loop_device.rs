//! Loop devices: files of the owner's as block devices.
//!
//! An image's file has one, read-only, however many VMs use it; a VM's changes have one of their own. Which is which,
//! and that it is ours, stands in the label that the helper gives it, as which the kernel keeps it and only root can
//! write it. Which file is behind it, the kernel says by device and inode. Nothing is remembered here.
//!
//! Each is set up to clear itself with the last who has it open: while it is being set up that is the helper, and then
//! the device mapper's table. So there is nothing to take down, and nothing is left of a helper that was killed.

use crate::deadline::until_not_busy;
use crate::owned_file::OwnedFile;
use crate::sys::loops::{self, Found};
use banger_protocol::ids::VmId;
use banger_protocol::root_api::OwnedLoop;
use std::fs::File;
use std::io;
use std::os::unix::fs::MetadataExt as _;

const CONTROL: &str = "/dev/loop-control";
const BASE_LABEL: &str = "banger-base";

/// A device that stays as it is while this is held.
#[derive(Debug)]
pub(crate) struct Loop {
    number: u32,
    device: File,
    found: Found,
}

impl Loop {
    /// As the device mapper's tables name it.
    pub(crate) fn name(&self) -> io::Result<String> {
        let device = self.device.metadata()?.rdev();
        Ok(format!("{}:{}", rustix::fs::major(device), rustix::fs::minor(device)))
    }

    pub(crate) fn holds(&self, file: &OwnedFile<'_>) -> bool {
        self.found.backing == file.identity
    }

    pub(crate) fn read_only(&self) -> bool {
        self.found.read_only
    }

    /// Whether it is an image's with this very file behind it.
    fn is_base_of(&self, file: &OwnedFile<'_>) -> bool {
        let Found { read_only, label, offset, size_limit, .. } = &self.found;
        let whole = (*offset, *size_limit) == (0, 0) && self.sectors().ok() == Some(file.size / 512);
        *read_only && label == BASE_LABEL && whole && self.holds(file)
    }

    /// How large it is, in sectors of 512 bytes. It does not grow with its file.
    fn sectors(&self) -> io::Result<u64> {
        let text = std::fs::read_to_string(format!("/sys/block/loop{}/size", self.number))?;
        text.trim().parse().map_err(|_| io::ErrorKind::InvalidData.into())
    }
}

/// Every device that has a file behind it, be it ours or not.
pub(crate) fn all() -> io::Result<Vec<Loop>> {
    let entries = std::fs::read_dir("/sys/block")?;
    let numbers = entries.filter_map(|entry| number(entry.ok()?.file_name().to_str()?));
    let used = numbers.filter(|number| {
        // Opening one that is free would be harmless and is not needed.
        std::fs::exists(format!("/sys/block/loop{number}/loop/backing_file")).unwrap_or(true)
    });
    let mut found = Vec::new();
    for number in used {
        match open(number).and_then(|device| Ok((loops::look(&device)?, device))) {
            Ok((Some(status), device)) => found.push(Loop { number, device, found: status }),
            Ok((None, _)) => {}
            // It was removed meanwhile.
            Err(error) if matches!(error.raw_os_error(), Some(libc::ENXIO | libc::ENODEV | libc::ENOENT)) => {
            }
            Err(error) => return Err(error),
        }
    }
    Ok(found)
}

/// Those of ours, for the inventory.
pub(crate) fn ours() -> io::Result<Vec<OwnedLoop>> {
    let owned = |found: Loop| Some(OwnedLoop { number: found.number, vm: parse_label(&found.found.label)? });
    Ok(all()?.into_iter().filter_map(owned).collect())
}

/// The device of an image's file, from among these or a new one.
pub(crate) fn base(existing: Vec<Loop>, file: &OwnedFile<'_>) -> io::Result<Loop> {
    match existing.into_iter().find(|found| found.is_base_of(file)) {
        Some(found) => Ok(found),
        None => set_up(file, true, BASE_LABEL),
    }
}

/// A new device for a VM's changes.
pub(crate) fn changes(vm: &VmId, file: &OwnedFile<'_>) -> io::Result<Loop> {
    set_up(file, false, &vm.device_name())
}

fn set_up(file: &OwnedFile<'_>, read_only: bool, label: &str) -> io::Result<Loop> {
    let control = File::options().read(true).write(true).open(CONTROL)?;
    until_not_busy(|| {
        let number = loops::free(&control)?;
        let device = open(number)?;
        loops::configure(&device, file.descriptor, read_only, label)?;
        let found = loops::look(&device)?.ok_or(io::ErrorKind::NotFound)?;
        Ok(Loop { number, device, found })
    })
}

fn open(number: u32) -> io::Result<File> {
    File::options().read(true).write(true).open(format!("/dev/loop{number}")).or_else(|error| {
        // One that is read-only cannot be opened otherwise.
        match error.raw_os_error() {
            Some(libc::EACCES | libc::EROFS | libc::EPERM) => File::open(format!("/dev/loop{number}")),
            _ => Err(error),
        }
    })
}

/// The number of a whole loop device, by its name.
fn number(name: &str) -> Option<u32> {
    name.strip_prefix("loop")?.parse().ok()
}

/// Whose a device is, by its label: a VM's, or nobody's in particular. None for what is not ours.
fn parse_label(label: &str) -> Option<Option<VmId>> {
    if label == BASE_LABEL {
        return Some(None);
    }
    label.strip_prefix("banger-")?.parse().ok().map(Some)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_label_says_whose_a_device_is() {
        let vm = VmId::random();
        assert_eq!(parse_label(&vm.device_name()), Some(Some(vm)));
        assert_eq!(parse_label(BASE_LABEL), Some(None));
        for other in ["", "/var/lib/snapd/x.snap", "banger-", "banger-basement", "banger-0123456789AB"] {
            assert_eq!(parse_label(other), None, "{other}");
        }
    }

    #[test]
    fn partitions_and_the_control_device_are_no_loop_devices() {
        assert_eq!(number("loop7"), Some(7));
        for other in ["loop7p1", "loop-control", "loop", "sda"] {
            assert_eq!(number(other), None, "{other}");
        }
    }
}
