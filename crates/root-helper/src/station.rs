//! Whom the helper serves: the user who started it, inside namespaces that they share with nobody, or the one that the
//! install file names.
//!
//! | | local | system |
//! |---|---|---|
//! | the owner is | uid 0 of the helper's user namespace | the uid in the install file |
//! | beside them may speak | nobody: everybody else, real root included, appears as the overflow id | root |
//! | a VM's process is kept out by | living inside the namespaces | its uid, which is not the owner's |
//! | the socket is | the helper's | systemd's, and outlives the helper |

use crate::inventory::KnownBy;
use crate::settings::{self, SettingsError};
use crate::socket::Place;
use banger_protocol::root_api::Settings;
use banger_protocol::wire::{ErrorKind, RpcError};
use banger_system::service::{self, NoSocket};
use banger_system::trust::{self, Untrusted};
use banger_system::{Firewall, Install, InstallError, Taken, VmUids};
use std::io;
use std::os::unix::net::{UnixListener, UnixStream};

/// The user on whose behalf everything is done, as the helper's user namespace calls them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Owner {
    pub(crate) uid: u32,
    pub(crate) gid: u32,
}

impl Owner {
    /// Whether they need a group to reach what belongs to a VM's user id: who is root here does not.
    pub(crate) fn shares(self) -> bool {
        self.uid != 0
    }

    /// For a VM's processes: what they make is the owner's too, or nobody's.
    pub(crate) fn umask(self) -> u32 {
        if self.shares() { 0o007 } else { 0o077 }
    }
}

#[derive(Debug)]
pub(crate) enum Station {
    Local {
        socket: Place,
    },
    System {
        owner: Owner,
        /// Absolute path of Firecracker's jailer, where Firecracker shall run under it.
        jailer: Option<String>,
        vm_uids: VmUids,
        /// What may have been theirs before.
        former_vm_uids: Vec<VmUids>,
        /// Whose rules the administrator had banger add to.
        firewall: Option<Firewall>,
    },
}

/// Why the installed helper did not start.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SystemError {
    #[error(transparent)]
    Install(InstallError),
    #[error("nothing was started: banger is not installed")]
    NotInstalled,
    #[error("nothing was started: only root can serve the installed system")]
    NotRoot,
    #[error("the settings in {} were not accepted", banger_system::INSTALL)]
    Settings(#[source] SettingsError),
    #[error("nothing was started")]
    VmUids(#[source] Taken),
    #[error("nothing was started: a program that root would run is not root's alone")]
    Untrusted(#[source] Untrusted),
    #[error("no socket was passed in")]
    Socket(#[source] NoSocket),
}

impl SystemError {
    pub(crate) fn hint(&self) -> String {
        match self {
            Self::Install(error) => error.hint().to_owned(),
            Self::NotInstalled => "sudo banger system install".to_owned(),
            Self::NotRoot | Self::Socket(_) => banger_system::RESTART.to_owned(),
            Self::VmUids(_) => "sudo banger system install --vm-uids FIRST-LAST".to_owned(),
            Self::Settings(_) => "run `sudo banger system install` again".to_owned(),
            Self::Untrusted(_) => {
                "give the file and its parent directories to root, with mode 0755, then `sudo banger system install`"
                    .to_owned()
            }
        }
    }
}

/// What the installed helper begins with.
#[derive(Debug)]
pub(crate) struct System {
    pub(crate) listener: UnixListener,
    pub(crate) settings: Settings,
    pub(crate) owner: Owner,
    /// Absolute path of Firecracker's jailer, where Firecracker shall run under it.
    pub(crate) jailer: Option<String>,
    pub(crate) vm_uids: VmUids,
    pub(crate) former_vm_uids: Vec<VmUids>,
    pub(crate) firewall: Option<Firewall>,
}

impl System {
    /// Believes nothing that somebody else than root could have written, and runs nothing either.
    pub(crate) fn take() -> Result<Self, SystemError> {
        let install = read()?;
        let Settings { qemu, vsock_backend, firecracker, nft, .. } = &install.settings;
        for program in [qemu, vsock_backend, firecracker, nft, &install.jailer].into_iter().flatten() {
            trust::check(program.as_ref()).map_err(SystemError::Untrusted)?;
        }
        install.vm_uids.are_nobodys().map_err(SystemError::VmUids)?;
        let listener = service::listener().map_err(SystemError::Socket)?;
        let owner = Owner { uid: install.owner.uid, gid: install.owner.gid };
        let jailer = install.jailer_in_use().map(str::to_owned);
        // Of those that somebody has by now, nothing can be said to be a VM's.
        let mut former_vm_uids = install.former_vm_uids;
        former_vm_uids.retain(|uids| uids.are_nobodys().is_ok());
        let (settings, vm_uids, firewall) = (install.settings, install.vm_uids, install.firewall);
        Ok(Self { listener, settings, owner, jailer, vm_uids, former_vm_uids, firewall })
    }

    /// What the installed helper goes by, for those who end with it.
    pub(crate) fn settings() -> Result<Settings, SystemError> {
        Ok(read()?.settings)
    }
}

fn read() -> Result<Install, SystemError> {
    if !rustix::process::geteuid().is_root() {
        return Err(SystemError::NotRoot);
    }
    let install = Install::read().map_err(SystemError::Install)?.ok_or(SystemError::NotInstalled)?;
    settings::check(&install.settings).map_err(SystemError::Settings)?;
    Ok(install)
}

/// Tells systemd that requests are answered; whoever waits for that waits until it gives up otherwise.
pub(crate) fn tell_ready() {
    if let Err(error) = service::ready() {
        tracing::warn!(%error, "systemd was not told that requests are answered");
    }
}

impl Station {
    pub(crate) fn owner(&self) -> Owner {
        match self {
            Self::Local { .. } => Owner { uid: 0, gid: 0 },
            Self::System { owner, .. } => *owner,
        }
    }

    pub(crate) fn jailer(&self) -> Option<&str> {
        match self {
            Self::Local { .. } => None,
            Self::System { jailer, .. } => jailer.as_deref(),
        }
    }

    pub(crate) fn vm_uids(&self) -> VmUids {
        match self {
            Self::Local { .. } => VmUids::USUAL,
            Self::System { vm_uids, .. } => *vm_uids,
        }
    }

    /// Ranges of before, to which folders of VMs may still belong.
    pub(crate) fn former_vm_uids(&self) -> &[VmUids] {
        match self {
            Self::Local { .. } => &[],
            Self::System { former_vm_uids, .. } => former_vm_uids,
        }
    }

    /// By what VMs' processes are known to be theirs.
    pub(crate) fn known_by(&self) -> KnownBy {
        match self {
            Self::Local { .. } => KnownBy::Environment,
            Self::System { .. } => KnownBy::Scope,
        }
    }

    /// Says why somebody may not speak.
    pub(crate) fn admit(&self, stream: &UnixStream) -> Result<(), &'static str> {
        let Ok(peer) = rustix::net::sockopt::socket_peercred(stream) else {
            return Err("it is not known who connected");
        };
        let is_owner = peer.uid.is_root() || peer.uid.as_raw() == self.owner().uid;
        if !is_owner {
            return Err("only the owner may speak to bangerd-root");
        }
        match self {
            Self::System { .. } => Ok(()),
            Self::Local { .. } => is_outside(peer.pid.as_raw_nonzero().get()),
        }
    }

    /// Makes way for another helper, which systemd does for the installed one.
    pub(crate) fn leave(&self) -> Result<(), RpcError> {
        match self {
            Self::Local { socket } => {
                socket.remove().map_err(|e| RpcError::from_error(ErrorKind::OperationFailed, &e))
            }
            Self::System { .. } => {
                let refused = "the installed bangerd-root is ended by systemd alone";
                Err(RpcError::new(ErrorKind::Unavailable, refused).with_hint(banger_system::RESTART))
            }
        }
    }

    /// Whether the administrator had rules added to Docker's.
    pub(crate) fn is_opened_by_docker(&self) -> bool {
        matches!(self, Self::System { firewall: Some(Firewall::Docker), .. })
    }

    /// Whether the bridge is the host's own, so that the host's resolver can ask there.
    pub(crate) fn is_the_hosts(&self) -> bool {
        matches!(self, Self::System { .. })
    }

    pub(crate) fn ends_when_told(&self) -> bool {
        matches!(self, Self::Local { .. })
    }
}

/// proc_pid_ns(5): the links can be read by who has rights over the process. The helper has them over what is inside
/// its user namespace and over nothing outside. A process that is gone shows neither, and could have left its
/// connection to a VM's: only what is known to be outside may speak.
fn is_outside(pid: i32) -> Result<(), &'static str> {
    match std::fs::metadata(format!("/proc/{pid}/ns/user")) {
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => Ok(()),
        Ok(_) => Err("a VM's process may not speak to bangerd-root"),
        Err(_) => Err("who connected is gone, and it is not known where it belonged"),
    }
}
