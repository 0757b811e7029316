use super::select::boot_each;
use crate::failure::Outcome;
use banger_protocol::daemon_api::vm::Start;

/// Start stopped VMs
///
/// `banger vm start dev` boots the VM with its existing disks. Then `banger vm ssh dev` or `banger vm exec dev -- CMD`.
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
        boot_each(&self.vms, "starting", |vm| Start { vm, early: self.early })
    }
}
