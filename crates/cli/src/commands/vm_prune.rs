use super::select::act_on;
use crate::daemon::{Daemon, follow};
use crate::failure::{Failure, Outcome};
use crate::guest;
use crate::printer::{self, Progress};
use banger_protocol::daemon_api::vm::{Delete, Deleted, List, State, VmView};
use banger_protocol::wire::ErrorKind;

/// Delete all VMs that are not running
///
/// `banger vm prune` lists them and asks for confirmation; `-f` does not ask. Paused VMs count as running.
/// `banger vm delete` deletes individual VMs.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Do not ask for confirmation
    #[arg(short, long)]
    force: bool,
}

impl Args {
    pub(crate) fn run(self) -> Outcome {
        let all = Daemon::connect()?.call(&List {})?;
        let doomed: Vec<&VmView> = all.iter().filter(|vm| is_down(vm.state)).collect();
        if doomed.is_empty() {
            printer::remark("all VMs are running: there is nothing to delete");
            return Ok(0);
        }
        for vm in &doomed {
            let reason = vm.reason.as_ref().map_or_else(String::new, |reason| format!(": {reason}"));
            printer::talk(format_args!("{} ({}) is {}{reason}", vm.name, vm.id, vm.state));
        }
        if !self.force && !agreed(doomed.len())? {
            printer::talk("nothing was deleted");
            return Ok(1);
        }
        act_on(doomed.into_iter().map(Ok).collect(), |daemon, vm| {
            let outcome = daemon
                .call(&Delete { vm, unless_running: true })
                .map_err(Failure::from)
                .and_then(|started| Ok(follow::<Deleted>(daemon, started, None, &Progress::Silent)?));
            match outcome {
                Ok(_) => Ok(()),
                // Somebody else was quicker.
                Err(failure) if failure.kind == Some(ErrorKind::NotFound) => Ok(()),
                Err(failure) => Err(failure),
            }
        })
    }
}

fn is_down(state: State) -> bool {
    match state {
        State::Created | State::Stopped | State::Failed => true,
        State::Starting | State::Running | State::Paused | State::Stopping => false,
    }
}

/// Asks whoever sits there; nobody may be taken for having agreed.
fn agreed(count: usize) -> Result<bool, Failure> {
    if !guest::stdin_is_terminal() {
        return Err(Failure::usage("nothing was deleted: cannot ask for confirmation without a terminal")
            .with_hint("use `banger vm prune -f` to delete without asking"));
    }
    let them = if count == 1 {
        "this VM with its disks".to_owned()
    } else {
        format!("these {count} VMs with their disks")
    };
    Ok(printer::ask(format_args!("delete {them}? [y/N] ")))
}
