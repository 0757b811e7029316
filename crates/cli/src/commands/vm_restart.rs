use super::select::boot_each;
use crate::failure::Outcome;
use banger_protocol::daemon_api::vm::Restart;

/// Restart VMs: stop each as `banger vm stop` does and boot it again.
///
/// `banger vm restart dev` is a real reboot with the disks it had; a VM that is not running is started.
/// Then `banger vm ssh dev` enters it again.
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
        boot_each(&self.vms, "restarting", |vm| Restart { vm, early: self.early })
    }
}
