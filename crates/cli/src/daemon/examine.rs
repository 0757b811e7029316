//! Having the doctor look, with or without a daemon.

use super::{Daemon, start};
use crate::failure::Failure;
use crate::places;
use banger_protocol::daemon_api::system::{Doctor, DoctorReport};
use std::io;
use std::process::{ExitStatus, Stdio};

/// Why nobody has looked.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ExamineError {
    #[error("the checks could not be run: `bangerd` is missing")]
    NoProgram,
    #[error("the checks could not be run")]
    Run(#[source] io::Error),
    #[error("the checks ended with {status}: {said}")]
    Ended { status: ExitStatus, said: String },
    #[error("the output of the checks is invalid")]
    Answer(#[source] serde_json::Error),
}

impl From<ExamineError> for Failure {
    fn from(error: ExamineError) -> Self {
        Self::of(&error).with_hint("install all banger programs in the same version and the same directory")
    }
}

/// By the daemon if it runs, else by its program alone: looking starts nothing and changes nothing.
pub(crate) fn examine() -> Result<DoctorReport, ExamineError> {
    if let Ok(Some(mut daemon)) = Daemon::connect_if_running()
        && let Ok(report) = daemon.call(&Doctor {})
    {
        return Ok(report);
    }
    let is_installed = places::find().is_ok_and(|places| places.is_installed);
    let mode = if is_installed { "--system" } else { "--local" };
    let program = start::find_program().ok_or(ExamineError::NoProgram)?;
    let mut command = program.command_of_the_user();
    let output = command.args([mode, "--doctor"]).stdin(Stdio::null()).output().map_err(ExamineError::Run)?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
        return Err(ExamineError::Ended { status: output.status, said });
    }
    serde_json::from_slice(&output.stdout).map_err(ExamineError::Answer)
}
