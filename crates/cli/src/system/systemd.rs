//! Asking systemd.

use crate::tool::{NotInstalled, Tool};
use std::io;
use std::process::{ExitStatus, Output};

#[derive(Debug, thiserror::Error)]
pub(crate) enum SystemdError {
    #[error(transparent)]
    NoSystemctl(NotInstalled),
    #[error("systemctl was not run")]
    Run(#[source] io::Error),
    #[error("`systemctl {words}` ended with {status}: {said}")]
    Refused { words: String, status: ExitStatus, said: String },
}

fn systemctl(words: &[&str]) -> Result<Output, SystemdError> {
    let tool = Tool::find("systemctl").map_err(SystemdError::NoSystemctl)?;
    tool.command().args(words).output().map_err(SystemdError::Run)
}

/// Has it done, or says what systemd said.
pub(crate) fn ask(words: &[&str]) -> Result<(), SystemdError> {
    let output = systemctl(words)?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
    Err(SystemdError::Refused { words: words.join(" "), status: output.status, said })
}

/// What a unit is: `active`, `inactive`, `failed` and so on.
pub(crate) fn state_of(unit: &str) -> Result<String, SystemdError> {
    let output = systemctl(&["show", "--property=ActiveState", "--value", unit])?;
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}
