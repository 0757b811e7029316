//! What [`super::run`] does for guests that it is the first program of, done late: in a guest that an initrd of its own
//! brought up, the image's systemd has this done before anything asks for the network or for the keys of sshd.
//!
//! The root is mounted already; disks, config drive and address are as in every guest.

use super::cmdline::Layout;
use super::image_init::ImageInit;
use super::{BootError, config, copy_agent, disks, netlink, network};
use crate::image;
use std::path::Path;

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
    let (network, image) = match layout.config {
        Some(disk) => {
            let config = config::apply(&disks::wait_for(disk)?, root)?;
            (config.network, config.image)
        }
        None => Default::default(),
    };
    netlink::bring_up(network.as_ref())?;
    network::tell_services(network.as_ref(), ImageInit::find(root));
    copy_agent(root).and_then(|()| image::leave(&image, root)).map_err(BootError::Agent)
}

fn has_modules(root: &Path) -> bool {
    let release = rustix::system::uname().release().to_string_lossy().into_owned();
    root.join("lib/modules").join(release).is_dir()
}
