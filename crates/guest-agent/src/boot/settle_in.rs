//! What [`super::run`] does for guests that it is the first program of, done late: in a guest that an initrd of its own
//! brought up, the image's systemd has this done before anything asks for the network or for the keys of sshd.
//!
//! The root is mounted already; disks, config drive and address are as in every guest. Drivers may be missing until the
//! disk with the modules is there, and the image's udev has asked for them in vain by then: it is asked once more.

use super::cmdline::Layout;
use super::image_init::ImageInit;
use super::{BootError, config, copy_agent, disks, netlink, network};
use crate::{deadline, image};
use std::path::Path;
use std::time::Duration;

/// For udev to load a driver, on an emulated and busy machine.
const PATIENCE: Duration = Duration::from_secs(20);

const DEVICES: &str = "/sys/bus/virtio/devices";

/// Why a guest is not what its host wants it to be.
#[derive(Debug, thiserror::Error)]
#[error("this guest cannot settle in")]
pub struct SettleError(#[source] BootError);

/// Makes the running guest what its kernel's command line and its config drive say.
///
/// # Errors
/// With the first step that failed. None is undone: the guest is of no use.
pub fn settle_in() -> Result<(), SettleError> {
    settle(Path::new("/")).map_err(SettleError)
}

fn settle(root: &Path) -> Result<(), BootError> {
    let cmdline = std::fs::read_to_string("/proc/cmdline").map_err(BootError::ReadCmdline)?;
    let layout = Layout::parse(&cmdline)?;
    // An image that boots by itself mostly has the modules of its kernel, and uses some of them by now.
    let layout = if has_modules(root) { Layout { modules: None, ..layout } } else { layout };
    disks::mount_others(&layout, root)?;
    if layout.modules.is_some() {
        announce(Path::new(DEVICES));
    }
    let (network, image) = match layout.config {
        Some(disk) => {
            let config = config::apply(&disks::wait_for(disk)?, root)?;
            (config.network, config.image)
        }
        None => Default::default(),
    };
    if network.is_some() {
        let interface = Path::new("/sys/class/net").join(netlink::INTERFACE);
        // Without one the next step says so.
        let _ = deadline::retry(PATIENCE, || interface.exists().then_some(()));
    }
    netlink::bring_up(network.as_ref())?;
    network::tell_services(network.as_ref(), ImageInit::find(root));
    copy_agent(root).and_then(|()| image::leave(&image, root)).map_err(BootError::Agent)
}

/// Has the kernel tell udev of each device as if it were new (Documentation/ABI/testing/sysfs-uevent).
fn announce(devices: &Path) {
    for device in std::fs::read_dir(devices).into_iter().flatten().flatten() {
        // A device that is going away has no driver to miss.
        let _ = std::fs::write(device.path().join("uevent"), "add");
    }
}

fn has_modules(root: &Path) -> bool {
    let release = rustix::system::uname().release().to_string_lossy().into_owned();
    root.join("lib/modules").join(release).is_dir()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_device_is_announced_and_one_that_goes_away_meanwhile_hinders_nobody() {
        let devices = tempfile::tempdir().unwrap();
        for device in ["virtio0", "virtio1"] {
            std::fs::create_dir(devices.path().join(device)).unwrap();
        }
        std::fs::create_dir(devices.path().join("virtio0/uevent")).unwrap();
        announce(devices.path());
        announce(Path::new("/nowhere"));
        assert_eq!(std::fs::read_to_string(devices.path().join("virtio1/uevent")).unwrap(), "add");
    }
}
