use super::select::act_on_each;
use crate::daemon::follow;
use crate::failure::Outcome;
use crate::printer::Progress;
use banger_protocol::daemon_api::vm::{Delete, Deleted};

/// Delete VMs, running or stopped, with their disks
///
/// `banger vm delete dev` deletes everything that belongs to the VM; its image is kept. To keep a VM for later, use
/// `banger vm stop`. `banger vm prune` deletes all VMs that are not running.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// VM names, IDs, or unique ID prefixes
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
