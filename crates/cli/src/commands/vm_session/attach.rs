use super::{agent_of, ask, told};
use crate::failure::{Failure, Outcome, READER_GONE};
use crate::guest::{self, DetachKeys, Left};
use crate::printer;
use crate::signals::{Signals, exit_code};
use banger_protocol::guest_api::session::{Request, Session};
use banger_protocol::names::{SessionName, VmRef};

/// Be in a session: see what it prints, and type what it reads.
///
///     banger vm session attach dev work
///
/// Ctrl-P Ctrl-Q leaves a session on a terminal and lets it run; from any other,
/// Ctrl-C does. When the command ends, its exit code is the one you get. Several
/// people may be in one session; its terminal has the size of whoever came last.
/// The end of your input is not the end of the command's: `banger vm session
/// send --eof` sends that.
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment)]
pub(crate) struct Args {
    /// A name, an id or the beginning of an id.
    vm: String,
    /// Which session.
    name: SessionName,
    /// What to type to leave, such as `ctrl-a,d`; `none` for nothing.
    #[arg(long, value_name = "KEYS", default_value = "ctrl-p,ctrl-q")]
    detach_keys: DetachKeys,
}

impl Args {
    pub(crate) fn run(self) -> Outcome {
        let vm = VmRef(self.vm);
        let signals = Signals::take().map_err(|error| Failure::of(&error).before_the_command())?;
        // Whether there is a terminal decides what becomes of the user's own.
        let session: Session =
            ask(&vm, Request::Show { name: self.name }).map_err(Failure::before_the_command)?;
        let agent = agent_of(&vm).map_err(Failure::before_the_command)?;
        let at_keys = session.terminal && guest::stdin_is_terminal();
        if let (true, Some(keys)) = (at_keys, self.detach_keys.shown()) {
            printer::remark(format_args!("in session {}: {keys} leaves it", session.name));
        }
        let left = guest::attach(agent, &session, &self.detach_keys, &signals)
            .map_err(|error| told(error, &vm).before_the_command())?;
        let name = &session.name;
        match left {
            Left::Ended(exit) => Ok(exit.shell_code()),
            Left::ReaderGone => Ok(READER_GONE),
            Left::Detached | Left::Signalled(_) => {
                // The cursor is wherever the session left it.
                let fresh_line = if at_keys { "\n" } else { "" };
                printer::talk(format_args!(
                    "{fresh_line}detached; `banger vm session attach {vm} {name}` comes back"
                ));
                Ok(match left {
                    Left::Signalled(signal) => exit_code(signal),
                    _ => 0,
                })
            }
        }
    }
}
