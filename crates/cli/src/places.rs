//! Which banger serves this user, and where its folders and its socket are: the installed one, where it names this user,
//! or one of their own, by this process's environment.

use crate::failure::Failure;
use banger_protocol::local_paths::{LocalPaths, LocalPathsError};
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
        Mode::Local => Ok(Places { paths: LocalPaths::of_this_process(uid)?, is_installed: false }),
    }
}

/// This program, for those who start it again: ssh does.
pub(crate) fn own_program() -> Result<OsString, Failure> {
    let found = std::env::current_exe().map(OsString::from);
    found.map_err(|error| Failure::of(&error))
}
