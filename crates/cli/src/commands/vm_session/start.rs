use super::connect;
use super::told::told;
use crate::commands::vm_exec::Environment;
use crate::failure::{Failure, Outcome};
use crate::guest::{self, Command};
use crate::printer;
use banger_protocol::guest_api::session::{Request, Session};
use banger_protocol::names::{SessionName, VmRef};

/// Start a command in the background of a VM
///
///     banger vm session start dev web -- npm start
///     banger vm session start -t dev work            start a shell
///
/// Prints the session name when the command runs. The name of a running session is
/// refused; that of an ended session is reused, and its output is deleted. `banger vm
/// exec -d` does the same with a generated name.
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment)]
pub(crate) struct Args {
    /// VM name, ID, or unique ID prefix
    vm: String,
    /// Name for the session
    name: SessionName,
    /// Allocate a terminal, for shells and full-screen programs
    #[arg(short, long)]
    tty: bool,
    /// Give the command no input, as with `< /dev/null`
    #[arg(long, conflicts_with = "tty")]
    no_input: bool,
    /// Guest user: a name or UID, optionally followed by `:GROUP` [default: the image's user, or root]
    #[arg(short, long)]
    user: Option<String>,
    /// Not for sessions: what lends it ends before they do.
    #[arg(short = 'A', long, hide = true)]
    ssh_agent: bool,
    #[command(flatten)]
    environment: Environment,
    /// Command and arguments [default: a login shell]
    #[arg(last = true, value_name = "CMD")]
    command: Vec<String>,
}

impl Args {
    pub(crate) fn run(self) -> Outcome {
        if self.ssh_agent {
            return Err(no_ssh_agent(&self.vm));
        }
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

/// An ssh agent is answered by the command that lends it, which a session outlives.
pub(in crate::commands) fn no_ssh_agent(vm: &str) -> Failure {
    Failure::usage("a session cannot have your ssh agent: it goes on when the command that lends it has ended")
        .with_hint(format!(
            "`banger vm exec -A {vm} -- CMD` lends it while you wait; what runs alone needs a key of its own, such as a \
             deploy key"
        ))
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
        "`banger vm session {look} {vm} {name}` shows it, `banger vm session stop {vm} {name}` stops it"
    ));
    Ok(0)
}
