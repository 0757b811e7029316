//! Which of the two daemons this is: one of a user's own, or the installed one.
//!
//! What differs between them is decided here: where things are, what runs guests, whose the helper is and how guests get
//! out. In system mode all of that comes from the install file, which is root's; the owner's settings choose only what
//! concerns nobody else.

use crate::client::helper::{Helper, Keeper};
use crate::network::Range;
use crate::paths::StateFolder;
use crate::vm::NetworkTools;
use crate::vm::program::Program;
use crate::vm::vmm::{Host, VmmName};
use anyhow::{Context as _, bail};
use banger_config::Config;
use banger_protocol::local_paths::{LocalPaths, make_private_folder};
use banger_protocol::root_api::Settings;
use banger_system::{Install, service};
use std::path::PathBuf;

/// The helper's bridge, inside its own network namespace.
const LOCAL_BRIDGE: &str = "br-banger";

#[derive(Debug)]
pub(crate) enum Station {
    Local,
    System(Box<Install>),
}

impl Station {
    pub(crate) fn local(uid: u32) -> anyhow::Result<(Self, LocalPaths)> {
        Ok((Self::Local, LocalPaths::of_this_process(uid)?))
    }

    /// For the owner and for nobody else: a daemon of another user would lack the right to everything there.
    pub(crate) fn system(uid: u32) -> anyhow::Result<(Self, LocalPaths)> {
        let Some(install) = Install::read()? else { bail!("banger is not installed on this host") };
        if install.owner.uid != uid {
            bail!("the installed banger belongs to {}, and this is uid {uid}", install.owner.name);
        }
        let paths = install.paths();
        Ok((Self::System(Box::new(install)), paths))
    }

    /// systemd makes the installed one.
    pub(crate) fn make_runtime_folder(&self, paths: &LocalPaths, uid: u32) -> anyhow::Result<()> {
        match self {
            Self::Local => Ok(make_private_folder(&paths.runtime, uid)?),
            Self::System(_) => Ok(()),
        }
    }

    pub(crate) fn look_at_host(&self, config: &Config) -> Host {
        match self {
            Self::Local => Host::look(config),
            Self::System(install) => Host::installed(&install.settings),
        }
    }

    pub(crate) fn network_tools(&self) -> NetworkTools {
        match self {
            Self::Local => NetworkTools::look(),
            Self::System(install) => {
                NetworkTools::of_the_host(install.settings.nft.as_ref().map(PathBuf::from))
            }
        }
    }

    /// Whether the helper makes block devices, and can give one to this VMM: a Firecracker gets it from its jailer.
    pub(crate) fn gives_devices_to(&self, vmm: VmmName) -> bool {
        match (self, vmm) {
            (Self::Local, _) => false,
            (Self::System(_), VmmName::Qemu) => true,
            (Self::System(install), VmmName::Firecracker) => install.jailer_in_use().is_some(),
        }
    }

    /// What the helper shall go by.
    pub(crate) fn settings(&self, host: &Host, tools: &NetworkTools) -> Settings {
        let text = |program: &Program| program.path().map(|path| path.display().to_string());
        match self {
            Self::System(install) => install.settings.clone(),
            Self::Local => Settings {
                qemu: text(&host.qemu),
                vsock_backend: text(&host.vsock_backend),
                firecracker: text(&host.firecracker),
                nft: tools.nft().ok().map(|path| path.display().to_string()),
                bridge: LOCAL_BRIDGE.to_owned(),
                address: Range::LOCAL.bridge,
                prefix: Range::LOCAL.prefix,
            },
        }
    }

    pub(crate) fn helper(&self, paths: &LocalPaths, state: &StateFolder, settings: Settings) -> Helper {
        match self {
            Self::Local => {
                let socket = paths.runtime.join("bangerd-root.sock");
                Helper::new(socket, Keeper::Daemon(state.clone()), settings)
            }
            Self::System(_) => Helper::new(banger_system::ROOT_SOCKET.into(), Keeper::Systemd, settings),
        }
    }

    /// Whoever waits for the daemon to answer waits until systemd gives up, if it is not told.
    pub(crate) fn tell_ready(&self) {
        if let Self::System(_) = self
            && let Err(error) = service::ready()
        {
            tracing::warn!(%error, "systemd was not told that requests are answered");
        }
    }
}

/// The socket that systemd made, and keeps.
pub(crate) fn take_socket() -> anyhow::Result<tokio::net::UnixListener> {
    let listener = service::listener().context("the installed daemon is started by systemd")?;
    listener.set_nonblocking(true)?;
    Ok(tokio::net::UnixListener::from_std(listener)?)
}
