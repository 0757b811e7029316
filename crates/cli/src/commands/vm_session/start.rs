use super::connect;
use super::told::told;
use crate::commands::vm_exec::Environment;
use crate::failure::{Failure, Outcome};
use crate::guest::{self, Command};
use crate::printer;
use banger_protocol::guest_api::session::{Request, Session};
use banger_protocol::names::{SessionName, VmRef};

/// Start a command that goes on without you.
///
///     banger vm session start dev web -- npm start
///     banger vm session start -t dev work            a shell
///
/// The name is printed when the command runs. A name that is running is refused;
/// that of a session that has ended is given to the new one, and the old one's
/// output goes. `banger vm exec -d` makes up a name.
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment)]
pub(crate) struct Args {
    /// A name, an id or the beginning of an id.
    vm: String,
    /// What to call the session.
    name: SessionName,
    /// Run the command on a terminal, for shells and programs that draw the screen.
    #[arg(short, long)]
    tty: bool,
    /// Give the command no input, as with `< /dev/null`.
    #[arg(long, conflicts_with = "tty")]
    no_input: bool,
    /// As which user of the guest; root if not given.
    #[arg(short, long)]
    user: Option<String>,
    #[command(flatten)]
    environment: Environment,
    /// The command and its arguments, exactly as typed; a login shell if not given.
    #[arg(last = true, value_name = "CMD")]
    command: Vec<String>,
}

impl Args {
    pub(crate) fn run(self) -> Outcome {
        let command = Command {
            argv: self.command,
            env: self.environment.into_map(),
            user: self.user,
            cwd: None,
            stdin: !self.no_input,
            terminal: self.tty,
        };
        start(&VmRef(self.vm), Some(self.name), &command)
    }
}

/// Starts the command as a session and prints the session's name.
pub(in crate::commands) fn start(vm: &VmRef, name: Option<SessionName>, command: &Command) -> Outcome {
    let (connected, agent) = connect(vm).map_err(Failure::before_the_command)?;
    let mut asked = command.as_asked();
    asked.cwd = asked.cwd.or(connected.workspace.map(|workspace| workspace.guest_path));
    let started = guest::ask(agent, Request::Start { name, command: asked }).map_err(|error| told(error, vm));
    let session: Session = started.map_err(Failure::before_the_command)?;
    let name = session.name;
    printer::line(&name)?;
    let look = if session.terminal { "attach" } else { "logs -f" };
    printer::remark(format_args!(
        "`banger vm session {look} {vm} {name}` shows it, `banger vm session stop {vm} {name}` ends it"
    ));
    Ok(0)
}
