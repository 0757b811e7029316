use super::select::boot_each;
use crate::failure::Outcome;
use banger_protocol::daemon_api::vm::Restart;

/// Restart VMs
///
/// `banger vm restart dev` stops the VM as `banger vm stop` does and boots it again with the same disks. A VM that is not
/// running is started. Then `banger vm ssh dev` opens a shell.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// VM names, IDs, or unique ID prefixes
    #[arg(required = true, value_name = "VM")]
    vms: Vec<String>,
    /// Return as soon as the guest agent answers, without waiting for the guest to finish booting
    #[arg(long)]
    early: bool,
}

impl Args {
    pub(crate) fn run(self) -> Outcome {
        boot_each(&self.vms, "restarting", |vm| Restart { vm, early: self.early })
    }
}
