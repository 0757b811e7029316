//! A folder of this machine in the host: as a disk that is plugged in, since what goes through an emulated network
//! card takes minutes where this takes a second.
//!
//! The host sees a copy of its own, with room to write; nothing comes back that way.

use super::Host;
use super::login::User;
use super::machine::FREE_SLOT;
use crate::place::Place;
use crate::tool::Tool;
use anyhow::{Context as _, Result};
use std::fs::{self, File};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

/// Where it is in the host, owned by the user `dev`.
pub(crate) const AT: &str = "/given";

/// QEMU's names for it.
const DRIVE: &str = "given-drive";
const DEVICE: &str = "given-device";

/// What it looks like in the host; here it costs what is in it.
const SIZE: &str = "24G";

const MOUNT: &str = "set -eu
udevadm settle --timeout=60 --exit-if-exists=/dev/disk/by-id/virtio-given
mkdir -p /given
mount -o noatime /dev/disk/by-id/virtio-given /given
chown -R dev:dev /given";

/// What still uses it may go on; the disk itself goes.
const UNMOUNT: &str = "! mountpoint --quiet /given || umount --lazy /given";

/// Plugged out is when the host says so, some moments after QEMU was told.
const WAIT_UNTIL_GONE: &str = "set -eu
for try in $(seq 600); do
    test -e /dev/disk/by-id/virtio-given || exit 0
    sleep 0.1
done
echo 'the disk does not go' >&2
exit 1";

/// A folder in the host, for as long as this lives. Only one can be in a host; others wait.
#[derive(Debug)]
pub(crate) struct Given<'host> {
    host: &'host Host,
    disk: PathBuf,
    _lock: File,
}

impl<'host> Given<'host> {
    pub(crate) fn folder(place: &Place, host: &'host Host, folder: &Path) -> Result<Self> {
        let lock =
            File::create(host.folder.join("given.lock")).context("making the lock of what is given")?;
        lock.lock().context("waiting for another run in the host")?;
        if host.monitor()?.ask("info block")?.contains(DRIVE) {
            println!("host: taking back what a run left that was killed");
            take_out(place, host)?;
        }
        let given = Self { host, disk: host.folder.join("given.img"), _lock: lock };
        // Truncated if it is there, and announced by nobody if it is not.
        File::create(&given.disk).with_context(|| format!("making {}", given.disk.display()))?;
        Tool::find(place, "mke2fs")?
            .args(["-q", "-F", "-t", "ext4", "-O", "^has_journal", "-d"])
            .args([folder, given.disk.as_path()])
            .args([SIZE])
            .run()?;
        let mut monitor = host.monitor()?;
        let file = given.disk.to_string_lossy().replace(',', ",,");
        monitor.tell(&format!("drive_add 0 if=none,id={DRIVE},file={file},format=raw,cache=unsafe"))?;
        monitor.tell(&format!(
            "device_add virtio-blk-pci,id={DEVICE},drive={DRIVE},serial=given,bus={FREE_SLOT}"
        ))?;
        drop(monitor);
        host.command(place, User::Root, &["sh", "-c", MOUNT])?
            .run()
            .context("the disk given to the host could not be mounted there")?;
        Ok(given)
    }

    /// Takes it back from a host that goes on.
    pub(crate) fn take_back(self, place: &Place) -> Result<()> {
        take_out(place, self.host)?;
        self.remove_disk()
    }

    fn remove_disk(&self) -> Result<()> {
        match fs::remove_file(&self.disk) {
            Err(error) if error.kind() != ErrorKind::NotFound => {
                Err(error).with_context(|| format!("removing {}", self.disk.display()))
            }
            _ => Ok(()),
        }
    }
}

/// QEMU forgets the drive together with its device.
fn take_out(place: &Place, host: &Host) -> Result<()> {
    host.command(place, User::Root, &["sh", "-c", UNMOUNT])?.run()?;
    // Of a device that is on its way out already it complains.
    host.monitor()?.ask(&format!("device_del {DEVICE}"))?;
    host.command(place, User::Root, &["sh", "-c", WAIT_UNTIL_GONE])?.run()
}
