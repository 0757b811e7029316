use super::select::act_on_each;
use crate::daemon::follow;
use crate::failure::Outcome;
use crate::printer::Progress;
use banger_protocol::daemon_api::vm::{Resume, VmView};

/// Let paused VMs go on.
///
/// `banger vm resume dev` goes on where `banger vm pause dev` made it stand still.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Names, ids or beginnings of ids.
    #[arg(required = true, value_name = "VM")]
    vms: Vec<String>,
}

impl Args {
    pub(crate) fn run(self) -> Outcome {
        act_on_each(&self.vms, |daemon, vm| {
            let started = daemon.call(&Resume { vm })?;
            follow::<VmView>(daemon, started, None, &Progress::Silent)?;
            Ok(())
        })
    }
}
