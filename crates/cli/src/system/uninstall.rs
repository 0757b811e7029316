//! Taking the installed system away. Its state stays unless it is asked to go; a user's own files always stay.

use super::foreign_firewall::{self, ForeignError};
use super::layout::{self, BACKEND, Origin, PROGRAMS};
use super::systemd::{self, SystemdError};
use crate::daemon::{ConnectError, Daemon, FollowError, follow};
use crate::failure::Failure;
use crate::printer::{self, Progress};
use crate::tool::Tool;
use banger_protocol::daemon_api::vm::{List, State, Stop, VmView};
use banger_protocol::names::VmRef;
use banger_protocol::wire::ConnectionError;
use banger_system::{INSTALL, Install};
use std::io;
use std::path::{Path, PathBuf};

const AGAIN: &str = "run the command again to continue";

#[derive(Debug, thiserror::Error)]
pub(crate) enum TakeDownError {
    #[error("nothing was changed: the daemon was not asked to stop its VMs")]
    Connect(#[source] ConnectError),
    #[error("nothing was changed: the daemon did not list its VMs")]
    List(#[source] ConnectionError),
    #[error("nothing was removed: the VM {name} was not stopped")]
    Stop {
        name: String,
        #[source]
        source: StopFailed,
    },
    #[error(transparent)]
    Systemd(#[from] SystemdError),
    #[error("the services are stopped, and the network of the guests was not removed: {0}")]
    Network(String),
    #[error("the bridge was not removed from the firewall")]
    Foreign(#[source] ForeignError),
    #[error("{} was not removed", path.display())]
    Remove {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
}

#[derive(Debug, thiserror::Error)]
pub(crate) enum StopFailed {
    #[error(transparent)]
    Ask(ConnectionError),
    #[error(transparent)]
    Follow(FollowError),
}

impl From<TakeDownError> for Failure {
    fn from(error: TakeDownError) -> Self {
        let hint = match &error {
            TakeDownError::Connect(_) | TakeDownError::List(_) | TakeDownError::Stop { .. } => {
                "`banger system uninstall --force` kills VMs that do not stop"
            }
            TakeDownError::Foreign(error) => error.hint().unwrap_or(AGAIN),
            _ => AGAIN,
        };
        Self::of(&error).with_hint(hint)
    }
}

/// Takes it away; `force` goes on where VMs cannot be stopped as they should.
pub(crate) fn uninstall(install: &Install, purge: bool, force: bool) -> Result<(), TakeDownError> {
    match stop_vms() {
        Err(error) if force => {
            printer::talk(Failure::from(error).report.map_or_else(String::new, |report| report.message));
        }
        outcome => outcome?,
    }
    systemd::ask(&[
        "disable",
        "--quiet",
        "--now",
        "bangerd.socket",
        "bangerd-root.socket",
        "bangerd.service",
    ])?;
    systemd::ask(&["stop", "bangerd.service", "bangerd-root.service"])?;
    remove_network(install)?;
    if let Some(firewall) = install.firewall {
        foreign_firewall::forget(firewall, &install.settings.bridge).map_err(TakeDownError::Foreign)?;
    }
    let origin = Origin::installed(install);
    for text in layout::texts(&origin, &install.owner) {
        remove_file(&text.path)?;
        if let Some(folder) = text.path.parent().filter(|folder| folder.extension().is_some()) {
            // Somebody else's drop-in keeps it.
            let _ = std::fs::remove_dir(folder);
        }
    }
    if let Origin::Folder(folder) = &origin {
        for name in PROGRAMS.into_iter().chain([BACKEND]) {
            remove_file(&folder.join(name))?;
        }
        let _ = std::fs::remove_dir(folder);
        remove_file(Path::new("/usr/local/bin/banger"))?;
    }
    // The runtime folders hold sockets that systemd has removed.
    for folder in ["/run/banger", "/run/banger-root"] {
        let _ = std::fs::remove_dir(folder);
    }
    if purge {
        for folder in [banger_system::STATE, banger_system::CACHE] {
            remove_tree(Path::new(folder))?;
        }
    }
    // Last: as long as it is there, this can be done again.
    remove_file(Path::new(INSTALL))?;
    let _ = std::fs::remove_dir(Path::new(INSTALL).parent().unwrap_or(Path::new("/")));
    systemd::ask(&["daemon-reload"])?;
    Ok(())
}

/// Says which before it does it: whoever works in one should know why it goes.
fn stop_vms() -> Result<(), TakeDownError> {
    let Some(mut daemon) = Daemon::installed().map_err(TakeDownError::Connect)? else { return Ok(()) };
    let vms = daemon.call(&List {}).map_err(TakeDownError::List)?;
    for vm in vms.iter().filter(|vm| !is_down(vm)) {
        printer::talk(format_args!("stopping {}", vm.name));
        let failed = |source| TakeDownError::Stop { name: vm.name.to_string(), source };
        let stop = Stop { vm: VmRef(vm.id.to_string()) };
        let started = daemon.call(&stop).map_err(|error| failed(StopFailed::Ask(error)))?;
        follow::<VmView>(&mut daemon, started, None, &Progress::Silent)
            .map_err(|error| failed(StopFailed::Follow(error)))?;
    }
    Ok(())
}

fn is_down(vm: &VmView) -> bool {
    matches!(vm.state, State::Created | State::Stopped | State::Failed)
}

/// The helper knows what its things are called.
fn remove_network(install: &Install) -> Result<(), TakeDownError> {
    let helper = Tool::at(install.program("bangerd-root"));
    let Some(helper) = helper else {
        return Err(TakeDownError::Network("bangerd-root is missing".to_owned()));
    };
    let output = helper.command().args(["--system", "--clear"]).output();
    let output = output.map_err(|error| TakeDownError::Network(error.to_string()))?;
    if output.status.success() {
        return Ok(());
    }
    Err(TakeDownError::Network(String::from_utf8_lossy(&output.stderr).trim().to_owned()))
}

fn remove_file(path: &Path) -> Result<(), TakeDownError> {
    forgive_absence(path, std::fs::remove_file(path))
}

fn remove_tree(path: &Path) -> Result<(), TakeDownError> {
    forgive_absence(path, std::fs::remove_dir_all(path))
}

fn forgive_absence(path: &Path, outcome: io::Result<()>) -> Result<(), TakeDownError> {
    match outcome {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        outcome => outcome.map_err(|source| TakeDownError::Remove { path: path.to_owned(), source }),
    }
}
