use super::select::act_on_each;
use crate::daemon::follow;
use crate::failure::Outcome;
use crate::printer::Progress;
use banger_protocol::daemon_api::vm::{Delete, Deleted};

/// Remove VMs with everything they own, running or not.
///
/// `banger vm delete dev` leaves no trace of it; its image stays. `banger vm stop` keeps a VM for later
/// instead, and `banger vm prune` removes all that are not running.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Names, ids or beginnings of ids.
    #[arg(required = true, value_name = "VM")]
    vms: Vec<String>,
}

impl Args {
    pub(crate) fn run(self) -> Outcome {
        act_on_each(&self.vms, |daemon, vm| {
            let started = daemon.call(&Delete { vm, unless_running: false })?;
            follow::<Deleted>(daemon, started, None, &Progress::Silent)?;
            Ok(())
        })
    }
}
