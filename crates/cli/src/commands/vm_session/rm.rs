use super::{agent_of, ask, told};
use crate::failure::Outcome;
use crate::guest;
use crate::printer;
use banger_protocol::guest_api::session::{Request, State};
use banger_protocol::names::{SessionName, VmRef};

/// Delete an ended session and its output
///
/// `banger vm session rm dev web` deletes one, `banger vm session rm --ended dev` all that have ended. A running session must
/// be stopped first: `banger vm session stop dev web`, then delete it.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// VM name, ID, or unique ID prefix
    vm: String,
    /// Session name
    #[arg(required_unless_present = "ended", conflicts_with = "ended")]
    name: Option<SessionName>,
    /// Delete all sessions that have ended, and print their names
    #[arg(long)]
    ended: bool,
}

impl Args {
    pub(crate) fn run(self) -> Outcome {
        let vm = VmRef(self.vm);
        if let Some(name) = self.name {
            ask::<()>(&vm, Request::Remove { name })?;
            return Ok(0);
        }
        let sessions = guest::list(agent_of(&vm)?).map_err(|error| told(error, &vm))?;
        for session in sessions.into_iter().filter(|session| session.state != State::Running) {
            ask::<()>(&vm, Request::Remove { name: session.name.clone() })?;
            printer::line(session.name)?;
        }
        Ok(0)
    }
}
