use super::{agent_of, ask, told};
use crate::failure::{Failure, Outcome, READER_GONE};
use crate::guest::{self, DetachKeys, Left};
use crate::printer;
use crate::signals::{Signals, exit_code};
use banger_protocol::guest_api::session::{Request, Session};
use banger_protocol::names::{SessionName, VmRef};

/// Attach to a session: see its output and type its input
///
///     banger vm session attach dev work
///
/// Ctrl-P Ctrl-Q detaches from a session with a terminal, Ctrl-C from one without;
/// the session keeps running. When the command ends, `attach` exits with its exit
/// code. Several clients can attach at once; the terminal has the size of the one
/// that attached last. The end of your input does not close the command's input:
/// `banger vm session send --eof` does.
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment)]
pub(crate) struct Args {
    /// VM name, ID, or unique ID prefix
    vm: String,
    /// Session name
    name: SessionName,
    /// Key sequence for detaching, such as `ctrl-a,d`; `none` disables it
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
            printer::remark(format_args!("attached to session {}: {keys} detaches", session.name));
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
                    "{fresh_line}detached; `banger vm session attach {vm} {name}` attaches again"
                ));
                Ok(match left {
                    Left::Signalled(signal) => exit_code(signal),
                    _ => 0,
                })
            }
        }
    }
}
