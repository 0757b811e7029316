use super::select::boot_each;
use crate::failure::Outcome;
use banger_protocol::daemon_api::vm::Start;

/// Start VMs that are stopped.
///
/// `banger vm start dev` boots it with the disks it had; then `banger vm ssh dev` or `banger vm exec dev -- CMD`.
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
        boot_each(&self.vms, "starting", |vm| Start { vm, early: self.early })
    }
}
