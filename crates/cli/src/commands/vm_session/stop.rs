use super::ask;
use crate::failure::{Failure, Outcome};
use banger_protocol::guest_api::session::{Request, Session};
use banger_protocol::names::{SessionName, VmRef};

/// Stop a session and everything its command started
///
/// `banger vm session stop dev web` sends SIGTERM (and closes the terminal, if there is one), waits for the grace period, and
/// kills what is left. Output and exit code are kept: then `banger vm session logs dev web` prints the output, and
/// `banger vm session rm dev web` deletes the session.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// VM name, ID, or unique ID prefix
    vm: String,
    /// Session name
    name: SessionName,
    /// Seconds to wait before killing it
    #[arg(long, value_name = "SECONDS", default_value = "10", value_parser = clap::value_parser!(u32).range(0..=86_400))]
    grace: u32,
}

impl Args {
    pub(crate) fn run(self) -> Outcome {
        let request = Request::Stop { name: self.name, grace_ms: self.grace * 1000 };
        let stopped: Result<Session, Failure> = ask(&VmRef(self.vm), request);
        stopped.map(|_| 0)
    }
}
