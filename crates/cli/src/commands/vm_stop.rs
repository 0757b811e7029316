use super::select::ask_of_each;
use crate::failure::Outcome;
use banger_protocol::daemon_api::vm::Stop;

/// Stop VMs; their disks are kept
///
/// `banger vm stop dev` flushes the disks and stops the VM. `banger vm start dev` boots it again.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// VM names, IDs, or unique ID prefixes
    #[arg(required = true, value_name = "VM")]
    vms: Vec<String>,
}

impl Args {
    pub(crate) fn run(self) -> Outcome {
        ask_of_each(&self.vms, |vm| Stop { vm })
    }
}
