use crate::failure::{Failure, NO_COMMAND, Outcome};
use crate::signals::{Signals, exit_code};
use crate::tool::Tool;
use rustix::process::{Signal, getpgrp, kill_process_group};
use std::ffi::OsString;
use std::io;
use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::process::Stdio;

/// Run a package tool for a `banger` that may be killed.
///
/// The tool cleans up after itself when it is asked to end, and loses its files when it writes to somebody who is
/// gone. So this reads what it says to the end, whoever listens, and asks this process's whole group to end when
/// standard input, which the waiting `banger` holds and never writes to, ends.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    program: PathBuf,
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    arguments: Vec<OsString>,
}

impl Args {
    pub(crate) fn run(self) -> Outcome {
        let failed = |error: io::Error| Failure { code: NO_COMMAND, ..Failure::of(&error) };
        let signals = Signals::take().map_err(|error| Failure::of(&error))?;
        // They reach the tool, which is of the same group, by themselves.
        let _directed = signals.direct(|_| {});
        let Some(tool) = Tool::at(self.program) else { return Err(failed(io::ErrorKind::NotFound.into())) };
        let mut command = tool.command_of_the_user();
        command.args(self.arguments).stdin(Stdio::null()).stderr(Stdio::piped());
        let mut child = command.spawn().map_err(failed)?;
        std::thread::spawn(|| {
            let _ = io::copy(&mut io::stdin(), &mut io::sink());
            let _ = kill_process_group(getpgrp(), Signal::TERM);
        });
        if let Some(mut said) = child.stderr.take() {
            // Once more for what is said after nobody listens.
            let _ = io::copy(&mut said, &mut io::stderr());
            let _ = io::copy(&mut said, &mut io::sink());
        }
        let status = child.wait().map_err(failed)?;
        let code = status.code().and_then(|code| u8::try_from(code).ok());
        Ok(code.unwrap_or_else(|| exit_code(status.signal().unwrap_or_default())))
    }
}
