//! The folders and the socket of this user, from this process's environment.

use crate::failure::Failure;
use banger_protocol::local_paths::{Environment, LocalPaths, LocalPathsError};
use std::ffi::OsString;

/// Where this user's banger lives.
pub(crate) fn find() -> Result<LocalPaths, LocalPathsError> {
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
        uid: rustix::process::geteuid().as_raw(),
    })
}

/// This program, for those who start it again: ssh does.
pub(crate) fn own_program() -> Result<OsString, Failure> {
    let found = std::env::current_exe().map(OsString::from);
    found.map_err(|error| Failure::of(&error))
}
