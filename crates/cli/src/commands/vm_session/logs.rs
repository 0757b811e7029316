use super::{agent_of, told};
use crate::failure::{Failure, Outcome, READER_GONE};
use crate::guest::{self, SessionError};
use banger_protocol::names::{SessionName, VmRef};
use std::io::ErrorKind;

/// Print the output of a session
///
/// `banger vm session logs dev web` prints the last 8 MiB of output; if older output was dropped, a note on standard error
/// says how much. `-f` follows new output until the session ends or Ctrl-C. Then `banger vm session attach dev web` attaches
/// to it.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// VM name, ID, or unique ID prefix
    vm: String,
    /// Session name
    name: SessionName,
    /// Follow the output
    #[arg(short, long)]
    follow: bool,
}

impl Args {
    pub(crate) fn run(self) -> Outcome {
        let vm = VmRef(self.vm);
        match guest::logs(agent_of(&vm)?, self.name, self.follow) {
            Ok(()) => Ok(0),
            Err(SessionError::Output(error)) if error.kind() == ErrorKind::BrokenPipe => {
                Err(Failure::quiet(READER_GONE))
            }
            Err(error) => Err(told(error, &vm)),
        }
    }
}
