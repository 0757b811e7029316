use super::ask;
use crate::failure::{Failure, Outcome};
use banger_protocol::guest_api::session::{Request, Session};
use banger_protocol::names::{SessionName, VmRef};

/// End a session, with everything its command has started.
///
/// `banger vm session stop dev web` asks it to end (SIGTERM, and a closed terminal if it has one), waits up to 10
/// seconds and kills what is left. Its output and exit code stay: then `banger vm session logs dev web` prints it
/// and `banger vm session rm dev web` removes it.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// A name, an id or the beginning of an id.
    vm: String,
    /// Which session.
    name: SessionName,
    /// How many seconds it gets before it is killed.
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
