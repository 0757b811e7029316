use super::select::act_on_each;
use crate::daemon::follow;
use crate::failure::{Failure, Outcome};
use crate::printer::Progress;
use crate::signals::Signals;
use banger_protocol::daemon_api::vm::{Restart, VmView};

/// Restart VMs: stop each as `banger vm stop` does and boot it again.
///
/// `banger vm restart dev` is a real reboot with the disks it had; a VM that is not running is started.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Names, ids or beginnings of ids.
    #[arg(required = true, value_name = "VM")]
    vms: Vec<String>,
    /// Do not wait until the guest is usable; its agent is enough.
    #[arg(long)]
    early: bool,
}

impl Args {
    pub(crate) fn run(self) -> Outcome {
        let signals = Signals::take().map_err(|error| Failure::of(&error))?;
        // Several at once would overwrite each other's line, and each other's Ctrl-C.
        let alone = self.vms.len() == 1;
        act_on_each(&self.vms, |daemon, vm| {
            let subject = if alone { format!("restarting {}", self.vms[0]) } else { String::new() };
            let progress = if alone { Progress::live_or_silent(&subject) } else { Progress::Silent };
            let _held = alone.then(|| signals.hold());
            let started = daemon.call(&Restart { vm, early: self.early })?;
            follow::<VmView>(daemon, started, alone.then_some(&signals), &progress)?;
            Ok(())
        })
    }
}
