//! The open files a VMM gets, in the order of their numbers in it.
//!
//! QEMU is handed everything it needs open. Firecracker opens each of its files again by its number
//! (`/proc/self/fd/<n>`), for which the file's mode has to let it: where VMs run as users of their own, a kernel and
//! an initrd that it does not let are copied to memory, and a disk is refused.

use super::start::StartError;
use crate::{disks, snapshot, tap};
use banger_protocol::ids::VmId;
use banger_protocol::root_api::{DiskSource, FirecrackerSpec, QemuSpec};
use rustix::fs::{MemfdFlags, Mode, OFlags};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// A descriptor for the program: one that came with the request, or one made here.
pub(super) enum Held<'a> {
    Lent(BorrowedFd<'a>),
    Own(OwnedFd),
}

impl AsFd for Held<'_> {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::Lent(descriptor) => *descriptor,
            Self::Own(descriptor) => descriptor.as_fd(),
        }
    }
}

/// What a program is handed.
#[derive(Default)]
pub(super) struct Files<'a> {
    /// In the order of their numbers in the program, from 3.
    pub(super) held: Vec<Held<'a>>,
    /// How many of them, from the first, it opens again by their numbers.
    reopened: usize,
}

impl Files<'_> {
    /// Those that need a rule to be opened again. What lies in memory is on no file system that has rules.
    pub(super) fn reopened(&self) -> Vec<BorrowedFd<'_>> {
        let again = self.held.iter().take(self.reopened);
        again.filter(|file| matches!(file, Held::Lent(_))).map(AsFd::as_fd).collect()
    }
}

/// Kernel, initrd, tap and shared disks in the order of [`crate::qemu`]'s numbers.
pub(super) fn of_qemu<'a>(
    vm: &VmId,
    spec: &QemuSpec,
    given: &'a [OwnedFd],
    uid: Option<u32>,
) -> Result<Files<'a>, StartError> {
    let (boot, shared) = given.split_at(2);
    let mut held = Vec::with_capacity(3 + disks::descriptors(&spec.disks));
    for file in boot {
        held.push(boot_file("QEMU", file, uid)?);
    }
    held.push(Held::Own(tap::open(vm).map_err(StartError::Tap)?.into()));
    let mut shared = shared.iter();
    for disk in &spec.disks {
        match disk.source {
            DiskSource::Folder => {}
            DiskSource::Descriptor => held.extend(shared.next().map(|disk| Held::Lent(disk.as_fd()))),
            DiskSource::Snapshot => {
                held.push(Held::Own(snapshot::open(vm).map_err(StartError::Snapshot)?.into()));
            }
        }
    }
    Ok(Files { held, reopened: boot.len() })
}

/// Kernel, initrd and shared disks in the order of `FirecrackerFiles`. The tap it opens itself, by its name.
pub(super) fn of_firecracker<'a>(
    spec: &FirecrackerSpec,
    given: &'a [OwnedFd],
    uid: Option<u32>,
) -> Result<Files<'a>, StartError> {
    if spec.disks.iter().any(|disk| disk.source == DiskSource::Snapshot) {
        return Err(StartError::NoJailer);
    }
    let (boot, shared) = given.split_at(2);
    let mut held = Vec::with_capacity(2 + disks::descriptors(&spec.disks));
    for file in boot {
        held.push(boot_file("Firecracker", file, uid)?);
    }
    for disk in shared {
        if uid.is_some() && !open_to_all(disk).map_err(unreadable("Firecracker"))? {
            return Err(StartError::ClosedDisk);
        }
        held.push(Held::Lent(disk.as_fd()));
    }
    let reopened = held.len();
    Ok(Files { held, reopened })
}

fn unreadable(program: &'static str) -> impl Fn(io::Error) -> StartError {
    move |source| StartError::Prepare { program, what: "one of its files cannot be read", source }
}

fn boot_file<'a>(program: &'static str, file: &'a OwnedFd, uid: Option<u32>) -> Result<Held<'a>, StartError> {
    match uid {
        Some(_) => readable_by_all(file).map_err(unreadable(program)),
        None => Ok(Held::Lent(file.as_fd())),
    }
}

fn open_to_all(file: &OwnedFd) -> io::Result<bool> {
    Ok(Mode::from_raw_mode(rustix::fs::fstat(file)?.st_mode).contains(Mode::ROTH))
}

/// A file that any user can open by its number in `/proc/self/fd`: the file itself when its mode allows that,
/// else a copy in memory.
fn readable_by_all(file: &OwnedFd) -> io::Result<Held<'_>> {
    if open_to_all(file)? {
        return Ok(Held::Lent(file.as_fd()));
    }
    let copy = rustix::fs::memfd_create("boot", MemfdFlags::CLOEXEC)?;
    let length = rustix::fs::fstat(file)?.st_size.unsigned_abs();
    let mut from = 0;
    while from < length {
        let left = usize::try_from(length - from).unwrap_or(usize::MAX);
        if rustix::fs::sendfile(&copy, file, Some(&mut from), left)? == 0 {
            break;
        }
    }
    // Opened again for reading only: what the VMM holds cannot change the copy.
    let number = std::os::fd::AsRawFd::as_raw_fd(&copy);
    let flags = OFlags::RDONLY | OFlags::CLOEXEC;
    Ok(Held::Own(rustix::fs::open(format!("/proc/self/fd/{number}"), flags, Mode::empty())?))
}
