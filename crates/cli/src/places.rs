//! Which banger serves this user, and where its folders and its socket are: the installed one, where it names this user,
//! or one of their own, by this process's environment.

use crate::failure::Failure;
use banger_protocol::local_paths::{Environment, LocalPaths, LocalPathsError};
use banger_system::{Install, InstallError, Mode, mode_of};
use std::ffi::OsString;

/// Where this user's banger lives.
#[derive(Clone, Debug)]
pub(crate) struct Places {
    pub paths: LocalPaths,
    /// Whether systemd starts it, and not the command that needs it.
    pub is_installed: bool,
}

/// Why it is not known where.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PlacesError {
    #[error(transparent)]
    Local(#[from] LocalPathsError),
    #[error(transparent)]
    Install(#[from] InstallError),
}

/// What cannot be read about an installed banger is an error, and never taken for none.
pub(crate) fn find() -> Result<Places, PlacesError> {
    let uid = rustix::process::geteuid().as_raw();
    match mode_of(Install::read()?, uid) {
        Mode::System(install) => Ok(Places { paths: install.paths(), is_installed: true }),
        Mode::Local => Ok(Places { paths: local(uid)?, is_installed: false }),
    }
}

fn local(uid: u32) -> Result<LocalPaths, LocalPathsError> {
    let value = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty());
    let (home, state, cache) = (value("HOME"), value("XDG_STATE_HOME"), value("XDG_CACHE_HOME"));
    let (config, runtime, tmpdir) = (value("XDG_CONFIG_HOME"), value("XDG_RUNTIME_DIR"), value("TMPDIR"));
    LocalPaths::find(&Environment {
        home: home.as_deref(),
        xdg_state_home: state.as_deref(),
        xdg_cache_home: cache.as_deref(),
        xdg_config_home: config.as_deref(),
        xdg_runtime_dir: runtime.as_deref(),
        tmpdir: tmpdir.as_deref(),
        uid,
    })
}

/// This program, for those who start it again: ssh does.
pub(crate) fn own_program() -> Result<OsString, Failure> {
    let found = std::env::current_exe().map(OsString::from);
    found.map_err(|error| Failure::of(&error))
}
