use super::{agent_of, told};
use crate::failure::{Failure, Outcome, READER_GONE};
use crate::guest::{self, SessionError};
use banger_protocol::names::{SessionName, VmRef};
use std::io::ErrorKind;

/// Print what a session wrote.
///
/// `banger vm session logs dev web` prints what is kept of it, which is the last 8 MiB; `-f` goes on with what it writes
/// next, until it ends or Ctrl-C. When something was dropped, a line on stderr says how much. Then
/// `banger vm session attach dev web` answers it.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// A name, an id or the beginning of an id.
    vm: String,
    /// Which session.
    name: SessionName,
    /// Go on with what it writes from now on.
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
