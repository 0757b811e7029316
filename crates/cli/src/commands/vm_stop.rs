use super::select::act_on_each;
use crate::daemon::follow;
use crate::failure::Outcome;
use crate::printer::Progress;
use banger_protocol::daemon_api::vm::{Stop, VmView};

/// Stop VMs; their disks stay.
///
/// `banger vm stop dev` writes everything to its disks and ends it; `banger vm start dev` boots it again.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Names, ids or beginnings of ids.
    #[arg(required = true, value_name = "VM")]
    vms: Vec<String>,
}

impl Args {
    pub(crate) fn run(self) -> Outcome {
        act_on_each(&self.vms, |daemon, vm| {
            let started = daemon.call(&Stop { vm })?;
            follow::<VmView>(daemon, started, None, &Progress::Silent)?;
            Ok(())
        })
    }
}
