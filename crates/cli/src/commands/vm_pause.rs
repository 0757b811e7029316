use super::select::act_on_each;
use crate::daemon::follow;
use crate::failure::Outcome;
use crate::printer::Progress;
use banger_protocol::daemon_api::vm::{Pause, VmView};

/// Pause VMs: they stand still, keep their memory and use no processor.
///
/// `banger vm pause dev`, and later `banger vm resume dev`; commands that were running in it go on then.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Names, ids or beginnings of ids.
    #[arg(required = true, value_name = "VM")]
    vms: Vec<String>,
}

impl Args {
    pub(crate) fn run(self) -> Outcome {
        act_on_each(&self.vms, |daemon, vm| {
            let started = daemon.call(&Pause { vm })?;
            follow::<VmView>(daemon, started, None, &Progress::Silent)?;
            Ok(())
        })
    }
}
