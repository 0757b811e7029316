use super::vm_session;
use crate::daemon::Daemon;
use crate::failure::{Failure, Outcome};
use crate::guest::{self, Command, ExecError, ForwardError, SSH_AUTH_SOCK, SshAgent};
use crate::printer;
use crate::signals::Signals;
use crate::workspace::{
    Interrupt, Options, PrepareError, Source, guest_path, has_moved_on, prepare, through_mise,
};
use banger_protocol::daemon_api::vm::{Connect, Show};
use banger_protocol::daemon_api::workspace::{Status, Workspace};
use banger_protocol::names::VmRef;
use std::collections::BTreeMap;
use std::os::unix::net::UnixStream;
use std::path::Path;

/// Run a command in a running VM
///
///     banger vm exec dev -- make test
///     banger vm exec -it dev -- htop
///     banger vm exec -d dev -- make test    run it in the background, as a session
///
/// The exit code is that of the command; 125 means that banger could not run it or
/// lost contact with it. Standard input is forwarded with `-i`. Without a command,
/// opens a login shell. `banger vm cp` copies files in and out.
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment)]
pub(crate) struct Args {
    /// VM name, ID, or unique ID prefix
    vm: String,
    /// Forward standard input
    #[arg(short, long)]
    interactive: bool,
    /// Allocate a terminal
    #[arg(short, long)]
    tty: bool,
    /// Run in the background and print the session name; see `banger vm session --help`
    #[arg(short, long)]
    detach: bool,
    /// Guest user: a name or UID, optionally followed by `:GROUP` [default: the image's user, or root]
    #[arg(short, long)]
    user: Option<String>,
    /// Working directory in the guest [default: the workspace, or the image's working directory]
    #[arg(long, value_name = "PATH", value_parser = guest_path)]
    guest_path: Option<String>,
    /// Update the workspace first, as `banger vm workspace prepare` does
    #[arg(long)]
    auto_prepare: bool,
    /// Forward your ssh agent while the command runs; private keys stay on this host
    #[arg(short = 'A', long)]
    ssh_agent: bool,
    #[command(flatten)]
    environment: Environment,
    /// Command and arguments [default: a login shell]
    #[arg(last = true, value_name = "CMD")]
    command: Vec<String>,
}

/// Variables for a guest's command.
#[derive(Debug, clap::Args)]
pub(super) struct Environment {
    /// Set an environment variable; NAME alone copies the value from this shell
    #[arg(short, long = "env", value_name = "NAME=VALUE", value_parser = variable)]
    env: Vec<(String, String)>,
}

impl Environment {
    pub(super) fn into_map(self) -> BTreeMap<String, String> {
        self.env.into_iter().collect()
    }
}

impl Args {
    pub(crate) fn run(self) -> Outcome {
        if self.detach && self.ssh_agent {
            return Err(vm_session::no_ssh_agent(&self.vm));
        }
        let ssh_agent = find_ssh_agent(self.ssh_agent)?;
        let signals = Signals::take().map_err(|error| Failure::of(&error).before_the_command())?;
        let mut daemon = Daemon::connect().map_err(|error| Failure::from(error).before_the_command())?;
        let vm = VmRef(self.vm.clone());
        if self.auto_prepare {
            bring_up_to_date(&mut daemon, &vm, &signals)?;
        }
        if self.detach {
            return self.start_session();
        }
        let is_shell = self.command.is_empty();
        let at_terminal = is_shell && guest::stdin_is_terminal();
        let command = Command {
            argv: self.command,
            env: self.environment.into_map(),
            user: self.user,
            cwd: self.guest_path,
            stdin: self.interactive || is_shell,
            terminal: self.tty || at_terminal,
        };
        run_in(&mut daemon, &vm, command, ssh_agent, &signals)
    }
}

/// The user's ssh agent, if it is wanted; before anything is begun that has no use without it.
pub(super) fn find_ssh_agent(is_wanted: bool) -> Result<Option<SshAgent>, Failure> {
    is_wanted.then(SshAgent::find).transpose().map_err(not_forwarded)
}

fn not_forwarded(error: ForwardError) -> Failure {
    let failure = Failure::of(&error).before_the_command();
    match error.hint() {
        Some(hint) => failure.with_hint(hint),
        None => failure,
    }
}

impl Args {
    fn start_session(self) -> Outcome {
        let command = Command {
            // A shell without input would end at once.
            stdin: self.interactive || self.tty || self.command.is_empty(),
            terminal: self.tty,
            argv: self.command,
            env: self.environment.into_map(),
            user: self.user,
            cwd: self.guest_path,
        };
        vm_session::start(&VmRef(self.vm), None, &command)
    }
}

/// Brings the workspace of a VM to what its repository is now.
fn bring_up_to_date(daemon: &mut Daemon, vm: &VmRef, signals: &Signals) -> Result<(), Failure> {
    let before = |error| Failure::from(error).before_the_command();
    let status = daemon.call(&Status { vm: vm.clone() }).map_err(before)?;
    let workspace = status.workspace.ok_or_else(|| {
        Failure::message(format!("VM `{}` has no workspace yet", status.name))
            .with_hint(format!("`banger vm workspace prepare {} PATH` copies a repository in", status.name))
            .before_the_command()
    })?;
    let options =
        Options { mode: workspace.mode, guest_path: Some(workspace.guest_path), ..Options::default() };
    let interrupt = Interrupt::default();
    let _caught = interrupt.catch(signals);
    let source = Source::look(Path::new(&workspace.host_path), &options);
    let prepared = source.and_then(|source| prepare(daemon, vm, &source, &options, &interrupt));
    prepared.map(drop).map_err(PrepareError::before_the_command)
}

/// Runs the command in the VM, in its workspace unless it says where; the answer is its exit code.
pub(super) fn run_in(
    daemon: &mut Daemon,
    vm: &VmRef,
    mut command: Command,
    ssh_agent: Option<SshAgent>,
    signals: &Signals,
) -> Outcome {
    let forwarded = match ssh_agent {
        Some(ssh_agent) => {
            let connected = daemon.call_receiving(&Connect { vm: vm.clone() });
            let (_, guest) = connected.map_err(|error| Failure::from(error).before_the_command())?;
            let offered = ssh_agent.offer(UnixStream::from(guest), command.user.clone());
            Some(offered.map_err(not_forwarded)?)
        }
        None => None,
    };
    if let Some(forwarded) = &forwarded {
        command.env.insert(SSH_AUTH_SOCK.to_owned(), forwarded.path.clone());
    }
    let connected = daemon.call_receiving(&Connect { vm: vm.clone() });
    let (connected, agent) = connected.map_err(|error| Failure::from(error).before_the_command())?;
    let mut looking = None;
    if let Some(workspace) = connected.workspace
        && is_inside(&command, &workspace)
    {
        command.cwd.get_or_insert_with(|| workspace.guest_path.clone());
        let ask = || {
            daemon.call_receiving(&Connect { vm: vm.clone() }).ok().map(|(_, agent)| UnixStream::from(agent))
        };
        through_mise(&mut command, &workspace, ask);
        let name = vm.clone();
        // Git is asked while the command runs.
        looking = Some(std::thread::spawn(move || {
            if has_moved_on(&workspace) {
                let path = &workspace.host_path;
                printer::warning(format_args!(
                    "{path} has changed since it was copied in: `banger vm workspace prepare {name}` updates the copy"
                ));
            }
        }));
    }
    let outcome = guest::run(UnixStream::from(agent), &command, signals);
    drop(forwarded);
    // It says what it has to say, however short the command was.
    let _ = looking.map(std::thread::JoinHandle::join);
    outcome.map_err(|error| {
        let failure = Failure::of(&error).before_the_command();
        match error {
            ExecError::Lost(_) | ExecError::Send(_) => match how_it_ended(vm) {
                Some(end) => failure.with_hint(end),
                None => failure,
            },
            ExecError::Refused(_)
            | ExecError::Protocol(_)
            | ExecError::Malformed(_)
            | ExecError::Output(_) => failure,
        }
    })
}

/// Whether a command runs in the workspace: where nothing else is said it does.
fn is_inside(command: &Command, workspace: &Workspace) -> bool {
    command.cwd.as_ref().is_none_or(|cwd| Path::new(cwd).starts_with(&workspace.guest_path))
}

/// What the daemon knows about a VM whose connection broke off; nothing when it cannot be asked.
fn how_it_ended(vm: &VmRef) -> Option<String> {
    let view = Daemon::connect().ok()?.call(&Show { vm: vm.clone() }).ok()?;
    let reason = view.reason.map_or_else(String::new, |reason| format!(": {reason}"));
    Some(format!("VM `{}` is {}{reason}; `banger vm logs {0}` shows its console", view.name, view.state))
}

fn variable(text: &str) -> Result<(String, String), String> {
    let (name, value) = match text.split_once('=') {
        Some((name, value)) => (name, value.to_owned()),
        None => (text, std::env::var(text).map_err(|_| format!("`{text}` is not set in this environment"))?),
    };
    if name.is_empty() { Err("the variable has no name".to_owned()) } else { Ok((name.to_owned(), value)) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::failure::NO_COMMAND;

    #[test]
    fn a_variable_is_a_name_and_the_rest() {
        assert_eq!(variable("A=b=c"), Ok(("A".to_owned(), "b=c".to_owned())));
        assert_eq!(variable("A="), Ok(("A".to_owned(), String::new())));
        assert!(variable("=x").is_err() && variable("SURELY_NOT_SET_HERE").is_err());
        assert!(variable("PATH").is_ok_and(|(name, value)| name == "PATH" && !value.is_empty()));
    }

    #[test]
    fn a_failure_before_the_command_is_125() {
        assert_eq!(Failure::of(&ExecError::Lost(None)).before_the_command().code, NO_COMMAND);
    }
}
